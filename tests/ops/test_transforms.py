"""`torch.func` and forward-mode derivatives, against backward and loops over samples."""

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jacrev, jvp, vmap

from convnn import nn as cnn
from convnn.ops import select
from convnn.ops.aggregate import maximum
from convnn.ops.neighbors import Neighbors

LAYERS = {
    "convnn": lambda: cnn.ConvNN2d(3, 4, K=5),
    "attention": lambda: cnn.ConvNNAttn2d(3, 4, K=5),
    "pos": lambda: cnn.ConvNNPos2d(3, 4),
    "svga": lambda: cnn.SVGA2d(3, 4, positional_size=3),
    "adaptive": lambda: cnn.AdaptiveNeighborhoods2d(3, 4),
}


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> nn.Module:
    return LAYERS[request.param]().double().eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 3, 4, 5, dtype=torch.double)


def loss(layer: nn.Module, parameters: dict[str, Tensor], x: Tensor) -> Tensor:
    return functional_call(layer, parameters, (x,)).square().sum()


def test_grad_is_what_backward_gives(layer: nn.Module, x: Tensor) -> None:
    parameters = {name: one.detach() for name, one in layer.named_parameters()}
    by_transform = grad(lambda parameters: loss(layer, parameters, x))(parameters)
    by_backward = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    for name, expected in zip(parameters, by_backward, strict=True):
        torch.testing.assert_close(by_transform[name], expected)


def test_gradients_of_every_sample(layer: nn.Module, x: Tensor) -> None:
    parameters = {name: one.detach() for name, one in layer.named_parameters()}
    found = vmap(grad(lambda parameters, one: loss(layer, parameters, one)), in_dims=(None, 0))(parameters, x)
    for i, one in enumerate(x):
        expected = torch.autograd.grad(layer(one).square().sum(), list(layer.parameters()))
        for name, each in zip(parameters, expected, strict=True):
            torch.testing.assert_close(found[name][i], each)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # which torch itself uses here
def test_a_forward_derivative_is_the_transpose_of_backward(layer: nn.Module, x: Tensor) -> None:
    """Check that the inner products <u, J v> and <J^T u, v> are equal."""
    v = torch.randn_like(x)
    y, along = jvp(layer, (x,), (v,))
    u = torch.randn_like(y)
    x.requires_grad_()
    back = torch.autograd.grad(layer(x), x, u)[0]
    torch.testing.assert_close((u * along).sum(), (back * v).sum())
    layer.requires_grad_(False)
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(layer(forward_ad.make_dual(x.detach(), v))).tangent
    torch.testing.assert_close(dual, along)


def test_second_derivatives() -> None:
    layer, x = cnn.ConvNN2d(2, 1, K=2, padding=0).double(), torch.randn(1, 2, 2, 2, dtype=torch.double)

    def of_weight(weight: Tensor) -> Tensor:
        return functional_call(layer, {"weight": weight}, (x,)).square().sum()

    weight = layer.weight.detach()
    torch.testing.assert_close(
        jacrev(grad(of_weight))(weight), torch.autograd.functional.hessian(of_weight, weight), rtol=1e-9, atol=1e-9
    )


def test_a_compiled_gradient() -> None:
    layer, x = cnn.ConvNN2d(2, 3, K=3).double(), torch.randn(2, 2, 3, 3, dtype=torch.double)
    derivative = grad(lambda x: layer(x).square().sum())
    compiled = torch.compile(derivative, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), derivative(x))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
def test_samples_choose_as_they_would_alone(axis: int, shared: bool) -> None:
    rows = torch.randn(4, 2, 6, 3).movedim(0, axis)
    own = torch.stack([torch.randperm(6)[:4].sort().values for _ in range(4)])
    candidates = own[0].expand(4, -1) if shared else own
    choices = candidates.reshape(4, 1, 2, 2).expand(-1, 6, -1, -1)
    positions = torch.arange(6)

    def nearest(rows: Tensor, candidates: Tensor) -> Tensor:
        return select.nearest(rows, rows, 3, positions=positions, candidates=candidates).indices

    def one_of_each(rows: Tensor, choices: Tensor) -> Tensor:
        return select.one_of_each(rows, rows, choices).indices

    def largest(rows: Tensor, candidates: Tensor) -> Tensor:
        return maximum(rows, Neighbors(candidates.expand(2, 6, -1)), rows)

    for function, lists in ((nearest, candidates), (one_of_each, choices), (largest, candidates)):
        expected = [function(one, each) for one, each in zip(rows.unbind(axis), lists, strict=True)]
        own_list = None if shared else 0
        found = vmap(function, in_dims=(axis, own_list))(rows, lists[0] if shared else lists)
        torch.testing.assert_close(found, torch.stack(expected))
