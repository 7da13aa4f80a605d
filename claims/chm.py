"""CHM: votes of related matches, with few weights."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._experiment import Outcome, spread
from claims._nodes import descend
from convnn.data.motions import smooth_maps
from convnn.nn.matches import CentrePivotConv4d, CHM4d
from convnn.ops.matches import cell_centers, cosine_matches, mutual_filter
from convnn.tasks.match import share_right, warp_pair

SYSTEM = "CHM: convolutional Hough matching"
CLAIM = (
    "Convolution in the space of matches, with a weight for each geometric relation of two matches, finds matches where"
    " similarity alone fails; sharing costs nothing, and the entries of a centre pivot are enough."
)
EXPERIMENT = (
    "Maps of 10 x 10 cells with 16 random features, whose left half is repeated on the right, under a smooth random"
    " motion and a shift, with noise of deviation 1 on both: cosines, one convolution of side 5, softplus, mutual"
    " filter, and the mean place by a softmax of learned temperature; 40 steps of Adam on 8 pairs. Share of cells, in"
    " percent, within 0.3 of their place (a map is 2 wide) on 24 new pairs."
)
SEEDS = (0, 1)
SIDE, THREE = 10, ("iso", "psi", "full")
LAYERS = {"none": nn.Identity} | {sharing: partial(CHM4d, 5, sharing) for sharing in THREE}
LAYERS |= {"centre pivot": partial(CentrePivotConv4d, 1, 1, 5)}


class Matcher(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.sharpness = layer, nn.Parameter(torch.tensor(2.0))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        votes = F.softplus(self.layer(cosine_matches(source, target).unsqueeze(1)))
        shares = (self.sharpness.exp() * mutual_filter(votes.flatten(4).flatten(2, 3).squeeze(1))).softmax(2)
        return (shares @ cell_centers(target).flatten(2).mT).mT.unflatten(2, source.shape[2:])


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps, tests = (2, 2) if quick else (40, 24)
    scores = {name: [accuracy(name, seed, steps, tests) for seed in seeds] for name in LAYERS}
    mean = {name: sum(found) / len(found) for name, found in scores.items()}
    counts = {name: sum(p.numel() for p in make().parameters()) for name, make in LAYERS.items()}
    rows = [[name, f"{counts[name]:,}", spread(scores[name])] for name in LAYERS]
    return Outcome(
        [["layer", "parameters", "cells that are right, %"], *rows],
        {
            "psi is within 2 of full": mean["psi"] >= mean["full"] - 2,
            "psi is above iso by more than 5": mean["psi"] > mean["iso"] + 5,
            "all three are above none by more than 30": min(mean[n] for n in THREE) > mean["none"] + 30,
            "a centre pivot is within 2 of full": mean["centre pivot"] >= mean["full"] - 2,
        },
    )


def pairs(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    found = []
    for _ in range(count):
        canvas = torch.randn(1, 16, SIDE, SIDE // 2, generator=generator).repeat(1, 1, 1, 2)
        shift = 0.4 * (2 * torch.rand(1, 2, 1, 1, generator=generator) - 1)
        flow = cell_centers(canvas) + shift + 0.1 * smooth_maps(2, SIDE, 3, generator)
        found.append((*warp_pair(canvas, flow, 1.0, generator), flow))
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True))


def accuracy(name: str, seed: int, steps: int, tests: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    (source, target, flow), unseen = pairs(8, generator), pairs(tests, generator)
    torch.manual_seed(seed)
    network = Matcher(LAYERS[name]())
    is_inside = (flow.abs() <= 1).all(1)
    loss = lambda: (network(source, target) - flow).square().sum(1)[is_inside].mean()  # noqa: E731
    descend(network, loss, steps=steps, lr=3e-3 if name == "full" else 2e-2)
    with torch.no_grad():
        return 100 * share_right(network(*unseen[:2]), unseen[2], 0.3)
