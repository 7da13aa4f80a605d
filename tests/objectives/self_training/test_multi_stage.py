"""Stages of pseudo-labels: what is kept, plain training, resuming, and that they help."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.data import load_graph
from convnn.errors import InputError
from convnn.models.gnn import GNN
from convnn.nn import graphs
from convnn.nn.graphs.batch import GraphBatch
from convnn.objectives.self_training import M3S, GrowingLabels, align_clusters, select_confident


@pytest.fixture(scope="module")
def blocks() -> tuple[GraphBatch, Tensor, Tensor]:
    """Return a graph of groups, the labels of three nodes of each, and those of all."""
    data = load_graph("sbm").graph
    labels = torch.full_like(data.y, -1)
    for group in data.y.unique():
        some = (data.y == group).nonzero()[:3]
        labels[some] = group
    return GraphBatch(data.x, data.edge_index), labels, data.y


def network(channels: int, classes: int, dropout: float = 0.5) -> GNN:
    settings = {"node_norm": "batch", "linear_head": True, "dropout": dropout}
    return GNN(graphs.GCN, in_channels=channels, num_classes=classes, **settings)


def test_labels_only_grow_and_given_ones_stay(blocks) -> None:
    graph, labels, truth = blocks
    classes = int(truth.max()) + 1
    torch.manual_seed(0)
    make = lambda: network(graph.x.shape[1], classes)  # noqa: E731
    settings = {"stages": 3, "clusters": 30, "quota": torch.full((classes,), 10.0), "epochs": 25, "last_epochs": 30}
    ours = M3S(make, classes, **settings).fit(graph, labels)
    known, before = ours.labels_ >= 0, labels >= 0
    assert torch.equal(ours.labels_[before], labels[before])
    assert len(ours.added_) == 3
    assert known.sum() == before.sum() + sum(ours.added_) > before.sum() + 20
    assert all(added <= 10 * classes for added in ours.added_)
    added = known & ~before
    assert (ours.labels_[added] == truth[added]).double().mean() > 2 / classes
    assert (ours.predict(graph) == truth)[~before].double().mean() > 2 / classes


def test_a_stage_is_clusters_aligned_on_the_sphere_and_sure_nodes_that_agree(blocks) -> None:
    graph, labels, truth = blocks
    classes = int(truth.max()) + 1
    torch.manual_seed(0)
    model, quota = network(graph.x.shape[1], classes), torch.full((classes,), 7.0)
    scheme = GrowingLabels(labels, quota, clusters=10)
    clusters = torch.arange(len(labels)) % 10
    added = scheme.advance(model, graph, clusters)
    assert model.training
    model.eval()
    features = model.embed(graph)
    unit = features / features.norm(dim=1, keepdim=True)
    opinion = align_clusters(unit, clusters, labels, classes=classes)
    nodes, given = select_confident(model.forward_head(features).softmax(1), labels, quota, check=opinion)
    assert added == len(nodes)
    assert torch.equal(scheme.labels, labels.index_put((nodes,), given))
    assert torch.equal((scheme.labels != labels).nonzero().squeeze(1), nodes.sort().values)


def test_without_the_check_it_is_multi_stage_self_training(blocks) -> None:
    graph, labels, truth = blocks
    classes = int(truth.max()) + 1
    torch.manual_seed(0)
    model, quota = network(graph.x.shape[1], classes), torch.full((classes,), 4.0)
    added = {check: GrowingLabels(labels, quota, clusters=10, check=check) for check in (True, False)}
    counts = {check: scheme.advance(model, graph) for check, scheme in added.items()}
    assert counts[True] <= counts[False]
    new = {check: scheme.labels != labels for check, scheme in added.items()}
    assert torch.equal(added[True].labels[new[True]], added[False].labels[new[True]])
    assert not (new[True] & ~new[False]).any()  # a rejected candidate is not replaced


def test_no_stage_is_plain_training(blocks) -> None:
    graph, labels, truth = blocks
    classes, known = int(truth.max()) + 1, labels >= 0

    def make() -> GNN:
        torch.manual_seed(0)
        return network(graph.x.shape[1], classes, dropout=0.0)

    ours = M3S(make, classes, stages=0, last_epochs=5).fit(graph, labels).network_
    plain = make()
    optimizer = torch.optim.Adam(plain.parameters(), 0.01, weight_decay=1e-5)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(plain(graph)[known], labels[known]).backward()
        optimizer.step()
    for theirs, value in zip(plain.parameters(), ours.parameters(), strict=True):
        assert torch.equal(theirs, value)


def test_validation_stops_and_keeps_the_best(blocks) -> None:
    graph, labels, truth = blocks
    classes = int(truth.max()) + 1
    valid = torch.where(torch.arange(len(truth)) % 3 == 0, truth, -1)
    torch.manual_seed(0)
    seen = []

    class Watched(GNN):
        def embed(self, graph: GraphBatch) -> Tensor:
            h = super().embed(graph)
            if not self.training:
                seen.append((self.forward_head(h).argmax(1) == valid)[valid >= 0].double().mean().item())
            return h

    make = lambda: Watched(graphs.GCN, in_channels=graph.x.shape[1], num_classes=classes, linear_head=True)  # noqa: E731
    ours = M3S(make, classes, stages=0, last_epochs=200, patience=8).fit(graph, labels, valid)
    assert len(seen) == seen.index(max(seen)) + 1 + 8 < 200
    assert (ours.predict(graph) == valid)[valid >= 0].double().mean() == max(seen)


def test_a_scheme_is_resumed_with_its_labels(blocks) -> None:
    graph, labels, truth = blocks
    quota = torch.full((int(truth.max()) + 1,), 5.0)
    torch.manual_seed(0)
    model = network(graph.x.shape[1], len(quota))
    first, second = (GrowingLabels(labels, quota, clusters=10) for _ in range(2))
    first.advance(model, graph)
    second.load_state_dict(first.state_dict())
    assert second.stage == 1
    assert [scheme.advance(model, graph) for scheme in (first, second)]
    assert torch.equal(first.labels, second.labels)


def test_a_quota_of_0_is_told() -> None:
    with pytest.warns(UserWarning, match="^quota is 0 for all classes, so that no stage adds a label"):
        GrowingLabels(torch.tensor([0, 1, -1]), torch.zeros(2), clusters=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda y: GrowingLabels(y, torch.ones(3), clusters=2), r"^labels must have a node of each of the 3 classes"),
        (lambda y: GrowingLabels(y, torch.ones(2), clusters=4), r"^clusters=4 must be at most 3, the number of nodes"),
        (lambda y: GrowingLabels(y, torch.ones(2), clusters=0), r"^clusters=0 must be an integer of at least 1"),
        (
            lambda y: GrowingLabels(y, torch.tensor([1.0, -1]), clusters=2),
            r"^quota=\[1.0, -1.0\] must be a number of at least 0",
        ),
        (lambda y: GrowingLabels(y >= 0, torch.ones(2)), r"^labels of shape \(3,\) and torch.bool must be"),
        (lambda y: M3S(GNN, 2, stages=-1), r"^stages=-1 must be an integer of at least 0"),
        (lambda y: M3S(GNN, 2, patience=0), r"^patience=0 must be an integer of at least 1"),
        (lambda y: M3S(GNN, 2, lr=0), r"^lr=0 must be a positive number"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(torch.tensor([0, 1, -1]))
