"""MK-UNet: kernels of several sizes in parallel."""

import torch

from claims._experiment import Outcome, is_above, spread
from claims._learn import digits_accuracy
from convnn.nn import ConvMaker, MultiKernelConv, MultiKernelDW2d
from convnn.nn.kernels import taps
from convnn.train import summarize

SYSTEM = "MK-UNet: kernels of several sizes"
CLAIM = (
    "Parallel depthwise kernels of several sizes, each activated, capture detail and surroundings: more accurate than"
    " one size at about the same cost, and not the same as one kernel."
)
EXPERIMENT = (
    "Accuracy in percent: two inverted residuals of 16 channels between 1x1 convolutions on scikit-learn's digits,"
    " 200 steps of 64 images, with kernels of 1, 3 and 5, of 3, and of 5. Parameters of one with 64 channels. One"
    " kernel: the largest difference, in float64, between the sum of three normalised kernels and one 5 x 5 kernel"
    " that takes them in, before and after the activation."
)
SEEDS = (0, 1, 2)
KERNELS = ("1,3,5", "3", "5")


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 5 if quick else 200
    scores = {
        sizes: [
            digits_accuracy(lambda i, o, sizes=sizes: MultiKernelDW2d(i, o, kernel_sizes=sizes), seed, steps)
            for seed in seeds
        ]
        for sizes in KERNELS
    }
    counts = {
        sizes: summarize(MultiKernelDW2d(64, 64, kernel_sizes=sizes), (64, 32, 32)).parameters for sizes in KERNELS
    }
    before, after = differences()
    return Outcome(
        [
            ["kernels", "accuracy, %", "parameters"],
            *([sizes, spread(scores[sizes]), f"{counts[sizes]:,}"] for sizes in KERNELS),
            ["one kernel, before the activation", f"{before:.0e} apart", ""],
            ["one kernel, after the activation", f"{after:.2f} apart", ""],
        ],
        {
            "three sizes are above 3 x 3": is_above(scores["1,3,5"], scores["3"]),
            "three sizes are above 5 x 5": is_above(scores["1,3,5"], scores["5"]),
            "they have less than a fifth more parameters than 5 x 5": counts["1,3,5"] < 1.2 * counts["5"],
            "before the activation they are one kernel, after it they are not": before < 1e-12 < 0.01 < after,
        },
    )


@torch.no_grad()
def differences() -> tuple[float, float]:
    """Return how far three kernels are from one, before and after the activation."""
    torch.manual_seed(0)
    conv = MultiKernelConv(ConvMaker(2), 8, (1, 3, 5)).double().eval()
    x = 3 * torch.randn(2, 8, 12, 12, dtype=torch.double)
    parts = [branch[0] for branch in conv.branches]
    one = taps.added(taps.normalised(taps.kernel_of(part.conv), part.norm) for part in parts)
    whole = taps.as_convolution(one, parts[0].conv)(x)
    outputs = [part(x) for part in parts]
    activated = sum(output.clamp(0, 6) for output in outputs) - whole.clamp(0, 6)
    return (sum(outputs) - whole).abs().max().item(), activated.abs().max().item()
