"""GCORN: orthonormal weights make a graph network more robust to attacks on the features."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from claims._nodes import descend, geometric, random_graph, right
from convnn.nn.graphs import GCORNNet, expected_robustness, gradient_attack, noise_attack, robustness_bound

SYSTEM = "GCORN: orthonormal weights"
CLAIM = "A graph network with orthonormal weights is more robust to attacks on the features of the nodes."
EXPERIMENT = (
    "Graphs of 400 nodes in four classes with bags of 15 of 500 words: two layers of 16 channels and a linear map,"
    " after 300 steps. Test accuracy in percent of clean features, with noise of length 1, and after 20 steps of"
    " gradient ascent within 0.05 of each node; how far random changes within 0.5 of each node move the embedding, mean"
    " of 20, and the bound that no change exceeds."
)
SEEDS = (0, 1, 2, 3)
MEASURED = ("clean, %", "noise, %", "attack, %", "distance", "bound")


class GCN(GCORNNet):
    """The same network with free weights."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__(in_channels, classes)
        self.conv1, self.conv2 = (geometric.GCNConv(width, 16, bias=False) for width in (in_channels, 16))


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 3 if quick else 300
    free, kept = (list(zip(*(attacked(kind, seed, steps) for seed in seeds), strict=True)) for kind in (GCN, GCORNNet))
    return Outcome(
        [["network", *MEASURED], ["GCN", *map(spread, free)], ["GCORN", *map(spread, kept)]],
        {
            "after the attack it is right more often, on every seed": all(map(float.__gt__, kept[2], free[2])),
            "with noise it is right more often on average": is_above(kept[1], free[1]),
            "random changes move its embedding less, on every seed": all(map(float.__lt__, kept[3], free[3])),
            "its bound is lower": max(kept[4]) < min(free[4]),
        },
    )


def attacked(kind: type[nn.Module], seed: int, steps: int) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(400) % 4
    edges = random_graph(torch.where(labels == labels.unsqueeze(1), 0.02, 0.002), generator)
    x = words(labels, generator)
    train, test = torch.randperm(400, generator=generator).split([80, 320])
    torch.manual_seed(seed)
    network = kind(500, 4)
    descend(network, lambda: F.nll_loss(network(x, edges)[train], labels[train]), steps=steps, lr=0.01)
    worst = gradient_attack(network, x, edges, labels, eps=0.05, nodes=test)
    seen = [x, noise_attack(x, 1.0, generator), worst]
    with torch.no_grad():
        scores = [right(network(one, edges)[test], labels[test]) for one in seen]
        bound = robustness_bound([network.conv1.lin.weight, network.conv2.lin.weight], edges, 400, eps=0.5)
    moved = expected_robustness(network.embed, x, edges, eps=0.5, sigma=1.0, samples=20, generator=generator)
    return [*scores, moved.distances.mean().item(), bound.item()]


def words(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Draw 15 words a node, of which each class uses a tenth ten times as often, with a sum of 1."""
    topics = 1 + 9 * (torch.rand(4, 500, generator=generator) < 0.1).float()
    drawn = torch.multinomial(topics[labels], 15, generator=generator)
    return torch.zeros(400, 500).scatter(1, drawn, 1 / 15)
