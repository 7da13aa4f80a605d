"""Clusters of several views, against PyTorch Geometric, scikit-learn and plain formulas."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.data.geometric import import_geometric
from convnn.errors import InputError
from convnn.graphs.cluster import MultiViewGraphClustering, View
from convnn.graphs.cluster.multi_view import Embedded, agreement, residual_propagation
from convnn.nn import graphs
from convnn.objectives.evaluation import clustering_accuracy
from convnn.ops.centroids import student_t_assignment, target_distribution

GENERATOR = {"hidden_channels": 5, "latent_channels": 4, "temperature": 1.0, "dropout": 0.0}


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def block_graph(labels: Tensor, within: float, between: float, seed: int) -> Tensor:
    likely = torch.where(labels == labels[:, None], within, between)
    upper = (uniform(*likely.shape, seed=seed) < likely).double().triu(1)
    return upper + upper.T


def views(nodes: int = 12) -> list[View]:
    """Return two views of three groups; the first node has no edges in the first, and no features in the second."""
    labels = torch.arange(nodes) * 3 // nodes
    found = []
    for seed, width in ((0, 5), (1, 4)):
        features, adjacency = (uniform(nodes, width, seed=seed) < 0.5).double(), block_graph(labels, 0.7, 0.1, seed)
        if seed:
            features[0] = 0
        else:
            adjacency[0] = adjacency[:, 0] = 0
        found.append(View.of(features, adjacency))
    return found


def network(**settings) -> MultiViewGraphClustering:
    torch.manual_seed(0)
    settings = {"hidden_channels": 6, "latent_channels": 4, "generator": GENERATOR, "order": 3} | settings
    return MultiViewGraphClustering([5, 4], 3, **settings).double()


def test_a_view_is_divided_by_row_sums() -> None:
    first, second = views()
    for rows, over in ((first.x, first.y), (first.propagation, first.adjacency), (second.x, second.y)):
        for row, whole in zip(rows, over, strict=True):
            torch.testing.assert_close(row, whole / whole.sum() if whole.any() else whole)


def test_assignments_and_targets_are_those_of_deep_embedded_clustering() -> None:
    """MemPooling of PyTorch Geometric with tau = 1 has the same assignments, and its loss the same targets."""
    z, centers = uniform(1, 10, 4) * 3, uniform(3, 4, seed=1) * 3
    pool = import_geometric("nn").MemPooling(4, 4, heads=1, num_clusters=3, tau=1.0).double()
    with torch.no_grad():
        pool.k.copy_(centers[None])
        pool.conv.weight.fill_(1)
    q = student_t_assignment(z[0], centers)
    logits = 1 / (1 + torch.cdist(z[0], centers) ** 2)
    torch.testing.assert_close(q, logits / logits.sum(1, keepdim=True))
    _, theirs = pool(z)
    torch.testing.assert_close(torch.softmax(q, 1)[None], theirs)  # of one head, after a convolution by 1
    p = target_distribution(q, detach=False)
    loss = pool.kl_loss(q[None]) / 10
    torch.testing.assert_close(F.kl_div(q.log(), p, reduction="batchmean"), loss)


def test_propagation_is_the_sum_of_powers() -> None:
    adjacency, x = views()[0].adjacency, uniform(12, 3)
    looped = adjacency + torch.eye(12)
    roots = looped.sum(1).rsqrt()
    gcn = roots[:, None] * looped * roots
    expected = sum(torch.linalg.matrix_power(gcn, k) @ x for k in range(5))
    torch.testing.assert_close(residual_propagation(x, gcn, 4), expected)
    total = torch.zeros(12, 3, dtype=torch.float64)
    for hops in range(5):
        layer = graphs.SGC(3, 3, hops=hops, bias=False).double()
        with torch.no_grad():
            layer.lin.weight.copy_(torch.eye(3))
            total += layer(x, adjacency.nonzero().T)
    torch.testing.assert_close(residual_propagation(x, gcn, 4), total)


@pytest.mark.parametrize("published", [False, True])
def test_loss_is_the_sum_of_its_parts(published: bool) -> None:
    model, both, noise = network(published=published, lam_kl=0.7), views(), uniform(12, 12, seed=5)
    weights = torch.tensor([1.0, 0.5], dtype=torch.float64)
    parts = model.loss(both, weights=weights, noise=noise, pull=2.0)
    embedded = model(both, weights=weights)
    x, y = (torch.cat([getattr(view, name) for view in both], 1) for name in "xy")
    scores, rebuilt = model.generator(x)
    features = (3 if published else 1) * F.binary_cross_entropy(rebuilt, y)
    adjacencies = torch.zeros(())
    for encoder, view, latent, z in zip(model.encoders, both, embedded.latent, embedded.views, strict=True):
        own = residual_propagation(view.x, view.propagation, 3)
        agreed = residual_propagation(view.x, embedded.consensus, 3)
        raw = encoder.encode(torch.cat([own, agreed], 1))
        torch.testing.assert_close(latent, raw)
        torch.testing.assert_close(z, raw / raw.norm(dim=1, keepdim=True))
        features = features + F.binary_cross_entropy(encoder.decode(raw.relu()).sigmoid(), view.y)
        adjacencies = adjacencies + F.binary_cross_entropy((z @ z.T).sigmoid(), view.adjacency)
    fused = torch.cat([embedded.views[0], 0.5 * embedded.views[1]], 1)
    torch.testing.assert_close(embedded.fused, fused)
    q = [student_t_assignment(z, c) for z, c in zip([*embedded.views, fused], model.centers, strict=True)]
    p = target_distribution(q[-1], detach=False)
    clusters = 2 * sum((p * (p / one).log()).sum() / 12 for one in q)
    for name, expected in (("features", features), ("graphs", adjacencies), ("clusters", clusters)):
        torch.testing.assert_close(parts[name], expected)
    total = features + 0.7 * (adjacencies + model.divergence(scores, both, weights, noise)) + clusters
    torch.testing.assert_close(parts["loss"], total)
    parts["loss"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_weights_of_views_are_their_agreement_with_all() -> None:
    labels = torch.arange(3).repeat_interleave(10)
    clear = F.one_hot(labels, 3).double() + 0.01 * uniform(30, 3)
    noisy = uniform(30, 3, seed=3)
    embedded = Embedded([], [clear, noisy], torch.cat([10 * clear, noisy], 1), clear, clear, clear)
    weights = agreement(embedded, 3, 2.0)
    assert weights[0] == 1
    assert 0 <= weights[1] < 0.5
    torch.testing.assert_close(agreement(embedded, 3, 1.0) ** 2, weights)


def test_training_finds_groups_that_the_untrained_network_does_not() -> None:
    labels = torch.arange(3).repeat_interleave(15)
    both = []
    for seed in (0, 1):
        likely = torch.where(F.one_hot(labels, 3).repeat_interleave(3, 1) > 0, 0.6, 0.2)
        features = (uniform(45, 9, seed=seed + 5) < likely).float()
        both.append(View.of(features, block_graph(labels, 0.5, 0.05, seed).float()))
    torch.manual_seed(0)
    model = MultiViewGraphClustering(
        [9, 9], 3, hidden_channels=16, latent_channels=8, order=2, generator=GENERATOR, kl_step=0.02
    )
    found = model.fit_predict(both, epochs=25, lr=1e-2)
    assert model.losses_[-1] < model.losses_[0]
    assert clustering_accuracy(labels, found) > 0.8
    assert model.weights_.max() == 1
    again = MultiViewGraphClustering([9, 9], 3, hidden_channels=16, latent_channels=8, order=2, generator=GENERATOR)
    again.load_state_dict(model.state_dict())
    again.weights_ = model.weights_
    assert torch.equal(again.predict(both), found)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: View.of(torch.ones(3), torch.ones(3, 3)), r"features of shape \(3,\)"),
        (
            lambda: View.of(torch.ones(3, 2), torch.ones(3, 2)),
            r"adjacency of shape \(3, 2\).* must be \(3, 3\), square",
        ),
        (lambda: View.of(torch.full((3, 2), 1.5), torch.ones(3, 3)), "features from 1.5 to 1.5"),
        (lambda: View.of(torch.ones(3, 2), torch.full((3, 3), 0.5)), "0 and 1 alone"),
        (lambda: network()(views()[:1]), r"views have \(5,\) channels; they must have \(5, 4\)"),
        (lambda: network()([views()[0], views(9)[1]]), r"views of \[9, 12\] nodes"),
        (lambda: network()([views()[0], views()[1]._replace(adjacency=torch.ones(12, 11))]), "must all be of the same"),
        (lambda: MultiViewGraphClustering([5, 4], 13)(views()), "clusters=13 must be at most 12"),
        (lambda: MultiViewGraphClustering([5], 1), "clusters=1"),
        (lambda: MultiViewGraphClustering([], 2), r"in_channels=\(\)"),
        (lambda: network(order=0), "order=0"),
        (lambda: network(min_belief=0.8, max_belief=0.7), "min_belief=0.8 and max_belief=0.7"),
        (lambda: network(max_belief=1.1), "max_belief=1.1"),
        (lambda: network(power=0), "power=0"),
        (lambda: network(generator={"threshold": 1.0}), "threshold=1.0"),
        (lambda: network().fit(views(), epochs=0), "epochs=0"),
    ],
)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
