"""Tests of layers whose kernel depends on the input: their oracles, their places in networks, and bad input."""

import re
from pathlib import Path

import pytest
import torch
import torchvision
from timm.layers import CondConv2d as TimmCondConv2d
from torch import nn
from torch.nn import functional as F

import convnn
from convnn import nn as cnn
from convnn.errors import InputError
from convnn.export import export_onnx
from convnn.export._trace import trace
from convnn.models import create_model
from convnn.nn.kernels import per_sample as per_sample_module
from convnn.nn.kernels.per_sample import per_sample
from kernel_layers import check_trains, maps
from pairwise import only

FREQUENCY = {"plain_up_to": 0, "frequency_groups": 3}


def moved(layer: nn.Module) -> nn.Module:
    """Give every parameter a value of its own, in evaluation mode and float64."""
    torch.manual_seed(0)
    for parameter in layer.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return layer.double().eval()


@pytest.mark.parametrize(
    "settings",
    [
        {"stride": 2, "padding": 1},
        {"groups": 4, "bias": True},
        {"dilation": 2, "padding": 2, "groups": 2},
        {"stride": 2, "padding": "same", "kernel_size": 5},
        {"kernel_size": 1, "padding": 0, "num_experts": 1},
    ],
)
def test_condconv_is_timms_and_the_mixture_of_the_experts_outputs(settings: dict) -> None:
    theirs = moved(TimmCondConv2d(4, 8, **{"kernel_size": 3, "num_experts": 3} | settings))
    given = {"experts": settings.get("num_experts", 3), "bias": theirs.bias is not None}
    layer = moved(cnn.CondConv2d(4, 8, **{k: v for k, v in settings.items() if k != "num_experts"} | given))
    layer.weight.data.copy_(theirs.weight.view_as(layer.weight))
    if theirs.bias is not None:
        layer.bias.data.copy_(theirs.bias)
    x = maps(4, 9, 8, batch=3)
    shares = (layer.routing(x.mean((2, 3)))).sigmoid()
    torch.testing.assert_close(layer(x), theirs(x, shares), rtol=0, atol=1e-12)
    outputs = [
        F.conv2d(layer.grid.pad(x), w, b, layer.grid.stride, 0, layer.grid.dilation, layer.groups)
        for w, b in zip(layer.weight, layer.bias if given["bias"] else [None] * given["experts"], strict=True)
    ]
    torch.testing.assert_close(layer(x), torch.einsum("be,ebohw->bohw", shares, torch.stack(outputs)))


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("tf_efficientnet_cc_b0_4e", 13_314_116),
        pytest.param("tf_efficientnet_cc_b0_8e", 24_013_284, marks=pytest.mark.long),
        pytest.param("tf_efficientnet_cc_b1_8e", 39_715_968, marks=pytest.mark.long),
    ],
)
def test_its_networks_have_the_published_counts(name: str, published: int) -> None:
    with torch.device("meta"):
        network = create_model(f"timm:{name}", "Conv2d", num_classes=1000)
    assert sum(p.numel() for p in network.parameters()) == published


def literal(layer: cnn.FDConv2d, x: torch.Tensor) -> torch.Tensor:
    """FDConv by its definition, a sample and a coefficient at a time."""
    modulation, out = layer.modulation, []
    inside, outside, side = layer.in_channels, layer.out_channels, layer.side
    spectrum = torch.view_as_complex(layer.spectrum * max(min(inside, outside) // 2, 1))
    means = x.mean((2, 3))
    z = modulation.activation(modulation.norm(modulation.reduce(means)))
    local = layer.local.conv(F.layer_norm(means, (inside,), layer.local.norm.weight, layer.local.norm.bias)[:, None])
    for b in range(len(x)):
        shares = 2 * modulation.shares(z[b]).sigmoid().view(layer.spectra, -1)
        total = torch.zeros_like(spectrum[0])
        for r in range(layer.spectra):
            for i in range(total.shape[0]):
                for j in range(total.shape[1]):
                    total[i, j] = total[i, j] + shares[r, layer.group[r, i, j]] * spectrum[r, i, j]
        image = torch.fft.irfft2(total, s=(outside * side, inside * side))
        weight = image.view(outside, side, inside, side).permute(0, 2, 1, 3)
        factor = [2 * head(z[b]).sigmoid() for head in (modulation.outputs, modulation.inputs, modulation.places)]
        weight = weight * factor[0][:, None, None, None] * factor[1][:, None, None]
        weight = weight * factor[2].view(side, side)
        weight = weight * 2 * local[b].view(outside, side, side, inside).permute(0, 3, 1, 2).sigmoid()
        grid = layer.grid
        out.append(F.conv2d(grid.pad(layer.bands(x[b : b + 1])), weight, layer.bias, grid.stride, 0, grid.dilation))
    return torch.cat(out)


@pytest.mark.parametrize(
    "settings",
    [{"stride": 2, "padding": 1, "spectra": 2}, {"dilation": 2, "padding": 2, "band_groups": 3, "weigh_lowest": True}],
)
def test_fdconv_is_its_definition(settings: dict) -> None:
    layer = moved(cnn.FDConv2d(3, 4, **FREQUENCY, **settings))
    x = maps(3, 7, 9)
    torch.testing.assert_close(layer(x), literal(layer, x), rtol=0, atol=1e-11)


@pytest.mark.parametrize("batch", [2, 7])
@pytest.mark.parametrize(
    "settings", [{"spectra": 1, "local_gate": "tanh"}, {"stride": 2, "dilation": 2, "local_gate": None}]
)
def test_in_parts_fdconv_is_the_convolution_with_its_kernels(
    batch: int, settings: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer samples than groups, and with more: also the gradients, and the derivatives of these."""
    layer = moved(cnn.FDConv2d(4, 12, **FREQUENCY, **settings))
    monkeypatch.setattr(per_sample_module, "AT_ONCE", 2 * 12 * 36 * 8)
    x = maps(4, 5, 4, batch=batch).requires_grad_()
    assert per_sample_module.at_once(x, 12 * 36, 12, layer.grid) == 2 if "dilation" in settings else 1
    tensors = [x, *layer.parameters()]
    whole = per_sample(layer.weighted(x), layer.kernels(x), layer.bias.expand(batch, -1), grid=layer.grid)
    for found, expected in zip(derivatives(layer(x), tensors), derivatives(whole, tensors), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    changed = lambda x: layer(x).square().sum()  # noqa: E731
    torch.testing.assert_close(torch.func.grad(changed)(x), torch.autograd.grad(changed(x), x)[0])


def derivatives(out: torch.Tensor, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return an output, its gradients, and the gradients of the sum of their squares."""
    first = torch.autograd.grad(out.pow(3).sum(), tensors, create_graph=True)
    return [out, *first, *torch.autograd.grad(sum(one.square().sum() for one in first), tensors)]


def test_with_all_factors_1_fdconv_is_the_convolution_of_the_inverse_transform() -> None:
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1).double()
    for settings in ({}, {"in_frequency": False}, {"spectra": 2}):
        layer = cnn.FDConv2d(4, 6, stride=2, padding=1, **FREQUENCY, **settings).double()
        layer.take_kernel(conv.weight, conv.bias)
        torch.testing.assert_close(layer(maps(4, 9, 8)), conv(maps(4, 9, 8)), rtol=0, atol=1e-13)
        fresh = cnn.FDConv2d(4, 6, **FREQUENCY, **settings).double().eval()
        kernels = fresh.kernels(maps(4, 9, 8))
        torch.testing.assert_close(kernels[0], kernels[1], rtol=1e-3, atol=1e-4)  # near 1 at first


def test_few_channels_other_windows_and_no_bands() -> None:
    for settings in ({"frequency_groups": 3}, {"kernel_size": 5, "plain_up_to": 0}, {"kernel_size": (1, 3)}):
        plain = cnn.FDConv2d(3, 4, **settings).double()
        conv = nn.Conv2d(3, 4, settings.get("kernel_size", 3), padding="same").double()
        conv.load_state_dict({name: plain.state_dict()[name] for name in ("weight", "bias")})
        torch.testing.assert_close(plain(maps(3, 5, 6)), conv(maps(3, 5, 6)))
        assert "plain" in plain.extra_repr()
    assert cnn.FDConv2d(4, 4, kernel_size=1, plain_up_to=0, frequency_groups=None).frequency_groups == 2


COUNTS = [((64, 64, 1), 8_994), ((64, 64, 3), 46_462), ((512, 512, 3), 2_452_910), ((2048, 512, 1), 1_658_178)]


@pytest.mark.parametrize(("shape", "published"), COUNTS)
def test_fdconv_has_the_published_counts(shape: tuple[int, int, int], published: int) -> None:
    with torch.device("meta"):
        layer = cnn.FDConv2d(*shape[:2], kernel_size=shape[2], frequency_groups=64, bias=False)
    assert sum(p.numel() for p in layer.parameters()) == published


def test_resnet50_by_the_published_rule_has_the_published_count() -> None:
    with torch.device("meta"):
        model = torchvision.models.resnet50(num_classes=1)
        report = convnn.replace_layers(model, "FDConv", cnn.Where("layer*.conv?", pointwise=True), frequency_groups=64)
    assert len(report.replaced) == 48
    assert sum(p.numel() for p in model.parameters()) == 27_155_152 + 2049


def convolutions() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, 2, padding=1), nn.Conv2d(8, 8, 3, padding="same", groups=2, bias=False)]
    return nn.Sequential(*layers, nn.Conv2d(8, 6, 1), nn.Conv2d(6, 6, 3, padding=2, dilation=2)).double()


@pytest.mark.parametrize(("layer", "replaced"), [("CondConv", "0 1 2 3"), ("FDConv", "0 2 3")])
def test_networks_keep_their_outputs_and_can_replace_pointwise_convolutions(layer: str, replaced: str) -> None:
    model, x = convolutions(), maps(3, 9, 8)
    before = model(x)
    settings = {"plain_up_to": 0, "frequency_groups": 3} if layer == "FDConv" else {}
    report = convnn.replace_layers(model, layer, cnn.Where(pointwise=True), keep_weights=True, **settings)
    assert " ".join(fate.name for fate in report.replaced) == replaced
    torch.testing.assert_close(model(x), before, rtol=0, atol=1e-12)
    again = convolutions()
    assert "2" not in [fate.name for fate in convnn.replace_layers(again, layer, **settings).replaced]


def test_the_report_says_why_fdconv_takes_no_place() -> None:
    model = nn.Sequential(
        nn.Conv2d(32, 32, 3), nn.Conv2d(32, 32, 3, groups=2), nn.Conv2d(32, 32, 5), nn.Conv2d(8, 32, 3)
    )
    report = convnn.replace_layers(model, "FDConv")
    plain = "FDConv is a plain convolution with up to 16 channels, or a window other than 1 x 1 and 3 x 3"
    reasons = ["the channels of a spectrum cannot be divided into groups", plain, plain]
    assert [fate.reason for fate in report.left] == reasons
    with pytest.raises(InputError, match=r"FDConv reads images, \(B, C, H, W\)$"):
        convnn.replace_layers(nn.Sequential(nn.Conv1d(32, 32, 3)), "FDConv")


def test_experts_that_start_as_one_convolution_learn_to_differ() -> None:
    layer = cnn.CondConv2d(3, 4).double()
    layer.take_kernel(torch.randn(4, 3, 3, 3).double(), torch.randn(4).double())
    layer(maps(3, 6, 5)).square().sum().backward()
    assert layer.routing.weight.grad.abs().min() > 0


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (cnn.CondConv1d(3, 4, stride=2), (3, 7)),
        (cnn.CondConv3d(3, 6, groups=3), (3, 4, 3, 2)),
        (cnn.CondConv2d(4, 4, experts=2, groups=4, padding_mode="reflect"), (4, 5, 6)),
        (cnn.FDConv2d(4, 6, **FREQUENCY), (4, 5, 6)),
        (cnn.FDConv2d(4, 6, kernel_size=1, plain_up_to=0, frequency_groups=2, in_frequency=False), (4, 3, 4)),
    ],
)
def test_trains_and_has_its_gradients(layer: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    check_trains(moved(layer), torch.randn(3, *shape, dtype=torch.double))
    x = torch.randn(2, *shape, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(moved(layer), (x,), fast_mode=True)


LAYERS = {
    "experts": lambda: cnn.CondConv2d(3, 4, stride=2),
    "depthwise": lambda: cnn.CondConv2d(4, 4, groups=4),
    "frequency": lambda: cnn.FDConv2d(4, 6, **FREQUENCY),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", only(lambda name: name == "experts", LAYERS))
def test_compiles_is_traced_for_any_batch_and_runs_in_lower_precision(name: str) -> None:
    layer = moved(LAYERS[name]()).float()
    x = maps(layer.in_channels, 6, 5, batch=3).float()
    with torch.no_grad():
        expected = layer(x)
        torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="eager")(x), expected)
        program = trace(layer, x[:2]).module()
        torch.testing.assert_close(program(x), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert (layer(x) - expected).abs().max() < 0.1 * expected.abs().max()
    assert layer.to(torch.bfloat16)(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.long
@pytest.mark.parametrize("name", ["experts", "frequency"])
def test_goes_to_onnx_with_a_dynamic_batch(name: str, tmp_path: Path) -> None:
    layer = moved(LAYERS[name]()).float()
    difference = export_onnx(layer, tmp_path / "layer.onnx", maps(layer.in_channels, 6, 5, batch=3).float())
    assert difference is not None
    assert difference < 1e-5


def test_a_single_image_cannot_be_normalised_in_training() -> None:
    layer = cnn.FDConv2d(4, 6, **FREQUENCY)
    with pytest.raises(InputError, match=r"one value for each channel, .* give at least two images, or call eval\(\)$"):
        layer(torch.randn(1, 4, 5, 5))
    assert layer.eval()(torch.randn(4, 5, 5)).shape == (6, 5, 5)
    assert layer(torch.randn(0, 4, 5, 5)).shape == (0, 6, 5, 5)
    assert cnn.CondConv2d(4, 6)(torch.randn(0, 4, 5, 5)).shape == (0, 6, 5, 5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: cnn.CondConv2d(4, 4, experts=0), "experts=0 must be an integer of at least 1"),
        (lambda: cnn.CondConv2d(4, 6, groups=4), "groups=4 must divide the 4 and 6 channels"),
        (lambda: cnn.CondConv2d(4, 4, num_experts=2), "CondConv2d has no setting num_experts=2"),
        (lambda: cnn.CondConv2d(4, 4, kernel_size=0), "kernel_size=0 must be an integer of at least 1"),
        (lambda: cnn.FDConv2d(32, 32, groups=2), "groups=2 must be 1: the channels of a spectrum cannot be divided"),
        (lambda: cnn.FDConv2d(32, 32, frequency_groups=5), "frequency_groups=5 must divide the 4,704 frequencies"),
        (lambda: cnn.FDConv2d(32, 32, frequency_groups=0), "frequency_groups=0 must be an integer of at least 1"),
        (lambda: cnn.FDConv2d(32, 32, gate="softmax"), "gate='softmax' is not one of sigmoid, tanh"),
        (lambda: cnn.FDConv2d(32, 32, local_gate="softmax"), "gate='softmax' is not one of sigmoid, tanh"),
        (lambda: cnn.CondConv2d(4, 4)(torch.randn(1, 3, 5, 5)), "input of shape (1, 3, 5, 5) must be (B, 4, H, W)"),
    ],
)
def test_refuses(build, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        build()
