"""Depthwise windows as an operator: schema, shapes, gradients, cost, transforms, errors."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from convnn.backends import cpu
from convnn.errors import InputError, UnsupportedError
from convnn.ops import _windows, windows

BACKENDS = ["reference", pytest.param("cpu", marks=pytest.mark.skipif(cpu.core is None, reason="not compiled"))]
SHAPES = [((2, 5, 7), (3,)), ((2, 3, 6, 1), (3, 2)), ((1, 2, 3, 4, 3), (1, 3, 2))]
LOOKED_AT = ("test_schema", "test_autograd_registration", "test_faketensor")

# opcheck looks at the gradients of its own copies of the inputs
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


def _random(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype, requires_grad=True)


def _inputs(shape: tuple[int, ...], kernel: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    return _random(*shape, dtype=dtype), _random(shape[1], 1, *kernel, dtype=dtype), _random(shape[1], dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("shape", "kernel"), SHAPES)
def test_opcheck(shape: tuple[int, ...], kernel: tuple[int, ...], backend: str, dtype: torch.dtype) -> None:
    x, weight, bias = _inputs(shape, kernel, dtype)
    geometry = [[2] * len(kernel), [2] * len(kernel), [1] * len(kernel)]
    for b in (bias, None):
        forward = (x, weight, b, *geometry, backend)
        torch.library.opcheck(_windows.depthwise, forward, test_utils=LOOKED_AT)
    grad = _windows.depthwise(*forward).detach().requires_grad_()
    for needs in ([True, True], [False, True]):
        backward = (grad, x, weight, *geometry, needs, backend)
        torch.library.opcheck(_windows.depthwise_backward, backward, test_utils=LOOKED_AT)


@pytest.mark.slow
def test_operator_traces() -> None:
    arguments = (*_inputs((2, 5, 6, 7), (3, 3)), [1, 2], [1, 0], [1, 1], "auto")
    torch.library.opcheck(_windows.depthwise, arguments, test_utils="test_aot_dispatch_dynamic")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("shape", "kernel"), SHAPES)
def test_first_and_second_derivatives(shape: tuple[int, ...], kernel: tuple[int, ...], backend: str) -> None:
    def convolve(*tensors: Tensor) -> Tensor:
        return windows.depthwise(*tensors, stride=2, padding=1, backend=backend)

    assert torch.autograd.gradcheck(convolve, _inputs(shape, kernel), fast_mode=True)
    assert torch.autograd.gradgradcheck(convolve, _inputs(shape, kernel), fast_mode=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_operations_are_counted(backend: str) -> None:
    x, weight, bias = _inputs((2, 3, 8, 9), (5, 3), torch.float32)
    with FlopCounterMode(display=False) as counter:
        out = windows.depthwise(x, weight, bias, padding=(2, 1), backend=backend)
    assert counter.get_total_flops() == 2 * 2 * 3 * 8 * 9 * 15
    with FlopCounterMode(display=False) as counter:
        out.sum().backward()
    assert counter.get_total_flops() == 2 * 2 * 2 * 3 * 8 * 9 * 15


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # which torch itself uses here
def test_transforms_differentiate_it() -> None:
    x, weight, _ = (tensor.detach() for tensor in _inputs((2, 3, 8, 9), (5, 3)))

    def loss(weight: Tensor, image: Tensor) -> Tensor:
        return windows.depthwise(image.unsqueeze(0), weight).square().sum()

    per_sample = torch.func.vmap(torch.func.grad(loss), (None, 0))(weight, x)
    for image, found in zip(x, per_sample, strict=True):
        right = torch.autograd.grad(loss(weight.requires_grad_(), image), weight)[0]
        torch.testing.assert_close(found, right, rtol=0, atol=1e-10)
    _, slope = torch.func.jvp(lambda w: loss(w, x[0]), (weight.detach(),), (torch.ones_like(weight),))
    torch.testing.assert_close(slope, torch.func.grad(loss)(weight.detach(), x[0]).sum(), rtol=0, atol=1e-9)


def test_autocast_is_that_of_a_convolution() -> None:
    x, weight, bias = _inputs((2, 3, 8, 9), (5, 3), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found, right = windows.depthwise(x, weight, bias), F.conv2d(x, weight, bias, groups=3)
    assert found.dtype == right.dtype == torch.bfloat16
    torch.testing.assert_close(found, right)
    found.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.float32


WRONG: list[tuple[str, dict[str, Any]]] = [
    (r"x of shape \(3,\).* along one, two or three axes", {"x": torch.zeros(3)}),
    (r"x of .* must be floating", {"x": torch.zeros(1, 3, 5, 5, dtype=torch.long)}),
    (r"weight of shape \(4, 1, 3, 3\).*must be \(3, 1, \*K\)", {"weight": torch.zeros(4, 1, 3, 3)}),
    (r"weight of .*float64 must be .*float32", {"weight": torch.zeros(3, 1, 3, 3, dtype=torch.float64)}),
    (r"bias of shape \(2,\).*must be \(3,\)", {"bias": torch.zeros(2)}),
    (r"stride=0 must be an integer of at least 1", {"stride": 0}),
    (r"padding=-1 must be an integer of at least 0", {"padding": -1}),
    (r"dilation=\(1, 1, 1\) must be one number, or 2", {"dilation": (1, 1, 1)}),
    (r"weight of shape .* is larger than the map", {"dilation": 3}),
    (r"backend='cuda'", {"backend": "cuda"}),
]


@pytest.mark.parametrize(("message", "changes"), WRONG)
def test_bad_input_is_refused(message: str, changes: dict[str, Any]) -> None:
    usual = {"x": torch.zeros(1, 3, 5, 5), "weight": torch.zeros(3, 1, 3, 3)}
    with pytest.raises(InputError, match=message):
        windows.depthwise(**usual | changes)


def test_a_backend_that_cannot_says_why() -> None:
    with pytest.raises(UnsupportedError, match=r"triton.*there is no kernel for depthwise"):
        windows.depthwise(torch.zeros(1, 3, 5, 5), torch.zeros(3, 1, 3, 3), backend="triton")
