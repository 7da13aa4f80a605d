"""Orthonormal weights: polar factors by SVD, GCNConv of PyTorch Geometric, and the bound that they keep."""

import math
import re

import pytest
import torch
from torch import Tensor, nn

from convnn.errors import InputError
from small_graphs import check_trains, features, random_directed, random_undirected

GCNConv = pytest.importorskip("torch_geometric.nn").GCNConv
from convnn.nn import graphs  # noqa: E402

GRAPH = random_undirected(12, 0.3)
SHAPES = [(3, 7), (7, 3), (4, 4)]
ORTHONORMAL = ("bjorck", "matrix_exp", "cayley", "householder")


def polar(weight: Tensor) -> Tensor:
    u, _, v = torch.linalg.svd(weight, full_matrices=False)
    return u @ v


@pytest.mark.parametrize("shape", SHAPES)
def test_a_weight_becomes_its_polar_factor(shape: tuple[int, int]) -> None:
    v, upstream = features(*shape).requires_grad_(), features(*shape, seed=5)
    for scale in (1.0, 0.3):  # which does not matter
        w = graphs.Bjorck()(scale * v)
        torch.testing.assert_close(w, polar(v), rtol=0, atol=1e-14)
    (slope,) = torch.autograd.grad(graphs.Bjorck(steps=60)(v), v, upstream)
    (expected,) = torch.autograd.grad(polar(v), v, upstream)
    torch.testing.assert_close(slope, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_steps_one_by_one(order: int, shape: tuple[int, int]) -> None:
    start = w = features(*shape) / 4
    for _ in range(3):
        g = w.T @ w
        w = {
            1: lambda w=w, g=g: 1.5 * w - 0.5 * w @ g,
            2: lambda w=w, g=g: (15 * w - 10 * w @ g + 3 * w @ g @ g) / 8,
            3: lambda w=w, g=g: (35 * w - 35 * w @ g + 21 * w @ g @ g - 5 * w @ g @ g @ g) / 16,
        }[order]()
    torch.testing.assert_close(graphs.bjorck(start, order=order, steps=3), w, rtol=0, atol=1e-14)
    assert torch.autograd.gradcheck(
        lambda w: graphs.bjorck(w, order=order, steps=3), (start.requires_grad_(),), fast_mode=True
    )


def test_how_fast_it_converges() -> None:
    weight = features(32, 16) / math.sqrt(32 * 16)
    errors = {}
    for steps in (5, 10):
        w = graphs.bjorck(weight, steps=steps)
        errors[steps] = (w.T @ w - torch.eye(16)).abs().max().item()
    assert 1e-4 < errors[5] < 0.5
    assert errors[10] < 1e-14
    grown = [graphs.bjorck(torch.diag(torch.tensor([1.0, s]).double()))[1, 1].item() for s in (1e-6, 1e-8, 1e-9, 0.0)]
    assert grown == pytest.approx([1.0, 0.067, 0.0067, 0.0], rel=0.01)


@pytest.mark.parametrize(("inputs", "outputs"), [(1433, 16), (64, 16), (16, 64)])
def test_the_start_is_orthonormal(inputs: int, outputs: int) -> None:
    lin = graphs.OrthonormalLinear(inputs, outputs).double()
    start = lin.parametrizations.weight.original
    torch.testing.assert_close(lin.weight, polar(start), rtol=0, atol=1e-14)
    gram = start @ start.T if outputs < inputs else start.T @ start
    assert gram.diagonal().mean().item() == pytest.approx(1 / inputs, rel=1e-5)  # the published scale


def test_where_it_diverges() -> None:
    one = torch.ones(1, 1, dtype=torch.double)
    assert graphs.bjorck(1.52 * one).item() == pytest.approx(1)
    assert graphs.bjorck(1.74 * one, order=1, steps=60).item() == pytest.approx(-1)  # beyond the root of 3
    with pytest.raises(InputError, match=r"^weight with a root mean square of 1\.6 makes the iteration diverge"):
        graphs.bjorck(1.6 * one)


@pytest.mark.parametrize("outputs", [2, 5])
@pytest.mark.parametrize("orthonormal", ORTHONORMAL)
def test_it_is_a_graph_convolution_with_an_orthonormal_weight(outputs: int, orthonormal: str) -> None:
    layer, theirs = graphs.GCORN(3, outputs, orthonormal=orthonormal).double(), GCNConv(3, outputs, bias=False).double()
    weight = layer.lin.weight.detach()
    gram = weight @ weight.T if outputs <= 3 else weight.T @ weight
    torch.testing.assert_close(gram, torch.eye(len(gram)).double(), rtol=0, atol=1e-6)  # torch's start in float32
    theirs.lin.weight.data = weight
    edge_index = torch.cat([GRAPH, random_directed(12, 0.1), torch.tensor([[3], [3]])], 1)
    edge_weight = torch.rand(edge_index.shape[1]).double()
    torch.testing.assert_close(
        layer(features(12, 3), edge_index, edge_weight), theirs(features(12, 3), edge_index, edge_weight)
    )
    copy = graphs.GCORN(3, outputs, orthonormal=orthonormal).double()
    copy.load_state_dict(layer.state_dict())
    torch.testing.assert_close(copy.lin.weight, weight)


def test_any_linear_map_can_have_the_weight() -> None:
    lin = nn.Linear(5, 3).double()
    start = lin.weight.detach().clone()
    nn.utils.parametrize.register_parametrization(lin, "weight", graphs.Bjorck())
    torch.testing.assert_close(lin.weight, polar(start), rtol=0, atol=1e-12)


@pytest.mark.parametrize("orthonormal", ORTHONORMAL)
def test_trains(orthonormal: str) -> None:
    torch.manual_seed(0)
    check_trains(graphs.GCORNNet(4, 3, hidden=8, dropout=0.0, orthonormal=orthonormal), 4)


def test_no_attack_moves_the_embedding_beyond_the_bound() -> None:
    torch.manual_seed(0)
    network, x = graphs.GCORNNet(6, 3, hidden=4).double().eval(), features(12, 6)
    weights = [network.conv1.lin.weight, network.conv2.lin.weight]
    bound = graphs.robustness_bound(weights, GRAPH, 12, eps=0.5).item()
    generator = torch.Generator().manual_seed(0)
    seen = graphs.expected_robustness(network.embed, x, GRAPH, eps=0.5, sigma=1.0, samples=20, generator=generator)
    assert 0 < seen.distances.max() <= bound
    assert seen.risk == (seen.distances > 1).double().mean() <= bound
    walks = torch.linalg.matrix_power(dense(GRAPH, 12), 2).sum().item()
    assert bound == pytest.approx(0.5 * walks)  # orthonormal weights have the norm 1
    doubled = graphs.robustness_bound([2 * weights[0], weights[1]], GRAPH, 12, eps=0.5)
    assert doubled.item() == pytest.approx(2 * bound)


def test_the_bound_is_reached_where_everything_moves_along() -> None:
    """One layer of weight 2 and no activation moves all nodes alike by twice their neighbours' change."""
    weight, change = 2 * torch.ones(1, 1, dtype=torch.double), 0.3 * torch.ones(1, 12, 1, dtype=torch.double)

    def network(x: Tensor, edge_index: Tensor) -> Tensor:
        return dense(edge_index, 12) @ x @ weight.T

    moved = graphs.distances(network, features(12, 1), GRAPH, change)
    torch.testing.assert_close(moved[0], graphs.robustness_bound([weight], GRAPH, 12, eps=0.3), rtol=0, atol=1e-12)


def dense(edge_index: Tensor, nodes: int) -> Tensor:
    looped = torch.eye(nodes, dtype=torch.double).index_put(
        (edge_index[1], edge_index[0]), torch.ones(1).double(), True
    )
    return looped / (looped.sum(0) * looped.sum(1, keepdim=True)).sqrt()


def test_balls_are_filled_evenly() -> None:
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(4000, 3, generator=generator).double()
    points = graphs.in_balls(normal, torch.rand(4000, generator=generator).double(), 2.0)
    shares = [(points.norm(dim=1) < 2 * share ** (1 / 3)).double().mean().item() for share in (0.25, 0.5, 0.75, 1.0)]
    assert shares == pytest.approx([0.25, 0.5, 0.75, 1.0], abs=0.03)
    assert points.mean(0).abs().max() < 0.06


def test_attacks() -> None:
    x, labels = features(12, 5), torch.arange(12) % 2
    noise = graphs.noise_attack(x.repeat(200, 1), 0.7, torch.Generator().manual_seed(0)) - x.repeat(200, 1)
    assert noise.square().sum(1).mean().sqrt().item() == pytest.approx(0.7, rel=0.05)
    direction = features(1, 5, seed=2)

    def linear(x: Tensor, _: Tensor) -> Tensor:
        return torch.cat([x @ direction.T, -x @ direction.T], 1)

    worst = x + 0.4 * (2 * labels.double() - 1).unsqueeze(1) * direction / direction.norm()  # away from the right side
    found = graphs.gradient_attack(linear, x, GRAPH, labels, eps=0.4)
    torch.testing.assert_close(found, worst, rtol=0, atol=1e-12)
    some = graphs.gradient_attack(linear, x, GRAPH, labels, eps=0.4, nodes=torch.tensor([1, 4]))
    torch.testing.assert_close(some[[1, 4]], worst[[1, 4]], rtol=0, atol=1e-12)
    torch.testing.assert_close(some[[0, 2, 3]], x[[0, 2, 3]], rtol=0, atol=0)
    torch.testing.assert_close(graphs.gradient_attack(linear, x, GRAPH, labels, eps=0.0), x, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bjorck_order": 4}, "order=4 must be 1, 2 or 3"),
        ({"bjorck_beta": 0.4}, "beta=0.4 must be 0.5 for order=2"),
        ({"bjorck_steps": 0}, "steps=0 must be an integer of at least 1"),
        ({"bjorck_order": 1, "bjorck_beta": 0.0}, "beta=0.0 must be a positive number"),
        ({"orthonormal": "qr"}, "orthonormal='qr' is not one of bjorck, matrix_exp, cayley, householder"),
    ],
)
def test_settings_out_of_range(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        graphs.GCORN(3, 2, **settings)


def test_bad_input() -> None:
    layer = graphs.GCORN(3, 2).double()
    with pytest.raises(InputError, match=r"^x of shape \(12, 2\) and torch\.float64 must be floating and \(N, 3\)"):
        layer(features(12, 2), GRAPH)
    with pytest.raises(InputError, match=r"^edge_index has sources from 0 to 11; they must lie between 0 and 4$"):
        layer(features(5, 3), GRAPH)
    with pytest.raises(InputError, match=r"^edge_weight has -1\.0; weights must not be negative"):
        layer(features(12, 3), GRAPH, -torch.ones(GRAPH.shape[1]))
    layer.lin.parametrizations.weight.original.data.fill_(2.0)
    with pytest.raises(InputError, match=r"^weight with a root mean square of .* makes the iteration diverge"):
        layer(features(12, 3), GRAPH)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": -1.0, "sigma": 1.0}, "eps=-1.0 must be at least 0"),
        ({"eps": 1.0, "sigma": 0.0}, "sigma=0.0 must be a positive number"),
        ({"eps": 1.0, "sigma": 1.0, "samples": 0}, "samples=0 must be an integer of at least 1"),
    ],
)
def test_estimates_out_of_range(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        graphs.expected_robustness(lambda x, _: x, features(4, 2), random_directed(4, 0.5), **settings)


def test_bounds_and_attacks_out_of_range() -> None:
    for bad in (
        lambda: graphs.robustness_bound([torch.eye(2)], GRAPH, 12, eps=-1),
        lambda: graphs.gradient_attack(nn.Identity(), features(4, 2), GRAPH, torch.arange(4), eps=-1.0),
    ):
        with pytest.raises(InputError, match=r"^eps=-1(\.0)? must be at least 0$"):
            bad()
    with pytest.raises(InputError, match=r"^weights=\[\] must have one for each layer$"):
        graphs.robustness_bound([], GRAPH, 12, eps=1.0)
    with pytest.raises(InputError, match=r"^edge_index has sources from 0 to 11; they must lie between 0 and 3$"):
        graphs.robustness_bound([torch.eye(2)], GRAPH, 4, eps=1.0)
    with pytest.raises(InputError, match=r"^budget=-1\.0 must be at least 0$"):
        graphs.noise_attack(features(4, 2), -1.0)
