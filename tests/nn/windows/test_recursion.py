"""Tests of recursion over resolutions: its reach, its linearity, and single levels."""

import re

import pytest
import torch

from convnn import nn as cnn
from convnn.errors import InputError
from kernel_layers import check_positions, check_trains, maps

IMAGES = cnn.ConvMaker(2)


@pytest.mark.parametrize("build", [cnn.RecConv1d, cnn.RecConv2d, cnn.RecConv3d])
@pytest.mark.parametrize("upsampling", cnn.UPSAMPLINGS)
def test_positions_and_training(build: type, upsampling: str) -> None:
    check_positions(
        lambda i, o, **geometry: build(i, o, upsampling=upsampling, kernel_size=3, **geometry), build.spatial_dims
    )
    check_trains(
        build(3, 4, upsampling=upsampling, kernel_bias=True, level=1), maps(3, *(6, 5, 4)[: build.spatial_dims])
    )


def test_without_levels_it_is_a_convolution() -> None:
    layer = cnn.RecursiveConv(IMAGES, 4, level=0).double()
    assert torch.equal(layer(maps(4, 6, 7)), layer.convs[0](maps(4, 6, 7)))
    assert layer.down is None


def test_one_level_by_hand() -> None:
    """Nearest: every value of the coarse map stands for a square of four, cut off at the end."""
    layer = cnn.RecursiveConv(IMAGES, 3, kernel_size=3, level=1, upsampling="nearest").double()
    x = maps(3, 8, 6)
    coarse = layer.convs[0](layer.down(x))
    fine = coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(layer(x), layer.convs[1](x + fine), rtol=0, atol=1e-12)


def test_is_linear_and_commutes_with_whole_cells_only() -> None:
    layer = cnn.RecursiveConv(IMAGES, 2, kernel_size=3, level=2).double()
    x, y = maps(2, 64, 64), maps(2, 64, 64).flip(3)
    torch.testing.assert_close(layer(2 * x - y), 2 * layer(x) - layer(y), rtol=0, atol=1e-12)
    inside = (slice(None), slice(None), slice(28, 36), slice(28, 36))
    for shift, is_same in ((4, True), (1, False), (2, False)):
        moved = layer(x.roll(shift, 3)).roll(-shift, 3)
        assert torch.allclose(moved[inside], layer(x)[inside], atol=1e-12) == is_same


@pytest.mark.parametrize(
    ("level", "upsampling", "reach"), [(1, "bilinear", 19), (1, "nearest", 17), (2, "nearest", 41)]
)
def test_reaches_as_far_as_published(level: int, upsampling: str, reach: int) -> None:
    layer = cnn.RecursiveConv(IMAGES, 1, level=level, upsampling=upsampling).double()
    x = torch.zeros(1, 1, 96, 96, dtype=torch.double, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x)[0, 0, 48, 48], x)
    rows = gradient[0, 0].nonzero()[:, 0]
    assert rows.max() - rows.min() + 1 == reach


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (2, 5)])
def test_deep_levels_run_on_small_maps(size: tuple[int, int]) -> None:
    layer = cnn.RecConv2d(3, 4, level=4, kernel_bias=True)
    assert layer(torch.randn(2, 3, *size)).isfinite().all()
    assert sum(p.numel() for p in layer.operator.parameters()) == 6 * (25 + 1) * 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_size": 4}, "kernel_size=4 must be odd"),
        ({"level": -1}, "level=-1 must be an integer of at least 0"),
        ({"upsampling": "bicubic"}, "upsampling='bicubic' is not one of bilinear, nearest"),
        ({"groups": 3}, "groups=3"),
    ],
)
def test_refuses(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        cnn.RecConv2d(4, 4, **settings)
