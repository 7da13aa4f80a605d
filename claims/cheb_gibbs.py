"""ChebGibbsNet: damping removes the oscillation of a truncated Chebyshev series."""

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor
from torch.nn import functional as F

from claims._experiment import Outcome, spread
from claims._nodes import descend, random_graph, right
from convnn.nn.graphs import ChebGibbsNet, gibbs_damping

SYSTEM = "ChebGibbsNet: damped Chebyshev filter"
CLAIM = "Damping removes the Gibbs oscillation of Chebyshev filters, and networks with it classify nodes better."
EXPERIMENT = (
    "The series of order K of the step at 0.2 on [-1, 1]: by how much it exceeds 1 at most, for K = 10, 20 and 40; its"
    " total variation and its largest error more than 0.3 from the step, for K = 40. And graphs of 400 nodes in four"
    " classes, of which neighbours are alike or lie two classes apart, with 16 noisy features: test accuracy in percent"
    " at the best validation loss of 100 steps, K = 10, against K = 0, which sees no neighbour."
)
SEEDS = (0, 1, 2)
DAMPINGS = ("none", "jackson", "fejer", "lanczos", "lorentz", "vekic", "wang")
NETWORKS = {"none": {"damping": "none"}, "jackson": {}, "K = 0": {"hops": 0}}
KINDS = {"alike": (0.04, 0.006, 0.006, 0.006), "unlike": (0.006, 0.004, 0.05, 0.004)}


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 3 if quick else 100
    series = {name: step_response(name) for name in DAMPINGS}
    tested = {
        name: [[classified(kind, seed, steps, settings) for seed in seeds] for kind in KINDS]
        for name, settings in NETWORKS.items()
    }
    rows = []
    for name in (*DAMPINGS, "K = 0"):
        of_step = [f"{value:.4f}" for value in series.get(name, ())] or [""] * 5
        of_nodes = [spread(found) for found in tested.get(name, ())] or [""] * 2
        rows.append([name, *of_step, *of_nodes])
    damped, free = ([*alike, *unlike] for alike, unlike in (tested["jackson"], tested["none"]))
    return Outcome(
        [["damping", "K = 10", "K = 20", "K = 40", "total variation", "error", "alike, %", "unlike, %"], *rows],
        {
            "without damping the series exceeds 1 by more than 0.05 for every K": min(series["none"][:3]) > 0.05,
            "with Jackson's it never does": max(series["jackson"][:3]) <= 0,
            "its total variation is at most 1.001, that of a step": series["jackson"][3] <= 1.001,
            "a network with it is at least as good in every run": all(map(float.__ge__, damped, free)),
        },
    )


def step_response(damping: str) -> list[float]:
    """Return the overshoot for three orders, and of the last the total variation and the error far from the step."""
    angles, t = (np.arange(20000) + 0.5) * np.pi / 20000, np.linspace(-1, 1, 20001)
    overshoots = []
    for order in (10, 20, 40):
        cosines = np.cos(np.outer(np.arange(order + 1), angles))
        coefficients = 2 * (cosines * (np.cos(angles) > 0.2)).mean(1)
        coefficients[0] /= 2
        values = chebyshev.chebval(t, coefficients * gibbs_damping(order, damping).numpy())
        overshoots.append(float(values.max() - 1))
    errors = abs(values - (t > 0.2))[abs(t - 0.2) > 0.3]
    return [*overshoots, float(abs(np.diff(values)).sum()), float(errors.max())]


def classified(kind: str, seed: int, steps: int, settings: dict) -> float:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(400) % 4
    edges = random_graph(torch.tensor(KINDS[kind])[(labels - labels.unsqueeze(1)) % 4], generator)
    x = torch.randn(4, 16, generator=generator)[labels] + 2 * torch.randn(400, 16, generator=generator)
    train, val, test = torch.randperm(400, generator=generator).split([80, 80, 240])
    torch.manual_seed(seed)
    network = ChebGibbsNet(16, 4, **settings)

    def loss(nodes: Tensor) -> Tensor:
        return F.cross_entropy(network(x, edges)[nodes], labels[nodes])

    def watch() -> tuple[float, float]:
        return -loss(val).item(), right(network(x, edges)[test], labels[test])

    return descend(network, lambda: loss(train), steps=steps, lr=0.01, weight_decay=1e-3, watch=watch)
