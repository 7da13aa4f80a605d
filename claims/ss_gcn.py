"""SS-GCN: helper tasks, of features and edges alone, beside the labels."""

import torch
from sklearn.cluster import SpectralClustering
from torch import Tensor

from claims._experiment import Outcome, is_above, spread
from claims._graphs import some_of_each
from claims._nodes import descend, random_graph, watching
from claims._pixel_graph import digits
from convnn.nn.graphs.batch import GraphBatch
from convnn.objectives.self_training import HelperTask, MultiTaskGCN, cluster_pseudo_labels, completion_target

SYSTEM = "SS-GCN: helper tasks"
CLAIM = "A helper task that fits the graph makes a network more accurate with few labels."
EXPERIMENT = (
    "400 nodes of four groups, edges of probability 0.03 within and 0.006 between them, 60 binary features that hardly"
    " depend on the group; and the graph of the 5 nearest of 500 digits. Three labels a class, two layers with 16"
    " channels, 200 steps: accuracy in percent on the nodes that neither train nor validate, at the best step on 100"
    " nodes for validation. Parts are 8 of spectral clustering, weights 0.7, 0.5 and 0.3; 16 singular vectors."
)
SEEDS = (0, 1, 2, 3, 4, 5)
WEIGHTS = {"none": 1.0, "clustering": 0.7, "partitioning": 0.5, "completion": 0.3}
GRAPHS = {"groups": lambda seed: groups(seed), "digits": lambda seed: digits()}


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 2 if quick else 200
    found = {}
    for name, draw in GRAPHS.items():
        runs = [scores(*draw(seed), seed, steps) for seed in seeds]
        found[name] = {task: [run[task] for run in runs] for task in WEIGHTS}
    helps = {task: [is_above(found[name][task], found[name]["none"]) for name in GRAPHS] for task in WEIGHTS}
    return Outcome(
        [["graph", *WEIGHTS], *([name, *map(spread, found[name].values())] for name in GRAPHS)],
        {f"{task} helps on one of the graphs": any(helps[task]) for task in WEIGHTS if task != "none"},
    )


def groups(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(4).repeat_interleave(100)
    edges = random_graph(torch.where(labels == labels.unsqueeze(1), 0.03, 0.006), generator)
    likely = 0.05 + 0.03 * torch.rand(4, 60, generator=generator)
    return (torch.rand(400, 60, generator=generator) < likely[labels]).float(), edges, labels


def scores(x: Tensor, edges: Tensor, truth: Tensor, seed: int, steps: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    known, classes = some_of_each(truth, 3, generator), int(truth.max()) + 1
    labels = torch.full_like(truth, -1).index_put((known,), truth[known])
    rest = torch.randperm(len(truth), generator=generator)
    valid, test = rest[labels[rest] < 0].tensor_split([100])
    graph = GraphBatch(x / x.sum(1, keepdim=True).clamp_min(1e-9), edges)
    targets = {
        "clustering": (cluster_pseudo_labels(graph.x, labels, classes=classes, clusters=60), classes),
        "partitioning": (parts(edges, len(x)), 8),
        "completion": (completion_target(graph.x, 16), 16),
    }

    def trained(task: str) -> float:
        target, outputs = targets["partitioning" if task == "none" else task]
        torch.manual_seed(seed)
        network = MultiTaskGCN(x.shape[1], classes)
        kind = "partitioning" if task == "none" else task  # whose weight of 1 leaves the labels alone
        scheme = HelperTask(kind, 16, target, labels, outputs=outputs, weight=WEIGHTS[task])
        both = torch.nn.ModuleList([network, scheme])
        watch = watching(lambda: network(graph), truth, valid, test)
        return descend(
            both, lambda: sum(scheme(network, graph).values()), steps=steps, lr=0.01, weight_decay=5e-4, watch=watch
        )

    return {task: trained(task) for task in WEIGHTS}


def parts(edges: Tensor, nodes: int) -> Tensor:
    adjacency = torch.zeros(nodes, nodes).index_put(tuple(edges), torch.tensor(1.0)) + 1e-6
    found = SpectralClustering(8, affinity="precomputed", random_state=0).fit_predict(adjacency.numpy())
    return torch.from_numpy(found).long()
