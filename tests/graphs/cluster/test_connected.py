"""The network and the loss of Ada-NETS, against PyTorch Geometric and loops; clusters, against networkx."""

import networkx as nx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.data.geometric import import_geometric
from convnn.errors import InputError
from convnn.graphs.build import AdaptiveNeighbors
from convnn.graphs.cluster import ClusteringGCN, cluster_loss, connected_clusters
from convnn.objectives.evaluation import pairwise_scores
from small_graphs import directed, features


def test_network_is_that_of_two_means_with_one_more_loop() -> None:
    """SAGEConv on the edges and one more loop at each node, those of the graph kept."""
    torch.manual_seed(0)
    sage = import_geometric("nn").SAGEConv
    model, x, edges = ClusteringGCN(3, 4).double(), features(7, 3), directed()
    looped = torch.cat([edges, torch.arange(7).expand(2, 7)], 1)
    hidden = x
    for ours, scaled in ((model.first, True), (model.second, False)):
        layer = sage(ours.in_features, 4, aggr="mean", root_weight=False).double()
        layer.lin_l.load_state_dict(ours.state_dict())
        hidden = layer(hidden, looped).relu()
        hidden = F.normalize(hidden, dim=1) if scaled else hidden
    torch.testing.assert_close(model.features(x, edges), hidden, rtol=0, atol=1e-14)
    z = model(x, edges)
    torch.testing.assert_close(z, F.normalize(model.head(hidden), dim=1))
    torch.testing.assert_close(z.norm(dim=1), torch.ones(7, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda x: model(x, edges), x.requires_grad_())


def test_network_without_edges_maps_each_node_alone() -> None:
    model = ClusteringGCN(3, 4)
    x, none = torch.randn(5, 3), torch.empty(2, 0, dtype=torch.long)
    torch.testing.assert_close(model(x, none)[2:3], model(x[2:3], none))
    assert nn.utils.parameters_to_vector(model.first.bias).abs().max() == 0


@pytest.mark.parametrize("negatives", ["allmax", "allall", "alltopk", "maxmax"])
@pytest.mark.parametrize("labels", [[0, 1, 0, 2, 1, 0], [0, 0, 0, 0, 0, 1]])
def test_loss_is_that_of_loops(negatives: str, labels: list[int]) -> None:
    z = F.normalize(features(6, 3), dim=1).requires_grad_()
    settings = {"margin": 0.7, "positive_margin": 0.8, "positive_weight": 2.0}
    found = cluster_loss(z, torch.tensor(labels), negatives=negatives, **settings)
    same, other = [], []
    for i in range(6):
        for j in range(6):
            (same if labels[i] == labels[j] else other).append((z[i] * z[j]).sum())
    other.sort(key=Tensor.item, reverse=True)
    other = other[: {"allmax": 1, "maxmax": 1, "alltopk": 6}.get(negatives)]
    same = [min(same, key=Tensor.item)] if negatives == "maxmax" else same
    positive = sum((0.8 - s).clamp_min(0) for s in same) / len(same) * 2
    negative = sum((0.7 + s).clamp_min(0) for s in other) / len(other)
    torch.testing.assert_close(torch.stack(found), torch.stack([positive, negative]))
    (ours,), (theirs,) = (torch.autograd.grad(sum(one), z) for one in (found, (positive, negative)))
    torch.testing.assert_close(ours, theirs)


def test_loss_of_one_label_is_nothing() -> None:
    z = F.normalize(features(4, 3), dim=1).requires_grad_()
    loss = sum(cluster_loss(z, torch.zeros(4)))
    loss.backward()
    assert loss == 0
    assert z.grad is not None
    assert not z.grad.any()


@pytest.mark.parametrize("threshold", [0.5, 0.9, 0.99, 1.0])
def test_clusters_are_connected_components(threshold: float) -> None:
    z = F.normalize(features(40, 3), dim=1)
    graph = nx.from_numpy_array((z @ z.T >= threshold - 1e-15).numpy())
    found = connected_clusters(z, threshold=threshold)
    parts = {frozenset((found == c).nonzero().flatten().tolist()) for c in found.unique()}
    assert parts == {frozenset(part) for part in nx.connected_components(graph)}


def test_only_pairs_of_the_nearest_are_joined() -> None:
    angles = torch.tensor([0.0, 0.1, 0.2, 1.5, 1.6])
    z = torch.stack([angles.cos(), angles.sin()], 1)
    assert connected_clusters(z, threshold=-1, K=2).tolist() == [0, 0, 0, 1, 1]
    assert connected_clusters(z, threshold=-1).tolist() == [0] * 5
    assert connected_clusters(z, threshold=-1, K=1).tolist() == list(range(5))


def test_training_brings_labels_together() -> None:
    torch.manual_seed(0)
    labels = torch.arange(4).repeat_interleave(8)
    x = F.normalize(torch.randn(4, 6)[labels] + 0.5 * torch.randn(32, 6), dim=1)
    edges, _ = AdaptiveNeighbors(6)(x)
    model = ClusteringGCN(6, 16)
    before = pairwise_scores(labels, connected_clusters(model(x, edges)))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for _ in range(100):
        optimizer.zero_grad()
        sum(cluster_loss(model(x, edges), labels)).backward()
        optimizer.step()
    assert pairwise_scores(labels, connected_clusters(model(x, edges))).f > max(before.f, 0.9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ClusteringGCN(0), "in_channels=0"),
        (
            lambda: ClusteringGCN(3)(torch.ones(2, 4), torch.zeros(2, 1, dtype=torch.long)),
            r"must be floating and \(N, 3\)",
        ),
        (lambda: ClusteringGCN(3)(torch.ones(2, 3), torch.full((2, 1), 2)), "between 0 and 1"),
        (lambda: cluster_loss(torch.ones(2, 2), torch.ones(3)), r"labels of shape \(3,\)"),
        (lambda: cluster_loss(torch.ones(2, 2), torch.ones(2), negatives="all"), "negatives='all'"),
        (lambda: connected_clusters(torch.ones(2, 2), threshold=2), "threshold=2"),
        (lambda: connected_clusters(torch.zeros(2, 2)), r"x\[0\] has length 0"),
    ],
)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
