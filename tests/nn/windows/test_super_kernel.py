"""Tests of kernels one after the other with residuals: merged against trained, and reach."""

import re

import pytest
import torch

from convnn import nn as cnn
from convnn.errors import InputError
from kernel_layers import check_merged, check_positions, check_trains, maps

IMAGES = cnn.ConvMaker(2)


@pytest.mark.parametrize("build", [cnn.SuperKernel1d, cnn.SuperKernel2d, cnn.SuperKernel3d])
def test_positions_training_and_merging(build: type) -> None:
    axes = build.spatial_dims
    check_positions(lambda i, o, **geometry: build(i, o, k_conv=(1, 3), **geometry), axes)
    layer = build(6, 4, k_conv=(1, 5), groups=2)
    check_trains(layer, maps(6, *(6, 5, 4)[:axes]))
    report = check_merged(layer, maps(6, *(6, 5, 4)[:axes]))
    assert [part.old for part in report.merged] == ["ResidualConv"] * 3
    assert report.parameters[0] == report.parameters[1]


@pytest.mark.parametrize(("sizes", "reach"), [((1, 15), 15), ((3, 5), 7), ((1, 7), 7)])
def test_kernels_come_one_after_the_other(sizes: tuple[int, ...], reach: int) -> None:
    block = cnn.SuperKernelConv(IMAGES, 2, 1, sizes).double()
    x = maps(2, 21, 21, batch=1).requires_grad_()
    (gradient,) = torch.autograd.grad(block(x)[0, 0, 10, 10], x)
    rows = gradient.abs().sum((0, 1)).nonzero()[:, 0]
    assert rows.max() - rows.min() + 1 == reach


def test_the_order_of_kernels_counts() -> None:
    one, other = (cnn.SuperKernelConv(IMAGES, 2, 2, sizes).double() for sizes in ((1, 3), (3, 1)))
    state = one.state_dict()
    swapped = {
        name: state[name.replace("convs.0", "convs.x").replace("convs.1", "convs.0").replace("convs.x", "convs.1")]
        for name in state
    }
    other.load_state_dict(swapped)
    assert (one(maps(2, 6, 5)) - other(maps(2, 6, 5))).abs().max() > 1e-4


def test_images_are_widened_first() -> None:
    assert cnn.SuperKernel2d(3, 16).operator.first[0].in_channels == 16
    assert cnn.SuperKernel2d(3, 2).operator.first[0].in_channels == 3
    assert cnn.SuperKernel2d(8, 16).operator.first[0].in_channels == 8
    for sizes, number in (((1, 15), 43_648), ((1, 7), 32_384)):
        assert sum(p.numel() for p in cnn.SuperKernel2d(64, 64, k_conv=sizes).parameters()) == number


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k_conv": (1, 8)}, "k_conv=8 must be odd"),
        ({"k_conv": ""}, "k_conv='' must be sides of kernels"),
        ({"groups": 3}, "groups=3"),
    ],
)
def test_refuses(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        cnn.SuperKernel2d(4, 4, **settings)
