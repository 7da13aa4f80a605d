"""Sliding convolutions and reductions as operators: definition, schema, gradients, cost, transforms, choice, errors."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from convnn.backends import cpu
from convnn.errors import InputError, UnsupportedError
from convnn.ops import REDUCTIONS, _convolve, _sliding, sliding_conv, sliding_reduce

compiled = pytest.mark.skipif(cpu.core is None, reason="not compiled")
BACKENDS = ["reference", pytest.param("cpu", marks=compiled)]
SHAPES = [((2, 4, 7), (6, 2, 3)), ((2, 3, 6, 1), (3, 1, 3, 2)), ((1, 2, 3, 4, 3), (5, 2, 1, 3, 2))]
LOOKED_AT = ("test_schema", "test_autograd_registration", "test_faketensor")
CONVOLVE = (F.conv1d, F.conv2d, F.conv3d)

# opcheck looks at the gradients of its own copies of the inputs
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@pytest.fixture(autouse=True)
def _small_maps_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_convolve, "_LEAST_PRODUCTS", 0)


def _random(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype, requires_grad=True)


def _inputs(
    shape: tuple[int, ...], kernel: tuple[int, ...], dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    return _random(*shape, dtype=dtype), _random(*kernel, dtype=dtype), _random(kernel[0], dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("shape", "kernel"), SHAPES)
def test_opcheck(shape: tuple[int, ...], kernel: tuple[int, ...], backend: str, dtype: torch.dtype) -> None:
    x, weight, bias = _inputs(shape, kernel, dtype)
    geometry = [2] * (len(kernel) - 2), [1] * (len(kernel) - 2)
    for b in (bias, None):
        torch.library.opcheck(_sliding.sliding, (x, weight, b, *geometry, backend), test_utils=LOOKED_AT)
    grad = _sliding.sliding(x, weight, bias, *geometry, backend).detach().requires_grad_()
    for needs in ([True, True], [False, True]):
        backward = (grad, x, weight, *geometry, needs, backend)
        torch.library.opcheck(_sliding.sliding_backward, backward, test_utils=LOOKED_AT)


@pytest.mark.slow
@compiled
def test_it_compiles_without_breaks() -> None:
    x, weight, bias = _inputs((2, 1, 9, 8), (2, 1, 5, 5), torch.float32)
    found = torch.compile(sliding_conv, fullgraph=True, backend="aot_eager")(x, weight, bias, padding=2)
    torch.testing.assert_close(found, F.conv2d(x, weight, bias, padding=2))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("shape", "kernel"), SHAPES)
def test_first_and_second_derivatives(shape: tuple[int, ...], kernel: tuple[int, ...], backend: str) -> None:
    def convolve(*tensors: Tensor) -> Tensor:
        return sliding_conv(*tensors, padding=1, groups=shape[1] // kernel[1], backend=backend)

    assert torch.autograd.gradcheck(convolve, _inputs(shape, kernel), fast_mode=True)
    assert torch.autograd.gradgradcheck(convolve, _inputs(shape, kernel), fast_mode=True)


def test_definition_in_loops() -> None:
    x, weight, bias = (one.detach() for one in _inputs((2, 4, 9, 7), (6, 2, 3, 2)))
    found = sliding_conv(x, weight, bias, stride=(2, 1), padding=(1, 3), dilation=(2, 3), groups=2)
    padded = F.pad(x, (3, 3, 1, 1))
    for b, o, i, j in torch.cartesian_prod(*map(torch.arange, found.shape)).tolist():
        window = padded[b, o // 3 * 2 : o // 3 * 2 + 2, 2 * i : 2 * i + 5 : 2, j : j + 4 : 3]
        right = bias[o] + (weight[o] * window).sum()
        assert abs(found[b, o, i, j] - right) < 1e-12


SETTINGS: list[dict[str, Any]] = [
    {},
    {"padding": 2, "dilation": 3},
    {"stride": 2, "padding": 1},
    {"padding": "same"},
    {"padding": "valid"},
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_it_is_the_convolution_of_pytorch(axes: int, settings: dict[str, Any]) -> None:
    for channels, outputs, groups, side in ((1, 1, 1, 3), (4, 6, 2, 2), (17, 17, 17, 3), (64, 65, 1, 3)):
        x = torch.randn(2, channels, *(9, 8, 7)[:axes], dtype=torch.float64)
        weight = torch.randn(outputs, channels // groups, *[side] * axes, dtype=torch.float64)
        for one in (x, x[0]):
            found, right = (f(one, weight, None, groups=groups, **settings) for f in (sliding_conv, CONVOLVE[axes - 1]))
            torch.testing.assert_close(found, right, rtol=0, atol=1e-10)


def test_ones_are_a_sliding_sum() -> None:
    x = _random(3, 1, 40).detach()
    ones = torch.ones(1, 1, 7, dtype=x.dtype)
    torch.testing.assert_close(sliding_conv(x, ones), sliding_reduce(x, 7), rtol=0, atol=1e-13)


def test_float32_errors_grow_like_the_root_of_the_terms() -> None:
    for side, channels in ((3, 1), (31, 1), (31, 8)):
        x, weight, _ = (
            one.detach() for one in _inputs((1, channels, 40, 40), (1, channels, side, side), torch.float32)
        )
        right = F.conv2d(x.double(), weight.double(), padding=side // 2)
        error = (sliding_conv(x, weight, padding=side // 2) - right).abs().max() / right.abs().max()
        assert error < 1e-7 * (channels * side**2) ** 0.5


@compiled
def test_the_core_is_chosen_for_few_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "INSTRUCTION_SET", "avx2")
    calls: list[int] = []
    operator = _sliding.sliding
    monkeypatch.setattr(_sliding, "sliding", lambda *arguments: (calls.append(1), operator(*arguments))[1])

    def slides(inputs: int, outputs: int, side: int, dtype: torch.dtype = torch.float32, **settings: Any) -> bool:
        calls.clear()
        x = torch.randn(1, inputs, 16, 16, dtype=dtype)
        weight = torch.randn(outputs, inputs // settings.get("groups", 1), side, side, dtype=dtype)
        sliding_conv(x, weight, padding=side // 2, **settings)
        return bool(calls)

    assert slides(1, 1, 3)
    assert slides(8, 8, 5)
    assert not slides(8, 9, 5)
    assert slides(16, 16, 14)
    assert not slides(17, 16, 14)
    assert slides(20, 20, 3, torch.float64)
    assert slides(32, 64, 3, groups=16)
    assert slides(15, 15, 3, groups=15)
    assert not slides(16, 16, 3, groups=16)
    assert not slides(1, 1, 1)
    assert not slides(1, 1, 5, stride=2)
    assert not slides(1, 1, 5, torch.bfloat16)
    monkeypatch.setattr(_convolve, "_LEAST_PRODUCTS", 16 * 16 * 8 * 25 + 1)
    assert not slides(8, 8, 5, groups=8)
    assert slides(8, 8, 5)
    monkeypatch.setattr(cpu, "INSTRUCTION_SET", "portable")
    assert not slides(8, 8, 5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_operations_are_counted(backend: str) -> None:
    x, weight, bias = _inputs((2, 3, 8, 9), (4, 3, 5, 3), torch.float32)
    with FlopCounterMode(display=False) as counter:
        out = sliding_conv(x, weight, bias, padding=(2, 1), backend=backend)
    assert counter.get_total_flops() == 2 * 2 * 4 * 8 * 9 * 45
    with FlopCounterMode(display=False) as counter:
        out.sum().backward()
    assert counter.get_total_flops() == 2 * 2 * 2 * 4 * 8 * 9 * 45


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # which torch itself uses here
def test_transforms_differentiate_it() -> None:
    x, weight, _ = (tensor.detach() for tensor in _inputs((2, 1, 8, 9), (2, 1, 5, 3)))

    def loss(weight: Tensor, image: Tensor) -> Tensor:
        return sliding_conv(image, weight).square().sum()

    per_sample = torch.func.vmap(torch.func.grad(loss), (None, 0))(weight, x)
    for image, found in zip(x, per_sample, strict=True):
        right = torch.autograd.grad(loss(weight.requires_grad_(), image), weight)[0]
        torch.testing.assert_close(found, right, rtol=0, atol=1e-10)
    _, slope = torch.func.jvp(lambda w: loss(w, x[0]), (weight.detach(),), (torch.ones_like(weight),))
    torch.testing.assert_close(slope, torch.func.grad(loss)(weight.detach(), x[0]).sum(), rtol=0, atol=1e-9)


def test_an_exported_network_has_the_convolution_of_pytorch() -> None:
    class Blur(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return sliding_conv(x, x.new_ones(1, 1, 3, 3))

    program = torch.export.export(Blur(), (torch.randn(1, 1, 9, 8),))
    assert any(node.target is torch.ops.aten.conv2d.default for node in program.graph.nodes)


def test_it_learns_a_kernel() -> None:
    x, right = torch.randn(4, 1, 12, 12), torch.randn(1, 1, 3, 3)
    target = F.conv2d(x, right, padding=1)
    weight = torch.zeros_like(right, requires_grad=True)
    optimizer = torch.optim.SGD([weight], 0.3)
    for _ in range(60):
        optimizer.zero_grad()
        F.mse_loss(sliding_conv(x, weight, padding=1), target).backward()
        optimizer.step()
    torch.testing.assert_close(weight.detach(), right, rtol=0, atol=1e-3)


WRONG: list[tuple[str, dict[str, Any]]] = [
    (r"weight of shape \(4, 2, 3, 3\).* must have 3 input channels", {"weight": torch.zeros(4, 2, 3, 3)}),
    (r"weight of .*float64 must have .*float32", {"weight": torch.zeros(4, 3, 3, 3, dtype=torch.float64)}),
    (r"weight of shape \(4, 3\) must be \(C_out, C / groups, \*K\)", {"weight": torch.zeros(4, 3)}),
    (r"x of shape \(5, 5\) must be", {"x": torch.zeros(5, 5)}),
    (r"groups=2 must divide the 3 channels of x and the 4", {"groups": 2}),
    (r"groups=0 must be an integer of at least 1", {"groups": 0}),
    (r"bias of shape \(3,\).*must be \(4,\)", {"bias": torch.zeros(3)}),
    (r"stride=0 must be an integer of at least 1", {"stride": 0}),
    (r"dilation=0 must be an integer of at least 1", {"dilation": 0}),
    (r"padding=-1 must be an integer of at least 0", {"padding": -1}),
    (r"padding='full'.*same", {"padding": "full"}),
    (r"dilation=\(1, 1, 1\) must be one number, or 2", {"dilation": (1, 1, 1)}),
    (r"weight of shape .* is larger than the map", {"dilation": 3}),
    (r"backend='cuda'", {"backend": "cuda"}),
]


@pytest.mark.parametrize(("message", "changes"), WRONG)
def test_bad_input_is_refused(message: str, changes: dict[str, Any]) -> None:
    usual = {"x": torch.zeros(1, 3, 5, 5), "weight": torch.zeros(4, 3, 3, 3)}
    with pytest.raises(InputError, match=message):
        sliding_conv(**usual | changes)


def test_what_no_kernel_computes_is_said() -> None:
    x, weight = torch.zeros(1, 3, 5, 5), torch.zeros(4, 3, 3, 3)
    for arguments, message in (
        ({"x": x.long()}, r"x of torch.int64 .* must be floating"),
        ({"backend": "triton"}, r"triton.*there is no kernel for sliding"),
        ({"backend": "cpu", "stride": 2}, r"stride=\(2, 2\); it must be 1"),
        ({"backend": "cpu", "weight": weight[..., :2], "padding": "same"}, "padding='same' of an even extent"),
    ):
        with pytest.raises(UnsupportedError, match=message):
            sliding_conv(**{"x": x, "weight": weight} | arguments)


DEFINITIONS = {"sum": Tensor.sum, "mean": Tensor.mean, "max": Tensor.amax, "min": Tensor.amin}


@pytest.mark.parametrize("op", REDUCTIONS)
def test_reductions_are_those_of_unfolded_windows(op: str) -> None:
    x = _random(2, 3, 41).detach()
    for window in (*range(1, 42),):
        found, right = sliding_reduce(x, window, op), DEFINITIONS[op](x.unfold(-1, window, 1), -1)
        torch.testing.assert_close(found, right, rtol=0, atol=2e-14)
        assert found.data_ptr() != x.data_ptr()


def test_reductions_are_those_of_pytorchs_pools() -> None:
    x = _random(2, 3, 41).detach()
    for window in (1, 6, 16, 23):
        torch.testing.assert_close(sliding_reduce(x, window, "mean"), F.avg_pool1d(x, window, 1), rtol=0, atol=2e-15)
        assert torch.equal(sliding_reduce(x, window, "max"), F.max_pool1d(x, window, 1))


@pytest.mark.parametrize("op", REDUCTIONS)
def test_gradients_of_reductions(op: str) -> None:
    x = _random(2, 11)
    for window in (1, 3, 6, 8, 11):
        assert torch.autograd.gradcheck(lambda x, w=window: sliding_reduce(x, w, op), x, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: sliding_reduce(x, 5, op), x, fast_mode=True)


def test_gradient_of_ties_goes_to_the_first() -> None:
    x = torch.randint(3, (5, 30), dtype=torch.float64).requires_grad_()
    grad = torch.rand(5, 25, dtype=torch.float64)
    (found,) = torch.autograd.grad(sliding_reduce(x, 6, "max"), x, grad)
    (right,) = torch.autograd.grad(F.max_pool1d(x, 6, 1), x, grad)
    torch.testing.assert_close(found, right, rtol=0, atol=1e-14)
    (of_negative,) = torch.autograd.grad(sliding_reduce(-x, 6, "min"), x, grad)
    torch.testing.assert_close(of_negative, -found, rtol=0, atol=1e-14)


@pytest.mark.parametrize("op", REDUCTIONS)
def test_a_window_with_nan_is_nan(op: str) -> None:
    x = torch.zeros(9, requires_grad=True)
    with torch.no_grad():
        x[4] = math.nan
        plain = sliding_reduce(x, 3, op)
    for found in (plain, sliding_reduce(x, 3, op)):
        assert found.isnan().tolist() == [False, False, True, True, True, False, False]


def test_reductions_under_transforms() -> None:
    x = _random(3, 12).detach()

    def loss(row: Tensor) -> Tensor:
        return sliding_reduce(row, 5, "max").square().sum()

    found = torch.func.vmap(torch.func.grad(loss))(x)
    for row, one in zip(x, found, strict=True):
        leaf = row.clone().requires_grad_()
        torch.testing.assert_close(one, torch.autograd.grad(loss(leaf), leaf)[0])


def test_bad_reductions_are_refused() -> None:
    x = torch.zeros(2, 5)
    for arguments, message in (
        ((x, 0), "window=0 must be an integer of at least 1"),
        ((x, 6), r"window=6 must be at most the last axis of x, of shape \(2, 5\)"),
        ((torch.tensor(1.0), 1), "window=1 must be at most"),
        ((x, 2, "product"), "op='product'"),
    ):
        with pytest.raises(InputError, match=message):
            sliding_reduce(*arguments)
    with pytest.raises(UnsupportedError, match=r"x of torch.int64"):
        sliding_reduce(x.long(), 2)
