"""CTGCN: nodes of equal degree differ by the cores that they are in."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._experiment import Outcome, spread
from claims._nodes import descend, right
from convnn.nn.graphs import CoreDiffusion

SYSTEM = "CTGCN: k-cores and snapshots in order"
CLAIM = "Read core by core, the neighbours tell what place a node has in the graph, which their sum does not."
EXPERIMENT = (
    "Four cliques of five nodes, four pairs of triangles that share a node, four stars of four leaves; the feature of"
    " every node is 1, and all nodes of the cliques, the shared ones and the centres have degree 4. Core diffusion to"
    " 8 channels and a linear layer, 150 steps of Adam: share of these 28 nodes, in percent, of which the kind is told,"
    " with all cores, and with one, which is the sum over all neighbours. The largest kind has 20."
)
SEEDS = (0, 1, 2)
PARTS = (
    [(u, v) for u in range(5) for v in range(u)],
    [(0, 1), (1, 2), (2, 0), (0, 3), (3, 4), (4, 0)],
    [(0, 1), (0, 2), (0, 3), (0, 4)],
)
COPIES = 4


class Roles(nn.Module):
    def __init__(self, max_cores: int | None) -> None:
        super().__init__()
        self.cores, self.head = CoreDiffusion(1, 8, max_cores=max_cores), nn.Linear(8, 3)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        return self.head(self.cores(x, edges))


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 3 if quick else 150
    scores = {
        "all cores": [score(None, seed, steps) for seed in seeds],
        "the whole graph alone": [score(1, seed, steps) for seed in seeds],
    }
    cores, whole = scores.values()
    return Outcome(
        [["reads", "accuracy, %"], *([name, spread(found)] for name, found in scores.items())],
        {
            "all cores are right for more than 95 %": min(cores) > 95,
            "the whole graph alone is for less than 80 %": max(whole) < 80,
        },
    )


def score(max_cores: int | None, seed: int, steps: int) -> float:
    edges, labels, marked = graph()
    x = torch.ones(len(labels), 1)
    torch.manual_seed(seed)
    network = Roles(max_cores)
    descend(network, lambda: F.cross_entropy(network(x, edges)[marked], labels[marked]), steps=steps, lr=0.02)
    with torch.no_grad():
        return right(network(x, edges)[marked], labels[marked])


def graph() -> tuple[Tensor, Tensor, Tensor]:
    """Return the edges, the kind of the part that each node is in, and the nodes of degree 4."""
    kinds = torch.arange(3).repeat_interleave(COPIES)
    edges = torch.cat([5 * i + torch.tensor(PARTS[kind]).T for i, kind in enumerate(kinds.tolist())], 1)
    degrees = torch.bincount(edges.flatten(), minlength=5 * len(kinds))
    return edges, kinds.repeat_interleave(5), degrees == 4
