"""M3S: training in stages, between which sure nodes get labels if their clusters agree."""

import torch
from torch import Tensor

from claims._experiment import Outcome, is_above, spread
from claims._graphs import some_of_each
from claims._named_graphs import citations
from claims._nodes import right
from claims._pixel_graph import digits
from convnn.models.gnn import GNN
from convnn.nn.graphs import GCN
from convnn.nn.graphs.batch import GraphBatch
from convnn.objectives.self_training import M3S

SYSTEM = "M3S: multi-stage self-training"
CLAIM = "With few labels, stages that label sure nodes are better than none, and better still if clusters must agree."
EXPERIMENT = (
    "The graph of the 5 nearest of 500 digits, of which one of each class has a label, and Cora, of which two have:"
    " accuracy in percent on the others of two GCN layers of 32 channels and a linear map, after three stages of 80"
    " steps and 80 more; plain training has 160 steps. A stage gives up to 25 labels to each class of digits, with 20"
    " clusters of k-means; to one of Cora the published 25.3, with the published 200 clusters. The share of"
    " the given labels that are right, and how many are given. Nothing is chosen by labels that training does not see."
)
SEEDS = (0, 1, 2, 3, 4)
SETS = {
    "digits": {"known": 1, "clusters": 20, "quota": torch.full((10,), 25.0)},
    "Cora": {"known": 2, "clusters": 200, "quota": None},
}
WAYS = {
    "plain": {"stages": 0, "last_epochs": 160},
    "self-training": {"stages": 3, "last_epochs": 80, "check": False},
    "M3S": {"stages": 3, "last_epochs": 80},
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    shorter = {"epochs": 2, "last_epochs": 2} if quick else {}
    rows, checks = [], {}
    for name in ["digits"] if quick else SETS:
        runs = {way: [trained(name, seed, settings | shorter) for seed in seeds] for way, settings in WAYS.items()}
        found = {way: list(zip(*scores, strict=True)) for way, scores in runs.items()}
        for way, columns in found.items():
            cells = list(map(spread, columns))
            rows.append([name, way, cells[0], *(cells[1:] if way != "plain" else ["", "0"])])
        accuracy, precision = ({way: columns[i] for way, columns in found.items()} for i in (0, 1))
        checks |= {
            f"{name}: stages are better than none": is_above(accuracy["M3S"], accuracy["plain"]),
            f"{name}: it is more accurate than self-training": is_above(accuracy["M3S"], accuracy["self-training"]),
            f"{name}: its labels are more often right": is_above(precision["M3S"], precision["self-training"]),
        }
    return Outcome([["graph", "training", "accuracy, %", "given labels right, %", "given labels"], *rows], checks)


def trained(name: str, seed: int, settings: dict) -> tuple[float, float, float]:
    x, edges, truth = digits() if name == "digits" else citations(name)
    known, classes = SETS[name]["known"], len(truth.unique())
    labels = some_labels(truth, known, seed)
    torch.manual_seed(seed)
    options = {"num_layers": 2, "node_norm": "batch", "linear_head": True, "dropout": 0.0}
    make = lambda: GNN(GCN, in_channels=x.shape[1], num_classes=classes, d_hidden=32, **options)  # noqa: E731
    graph, hidden = GraphBatch(x, edges), labels < 0
    of_set = {"clusters": SETS[name]["clusters"], "quota": SETS[name]["quota"], "seed": seed}
    ours = M3S(make, classes, **{"epochs": 80, **of_set, **settings}).fit(graph, labels)
    with torch.no_grad():
        accuracy = right(ours.network_(graph)[hidden], truth[hidden])
    given = hidden & (ours.labels_ >= 0)
    precision = 100 * (ours.labels_ == truth)[given].double().mean().item() if given.any() else 0.0
    return accuracy, precision, float(given.sum())


def some_labels(truth: Tensor, count: int, seed: int) -> Tensor:
    """Return the labels of some nodes of each class, -1 for the others."""
    known = some_of_each(truth, count, torch.Generator().manual_seed(seed))
    return torch.full_like(truth, -1).index_put((known,), truth[known])
