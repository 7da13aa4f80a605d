"""Helper tasks: torch_geometric's layers, numpy's singular vectors, limits of the weight, and that losses fall."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.data.geometric import import_geometric
from convnn.errors import InputError
from convnn.nn.graphs.batch import GraphBatch
from convnn.objectives.self_training import (
    HelperTask,
    MultiTaskGCN,
    cluster_pseudo_labels,
    completion_target,
    helper_loss,
    without_self,
)
from small_graphs import features, undirected

GCNConv = import_geometric("nn").GCNConv
NODES = 12
GRAPH = GraphBatch(features(NODES, 5), undirected(NODES - 1, 20))  # the last node has no neighbour
LABELS = torch.where(torch.arange(NODES) < 6, torch.arange(NODES) % 3, -1)


def network(hidden: tuple[int, ...] = (6,), dropout: float = 0.0) -> MultiTaskGCN:
    torch.manual_seed(0)
    return MultiTaskGCN(5, 3, hidden=hidden, dropout=dropout).double()


def scheme(task: str, **settings) -> HelperTask:
    target = completion_target(GRAPH.x, 4) if task == "completion" else torch.arange(NODES) % 4
    return HelperTask(task, 6, target, LABELS, outputs=4, **settings).double()


@pytest.mark.parametrize("hidden", [(), (6,), (6, 4)])
def test_the_network_is_a_stack_of_torch_geometrics_layers(hidden: tuple[int, ...]) -> None:
    ours, h = network(hidden), GRAPH.x
    maps = [layer.lin.weight for layer in ours.layers] + [ours.head.weight]
    for number, weight in enumerate(maps):
        layer = GCNConv(weight.shape[1], weight.shape[0], bias=False).double()
        layer.lin.weight = torch.nn.Parameter(weight.detach())
        h = layer(F.relu(h) if number else h, GRAPH.edge_index)
    torch.testing.assert_close(ours(GRAPH), h, rtol=0, atol=1e-14)


def test_a_graph_without_self_has_the_neighbours_alone() -> None:
    layer = GCNConv(5, 5, bias=False, add_self_loops=False).double()
    layer.lin = torch.nn.Identity()
    masked = without_self(GRAPH)
    found = network(()).embed(masked)
    torch.testing.assert_close(found, layer(GRAPH.x, GRAPH.edge_index), rtol=0, atol=1e-15)
    assert (found[-1] == 0).all()
    weighted = without_self(GRAPH._replace(edge_weight=torch.full((40,), 3.0, dtype=torch.double)))
    torch.testing.assert_close(network(()).embed(weighted), found, rtol=0, atol=1e-15)  # by degree all the same


def test_completions_are_the_singular_vectors_of_numpy_up_to_their_sign() -> None:
    found = completion_target(GRAPH.x, 4)
    vectors = torch.from_numpy(np.linalg.svd(GRAPH.x.numpy())[0][:, :4])
    torch.testing.assert_close(found.abs(), vectors.abs(), rtol=0, atol=1e-14)
    assert (found.gather(0, found.abs().argmax(0, keepdim=True)) > 0).all()
    torch.testing.assert_close(completion_target(-GRAPH.x, 4), found, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("task", "alone"), [("clustering", 1), ("partitioning", 1), ("completion", 0)])
def test_at_one_end_the_weight_leaves_the_labels_alone(task: str, alone: float) -> None:
    ours = network()
    terms = scheme(task, weight=alone)(ours, GRAPH)
    known = LABELS >= 0
    plain = F.cross_entropy(ours(GRAPH)[known], LABELS[known])
    assert terms["helper"] == 0
    assert terms["labels"] == plain
    slopes = torch.autograd.grad(sum(terms.values()), list(ours.parameters()))
    for found, expected in zip(slopes, torch.autograd.grad(plain, list(ours.parameters())), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-16)


def test_each_loss_in_a_loop() -> None:
    output, parts = features(NODES, 4, seed=3), torch.arange(NODES) % 4
    costs = [float(output[i].exp().sum().log() - output[i, parts[i]]) for i in range(NODES)]
    free = [cost for cost, label in zip(costs, LABELS.tolist(), strict=True) if label < 0]
    assert helper_loss("partitioning", output, parts, LABELS).item() == pytest.approx(sum(costs) / NODES)
    assert helper_loss("clustering", output, parts, LABELS).item() == pytest.approx(sum(free) / len(free))
    target = features(NODES, 4, seed=4)
    mean = 100 * np.abs(output.numpy() - target.numpy()).mean()
    assert helper_loss("completion", output, target, LABELS).item() == pytest.approx(mean)


def test_cluster_labels_keep_what_is_known() -> None:
    x = torch.cat([10.0 * torch.eye(3, 5).repeat(2, 1), 9.0 * torch.eye(3, 5).repeat(2, 1)])
    found = cluster_pseudo_labels(x, LABELS, classes=3, clusters=3)
    assert found.tolist() == [0, 1, 2] * 4
    wrong = torch.where(torch.arange(NODES) == 4, 0, LABELS)
    assert cluster_pseudo_labels(x, wrong, classes=3, clusters=3)[4] == 0


@pytest.mark.parametrize("task", ["clustering", "partitioning", "completion"])
def test_both_losses_fall(task: str) -> None:
    ours, helper = network((6,), dropout=0.0), scheme(task)
    optimizer = torch.optim.Adam([*ours.parameters(), *helper.parameters()], 0.05)
    history: list[dict[str, float]] = []
    for _ in range(60):
        for terms in helper.steps(ours, GRAPH):
            optimizer.zero_grad()
            sum(terms.values()).backward()
            optimizer.step()
            history.append({name: term.item() for name, term in terms.items()})
    assert history[-1]["labels"] < 0.8 * history[0]["labels"]
    assert history[-1]["helper"] < 0.9 * history[0]["helper"]


def bad_task(task: str = "partitioning", target: Tensor | None = None, labels: Tensor = LABELS, **settings) -> None:
    target = torch.arange(NODES) % 4 if target is None else target
    HelperTask(task, 6, target, labels, outputs=4, **settings)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bad_task("colouring"), r"^task='colouring' is not one of clustering, partitioning, completion"),
        (lambda: bad_task(weight=1.1), r"^weight=1.1 must lie between 0 and 1"),
        (lambda: bad_task("completion", GRAPH.x[:, :4], weight=-1), r"^weight=-1 must be at least 0"),
        (lambda: bad_task("completion", GRAPH.x), r"^target of shape \(12, 5\) .* must be floating and \(N, 4\)"),
        (lambda: bad_task(target=torch.arange(NODES)), r"^target from 0 to 11 must lie between 0 and 3, for 4 outputs"),
        (lambda: bad_task(target=GRAPH.x[:, 0]), r"^target of shape \(12,\) and torch.float64 must be \(N,\) int64"),
        (lambda: bad_task(labels=torch.full((NODES,), -1)), r"^labels of shape .* one node must have one"),
        (lambda: bad_task(labels=LABELS[1:]), r"^labels of shape \(11,\) .* must be \(12,\) int64"),
        (
            lambda: helper_loss("clustering", features(6, 3), LABELS[:6], LABELS[:6]),
            r"^labels must leave a node without one for the task 'clustering'",
        ),
        (lambda: completion_target(GRAPH.x, 6), r"^k=6 must be at most the sides of x, which has shape \(12, 5\)"),
        (lambda: cluster_pseudo_labels(GRAPH.x, LABELS, classes=3, clusters=13), r"^clusters=13 must be at most"),
        (lambda: cluster_pseudo_labels(GRAPH.x, LABELS, classes=4, clusters=3), r"^labels must have a node of each"),
        (lambda: without_self(GraphBatch(GRAPH.x, torch.tensor([[0, 1], [0, 0]]))), r"^graph.edge_index must not have"),
        (lambda: MultiTaskGCN(5, 3, hidden=(0,)), r"^hidden=0 must be an integer of at least 1"),
        (lambda: MultiTaskGCN(5, 3, dropout=1.5), r"^dropout=1.5 must lie between 0 and 1"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
