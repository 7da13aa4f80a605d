"""M3S: training in stages, between which sure nodes get labels if their clusters agree."""

import torch
from torch import Tensor

from claims._experiment import Outcome, is_above, spread
from claims._nodes import right
from claims._pixel_graph import digits
from convnn.models.gnn import GNN
from convnn.nn.graphs import GCN
from convnn.nn.graphs.batch import GraphBatch
from convnn.objectives.self_training import M3S

SYSTEM = "M3S: multi-stage self-training"
CLAIM = "With few labels, stages that label sure nodes are better than none, and better still if clusters must agree."
EXPERIMENT = (
    "The graph of the 5 nearest of 500 digits, of which one of each class has a label: accuracy in percent on the"
    " others of two GCN layers of 32 channels and a linear map, after three stages of 80 steps, in which each class"
    " gets up to 25 labels, and 80 more; plain training has 160 steps. k-means has 20 clusters; the share of the given"
    " labels that are right, and how many are given. Nothing is chosen by labels that training does not see."
)
SEEDS = (0, 1, 2, 3, 4)
QUOTA = torch.full((10,), 25.0)
WAYS = {
    "plain": {"stages": 0, "last_epochs": 160},
    "self-training": {"stages": 3, "last_epochs": 80, "check": False},
    "M3S": {"stages": 3, "last_epochs": 80},
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    shorter = {"epochs": 2, "last_epochs": 2} if quick else {}
    runs = {name: [trained(seed, settings | shorter) for seed in seeds] for name, settings in WAYS.items()}
    found = {name: list(zip(*scores, strict=True)) for name, scores in runs.items()}
    accuracy, precision = ({name: columns[i] for name, columns in found.items()} for i in (0, 1))
    return Outcome(
        [
            ["training", "accuracy, %", "given labels right, %", "given labels"],
            ["plain", spread(accuracy["plain"]), "", "0"],
            *([name, *map(spread, found[name])] for name in ("self-training", "M3S")),
        ],
        {
            "stages are better than none": is_above(accuracy["M3S"], accuracy["plain"]),
            "it is more accurate than self-training": is_above(accuracy["M3S"], accuracy["self-training"]),
            "its labels are more often right": is_above(precision["M3S"], precision["self-training"]),
        },
    )


def trained(seed: int, settings: dict) -> tuple[float, float, float]:
    x, edges, truth = digits()
    labels = some_labels(truth, seed)
    torch.manual_seed(seed)
    options = {"num_layers": 2, "node_norm": "batch", "linear_head": True, "dropout": 0.0}
    make = lambda: GNN(GCN, in_channels=64, num_classes=10, d_hidden=32, **options)  # noqa: E731
    graph, hidden = GraphBatch(x, edges), labels < 0
    ours = M3S(make, 10, clusters=20, quota=QUOTA, seed=seed, **{"epochs": 80, **settings}).fit(graph, labels)
    with torch.no_grad():
        accuracy = right(ours.network_(graph)[hidden], truth[hidden])
    given = hidden & (ours.labels_ >= 0)
    precision = 100 * (ours.labels_ == truth)[given].double().mean().item() if given.any() else 0.0
    return accuracy, precision, float(given.sum())


def some_labels(truth: Tensor, seed: int) -> Tensor:
    """Return the labels of one node of each class, -1 for the others."""
    order = torch.randperm(len(truth), generator=torch.Generator().manual_seed(seed))
    known = torch.stack([order[truth[order] == label][0] for label in truth.unique()])
    return torch.full_like(truth, -1).index_put((known,), truth[known])
