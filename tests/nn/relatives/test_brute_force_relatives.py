"""The layers of other papers against their formulas, position by position: values and all gradients, in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import brute_force_relatives as brute
from convnn import nn as cnn

SIZES = [(1, 1), (1, 6), (2, 3), (5, 4)]
IDS = ["x".join(map(str, size)) for size in SIZES]
STRIDES = [(1, 1), (2, 3)]
TOLERANCE = 1e-12


def _randomised(layer: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return layer.double()


def _input(size: tuple[int, int], channels: int = 4, smooth: bool = False) -> Tensor:
    x = torch.randn(2, channels, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    slope = torch.linspace(0, 3, size[0] * size[1]).view(size)  # so that some are close and others are not
    return (0.3 * x + slope if smooth else x).requires_grad_()


def _check(layer: nn.Module, x: Tensor, definition: Callable[[Tensor, dict[str, Tensor]], Tensor]) -> None:
    """The layer is its definition, and so are the gradients for the input and every weight."""
    named = dict(layer.named_parameters())
    expected, actual = definition(x, named), layer(x)
    torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE)
    weights = torch.randn(expected.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(5))
    inputs = [x, *named.values()]
    ours, theirs = (torch.autograd.grad((y * weights).sum(), inputs, allow_unused=True) for y in (actual, expected))
    for name, one, other in zip(["x", *named], ours, theirs, strict=True):
        one, other = (torch.zeros(()) if g is None else g for g in (one, other))
        torch.testing.assert_close(one, other.expand_as(one).to(one), rtol=0, atol=10 * TOLERANCE, msg=name)


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("K", "dilation", "reduction"), [(3, 1, 1), (9, 1, 1), (3, 2, 1), (2, 1, 2), (1, 1, 1)])
@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_vig(
    size: tuple[int, int], K: int, dilation: int, reduction: int, groups: int, stride: tuple[int, int]
) -> None:
    settings = {"K": K, "graph_dilation": dilation, "groups": groups, "stride": stride}
    layer = _randomised(cnn.ViG2d(4, 6, reduction=reduction, **settings))
    cell = min(reduction, *size)
    _check(layer, _input(size), lambda x, p: brute.vig(x, p["weight"], p["bias"], reduction=cell, **settings))


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("K", "dilation", "depth"), [(3, 1, 1), (9, 1, 1), (2, 2, 1), (3, 1, 3)])
@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_edge_conv(
    size: tuple[int, int], K: int, dilation: int, depth: int, groups: int, stride: tuple[int, int]
) -> None:
    settings = {"K": K, "graph_dilation": dilation, "groups": groups, "stride": stride}
    layer = _randomised(cnn.EdgeConv2d(4, 6, mlp_layers=depth, **settings))

    def definition(x: Tensor, p: dict[str, Tensor]) -> Tensor:
        mlp = [(p[f"mlp.{i}.weight"], p[f"mlp.{i}.bias"]) for i in range(0, 2 * depth - 2, 2)]
        return brute.edge_conv(x, p["weight"], p["bias"], mlp, **settings)

    _check(layer, _input(size), definition)


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize(("groups", "side"), [(1, 3), (2, 0)])
@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("size", SIZES, ids=IDS)
@pytest.mark.parametrize("name", ["SVGA", "MGC", "DAGC"])
def test_axial(name: str, size: tuple[int, int], step: int, groups: int, side: int, stride: tuple[int, int]) -> None:
    kind = {"SVGA": cnn.SVGA2d, "MGC": cnn.MGC2d, "DAGC": cnn.DAGC2d}[name]
    settings = {"step": step, "groups": groups, "stride": stride}
    layer = _randomised(kind(4, 6, positional_size=side, **settings))

    def definition(x: Tensor, p: dict[str, Tensor]) -> Tensor:
        encoding = (p["positional.weight"], p["positional.bias"]) if side else None
        return brute.axial(x, name, p["weight"], p["bias"], encoding, **settings)

    _check(layer, _input(size, smooth=True), definition)


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize(
    ("k", "head_channels", "groups", "has_bias"), [(3, 4, 1, True), (5, 2, 1, False), (3, 1, 2, True)]
)
@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_neighborhood_attention(
    size: tuple[int, int], k: int, head_channels: int, groups: int, has_bias: bool, stride: tuple[int, int]
) -> None:
    layer = _randomised(
        cnn.NeighborhoodAttention2d(
            4, 6, k, head_channels=head_channels, relative_bias=has_bias, groups=groups, stride=stride
        )
    )
    settings = {"k": k, "heads": 4 // head_channels, "groups": groups, "stride": stride}

    def definition(x: Tensor, p: dict[str, Tensor]) -> Tensor:
        qkv, output = ((p[f"{name}.weight"], p[f"{name}.bias"]) for name in ("qkv", "output"))
        return brute.neighborhood(x, qkv, output, p.get("relative_bias"), **settings)

    _check(layer, _input(size), definition)


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize(("outputs", "groups"), [(4, 1), (6, 1), (6, 2)])
@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_non_local(size: tuple[int, int], outputs: int, groups: int, stride: tuple[int, int]) -> None:
    layer = _randomised(cnn.NonLocal2d(4, outputs, groups=groups, stride=stride))

    def definition(x: Tensor, p: dict[str, Tensor]) -> Tensor:
        linears = ((p[f"{name}.weight"], p[f"{name}.bias"]) for name in ("query", "key", "value", "output"))
        return brute.non_local(x, *linears, p.get("project.weight"), groups=groups, stride=stride)

    _check(layer, _input(size), definition)


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize(("k", "groups"), [(3, 1), (4, 2)])
@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize("edge_type", ["distance", "pair", "difference"])
@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_adaptive(
    size: tuple[int, int], edge_type: str, pooling: str, k: int, groups: int, stride: tuple[int, int]
) -> None:
    settings = {"edge_type": edge_type, "pooling": pooling, "groups": groups, "stride": stride}
    layer = _randomised(cnn.AdaptiveNeighborhoods2d(4, 6, k, latent_channels=5, **settings))
    _check(layer, _input(size), lambda x, p: brute.adaptive(x, p, k=k, **settings))
