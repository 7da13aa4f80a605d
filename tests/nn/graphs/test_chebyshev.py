"""Damped Chebyshev filters: ChebConv of PyTorch Geometric, the response on every eigenvector, dense matrices."""

import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convnn.errors import InputError
from small_graphs import check_trains, features, matrix, random_directed, random_undirected

ChebConv = pytest.importorskip("torch_geometric.nn").ChebConv
from convnn.nn import graphs  # noqa: E402

GRAPH = random_undirected(12, 0.3)
DAMPINGS = ("none", "dirichlet", "fejer", "jackson", "lanczos", "lorentz", "vekic", "wang")


def filter_of(hops: int, **settings: object) -> nn.Module:
    """Return a filter with coefficients that are all different."""
    layer = graphs.ChebGibbsProp(hops, **settings).double()
    layer.coefficients.data = features(hops + 1, 1, seed=3)[:, 0]
    return layer


def series(layer: nn.Module) -> Tensor:
    return layer.coefficients * torch.tensor(layer.factors, dtype=torch.double)


def normalized(adjacency: Tensor) -> Tensor:
    """Return P for A[s, t], by the degrees of the targets; the degree 0 counts 0."""
    inverse = adjacency.sum(0).rsqrt().nan_to_num(posinf=0)
    return inverse.unsqueeze(1) * adjacency.T * inverse


def test_where_neighbours_differ_it_is_the_filter_of_chebnet() -> None:
    layer, x = filter_of(5, homophily="low"), features(12, 3)
    theirs = ChebConv(3, 3, K=6, bias=False).double()
    for lin, coefficient in zip(theirs.lins, series(layer), strict=True):
        lin.weight.data = coefficient.item() * torch.eye(3, dtype=torch.double)
    torch.testing.assert_close(layer(x, GRAPH), theirs(x, GRAPH, lambda_max=2.0), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("homophily", "sign"), [("high", 1), ("low", -1)])
@pytest.mark.parametrize("damping", DAMPINGS)
def test_response_on_every_eigenvector(homophily: str, sign: int, damping: str) -> None:
    layer, x = filter_of(7, homophily=homophily, damping=damping), features(12, 3)
    values, vectors = np.linalg.eigh(sign * normalized(matrix(GRAPH, 12)).numpy())
    response = np.polynomial.chebyshev.chebval(values, series(layer).detach().numpy())
    expected = torch.from_numpy(vectors @ np.diag(response) @ vectors.T) @ x
    torch.testing.assert_close(layer(x, GRAPH), expected, rtol=0, atol=1e-12)


def test_directed_weighted_edges_with_loops_repetitions_and_nodes_without_edges() -> None:
    edge_index = torch.cat([random_directed(9, 0.3), torch.tensor([[1, 1, 2, 2], [2, 2, 2, 3]])], 1)
    edge_index = edge_index[:, (edge_index != 8).all(0)]  # node 8 has no edge
    weights = torch.rand(edge_index.shape[1], dtype=torch.double, generator=torch.Generator().manual_seed(1))
    adjacency = matrix(edge_index, 9, weights).fill_diagonal_(0)
    layer, x = filter_of(4, homophily="high"), features(9, 2)
    p = normalized(adjacency)
    terms = [torch.eye(9, dtype=torch.double), p]
    for _ in range(3):
        terms.append(2 * p @ terms[-1] - terms[-2])
    expected = sum(c * term for c, term in zip(series(layer), terms, strict=True)) @ x
    torch.testing.assert_close(layer(x, edge_index, weights), expected, rtol=0, atol=1e-13)
    at_zero = np.polynomial.chebyshev.chebval(0, series(layer).detach().numpy())
    torch.testing.assert_close(layer(x, edge_index, weights)[8], x[8] * at_zero, rtol=0, atol=1e-14)


def test_gradients() -> None:
    layer, x = filter_of(4, homophily="low"), features(6, 2).requires_grad_()
    edge_index = random_undirected(6, 0.5)
    weights = torch.rand(edge_index.shape[1], dtype=torch.double).add(0.5).requires_grad_()
    assert torch.autograd.gradcheck(lambda *graph: layer(graph[0], edge_index, graph[1]), (x, weights), fast_mode=True)
    coefficients = layer.coefficients.detach().requires_grad_()
    of_coefficients = lambda c: torch.func.functional_call(layer, {"coefficients": c}, (x.detach(), edge_index))  # noqa: E731
    assert torch.autograd.gradcheck(of_coefficients, (coefficients,), fast_mode=True)


@pytest.mark.parametrize("edge_index", [GRAPH, torch.empty(2, 0, dtype=torch.long)])
def test_order_0_and_graphs_without_edges(edge_index: Tensor) -> None:
    layer, x = filter_of(0), features(12, 3)
    torch.testing.assert_close(layer(x, edge_index), layer.coefficients[0] * x, rtol=0, atol=0)
    assert filter_of(5)(features(0, 3), torch.empty(2, 0, dtype=torch.long)).shape == (0, 3)


def test_the_sign_is_that_of_the_neighbours() -> None:
    pairs = torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])
    alike, half, unlike = (
        torch.eye(2, dtype=torch.double)[labels] for labels in ([0, 0, 1, 1], [0, 0, 0, 1], [0, 1, 0, 1])
    )
    homophilies = [graphs.node_homophily(x, pairs).item() for x in (alike, half, unlike)]
    assert homophilies == [1, 0.5, 0]
    for x, homophily in ((alike, "high"), (half, "low"), (unlike, "low")):  # a tie is negative
        torch.testing.assert_close(filter_of(3)(x, pairs), filter_of(3, homophily=homophily)(x, pairs), rtol=0, atol=0)
    looped = torch.cat([pairs, torch.tensor([[0, 0, 1], [0, 0, 1]])], 1)
    assert graphs.node_homophily(unlike, looped) == 0


@pytest.mark.parametrize("damping", DAMPINGS)
def test_factors_begin_with_1_and_do_not_rise(damping: str) -> None:
    factors = graphs.gibbs_damping(20, damping)
    assert factors.dtype == torch.double
    assert factors[0] == 1
    assert (factors.diff() <= 1e-15).all()
    assert (factors >= 0).all()
    assert graphs.gibbs_damping(0, damping).tolist() == [1]


def test_jackson_makes_a_jump_that_does_not_overshoot() -> None:
    t = np.cos((np.arange(4000) + 0.5) * np.pi / 4000)
    jump = np.polynomial.chebyshev.chebfit(t, (t > 0.2).astype(float), 40)
    highest = {}
    for damping in ("none", "jackson"):
        damped = jump * graphs.gibbs_damping(40, damping).numpy()
        highest[damping] = np.polynomial.chebyshev.chebval(np.linspace(-1, 1, 2001), damped).max()
    assert highest["none"] > 1.05
    assert highest["jackson"] <= 1


def test_the_type_of_the_features_is_kept() -> None:
    x = features(12, 3)
    layer = graphs.ChebGibbs(3, 2, homophily="high")
    double = graphs.ChebGibbs(3, 2, homophily="high").double()
    double.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x.float(), GRAPH).double(), double(x, GRAPH), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        series(filter_of(10)), filter_of(10).coefficients * graphs.gibbs_damping(10), rtol=0, atol=0
    )


@pytest.mark.parametrize("make", [graphs.ChebGibbs, graphs.ChebGibbsNet])
def test_trains(make: type) -> None:
    torch.manual_seed(0)
    check_trains(make(4, 3), 4, steps=60)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hops": -1}, "hops=-1 must be an integer of at least 0"),
        ({"damping": "jakson"}, "damping='jakson' is not one of .*; did you mean 'jackson'?"),
        ({"mu": 0.5}, "mu=0.5 must be at least 1"),
        ({"xi": 0.0}, "xi=0.0 must be a number other than 0"),
        ({"xi": float("nan")}, "xi=nan must be a number other than 0"),
        ({"stigma": 0.0}, "stigma=0.0 must be a positive number"),
        ({"heta": 0.9}, "heta=0.9 must be at least 1"),
        ({"homophily": "yes"}, "homophily='yes' is not one of auto, high, low"),
    ],
)
def test_settings_out_of_range(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        graphs.ChebGibbs(3, 2, **settings)


@pytest.mark.parametrize(
    ("x", "edge_index", "edge_weight", "message"),
    [
        (features(3, 2)[0], GRAPH, None, "x of shape (2,) and torch.float64 must be floating and (N, 2)"),
        (features(12, 2).long(), GRAPH, None, "x of shape (12, 2) and torch.int64 must be floating"),
        (features(5, 2), GRAPH, None, "edge_index has sources from 0 to 11; they must lie between 0 and 4"),
        (features(12, 2), GRAPH.T, None, "edge_index of shape "),
        (features(12, 2), GRAPH, features(3, 1)[:, 0], "edge_weight of shape (3,)"),
        (features(12, 2), GRAPH, -torch.ones(GRAPH.shape[1]), "edge_weight has -1.0; weights must not be negative"),
    ],
)
def test_bad_input(x: Tensor, edge_index: Tensor, edge_weight: Tensor | None, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        filter_of(2)(x, edge_index, edge_weight)
