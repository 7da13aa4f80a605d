"""EdgeConv: the surroundings of a point, in a graph that is recomputed in every layer."""

import math

import torch
from torch import Tensor, nn

from claims._experiment import Outcome, is_above, spread
from claims._learn import accuracy, fit
from convnn.nn import EdgeConv2d

SYSTEM = "EdgeConv"
CLAIM = (
    "Edges to the nearest points capture local shape, which pointwise layers cannot; later layers find other"
    " neighbours."
)
EXPERIMENT = (
    "Sets of 64 points on eight short strokes, either all near horizontal or all near vertical, on a square with"
    " periodic borders, so that single points are uniformly distributed in both: accuracy in percent on new sets after"
    " 200 steps, chance 50, of two layers of 32 channels, a maximum over all points, and a linear layer; K = 5."
)
SEEDS = (0, 1, 2)
CONTESTANTS = {
    "two EdgeConv": lambda: network(lambda i, o: EdgeConv2d(i, o, K=5)),
    "two pointwise layers": lambda: network(lambda i, o: nn.Sequential(nn.Conv2d(i, o, 1), nn.ReLU())),
}


def network(layer) -> nn.Module:
    return nn.Sequential(layer(2, 32), layer(32, 32), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, 2))


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 5 if quick else 200
    trained = {name: [learned(make, seed, steps) for seed in seeds] for name, make in CONTESTANTS.items()}
    scores = {
        name: [accuracy(one, *strokes(256, 1000 + seed)) for seed, one in zip(seeds, found, strict=True)]
        for name, found in trained.items()
    }
    points, _ = strokes(32, 2000)
    ours = trained["two EdgeConv"]
    shared = [same_neighbours(one, points) for one in ours]
    with torch.no_grad():
        moved = max((one(points) - one(points.flip(2))).abs().max().item() for one in ours)
    return Outcome(
        [
            ["layers", "accuracy, %"],
            *([name, spread(found)] for name, found in scores.items()),
            ["neighbours of both layers, %", spread(shared)],
            ["change of outputs by reordering", f"{moved:.0e}"],
        ],
        {
            "EdgeConv is right for 95 % of the sets": min(scores["two EdgeConv"]) > 95,
            "it is above pointwise layers": is_above(*scores.values()),
            "more than 5 % of the second layer's neighbours are not the first one's": max(shared) < 95,
            "the order of the points changes nothing, to 1e-4": moved < 1e-4,
        },
    )


def learned(make, seed: int, steps: int) -> nn.Module:
    return fit(make, *strokes(1024, seed), seed=seed, steps=steps)


def strokes(number: int, seed: int) -> tuple[Tensor, Tensor]:
    """Make points (N, 2, 64, 1) and labels: whether their strokes are near vertical."""
    generator = torch.Generator().manual_seed(seed)
    vertical = torch.randint(2, (number,), generator=generator)
    angles = (vertical.view(-1, 1, 1) + 0.2 * torch.randn(number, 8, 1, generator=generator)) * math.pi / 2
    along = 0.3 * (torch.rand(number, 8, 8, generator=generator) - 0.5)
    middles = torch.rand(number, 2, 8, 1, generator=generator) * 2 - 1
    points = middles + torch.stack([along * angles.cos(), along * angles.sin()], 1)
    return ((points + 1) % 2 - 1).reshape(number, 2, 64, 1), vertical


@torch.no_grad()
def same_neighbours(layers: nn.Sequential, points: Tensor) -> float:
    """Return the share of the first layer's neighbours, in percent, that are also the second's, without the point."""
    first, second = layers[0].neighbors(points).indices, layers[1].neighbors(layers[0](points)).indices
    return 100 * (first[..., 1:, None] == second[..., None, 1:]).any(-1).double().mean().item()
