"""RecConv: a kernel of k 2^l for l + 2 small ones."""

import torch

from claims._experiment import Outcome
from convnn.nn import ConvMaker, RecursiveConv
from convnn.train import summarize

SYSTEM = "RecNeXt: recursive convolution"
CLAIM = (
    "Recursion over l halved maps reaches k 2^l positions with l + 2 kernels of side k, at less than twice one's cost."
)
EXPERIMENT = (
    "RecConv with k = 5, 64 channels, without the 1x1 convolution. Reach: the rows that the middle of a map of 256 rows"
    " depends on, by its gradient. Operations of the convolutions on a map of 56 x 56, as torch counts"
    " them, and parameters, both in units of one depthwise 5 x 5 convolution, for which a kernel of side k 2^l has"
    " (k 2^l / 5)^2."
)
SEEDS = ()
K = 5


def measure(seeds: list[int], quick: bool) -> Outcome:
    levels = range(3 if quick else 5)
    layers = {level: RecursiveConv(ConvMaker(2), 64, kernel_size=K, level=level) for level in levels}
    reaches = {level: reach(RecursiveConv(ConvMaker(2), 1, kernel_size=K, level=level)) for level in levels}
    costs = {level: summarize(layer, (64, 56, 56)) for level, layer in layers.items()}
    operations = {level: cost.gflops / costs[0].gflops for level, cost in costs.items()}
    parameters = {level: cost.parameters / costs[0].parameters for level, cost in costs.items()}
    rows = [
        [
            str(level),
            str(K * 2**level),
            str(reaches[level]),
            f"{operations[level]:.2f}",
            f"{parameters[level]:.0f}",
            f"{(2**level) ** 2}",
        ]
        for level in levels
    ]
    return Outcome(
        [["level", "k 2^l", "rows", "operations", "parameters", "both, of a kernel of k 2^l"], *rows],
        {
            "it reaches k 2^l rows at every level": all(reaches[level] >= K * 2**level for level in levels),
            "operations stay below twice those of one kernel": max(operations.values()) < 2,
            "parameters are those of l + 2 kernels": all(parameters[level] == level + 2 for level in levels if level),
        },
    )


def reach(layer: RecursiveConv) -> int:
    """Return how many rows the middle of the output depends on."""
    x = torch.zeros(1, 1, 256, 256, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x)[0, 0, 128, 128], x)
    rows = gradient[0, 0].nonzero()[:, 0]
    return int(rows.max() - rows.min()) + 1
