"""Tests of kernels for shares of the channels: against timm, and against one large kernel."""

import re
from functools import partial

import pytest
import torch

from convnn import nn as cnn
from convnn.errors import InputError
from convnn.nn.kernels import taps
from kernel_layers import check_positions, check_trains, maps

CASES = [
    (16, {}),
    (12, {"branch_ratio": 0.25, "band_kernel_size": 7, "square_kernel_size": 5}),
    (9, {"branch_ratio": 1 / 3}),
]


@pytest.mark.parametrize(("channels", "settings"), [*CASES, (8, {"kernel_dilation": 2})])
def test_is_that_of_timm(channels: int, settings: dict) -> None:
    inceptionnext = pytest.importorskip("timm.models.inception_next")
    named = {{"kernel_dilation": "dilation"}.get(name, name): value for name, value in settings.items()}
    theirs = inceptionnext.InceptionDWConv2d(channels, **named).double()
    ours = cnn.BandConv2d(channels, **settings).double()
    names = {"dwconv_hw": "square", "dwconv_w": "wide", "dwconv_h": "tall"}
    for theirs_of, ours_of in names.items():
        getattr(ours, ours_of).load_state_dict(getattr(theirs, theirs_of).state_dict())
    torch.testing.assert_close(ours(maps(channels, 9, 14)), theirs(maps(channels, 9, 14)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("channels", "settings"), CASES)
def test_is_one_large_kernel(channels: int, settings: dict) -> None:
    bands = cnn.BandConv2d(channels, **settings).double()
    side = settings.get("band_kernel_size", 11)
    large = cnn.ConvMaker(2).depthwise(channels, side).double()
    weight, bias = taps.identity(taps.kernel_of(large))
    start = bands.shares[0]
    for part in (bands.square, bands.wide, bands.tall):
        end = start + part.out_channels
        weight[start:end] = taps.centred(part.weight.detach(), (side, side))
        bias[start:end] = part.bias.detach()
        start = end
    large = taps.as_convolution(taps.Kernel(weight, bias), large)
    torch.testing.assert_close(bands(maps(channels, 6, 8)), large(maps(channels, 6, 8)), rtol=0, atol=1e-12)


def test_positions_and_training() -> None:
    check_positions(partial(cnn.InceptionDW2d, branch_ratio=1 / 3))
    check_trains(cnn.InceptionDW2d(8, 4, groups=2), maps(8, 6, 5))


def test_few_input_channels_are_widened_first() -> None:
    layer = cnn.InceptionDW2d(3, 16)
    assert layer.operator.shares == (10, 2, 2, 2)
    assert layer(torch.zeros(1, 3, 5, 5)).shape == (1, 16, 5, 5)
    assert cnn.InceptionDW2d(64, 32).operator.shares == (40, 8, 8, 8)
    assert sum(p.numel() for p in cnn.BandConv2d(64).parameters()) == 272


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"band_kernel_size": 10}, "band_kernel_size=10 must be odd"),
        ({"square_kernel_size": 2}, "square_kernel_size=2 must be odd"),
        ({}, "branch_ratio=0.125 leaves no channel for a kernel of 4 channels"),
        ({"branch_ratio": 0.5}, "branch_ratio=0.5 needs more than all of 4 channels"),
        ({"branch_ratio": 1.5}, "branch_ratio=1.5 must lie between 0 and 1"),
        ({"branch_ratio": 0.25, "kernel_dilation": 0}, "kernel_dilation=0"),
        ({"branch_ratio": 0.25, "groups": 3}, "groups=3"),
    ],
)
def test_refuses(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        cnn.InceptionDW2d(4, 4, **settings)
