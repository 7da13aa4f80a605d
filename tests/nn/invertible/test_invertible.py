"""Every invertible layer: its inverse, and its log-determinant against the Jacobian of autograd."""

import copy
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.nn.invertible.glow import ActNorm2d, AffineCoupling, InvertiblePointwise, Logit, Squeeze2d
from convnn.nn.invertible.protocol import Invertible, InvertibleSequence
from convnn.nn.invertible.triangular import FInC2d, TriangularConv2d


def filled(layer: Invertible) -> Invertible:
    """Give a layer random parameters, of deviation 0.3, in float64."""
    generator = torch.Generator().manual_seed(1)
    layer = layer.double()
    with torch.no_grad():
        for value in layer.parameters():
            value.copy_(0.3 * torch.randn(value.shape, generator=generator, dtype=value.dtype))
    return layer


LAYERS: dict[str, Callable[[], Invertible]] = {
    "TL": lambda: TriangularConv2d(4),
    "TR": lambda: TriangularConv2d(4, orders=("TR",), kernel_size=(2, 3)),
    "BL": lambda: TriangularConv2d(4, orders=("BL",), kernel_size=(1, 2), learn_diagonal=True),
    "BR-BR": lambda: TriangularConv2d(4, orders=("BR", "BR"), learn_diagonal=True),
    "1x1": lambda: TriangularConv2d(4, kernel_size=1),
    "finc": lambda: FInC2d(4, learn_diagonal=True),
    "actnorm": lambda: ActNorm2d(4),
    "pointwise": lambda: InvertiblePointwise(4),
    "coupling": lambda: AffineCoupling(4, width=3),
    "squeeze": Squeeze2d,
    "sequence": lambda: InvertibleSequence([Squeeze2d(), FInC2d(16), ActNorm2d(16), AffineCoupling(16, 3)]),
}


@pytest.mark.parametrize("size", [(4, 2), (2, 6)])
@pytest.mark.parametrize("name", LAYERS)
def test_inverse_and_determinant(name: str, size: tuple[int, int]) -> None:
    layer = filled(LAYERS[name]())
    x = torch.randn(2, 4, *size, dtype=torch.double, generator=torch.Generator().manual_seed(2))
    z, log_det = layer(x)
    assert log_det.shape == (2,)
    torch.testing.assert_close(layer.inverse(z), x, rtol=0, atol=1e-10)
    for i in range(2):
        jacobian = torch.autograd.functional.jacobian(lambda one: layer(one)[0], x[i : i + 1])
        expected = torch.linalg.slogdet(jacobian.reshape(x[i].numel(), -1))[1]
        torch.testing.assert_close(log_det[i], expected, rtol=0, atol=1e-10)


def test_logit() -> None:
    layer = Logit(17)
    x = 17 * torch.rand(2, 1, 3, 2, dtype=torch.double, generator=torch.Generator().manual_seed(2))
    z, log_det = layer(x)
    torch.testing.assert_close(layer.inverse(z), x, rtol=0, atol=1e-10)
    jacobian = torch.autograd.functional.jacobian(lambda one: layer(one)[0], x[:1]).reshape(6, 6)
    torch.testing.assert_close(log_det[0], torch.linalg.slogdet(jacobian)[1])


@pytest.mark.parametrize("layer", [FInC2d(16, backend="reference"), FInC2d(16)], ids=["reference", "auto"])
def test_a_map_of_16_is_inverted_with_large_weights(layer: FInC2d) -> None:
    layer = copy.deepcopy(layer).double()
    nn.init.normal_(layer.weight, std=0.25)
    x = torch.randn(1, 16, 16, 16, dtype=torch.double)
    torch.testing.assert_close(layer.inverse(layer(x)[0]), x, rtol=0, atol=1e-8)


def test_every_corner_pads_its_own_side() -> None:
    for order, place in {"TL": (3, 3), "TR": (3, 0), "BL": (0, 3), "BR": (0, 0)}.items():
        layer = filled(TriangularConv2d(1, orders=(order,)))
        x = torch.zeros(1, 1, 4, 4, dtype=torch.double, requires_grad=True)
        (gradient,) = torch.autograd.grad(layer(x)[0][0, 0][place], x)
        rows, columns = gradient[0, 0].nonzero().T
        expected = [sorted(abs(at - i) for i in range(3)) for at in place]
        assert [sorted(set(rows.tolist())), sorted(set(columns.tolist()))] == expected


@pytest.mark.parametrize(("channels", "stored", "learned"), [(12, 324, 300), (48, 5184, 4872)])
def test_parameters_are_as_many_as_published(channels: int, stored: int, learned: int) -> None:
    layer = FInC2d(channels)
    assert (layer.weight.numel(), int(layer.free.sum())) == (stored, learned)


def test_weight_decay_leaves_the_triangle() -> None:
    torch.manual_seed(0)
    layer = FInC2d(8).double()
    x, target = torch.randn(2, 4, 8, 5, 5, dtype=torch.double)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1, weight_decay=0.1)
    losses = []
    for _ in range(5):
        loss = nn.functional.mse_loss(layer(x)[0], target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    last = layer.kernel[..., -1, -1].unflatten(0, (4, 2))
    assert torch.equal(last, last.tril())
    assert torch.equal(last.diagonal(dim1=1, dim2=2), torch.ones(4, 2).double())
    torch.testing.assert_close(layer.inverse(layer(x)[0]), x, rtol=0, atol=1e-12)


def test_gradients_go_through_the_inverse() -> None:
    layer = FInC2d(4).double()
    z = torch.randn(1, 4, 2, 3, dtype=torch.double, requires_grad=True)

    def call(z: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(_Inverse(layer), {"layer.weight": weight}, (z,))

    assert torch.autograd.gradcheck(call, (z, layer.weight), fast_mode=True)


class _Inverse(nn.Module):
    def __init__(self, layer: Invertible) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, z: Tensor) -> Tensor:
        return self.layer.inverse(z)


def test_state_moves_and_is_copied() -> None:
    layer = FInC2d(8)
    assert set(layer.state_dict()) == {"weight"}
    other = copy.deepcopy(layer).to(torch.float64)
    assert other.free.dtype == other.unit.dtype == torch.float64
    other.load_state_dict(layer.state_dict())
    x = torch.randn(1, 8, 3, 3)
    torch.testing.assert_close(other(x.double())[0].float(), layer(x)[0])
    assert FInC2d(8, device="meta").free.device.type == "meta"


@pytest.mark.slow
def test_forward_and_inverse_compile_as_one_graph_and_forward_is_exported() -> None:
    layer, x = FInC2d(4, learn_diagonal=True), torch.randn(2, 4, 3, 4)
    compiled = torch.compile(layer, fullgraph=True, backend="eager")(x)
    torch.testing.assert_close(compiled, layer(x))
    undone = torch.compile(_Inverse(layer), fullgraph=True, backend="eager")(compiled[0].detach())
    torch.testing.assert_close(undone, x)
    exported = torch.export.export(layer, (x,)).module()(x)
    torch.testing.assert_close(exported, layer(x))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FInC2d(6), "channels=6 must be a multiple of the 4 corners"),
        (lambda: FInC2d(0), "channels=0 must be an integer of at least 1"),
        (lambda: FInC2d(4, kernel_size=0), "kernel_size=0 must be"),
        (lambda: FInC2d(4, kernel_size=(3, 3, 3)), "kernel_size=(3, 3, 3) must be one number, or 2"),
        (lambda: FInC2d(4, backend="gpu"), "backend='gpu' is not one of"),
        (lambda: TriangularConv2d(4, orders=("LT",)), "orders='LT' is not one of TL, TR, BL, BR"),
        (lambda: TriangularConv2d(4, orders=()), "channels=4 must be a multiple of the 0 corners"),
        (lambda: FInC2d(4)(torch.zeros(1, 8, 2, 2)), "input of shape (1, 8, 2, 2) must be (B, 4, H, W)"),
        (lambda: FInC2d(4).inverse(torch.zeros(4, 2, 2)), "input of shape (4, 2, 2) must be (B, 4, H, W)"),
        (lambda: AffineCoupling(3), "channels=3 must be even"),
        (lambda: AffineCoupling(4, width=0), "width=0 must be"),
        (lambda: Squeeze2d()(torch.zeros(1, 4, 3, 2)), "input of shape (1, 4, 3, 2) must have even sides"),
        (lambda: ActNorm2d(2).initialize(torch.zeros(1, 2, 1, 1)), "images of (1, 2, 1, 1) have one value"),
        (lambda: Logit(1), "values=1 must be an integer of at least 2"),
        (lambda: Logit(2, alpha=0.5), "alpha=0.5 must lie between 0 and 0.5"),
    ],
)
def test_refuses(build: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        build()
