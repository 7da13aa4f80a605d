"""SS-GCN: helper tasks, of features and edges alone, beside the labels."""

import torch
from sklearn.cluster import SpectralClustering
from torch import Tensor

from claims._experiment import Outcome, is_above, spread
from claims._graphs import some_of_each
from claims._named_graphs import citations, public_split
from claims._nodes import descend, random_graph, watching
from convnn.nn.graphs.batch import GraphBatch
from convnn.objectives.self_training import HelperTask, MultiTaskGCN, cluster_pseudo_labels, completion_target

SYSTEM = "SS-GCN: helper tasks"
CLAIM = "A helper task that fits the graph makes a network more accurate with few labels."
EXPERIMENT = (
    "400 nodes of four groups, edges of probability 0.03 within and 0.006 between them, 60 binary features that hardly"
    " depend on the group, three labels a class, 100 nodes to validate; weights 0.7, 0.5 and 0.3, 8 parts, 16 singular"
    " vectors. And Cora with the public split and the published settings: weights 0.5, 0.7 and 0.3, 14 parts, 48"
    " vectors, 200 clusters; parts are of spectral clustering, on Cora regularised, where the paper takes METIS. Two"
    " layers with 16 channels, 200 steps: accuracy in percent on the other nodes, at the best step of the validation."
)
SEEDS = (0, 1, 2, 3, 4, 5)
KINDS = {"none": "partitioning"} | {task: task for task in ("clustering", "partitioning", "completion")}
TASKS = tuple(KINDS)  # none is a partitioning of weight 1, which leaves the labels alone
# clusters, parts, singular vectors; weights of the tasks; learning rate and weight decay of Adam
GROUPS = (60, 8, 16), (1.0, 0.7, 0.5, 0.3), {"lr": 0.01, "weight_decay": 5e-4}
CORA = (200, 14, 48), (1.0, 0.5, 0.7, 0.3), {"lr": 0.008, "weight_decay": 8e-5}


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 2 if quick else 200
    runs = {"groups": [scores(*prepared(*groups(seed), *GROUPS[0]), seed, steps, *GROUPS[1:]) for seed in seeds]}
    if not quick:
        cora = prepared(*citations("Cora"), public_split("Cora"), *CORA[0])
        runs["Cora"] = [scores(*cora, seed, steps, *CORA[1:]) for seed in seeds]
    found = {name: {task: [run[task] for run in of] for task in TASKS} for name, of in runs.items()}
    rows = [[name, *map(spread, of.values())] for name, of in found.items()]
    helps = {task: any(is_above(of[task], of["none"]) for of in found.values()) for task in TASKS[1:]}
    return Outcome([["graph", *TASKS], *rows], {f"{task} helps on one of the graphs": helps[task] for task in helps})


def groups(seed: int) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(4).repeat_interleave(100)
    edges = random_graph(torch.where(truth == truth.unsqueeze(1), 0.03, 0.006), generator)
    likely = 0.05 + 0.03 * torch.rand(4, 60, generator=generator)
    x = (torch.rand(400, 60, generator=generator) < likely[truth]).float()
    generator.manual_seed(seed)
    known, order = some_of_each(truth, 3, generator), torch.randperm(400, generator=generator)
    judged = order[~torch.isin(order, known)].tensor_split([100])
    return x / x.sum(1, keepdim=True).clamp_min(1), edges, truth, (known, *judged)


def prepared(x: Tensor, edges: Tensor, truth: Tensor, split: tuple, clusters: int, count: int, k: int) -> tuple:
    """Return the graph, its labels, those to train by, the places to judge by, and targets with their size."""
    labels, classes = torch.full_like(truth, -1).index_put((split[0],), truth[split[0]]), int(truth.max()) + 1
    aligned = cluster_pseudo_labels(x, labels, classes=classes, clusters=clusters)
    partition = (parts(edges, len(x), count), count)
    targets = dict(zip(TASKS, (partition, (aligned, classes), partition, (completion_target(x, k), k)), strict=True))
    return GraphBatch(x, edges), truth, labels, split[1:], targets


def scores(graph, truth, labels, judged, targets, seed: int, steps: int, weights: tuple, adam: dict) -> dict:
    def trained(task: str, weight: float) -> float:
        torch.manual_seed(seed)
        network = MultiTaskGCN(graph.x.shape[1], int(truth.max()) + 1)
        scheme = HelperTask(KINDS[task], 16, targets[task][0], labels, outputs=targets[task][1], weight=weight)
        both, watch = torch.nn.ModuleList([network, scheme]), watching(lambda: network(graph), truth, *judged)
        return descend(both, lambda: sum(scheme(network, graph).values()), steps=steps, watch=watch, **adam)

    return {task: trained(task, weight) for task, weight in zip(TASKS, weights, strict=True)}


def parts(edges: Tensor, nodes: int, count: int) -> Tensor:
    # a little of every pair; on Cora, whose small components would else be parts, as much as of edges
    little = edges.shape[1] / nodes**2 if nodes > 1000 else 1e-6
    adjacency = torch.zeros(nodes, nodes).index_put(tuple(edges), torch.tensor(1.0)) + little
    spectral = SpectralClustering(count, affinity="precomputed", random_state=0)
    return torch.from_numpy(spectral.fit_predict(adjacency.numpy())).long()
