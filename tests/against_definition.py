"""Comparison of a layer on images with its definition: values and all gradients, in float64."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

SIZES = [(1, 1), (1, 6), (2, 3), (5, 4)]
STRIDES = [(1, 1), (2, 3)]
TOLERANCE = 1e-12


def randomised(layer: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return layer.double()


def random_maps(size: tuple[int, int], channels: int = 4, smooth: bool = False) -> Tensor:
    x = torch.randn(2, channels, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    slope = torch.linspace(0, 3, size[0] * size[1]).view(size)  # so that some are close and others are not
    return (0.3 * x + slope if smooth else x).requires_grad_()


def sloping_maps(channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Return two maps (2, C, H, W) whose positions differ more the farther apart they are."""
    generator = torch.Generator().manual_seed(seed)
    slope = torch.linspace(0, 2, height * width).view(height, width)
    return 0.4 * torch.randn(2, channels, height, width, dtype=torch.float64, generator=generator) + slope


def check_definition(layer: nn.Module, x: Tensor, definition: Callable[[Tensor, dict[str, Tensor]], Tensor]) -> None:
    """Check that output, input gradient and all weight gradients of a layer equal those of its definition."""
    named = dict(layer.named_parameters())
    expected, actual = definition(x, named), layer(x)
    torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE)
    weights = torch.randn(expected.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(5))
    inputs = [x, *named.values()]
    ours, theirs = (torch.autograd.grad((y * weights).sum(), inputs, allow_unused=True) for y in (actual, expected))
    for name, one, other in zip(["x", *named], ours, theirs, strict=True):
        one, other = (torch.zeros(()) if g is None else g for g in (one, other))
        torch.testing.assert_close(one, other.expand_as(one).to(one), rtol=0, atol=10 * TOLERANCE, msg=name)
