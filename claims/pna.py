"""PNA: several statistics of the neighbours, and scalers by the degree."""

import torch
from torch import Tensor, nn

from claims._experiment import Outcome, spread
from claims._nodes import descend
from convnn.nn.graphs import PNAConv

SYSTEM = "Principal neighbourhood aggregation"
CLAIM = "Continuous features need several aggregators side by side, and scalers by the degree generalise the sum."
EXPERIMENT = (
    "Six values of the neighbours to predict: sum, mean, maximum, minimum, standard deviation and number, of normal"
    " numbers at 1 to 7 random neighbours, on 600 nodes; the mean squared error on 600 new ones, each value scaled to"
    " variance 1, and on 600 with 8 to 15 neighbours. One layer of 16 channels, or of up to 28 with fewer statistics,"
    " for as many parameters, and two linear layers; 300 steps of Adam with a learning rate of 0.01 that falls to 0."
)
SEEDS = (0, 1, 2)
FOUR, ALL = "mean,max,min,std", "identity,amplification,attenuation"
LAYERS = {
    "four statistics, three scalers": (FOUR, ALL, 16),
    "four statistics": (FOUR, "identity", 22),
    "sum": ("sum", "identity", 28),
    "mean": ("mean", "identity", 28),
    "maximum": ("max", "identity", 28),
    "standard deviation": ("std", "identity", 28),
}
Graph = tuple[Tensor, Tensor, Tensor]
"""Features (N, 1), edges, and values (N, 6)."""


def measure(seeds: list[int], quick: bool) -> Outcome:
    found = {
        name: list(zip(*(errors(*layer, seed, 5 if quick else 300) for seed in seeds), strict=True))
        for name, layer in LAYERS.items()
    }
    pna, four, *single = (sum(new) / len(new) for new, _ in found.values())
    return Outcome(
        [
            ["statistics", "error on new nodes", "error with more neighbours"],
            *([name, spread(new, ".3f"), spread(more, ".2f")] for name, (new, more) in found.items()),
        ],
        {
            "the error of all is below 0.02": pna < 0.02,
            "it is at most a fifth of that without scalers": 5 * pna < four,
            "which is at most a fifth of that of every single statistic": 5 * four < min(single),
        },
    )


def errors(aggregators: str, scalers: str, width: int, seed: int, steps: int) -> tuple[float, float]:
    """Return the errors on new nodes, and on those with more neighbours."""
    train, new, more = graph(seed, 1, 7), graph(1000 + seed, 1, 7), graph(2000 + seed, 8, 15)
    mean, deviation = train[2].mean(0), train[2].std(0)
    torch.manual_seed(seed)
    conv = PNAConv(1, width, aggregators=aggregators, scalers=scalers)
    head = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 6))

    def error(data: Graph) -> Tensor:
        return (head(conv(*data[:2])) - (data[2] - mean) / deviation).square().mean()

    descend(nn.ModuleList([conv, head]), lambda: error(train), steps=steps, lr=0.01, cosine=True)
    with torch.no_grad():
        return error(new).item(), error(more).item()


def graph(seed: int, least: int, most: int) -> Graph:
    generator = torch.Generator().manual_seed(seed)
    degrees = torch.randint(least, most + 1, (600,), generator=generator)
    sources = torch.randint(600, (int(degrees.sum()),), generator=generator)
    x = torch.randn(600, 1, generator=generator)
    lists = x[sources, 0].split(degrees.tolist())
    values = [[v.sum(), v.mean(), v.max(), v.min(), v.std(correction=0), len(v)] for v in lists]
    return x, torch.stack([sources, torch.arange(600).repeat_interleave(degrees)]), torch.tensor(values)
