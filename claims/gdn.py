"""GDN: latent graphs recovered from their convolutions, also on graphs larger than those of the training."""

import torch
from torch import Tensor

from claims._experiment import Outcome, spread
from convnn.graphs.build import GDN, best_threshold, edge_hinge, upper_triangle

SYSTEM = "GDN"
CLAIM = "Unrolled steps recover the graph behind an observed one, also where graphs are larger than in the training."
EXPERIMENT = (
    "Random geometric graphs in the unit square, radius 0.357, observed as (0.2 I + 0.5 A + 0.6 A^2) over its largest"
    " eigenvalue: wrong pairs of nodes in percent, on 100 graphs of 20 nodes and 20 of 40, after 300 steps of Adam on"
    " 150 graphs of 20 nodes; one channel, one threshold, from the training graphs."
)
SEEDS = (0, 1, 2)
DEPTHS = (1, 5)


def measure(seeds: list[int], quick: bool) -> Outcome:
    each = torch.tensor([errors(seed, 3 if quick else 300) for seed in seeds])  # (seeds, ways, sizes)
    names = ["threshold", *(f"GDN, depth {depth}" for depth in DEPTHS)]
    rows = [[name, *(spread(each[:, i, j].tolist()) for j in (0, 1))] for i, name in enumerate(names)]
    observed, shallow, deep = each.unbind(1)
    checks = {
        "depth 5 is wrong for at least 0.5 % of the pairs less than a threshold": deep[:, 0] < observed[:, 0] - 0.5,
        "on graphs of 40 nodes it is wrong for less than half as many": deep[:, 1] < observed[:, 1] / 2,
        "depth 1 is the threshold, within 0.1 % of the pairs": (shallow - observed).abs().amax(1) < 0.1,
    }
    head = ["from the observed graph", "20 nodes, %", "40 nodes, %"]
    return Outcome([head, *rows], {sentence: bool(held.all()) for sentence, held in checks.items()})


def errors(seed: int, steps: int) -> list[list[float]]:
    """Return the shares of wrong pairs in percent, on graphs of 20 and of 40 nodes, for each way."""
    generator = torch.Generator().manual_seed(seed)
    train, *tests = (geometric(count, nodes, generator) for count, nodes in ((150, 20), (100, 20), (20, 40)))
    ways = [lambda observed: observed, *(trained(depth, *train, seed, steps) for depth in DEPTHS)]
    found = []
    for way in ways:
        threshold = best_threshold(upper_triangle(way(train[0])), train[1])
        wrong = [(upper_triangle(way(observed)) > threshold) != (labels > 0) for observed, labels in tests]
        found.append([100 * one.double().mean().item() for one in wrong])
    return found


def geometric(count: int, nodes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw graphs; return what is observed (count, N, N), and the labels of all pairs."""
    places = torch.rand(count, nodes, 2, generator=generator, dtype=torch.float64)
    adjacency = (torch.cdist(places, places) < 0.357).double()
    adjacency.diagonal(dim1=1, dim2=2).zero_()
    mixed = 0.2 * torch.eye(nodes) + 0.5 * adjacency + 0.6 * adjacency @ adjacency
    largest = torch.linalg.eigvalsh(mixed).abs().amax(1)
    return mixed / largest[:, None, None], upper_triangle(adjacency)


def trained(depth: int, observed: Tensor, labels: Tensor, seed: int, steps: int) -> GDN:
    torch.manual_seed(seed)
    model = GDN(depth, 1, tau_scale=0.1).double()
    with torch.no_grad():
        for layer in model.layers:
            layer.alpha.fill_(1)
            layer.beta.fill_(-0.1)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        edge_hinge(upper_triangle(model(observed)), labels).backward()
        optimizer.step()
        model.clamp_()
    return model.requires_grad_(False)
