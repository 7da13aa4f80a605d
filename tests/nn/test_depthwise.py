"""Depthwise convolutions that the core computes: PyTorch's in everything but time."""

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

import convnn
from convnn.backends import cpu
from convnn.errors import InputError
from convnn.nn import (
    ConvMaker,
    DepthwiseConv1d,
    DepthwiseConv2d,
    DepthwiseConv3d,
    PositionalEncoding2d,
    replace_depthwise,
)
from convnn.nn._depthwise import convolve_depthwise
from convnn.ops import _sliding, _windows

compiled = pytest.mark.skipif(bool(cpu.unavailable_reasons()), reason="the core is not compiled")
PAIRS = [(nn.Conv1d, DepthwiseConv1d), (nn.Conv2d, DepthwiseConv2d), (nn.Conv3d, DepthwiseConv3d)]
SETTINGS: list[dict[str, Any]] = [
    {"padding": 3},
    {"padding": "same", "dilation": 2},
    {"padding": "valid"},
    {"padding": 2, "padding_mode": "circular", "stride": 2},
    {"padding": 3, "bias": False},
]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Return the maps that the operators of the core get."""
    seen: list[Tensor] = []

    def watch(module: Any, name: str) -> None:
        operator = getattr(module, name)

        def watched(x: Tensor, *arguments: Any) -> Tensor:
            seen.append(x)
            return operator(x, *arguments)

        monkeypatch.setattr(module, name, watched)

    watch(_windows, "depthwise")
    watch(_sliding, "sliding")
    return seen


def _pair(axes: int, dtype: torch.dtype = torch.float64, **settings: Any) -> tuple[Any, Any]:
    convs = [one(3, 3, 7, groups=3, dtype=dtype, **settings) for one in PAIRS[axes - 1]]
    convs[1].load_state_dict(convs[0].state_dict())
    return convs[0], convs[1]


def _results(conv: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    out = conv(x)
    out.square().sum().backward()
    assert x.grad is not None
    return [out.detach(), x.grad, *(p.grad for p in conv.parameters() if p.grad is not None)]


@compiled
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_results_are_those_of_pytorch(axes: int, settings: dict[str, Any], calls: list[Tensor]) -> None:
    plain, ours = _pair(axes, **settings)
    for shape in ((2, 3), (3,), (0, 3)):  # a batch, an image, and none
        x = torch.randn(*shape, *(15, 14, 13)[:axes], dtype=torch.float64)
        if settings.get("padding_mode") == "circular" and shape == (0, 3):
            continue  # PyTorch pads no images
        for found, right in zip(_results(ours, x), _results(plain, x), strict=True):
            assert found.stride() == right.stride() or not found.numel()
            torch.testing.assert_close(found, right, rtol=0, atol=1e-10)
    assert calls


def test_text_and_names_of_parameters_are_those_of_pytorch() -> None:
    for axes in (1, 2, 3):
        plain, ours = _pair(axes)
        assert repr(ours) == repr(plain)
        assert list(ours.state_dict()) == list(plain.state_dict())
    assert repr(PositionalEncoding2d(3)).startswith("PositionalEncoding2d(3, 3")


def test_the_layers_of_windows_are_built_of_it() -> None:
    make = ConvMaker(2)
    assert type(make.depthwise(4, 7)) is DepthwiseConv2d
    assert type(make.conv(4, 4, 3)) is nn.Conv2d
    assert type(make.conv(4, 8, 3, groups=4)) is nn.Conv2d


@compiled
def test_the_operator_is_called_where_it_is_quicker(calls: list[Tensor]) -> None:
    def uses(side: int, *, trains: bool = True, in_rows: bool = False, dtype: torch.dtype = torch.float32) -> bool:
        calls.clear()
        x = torch.randn(1, 3, 8, 8, dtype=dtype)
        conv = DepthwiseConv2d(3, 3, side, padding=side // 2, groups=3, dtype=dtype)
        with torch.set_grad_enabled(trains):
            conv(x.contiguous(memory_format=torch.channels_last) if in_rows else x)
        return bool(calls)

    assert [uses(side) for side in (3, 5, 31)] == [False, True, True]
    assert [uses(side, trains=False) for side in (7, 13, 31)] == [False, False, True]
    assert [uses(side, trains=False, in_rows=True) for side in (7, 13, 31)] == [False, True, True]
    assert uses(3, trains=False, dtype=torch.float64)


@compiled
def test_errors_are_those_of_pytorch() -> None:
    conv = DepthwiseConv2d(3, 3, 7, groups=3)
    for x in (torch.randn(1, 4, 8, 8), torch.randn(8, 8), torch.randn(1, 3, 8, 8, dtype=torch.float64)):
        with pytest.raises(RuntimeError) as error:
            conv(x)
        assert not isinstance(error.value, InputError)


@compiled
def test_second_derivatives() -> None:
    x, weight = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((1, 2, 4, 4), (2, 1, 3, 3)))
    assert torch.autograd.gradgradcheck(
        lambda x, weight: convolve_depthwise(x, weight, None, padding=1), (x, weight), fast_mode=True
    )


@compiled
def test_memory_format_of_the_input_is_kept(calls: list[Tensor]) -> None:
    _, conv = _pair(2, torch.float32, padding=3)
    x = torch.randn(2, 3, 9, 8)
    assert conv(x).is_contiguous()
    assert conv(x.contiguous(memory_format=torch.channels_last)).is_contiguous(memory_format=torch.channels_last)
    assert len(calls) == 2


@pytest.mark.slow
@compiled
def test_it_compiles_without_breaks() -> None:
    plain, ours = _pair(2, torch.float32, padding=3)
    compiled_conv = torch.compile(ours, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 3, 9, 8)
    for found, right in zip(_results(compiled_conv, x), _results(plain, x), strict=True):
        torch.testing.assert_close(found, right)


def test_an_exported_network_has_the_convolution_of_pytorch() -> None:
    _, conv = _pair(2, padding=3)
    program = torch.export.export(conv, (torch.randn(2, 3, 9, 8, dtype=torch.float64),))
    assert any(node.target is torch.ops.aten.conv2d.default for node in program.graph.nodes)


def test_a_symbolic_trace_has_the_convolution_of_pytorch() -> None:
    plain, ours = _pair(2, padding=3, padding_mode="reflect")
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(torch.fx.symbolic_trace(ours)(x), plain(x), rtol=0, atol=1e-12)


@compiled
def test_transforms_and_autocast() -> None:
    plain, ours = _pair(2, torch.float32, padding=3)
    x = torch.randn(2, 3, 9, 8)

    def loss(parameters: dict[str, Tensor], conv: nn.Module, image: Tensor) -> Tensor:
        return torch.func.functional_call(conv, parameters, (image.unsqueeze(0),)).square().sum()

    gradients = [
        torch.func.vmap(torch.func.grad(loss), (None, None, 0))(dict(conv.named_parameters()), conv, x)
        for conv in (plain, ours)
    ]
    torch.testing.assert_close(gradients[1], gradients[0])
    with torch.autocast("cpu", torch.bfloat16):
        for found, right in zip(_results(ours, x), _results(plain, x), strict=True):
            assert found.dtype == right.dtype
            torch.testing.assert_close(found, right, rtol=2e-2, atol=2e-2 * float(right.abs().max()))


@compiled
def test_replaced_convolutions_keep_everything_but_their_time(calls: list[Tensor]) -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 7, padding=3, groups=4), nn.Conv2d(4, 6, 1), nn.Conv2d(6, 6, 3, groups=6))
    optimizer, text, names = torch.optim.SGD(model.parameters(), 0.1), repr(model), list(model.state_dict())
    heard: list[nn.Module] = []
    model[0].register_forward_hook(lambda module, *_: heard.append(module))
    x = torch.randn(2, 4, 9, 9)
    before = model(x)
    report = replace_depthwise(model)
    assert [(fate.name, fate.new) for fate in report.replaced] == [("0", "DepthwiseConv2d"), ("2", "DepthwiseConv2d")]
    assert (repr(model), list(model.state_dict())) == (text, names)
    out = model(x)
    torch.testing.assert_close(out, before)
    assert len(heard) == 2
    assert len(calls) == 1
    weight = model[0].weight.detach().clone()
    out.square().sum().backward()
    optimizer.step()
    assert not torch.equal(model[0].weight, weight)


def test_a_network_of_others_is_replaced() -> None:
    model = torchvision.models.convnext_tiny()
    report = convnn.replace_depthwise(model)
    assert len(report.replaced) == 18
    assert not report.left


def test_what_is_more_than_a_convolution_is_left() -> None:
    class Scaled(nn.Conv2d):
        pass

    report = replace_depthwise(nn.Sequential(Scaled(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3, groups=4)))
    assert [fate.reason for fate in report.left] == ["Scaled computes more than a convolution, or not the same"]
    parametrized = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3, groups=4))
    with pytest.raises(InputError, match="the model was left: ParametrizedConv2d computes more"):
        replace_depthwise(parametrized)


@pytest.mark.parametrize("model", [nn.Conv2d(4, 8, 3), DepthwiseConv2d(4, 4, 3, groups=4)], ids=["mixing", "ours"])
def test_nothing_to_replace_is_said(model: nn.Module) -> None:
    with pytest.raises(InputError, match=r"model=\w+ has no torch.nn.Conv2d with a kernel for each channel"):
        replace_depthwise(model)


def test_a_replaced_network_takes_other_layers_and_merges() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 7, padding=3, groups=4), nn.BatchNorm2d(4)).eval()
    replace_depthwise(model)
    report = convnn.merge(model)
    assert str(report).endswith("0  Conv2d and BatchNorm2d -> Conv2d")
    assert len(convnn.replace_layers(model, "ConvNN").replaced) == 1
