"""Tests of large kernels trained with small ones: against timm, and merged against trained."""

import re
from functools import partial

import pytest
import torch
from torch import nn

from convnn import nn as cnn
from convnn.errors import InputError
from convnn.nn.windows.large_kernel import DILATED
from kernel_layers import check_merged, check_positions, check_trains, maps, with_statistics


def test_replk_is_that_of_timm() -> None:
    fastvit = pytest.importorskip("timm.models.fastvit")
    theirs = fastvit.ReparamLargeKernelConv(4, 4, 13, 1, group_size=1, small_kernel=5, act_layer=None)
    with_statistics(theirs)
    ours = cnn.RepLK2d(4, 4, kernel_size=13).double().eval()
    names = {"large_conv": "branches.0", "small_conv": "branches.1", "bn": "norm"}
    state = {".".join(names.get(part, part) for part in key.split(".")): v for key, v in theirs.state_dict().items()}
    ours.operator.load_state_dict(state)
    torch.testing.assert_close(ours.operator(maps(4, 12, 9)), theirs(maps(4, 12, 9)), rtol=0, atol=1e-12)
    weight, bias = theirs.get_kernel_bias()
    merged = cnn.merge(ours).model.operator
    torch.testing.assert_close((merged.weight, merged.bias), (weight, bias), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("build", "axes"),
    [
        (partial(cnn.RepLK1d, kernel_size=9), 1),
        (cnn.RepLK2d, 2),
        (partial(cnn.RepLK2d, kernel_size=9, small_kernel=0, stride=2), 2),
        (partial(cnn.RepLK3d, kernel_size=5, small_kernel=3), 3),
        (partial(cnn.UniRepLK1d, kernel_size=17), 1),
        (partial(cnn.UniRepLK3d, kernel_size=5), 3),
        *[(partial(cnn.UniRepLK2d, kernel_size=side), 2) for side in DILATED],
    ],
)
def test_merged_is_trained(build: partial, axes: int) -> None:
    layer = build(4, 6, groups=2)
    report = check_merged(layer, maps(4, *(9, 7, 5)[:axes]))
    assert report.merged[0][:3] == ("operator", "ParallelConv", f"Conv{axes}d")
    side, axes_of_each = layer.kernel_size, 4 * (layer.kernel_size**axes + 1)
    assert report.model.operator.kernel_size == (side,) * axes
    assert report.parameters[1] == axes_of_each + 4 * 6 // 2 + 6


@pytest.mark.parametrize("build", [partial(cnn.RepLK2d, kernel_size=7), partial(cnn.UniRepLK2d, kernel_size=7)])
def test_positions_and_training(build: partial) -> None:
    check_positions(build)
    check_trains(build(3, 4), maps(3, 6, 5))


def test_numbers_of_parameters_are_the_published() -> None:
    assert sum(p.numel() for p in cnn.RepLK2d(64, 1).operator.parameters()) == 63_360
    assert sum(p.numel() for p in cnn.UniRepLK2d(4, 1).operator.parameters()) == 1_128


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (partial(cnn.RepLK2d, kernel_size=30), "kernel_size=30 must be odd"),
        (partial(cnn.RepLK2d, small_kernel=4), "small_kernel=4 must be odd"),
        (partial(cnn.RepLK2d, kernel_size=3), "small_kernel=5 must be at most kernel_size=3, or 0"),
        (partial(cnn.RepLK2d, groups=3), "groups=3 must divide the 4 and 4 channels"),
        (
            partial(cnn.UniRepLK2d, kernel_size=31),
            "kernel_size=31 has no branches; choose from 5, 7, 9, 11, 13, 15",
        ),
        (partial(cnn.UniRepLK2d, kernel_size=6), "kernel_size=6 has no branches"),
    ],
)
def test_refuses(build: partial, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        build(4, 4)


def test_a_single_value_is_not_trained_on() -> None:
    layer = cnn.RepLK2d(3, 4)
    with pytest.raises(InputError, match="batch normalisation cannot train on; give at least two images"):
        layer(torch.zeros(1, 3, 1, 1))
    assert layer.eval()(torch.zeros(1, 3, 1, 1)).shape == (1, 4, 1, 1)


def test_every_axis_takes_the_place_of_its_convolution() -> None:
    for conv, layer in ((nn.Conv1d, cnn.RepLK1d), (nn.Conv2d, cnn.RepLK2d), (nn.Conv3d, cnn.RepLK3d)):
        model = nn.Sequential(conv(2, 4, 3, stride=2, padding=1, bias=False))
        cnn.replace_layers(model, "RepLK", kernel_size=5, small_kernel=3)
        assert type(model[0]) is layer
        assert (model[0].kernel_size, model[0].pointwise.bias) == (5, None)
