"""HGNN against dense matrices, loops and PyTorch Geometric, and hypergraphs of nearest neighbours against loops."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError

geometric = pytest.importorskip("torch_geometric.nn")

from convnn.nn import graphs  # noqa: E402
from small_graphs import features, undirected  # noqa: E402

NODES, HYPEREDGES = 8, 5
MEMBERS = torch.tensor([[0, 1, 2, 2, 3, 4, 4, 5, 6, 0], [0, 0, 0, 1, 1, 1, 3, 3, 3, 4]])
"""Node 7 is in no hyperedge, and hyperedge 2 is empty."""
HYPERGRAPHS = {
    "binary": (None, None),
    "values": (None, torch.rand(10, dtype=torch.double) + 0.1),
    "weighted": (torch.rand(HYPEREDGES, dtype=torch.double), torch.rand(10, dtype=torch.double) + 0.1),
}


def dense(weight: Tensor | None, value: Tensor | None) -> Tensor:
    """Compute G from dense matrices."""
    ones = torch.ones(MEMBERS.shape[1], dtype=torch.double)
    incidence = torch.zeros(NODES, HYPEREDGES, dtype=torch.double).index_put(
        tuple(MEMBERS), ones if value is None else value
    )
    W = torch.eye(HYPEREDGES, dtype=torch.double) if weight is None else torch.diag(weight)
    degrees, sizes = (incidence @ W).sum(1), incidence.sum(0)
    root = torch.diag(torch.where(degrees > 0, degrees, torch.inf).rsqrt())
    inverse = torch.diag(1 / torch.where(sizes > 0, sizes, torch.inf))
    return root @ incidence @ W @ inverse @ incidence.T @ root


def propagated(x: Tensor, *hypergraph: Tensor | None) -> Tensor:
    return graphs.propagate_hyperedges(x, *hypergraph)


@pytest.mark.parametrize("hypergraph", HYPERGRAPHS.values(), ids=HYPERGRAPHS)
def test_ours_is_a_product_with_the_matrix(hypergraph: tuple[Tensor | None, Tensor | None]) -> None:
    ours, x = graphs.HGNNConv(3, 4).double(), features(NODES, 3).requires_grad_()
    leaves = [x, *ours.parameters()]
    outs = ours(x, MEMBERS, *hypergraph), dense(*hypergraph) @ (x @ ours.weight + ours.bias)
    torch.testing.assert_close(*outs, rtol=0, atol=1e-15)
    grads = [torch.autograd.grad(out, leaves, features(NODES, 4, seed=2)) for out in outs]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-14)
    assert torch.equal(outs[0][7], torch.zeros(4, dtype=torch.double))


def test_weights_of_hyperedges_may_be_learned() -> None:
    weight = torch.rand(HYPEREDGES, dtype=torch.double, requires_grad=True)
    value, x = torch.rand(10, dtype=torch.double, requires_grad=True), features(NODES, 2)
    assert torch.autograd.gradcheck(lambda w, h: propagated(x, MEMBERS, w, h), (weight, value), fast_mode=True)


def test_the_matrix_is_positive_and_keeps_the_roots_of_the_degrees() -> None:
    weight, value = HYPERGRAPHS["weighted"]
    G = propagated(torch.eye(NODES, dtype=torch.double), MEMBERS, weight, value)
    degrees = torch.zeros(NODES, dtype=torch.double).index_add(0, MEMBERS[0], weight[MEMBERS[1]] * value)
    torch.testing.assert_close(G @ degrees.sqrt(), degrees.sqrt(), rtol=0, atol=1e-14)
    torch.testing.assert_close(G, G.T, rtol=0, atol=1e-15)
    values = torch.linalg.eigvalsh(G)
    assert -1e-14 < values[0]
    assert values[-1].item() == pytest.approx(1.0)


def test_torch_geometric_divides_by_the_degree_once() -> None:
    ours, theirs = graphs.HGNNConv(3, 4, bias=False).double(), geometric.HypergraphConv(3, 4, bias=False).double()
    with torch.no_grad():
        theirs.lin.weight.copy_(ours.weight.T)
    x = features(NODES, 3)
    roots = torch.bincount(MEMBERS[0], minlength=NODES).double().sqrt().unsqueeze(1)
    rescaled = roots * theirs(x / roots.clamp_min(1), MEMBERS)
    torch.testing.assert_close(ours(x, MEMBERS), rescaled, rtol=0, atol=1e-15)
    assert (ours(x, MEMBERS) - theirs(x, MEMBERS)).abs().max() > 0.01
    weight = HYPERGRAPHS["weighted"][0]  # of which theirs has no factor inside
    roots = torch.zeros(NODES, dtype=torch.double).index_add(0, MEMBERS[0], weight[MEMBERS[1]]).sqrt().unsqueeze(1)
    rescaled = roots * theirs(x / roots.masked_fill(roots == 0, 1), MEMBERS, weight)
    assert (ours(x, MEMBERS, weight) - rescaled).abs().max() > 0.01


def test_hyperedges_of_two_nodes_are_a_graph() -> None:
    both = undirected(NODES, 12)
    pairs = both[:, both[0] < both[1]]
    members = torch.stack([pairs.flatten(), torch.arange(pairs.shape[1]).repeat(2)])
    x = features(NODES, 3)
    *_, neighbours = graphs.propagations(x, both, hops=1, loops=0.0)
    degrees = torch.bincount(both[1], minlength=NODES).unsqueeze(1)
    torch.testing.assert_close(propagated(x, members), (x * (degrees > 0) + neighbours) / 2, rtol=0, atol=1e-15)


def knn_in_loops(x: list[list[float]], k: int, m_prob: float | None) -> list[list[float]]:
    """Return H, dense."""
    count = len(x)
    distances = [[math.dist(one, other) for other in x] for one in x]
    incidence = [[0.0] * count for _ in x]
    for c in range(count):
        others = sorted((v for v in range(count) if v != c), key=lambda v: distances[c][v])
        for v in [c, *others[: k - 1]]:
            mean = sum(distances[c]) / count
            incidence[v][c] = 1.0 if m_prob is None else math.exp(-((distances[c][v] / (m_prob * mean)) ** 2))
    return incidence


@pytest.mark.parametrize("m_prob", [1.0, 0.7, None])
@pytest.mark.parametrize("k", [1, 4, 99])
def test_hypergraph_of_nearest_nodes(k: int, m_prob: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convnn.nn.graphs.sums.hypergraph.ROWS", 4)
    x = features(9, 3)
    index, value = graphs.knn_hypergraph(x, k, prob=m_prob is not None, m_prob=m_prob or 1.0)
    found = torch.zeros(9, 9, dtype=torch.double).index_put(tuple(index), value, accumulate=True)
    torch.testing.assert_close(found, torch.tensor(knn_in_loops(x.tolist(), k, m_prob), dtype=torch.double))


def test_several_features_and_sizes_stand_side_by_side() -> None:
    modalities, sizes = [features(6, 2), features(6, 5, seed=2)], [2, 4]
    index, value = graphs.knn_hypergraph(modalities, sizes)
    found = torch.zeros(6, 24, dtype=torch.double).index_put(tuple(index), value)
    parts = [torch.tensor(knn_in_loops(x.tolist(), k, 1.0), dtype=torch.double) for x in modalities for k in sizes]
    torch.testing.assert_close(found, torch.cat(parts, dim=1))


def test_equal_nodes_are_in_their_own_hyperedges() -> None:
    x = torch.cat([torch.zeros(4, 2), torch.ones(1, 2)])
    index, value = graphs.knn_hypergraph(x, 2)
    assert [index[0, index[1] == c].tolist()[0] for c in range(5)] == [0, 1, 2, 3, 4]
    assert value[index[0] == index[1]].tolist() == [1.0] * 5


def test_dropout_is_off_in_evaluation() -> None:
    ours, x = graphs.HGNN(3, 2, hidden_channels=6, dropout=0.5).double(), features(NODES, 3)
    expected = ours.second(ours.first(x, MEMBERS).relu(), MEMBERS)
    assert torch.equal(ours.eval()(x, MEMBERS), expected)
    assert not torch.equal(ours.train()(x, MEMBERS), expected)


def test_it_starts_within_the_published_bounds() -> None:
    ours = graphs.HGNNConv(400, 16)
    for parameter in ours.parameters():
        assert parameter.abs().max() <= 0.25
    assert ours.weight.abs().max() > 0.24


def test_graphs_without_hyperedges_or_nodes() -> None:
    ours, none = graphs.HGNNConv(3, 4), torch.empty(2, 0, dtype=torch.long)
    assert torch.equal(ours(torch.ones(2, 3), none), torch.zeros(2, 4))
    assert ours(torch.ones(0, 3), none).shape == (0, 4)


def test_it_trains() -> None:
    labels, noise = torch.arange(30) % 3, torch.randn(30, 3)
    members = torch.stack([torch.arange(30), labels])
    ours = graphs.HGNN(3, 3, hidden_channels=8, dropout=0.2)
    optimizer = torch.optim.Adam(ours.parameters(), 0.05)
    losses = []
    for _ in range(60):
        loss = F.cross_entropy(ours(noise, members)[:6], labels[:6])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4
    assert torch.equal(ours.eval()(noise, members).argmax(1), labels)  # of those in the same hyperedge, too


X = torch.ones(NODES, 3)
CONV = graphs.HGNNConv(3, 4)
WRONG = {
    "channels": (lambda: graphs.HGNNConv(3, 0), "^out_channels=0 must be an integer of at least 1$"),
    "dropout": (lambda: graphs.HGNN(3, 4, dropout=2.0), r"^dropout=2\.0 must lie between 0 and 1$"),
    "x": (lambda: CONV(X[:, :2], MEMBERS), r"^x of shape \(8, 2\) .* must be floating and \(N, 3\)"),
    "index": (
        lambda: CONV(X, MEMBERS.float()),
        r"^hyperedge_index of shape \(2, 10\) and torch.float32 must be \(2, E\)",
    ),
    "node": (lambda: CONV(X[:4], MEMBERS), "^hyperedge_index has nodes from 0 to 6; they must lie between 0 and 3$"),
    "hyperedge": (
        lambda: CONV(X, MEMBERS, torch.ones(3)),
        "^hyperedge_index has hyperedges from 0 to 4; they must lie",
    ),
    "weights": (lambda: CONV(X, MEMBERS, torch.ones(5, 1)), r"^hyperedge_weight of shape \(5, 1\) .* each hyperedge$"),
    "negative": (
        lambda: CONV(X, MEMBERS, -torch.ones(5)),
        r"^hyperedge_weight has -1\.0; weights must not be negative",
    ),
    "values": (lambda: CONV(X, MEMBERS, None, torch.ones(9)), r"^incidence_weight of shape \(9,\) .* of a hyperedge$"),
    "nan": (lambda: CONV(X, MEMBERS, None, torch.full((10,), torch.nan)), "^incidence_weight has nan; weights must"),
    "k": (lambda: graphs.knn_hypergraph(X, 0), "^k=0 must be an integer of at least 1$"),
    "m_prob": (lambda: graphs.knn_hypergraph(X, 2, m_prob=0.0), r"^m_prob=0\.0 must be a positive number$"),
    "equal": (lambda: graphs.knn_hypergraph(X, 2), "^features must differ between nodes with prob=True"),
    "rows": (
        lambda: graphs.knn_hypergraph([X, X[:2]], 2, prob=False),
        "^features have 8 and 2 rows; they must be of the",
    ),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
