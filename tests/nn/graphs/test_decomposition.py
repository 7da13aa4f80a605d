"""Decomposition and filter together: polynomial filters of PyTorch Geometric, and dense matrices in loops."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convnn.errors import InputError, UnsupportedError
from small_graphs import check_trains, features, matrix, random_directed, random_undirected

pyg = pytest.importorskip("torch_geometric.nn")
from torch_geometric.data import Data  # noqa: E402

from convnn.nn import graphs  # noqa: E402

GRAPH = random_undirected(10, 0.3)
LOOPS = torch.arange(10).repeat(2, 1)
LOOPED = torch.cat([GRAPH, LOOPS], 1)


def bases_of(edge_index: Tensor, nodes: int = 10, exponents: Any = (-0.5,), powers: Any = 3, **settings: Any) -> Any:
    return graphs.pdf_bases(edge_index, nodes, exponents, powers, dtype=torch.double, **settings)


def dense(edge_index: Tensor, nodes: int, exponent: float, power: int) -> Tensor:
    adjacency = matrix(edge_index, nodes).clamp_max(1)
    ends = torch.diag(adjacency.sum(1).pow(exponent))
    return torch.linalg.matrix_power(ends @ adjacency @ ends, power)


@pytest.mark.parametrize("support", ["dense", "sparse"])
def test_a_linear_filter_of_powers_is_tag(support: str) -> None:
    pairs, bases = bases_of(GRAPH, support=support)
    theta, x = features(4, 3, seed=5), features(10, 3)
    theirs = pyg.TAGConv(3, 3, K=3, bias=False).double()
    for lin, row in zip(theirs.lins, theta, strict=True):
        lin.weight.data = torch.diag(row)
    torch.testing.assert_close(graphs.filtered_sum(x, pairs, bases @ theta), theirs(x, LOOPED), rtol=0, atol=1e-14)


def test_a_linear_filter_without_loops_is_chebnet() -> None:
    edge_index = torch.cat([GRAPH, torch.tensor([[0, 5], [5, 0]])], 1)  # repeated edges count once
    assert matrix(edge_index, 10).sum(1).min() > 0
    pairs, bases = bases_of(edge_index, self_loops=False)
    t, x = features(4, 3, seed=5), features(10, 3)
    c3, c2 = -t[3] / 4, t[2] / 2
    theirs = pyg.ChebConv(3, 3, K=4, bias=False).double()
    for lin, row in zip(theirs.lins, (t[0] + c2, 3 * c3 - t[1], c2, c3), strict=True):
        lin.weight.data = torch.diag(row)
    once = torch.unique(edge_index, dim=1)
    expected = theirs(x, once, lambda_max=2.0)
    torch.testing.assert_close(graphs.filtered_sum(x, pairs, bases @ t), expected, rtol=0, atol=1e-14)


def test_the_first_power_is_gcn() -> None:
    pairs, bases = bases_of(GRAPH, powers=1)
    theirs = pyg.GCNConv(3, 3, bias=False).double()
    theirs.lin.weight.data = torch.eye(3).double()
    x = features(10, 3)
    torch.testing.assert_close(graphs.filtered_sum(x, pairs, bases[:, 1:]), theirs(x, GRAPH), rtol=0, atol=1e-15)


def test_bases_of_a_directed_graph() -> None:
    """The degrees are those of the rows, and an edge from u to v is the pair (u, v)."""
    edge_index = torch.cat([random_directed(7, 0.3), torch.tensor([[2], [2]])], 1)
    pairs, bases = bases_of(edge_index, 7, (-0.2, 0.3), [(2, 3), 1], degree_exponents=(-0.5, 1.0))
    looped = torch.cat([edge_index, torch.arange(7).repeat(2, 1)], 1)
    degrees = matrix(looped, 7).clamp_max(1).sum(1)
    expected = [
        torch.eye(7).double(),
        dense(looped, 7, -0.2, 2),
        dense(looped, 7, -0.2, 3),
        dense(looped, 7, 0.3, 1),
        torch.diag(degrees.rsqrt()),
        torch.diag(degrees),
    ]
    torch.testing.assert_close(bases, torch.stack(expected).flatten(1).T, rtol=0, atol=1e-13)
    assert pairs.tolist() == torch.cartesian_prod(torch.arange(7), torch.arange(7)).T.tolist()


@pytest.mark.parametrize("hops", [None, 1, 2])
def test_sparse_pairs_are_those_that_walks_connect(hops: int | None) -> None:
    edge_index = random_directed(9, 0.2)
    pairs, bases = bases_of(edge_index, 9, powers=3, support="sparse", hops=hops)
    walks = torch.linalg.matrix_power(matrix(edge_index, 9) + torch.eye(9).double(), hops or 3)
    assert pairs.tolist() == walks.nonzero().T.tolist()
    _, whole = bases_of(edge_index, 9, powers=3)
    torch.testing.assert_close(bases, whole[pairs[0] * 9 + pairs[1]], rtol=0, atol=1e-15)


def test_powers_grow_for_exponents_above_minus_a_half() -> None:
    radii = []
    for exponent in (-0.5, -0.4, -0.2, 0.0):
        _, bases = bases_of(GRAPH, exponents=(exponent,), powers=1)
        radii.append(torch.linalg.eigvalsh(bases[:, 1].view(10, 10)).abs().max().item())
    assert radii[0] == pytest.approx(1)
    assert radii == sorted(radii)
    assert radii[1] > 1.1


def test_normalized_bases() -> None:
    _, bases = bases_of(GRAPH, powers=2, normalize=True)
    _, plain = bases_of(GRAPH, powers=2)
    expected = (plain - plain.mean(0)) / (plain.var(0, correction=0).sqrt() + 1e-5)
    torch.testing.assert_close(bases, expected, rtol=0, atol=1e-13)


def test_nodes_without_edges() -> None:
    pairs, bases = bases_of(torch.tensor([[0, 1], [1, 0]]), 4, powers=2)
    assert pairs.shape[1] == 16
    assert bases.isfinite().all()
    alone = graphs.filtered_sum(features(4, 1), pairs, bases[:, 1:2])[2:]
    torch.testing.assert_close(alone, features(4, 1)[2:], rtol=0, atol=1e-15)  # a loop is all that they have
    with pytest.raises(InputError, match=r"^node 2 has the degree 0, which has no power -0\.5; set self_loops=True$"):
        bases_of(torch.tensor([[0, 1], [1, 0]]), 4, self_loops=False)


def test_the_transform_keeps_features_of_edges() -> None:
    edge_index = torch.tensor([[0, 1, 3], [1, 0, 2]])
    data = Data(edge_index=edge_index, edge_attr=torch.tensor([[5], [6], [7]]), num_nodes=4)
    for support, hops in (("dense", None), ("sparse", 2)):
        found = graphs.PDFBases([-0.5], 2, support=support, hops=hops)(data)
        pairs, bases = graphs.pdf_bases(edge_index, 4, [-0.5], 2, support=support, hops=hops)
        assert torch.equal(found.edge_index, pairs)
        assert torch.equal(found.basis, bases)
        expected = {(0, 1): 5, (1, 0): 6, (3, 2): 7}
        assert found.edge_attr.flatten().tolist() == [expected.get(tuple(p), 0) for p in pairs.T.tolist()]
    assert torch.equal(data.edge_index, edge_index)


@pytest.mark.parametrize("edge_softmax", [False, True])
@pytest.mark.parametrize("with_attr", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_a_layer_in_loops(edge_softmax: bool, with_attr: bool, shared: bool) -> None:
    torch.manual_seed(0)
    pairs, bases = bases_of(random_directed(6, 0.3), 6, support="sparse")
    order = torch.randperm(pairs.shape[1])  # which does not matter
    pairs, bases = pairs[:, order], bases[order]
    x, edge_attr = features(6, 3), features(pairs.shape[1], 3, seed=5) if with_attr else None
    phi = graphs.PDFFilter(4, 3, shared=shared, edge_softmax=edge_softmax).double().eval()
    layer = graphs.PDFConv(3).double().eval()
    weight = phi.mlp(bases).expand(-1, 3)
    if edge_softmax:
        sums = torch.stack([weight[pairs[1] == v].exp().sum(0) for v in range(6)])
        weight = weight.exp() / sums[pairs[1]]
    collected = torch.zeros(6, 3).double()
    for e, (u, v) in enumerate(pairs.T.tolist()):
        read = x[u] + (edge_attr[e] if with_attr else 0)
        collected[v] += weight[e] * nn.functional.gelu(layer.before[0](read))
    expected = x + collected + layer.after(x + collected)
    torch.testing.assert_close(layer(x, pairs, phi(bases, pairs, 6), edge_attr), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("with_attr", [False, True])
def test_gradients(with_attr: bool) -> None:
    torch.manual_seed(0)
    pairs, bases = bases_of(random_directed(5, 0.3), 5, powers=2, support="sparse")
    phi, layer = graphs.PDFFilter(3, 2).double().eval(), graphs.PDFConv(2, activation="gelu").double().eval()
    inputs = [features(5, 2), bases, *([features(pairs.shape[1], 2)] if with_attr else [])]

    def call(x: Tensor, bases: Tensor, *edge_attr: Tensor) -> Tensor:
        return layer(x, pairs, phi(bases, pairs, 5), *edge_attr)

    assert torch.autograd.gradcheck(call, [one.requires_grad_() for one in inputs], fast_mode=True)


def test_filters_can_be_negative_without_the_last_activation() -> None:
    torch.manual_seed(0)
    pairs, bases = bases_of(GRAPH)
    least = {}
    for last in (True, False):
        phi = graphs.PDFFilter(4, 8, last_activation=last, edge_softmax=False).double()
        least[last] = phi(bases, pairs, 10).min()
    assert least[True] > -0.18  # the least value of GELU
    assert least[False] < -0.5


def test_a_network_pools_every_graph_by_itself() -> None:
    torch.manual_seed(0)
    pairs, bases = bases_of(GRAPH, powers=2, support="sparse")
    x = features(10, 3)
    both = torch.cat([pairs, pairs + 10], 1), torch.cat([bases, bases]), torch.arange(2).repeat_interleave(10)
    for pool in ("sum", "mean", "max"):
        network = graphs.PDFNet(3, 2, 3, hidden=8, layers=2, pool=pool, activation="relu").double().eval()
        alone = [network(one, pairs, bases) for one in (x, 2 * x)]
        torch.testing.assert_close(network(torch.cat([x, 2 * x]), *both), torch.cat(alone), rtol=0, atol=1e-13)


def test_the_layer_is_the_sum_of_its_parts() -> None:
    torch.manual_seed(0)
    settings = {"exponents": (-0.2, -0.5), "hops": 3, "support_hops": 2, "normalize_bases": True}
    layer, x = graphs.PDF(3, 4, **settings).double().eval(), features(10, 3)
    pairs, bases = bases_of(GRAPH, 10, (-0.2, -0.5), 3, support="sparse", hops=2, normalize=True)
    expected = layer.conv(layer.lin(x), pairs, layer.filter(bases, pairs, 10))
    torch.testing.assert_close(layer(x, GRAPH), expected, rtol=0, atol=0)
    assert isinstance(graphs.PDF(4, 4).lin, nn.Identity)


@pytest.mark.parametrize("settings", [{}, {"support": "dense", "linear_filter": True, "shared_filter": True}])
def test_trains(settings: dict) -> None:
    torch.manual_seed(0)
    check_trains(graphs.PDF(4, 3, **settings), 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"powers": 0}, "powers=0 must be r of at least 1, or (l, r) with 1 <= l <= r"),
        ({"powers": (3, 2)}, "powers=(3, 2) must be r of at least 1"),
        ({"powers": [1, 2]}, "powers=[1, 2] must be one for each of the 1 exponents, or one for all"),
        ({"hops": 0}, "hops=0 must be an integer of at least 1"),
        ({"support": "SPA"}, "support='SPA' is not one of dense, sparse"),
        ({"nodes": 5}, "edge_index has sources from 0 to 9; they must lie between 0 and 4"),
    ],
)
def test_bases_out_of_range(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        bases_of(GRAPH, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"exponents": "-0.3;-0.4"}, "exponents='-0.3;-0.4' must be finite numbers, such as -0.3,-0.4"),
        ({"exponents": (float("inf"),)}, "exponents=(inf,) must be finite numbers"),
        ({"hops": 0}, "hops=0 must be an integer of at least 1"),
        ({"support_hops": 0}, "support_hops=0 must be an integer of at least 1"),
        ({"support": "all"}, "support='all' is not one of dense, sparse"),
    ],
)
def test_settings_out_of_range(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        graphs.PDF(3, 2, **settings)


def test_only_the_identity_is_left_without_exponents() -> None:
    _, bases = bases_of(GRAPH, exponents=(), powers=2)
    assert bases.shape == (100, 1)


def test_bad_input() -> None:
    pairs, bases = bases_of(GRAPH)
    phi, layer, x = graphs.PDFFilter(4, 3).double(), graphs.PDFConv(3).double(), features(10, 3)
    weight = phi(bases, pairs, 10)
    with pytest.raises(InputError, match=r"^bases of shape \(100, 3\) .* \(100, 4\), a row for each pair$"):
        phi(bases[:, :3], pairs, 10)
    with pytest.raises(InputError, match=r"^weight of shape \(99, 3\) must be \(100, 3\), or one column"):
        layer(x, pairs, weight[:99])
    with pytest.raises(InputError, match=r"^edge_attr of shape \(9, 3\) must be \(100, 3\), a row for each pair$"):
        layer(x, pairs, weight, features(9, 3))
    with pytest.raises(InputError, match=r"^x of shape \(10, 2\) .* \(N, 3\)"):
        layer(features(10, 2), pairs, weight)
    with pytest.raises(InputError, match=r"^edge_index has"):
        layer(x[:5], pairs, weight)
    with pytest.raises(UnsupportedError, match=r"^edge_weight of shape .* has no meaning here"):
        graphs.PDF(3, 3).double()(x, GRAPH, torch.ones(GRAPH.shape[1]))
