"""Holomorphic filters: PyTorch Geometric's layers in special cases, Cauchy's integral, and coarse graphs."""

import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convnn.errors import InputError
from small_graphs import check_trains, features, matrix, random_directed, random_undirected

pyg = pytest.importorskip("torch_geometric.nn")
from convnn.nn import graphs  # noqa: E402

WAYS = random_directed(10, 0.25)
BOTH = random_undirected(10, 0.3)


def holo(hops: int, inputs: int = 3, outputs: int = 2, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    return graphs.Holo(inputs, outputs, hops=hops, **settings).double()


def weights_of(edge_index: Tensor) -> Tensor:
    return torch.rand(edge_index.shape[1], dtype=torch.double, generator=torch.Generator().manual_seed(2)) + 0.1


def normalized(edge_index: Tensor, nodes: int, exponent: float = -0.25, edge_weight: Tensor | None = None) -> Tensor:
    adjacency = matrix(edge_index, nodes, edge_weight)
    outs, ins = (adjacency.sum(axis).pow(exponent).nan_to_num(posinf=0) for axis in (1, 0))
    return outs.unsqueeze(1) * adjacency * ins


def test_undirected_is_gcn() -> None:
    layer, x = holo(1, out_weight=0.3, degree_exponent=-0.5, bias=False), features(10, 3)
    theirs = pyg.GCNConv(3, 2, add_self_loops=False, bias=False).double()
    theirs.lin.weight.data = (0.3 * layer.out_neighbors[0].weight + 0.7 * layer.in_neighbors[0].weight).detach()
    torch.testing.assert_close(layer(x, BOTH), theirs(x, BOTH), rtol=0, atol=1e-14)


def test_undirected_with_features_themselves_is_tag() -> None:
    layer, x = holo(3, out_weight=1.0, degree_exponent=-0.5, zero_order=True, bias=False), features(10, 3)
    theirs = pyg.TAGConv(3, 2, K=3, bias=False).double()
    for their, our, factor in zip(theirs.lins, layer.out_neighbors, (1, 1, 1 / 2, 1 / 4), strict=True):
        their.weight.data = factor * our.weight.detach()
    torch.testing.assert_close(layer(x, BOTH), theirs(x, BOTH), rtol=0, atol=1e-14)


def test_equal_degrees_are_directed_means() -> None:
    nodes = torch.arange(9)
    edge_index = torch.cat([torch.stack([nodes, (nodes + step) % 9]) for step in (1, 2, 5)], 1)  # 3 out, 3 in
    layer, x = holo(1, out_weight=0.3, degree_exponent=-0.5, bias=False), features(9, 3)
    mean = pyg.SAGEConv(3, 2, root_weight=False, bias=False)
    theirs = pyg.DirGNNConv(mean, alpha=0.3, root_weight=False).double()
    theirs.conv_out.lin_l.weight.data = layer.out_neighbors[0].weight.detach()
    theirs.conv_in.lin_l.weight.data = layer.in_neighbors[0].weight.detach()
    torch.testing.assert_close(layer(x, edge_index), theirs(x, edge_index), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "edge_index", [WAYS, torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]])], ids=["random", "path without eigenvectors"]
)
@pytest.mark.parametrize("basis", ["powers", "resolvent"])
def test_a_filter_is_the_integral_of_cauchy(edge_index: Tensor, basis: str) -> None:
    nodes = int(edge_index.max()) + 1
    layer, x = holo(4, 1, 1, out_weight=1.0, holo_basis=basis, bias=False), features(nodes, 1)
    coefficients = [
        factor * lin.weight.item() for factor, lin in zip((1, 1 / 2, 1 / 4, 1 / 8), layer.out_neighbors, strict=True)
    ]
    operator = normalized(edge_index, nodes).numpy()
    if basis == "resolvent":
        adjacency = matrix(edge_index, nodes).numpy()
        operator = np.linalg.inv(np.diag(adjacency.sum(1)) - adjacency + np.eye(nodes))
    radius = np.abs(np.linalg.eigvals(operator)).max() + 1
    z = radius * np.exp(2j * np.pi * np.arange(128) / 128)
    g = sum(c * z**k for k, c in enumerate(coefficients, 1))
    inverses = np.linalg.inv(z[:, None, None] * np.eye(nodes) - operator)
    integral = (g * z)[:, None, None] * inverses
    expected = torch.from_numpy(integral.mean(0).real) @ x
    torch.testing.assert_close(layer(x, edge_index), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("damping", ["exp", "lin"])
@pytest.mark.parametrize("zero_order", [False, True])
@pytest.mark.parametrize("dtype", [torch.double, torch.cdouble])
def test_powers_of_dense_matrices(damping: str, zero_order: bool, dtype: torch.dtype) -> None:
    edge_index = torch.cat([WAYS, torch.tensor([[1, 1, 4], [1, 2, 4]])], 1)  # loops and a repeated edge
    weights = weights_of(edge_index)
    torch.manual_seed(0)
    layer = graphs.Holo(3, 2, hops=4, out_weight=0.3, power_damping=damping, zero_order=zero_order, dtype=dtype)
    x = features(10, 3).to(dtype) * (1 + 2j if dtype.is_complex else 1)
    t = normalized(edge_index, 10, edge_weight=weights).to(dtype)
    factors = {"exp": [1, 1, 1 / 2, 1 / 4, 1 / 8], "lin": [1, 1, 1, 1 / 2, 1 / 3]}[damping]
    expected = torch.zeros(10, 2, dtype=dtype)
    for share, maps, operator in ((0.3, layer.out_neighbors, t), (0.7, layer.in_neighbors, t.T)):
        for k, lin in zip(range(0 if zero_order else 1, 5), maps, strict=True):
            expected += share * factors[k] * (torch.linalg.matrix_power(operator, k) @ x @ lin.weight.T + lin.bias)
    torch.testing.assert_close(layer(x, edge_index, weights), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("basis", ["powers", "resolvent"])
@pytest.mark.parametrize("dtype", [torch.double, torch.cdouble])
def test_gradients(basis: str, dtype: torch.dtype) -> None:
    layer = graphs.Holo(2, 2, hops=2, holo_basis=basis, learn_out_weight=True, dtype=dtype)
    edge_index = random_directed(4, 0.5)
    x = features(4, 2).to(dtype).requires_grad_()
    weights = weights_of(edge_index).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: layer(x, edge_index, w), (x, weights), fast_mode=True)
    named = dict(layer.named_parameters())
    named["out_weight"] = named["out_weight"].double()

    def of_parameters(*values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(named, values, strict=True)), (x.detach(), edge_index))

    assert torch.autograd.gradcheck(
        of_parameters, tuple(p.detach().requires_grad_() for p in named.values()), fast_mode=True
    )


def test_parameters() -> None:
    def count(**settings: Any) -> int:
        return sum(p.numel() * (2 if p.is_complex() else 1) for p in graphs.Holo(64, 64, **settings).parameters())

    assert count() == 24960
    assert count(dtype=torch.cdouble) == 2 * 24960
    assert count(zero_order=True) == 24960 + 2 * 65 * 64


def test_every_call_has_its_own_graph() -> None:
    layer, x = holo(3), features(10, 3)
    first, second = layer(x, WAYS), layer(x, WAYS.flip(0))
    swapped = holo(3)
    swapped.out_neighbors, swapped.in_neighbors = layer.in_neighbors, layer.out_neighbors
    assert not torch.allclose(first, second)
    torch.testing.assert_close(swapped(x, WAYS.flip(0)), first, rtol=0, atol=1e-14)


def test_nodes_without_edges_have_the_biases() -> None:
    layer = holo(3, out_weight=0.4)
    none = torch.empty(2, 0, dtype=torch.long)
    biases = [
        sum(f * lin.bias for f, lin in zip((1, 1 / 2, 1 / 4), maps, strict=True))
        for maps in (layer.out_neighbors, layer.in_neighbors)
    ]
    expected = (0.4 * biases[0] + 0.6 * biases[1]).expand(5, -1)
    torch.testing.assert_close(layer(features(5, 3), none), expected, rtol=0, atol=1e-14)
    assert layer(features(0, 3), none).shape == (0, 2)


@pytest.mark.parametrize("hops", [1, 2])
def test_the_resolvent_does_not_depend_on_the_resolution(hops: int) -> None:
    """Three nodes tied by the strength s act like one, up to an error that falls with 1/s; powers of T do not."""
    fine, coarse = random_undirected(12, 0.4, seed=3), torch.tensor([0, 0, 0, *range(1, 10)])
    ties = torch.tensor([[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]])
    fine = fine[:, (coarse[fine[0]] != coarse[fine[1]])]
    x = features(10, 1)
    errors: dict[str, list[float]] = {"resolvent": [], "powers": []}
    for basis, found in errors.items():
        layer = holo(hops, 1, 1, holo_basis=basis, bias=False)
        for strength in (1.0, 10.0, 100.0, 1000.0, 10000.0):
            weights = torch.cat([torch.ones(fine.shape[1]), torch.full((6,), strength)]).double()
            copied = layer(x[coarse], torch.cat([fine, ties], 1), weights)
            # J^+ L J averages what leaves the three nodes, whose value the coarse node is
            shares = torch.where(coarse[fine[1]] == 0, 1 / 3, 1.0).double()
            merged = resolvent_of(layer, x, coarse[fine], shares) if basis == "resolvent" else layer(x, coarse[fine])
            found.append((copied - merged[coarse]).abs().max().item())
    steps = [a / b for a, b in pairwise(errors["resolvent"])]
    assert all(5 < step < 20 for step in steps[1:]), errors
    assert errors["resolvent"][-1] < 1e-3
    assert errors["powers"][-1] > errors["powers"][0] > 1e-2


def resolvent_of(layer: nn.Module, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
    """Return what a layer of the resolvent computes where both directions have the Laplacian of in-neighbours."""
    step = layer._steps(x, edge_index, edge_weight)[1]
    return 0.5 * layer._sum(layer.out_neighbors, step, x) + 0.5 * layer._sum(layer.in_neighbors, step, x)


@pytest.mark.parametrize("jump", ["cat", "max", "none"])
def test_networks(jump: str) -> None:
    torch.manual_seed(0)
    settings = {"hidden": 5, "layers": 2, "hops": 2, "jump": jump, "normalize": True}
    network = graphs.HoloNet(3, 4, **settings, learn_out_weight=True).double()
    x = features(10, 3)
    one = nn.functional.normalize(network.convs[0](x, WAYS).abs(), dim=1)
    two = nn.functional.normalize(network.convs[1](one, WAYS).abs(), dim=1)
    joined = {"cat": torch.cat([one, two], 1), "max": torch.maximum(one, two), "none": two}[jump]
    torch.testing.assert_close(network(x, WAYS), network.lin(joined).log_softmax(1), rtol=0, atol=1e-14)
    assert sum("out_weight" in name for name, _ in network.named_parameters()) == 1
    imaginary = graphs.HoloNet(3, 4, **settings, dtype=torch.cdouble)
    assert torch.allclose(imaginary(x, WAYS).exp().sum(1), torch.ones(10).double())


def test_trains() -> None:
    torch.manual_seed(0)
    check_trains(graphs.HoloNet(4, 3, hidden=8, layers=2), 4)
    check_trains(graphs.Holo(4, 3, holo_basis="resolvent", learn_out_weight=True), 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hops": 0}, "hops=0 must be an integer of at least 1"),
        ({"out_weight": 1.5}, "out_weight=1.5 must lie between 0 and 1"),
        ({"degree_exponent": 0.0}, "degree_exponent=0.0 must be negative"),
        ({"degree_exponent": float("nan")}, "degree_exponent=nan must be negative"),
        ({"power_damping": "linear"}, "power_damping='linear' is not one of exp, lin"),
        ({"holo_basis": "power"}, "holo_basis='power' is not one of powers, resolvent; did you mean 'powers'?"),
    ],
)
def test_settings_out_of_range(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        graphs.Holo(3, 2, **settings)


@pytest.mark.parametrize(
    ("x", "edge_weight", "message"),
    [
        (features(10, 2), None, "x of shape (10, 2) and torch.float64 must be floating or complex and (N, 3)"),
        (features(5, 3), None, "edge_index has sources from 0 to 9; they must lie between 0 and 4"),
        (features(10, 3).to(torch.cdouble), None, "x of torch.complex128 needs complex weights"),
        (features(10, 3).div(0), None, "x must be finite"),
        (features(10, 3), -torch.ones(WAYS.shape[1]), "edge_weight has -1.0; weights must not be negative"),
    ],
)
def test_bad_input(x: Tensor, edge_weight: Tensor | None, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        holo(2)(x, WAYS, edge_weight)
