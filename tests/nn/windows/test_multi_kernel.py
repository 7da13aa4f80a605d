"""Tests of kernels of several sizes: one kernel before the activation, and the published inverted residual."""

import re
from functools import partial

import pytest
import torch
from torch import nn

from convnn import nn as cnn
from convnn.errors import InputError
from convnn.nn.kernels import taps
from kernel_layers import check_merged, check_positions, check_trains, maps, with_statistics

IMAGES = cnn.ConvMaker(2)


def test_is_one_kernel_before_the_activation() -> None:
    conv = with_statistics(cnn.MultiKernelConv(IMAGES, 4, (1, 3, 5)))
    x = maps(4, 7, 6)
    expected = sum(branch[0](x) for branch in conv.branches)
    one = taps.as_convolution(taps.added(branch[0].kernel() for branch in conv.branches), conv.branches[2][0].conv)
    torch.testing.assert_close(one(x), expected, rtol=0, atol=1e-12)
    assert (one(x) - conv(x)).abs().max() > 1, "after it, they are no longer one"


@pytest.mark.parametrize("activation", cnn.KERNEL_ACTIVATIONS)
def test_merged_is_trained(activation: str) -> None:
    layer = cnn.MultiKernelDW2d(3, 4, activation=activation, add=activation != "gelu", dw_parallel=activation != "relu")
    report = check_merged(layer, maps(3, 6, 5))
    assert [part.name for part in report.merged][:2] == ["expand", "operator.branches.0.0"]
    assert len(report.merged) == 5


@pytest.mark.parametrize("add", [True, False])
def test_groups_do_not_mix(add: bool) -> None:
    layer = with_statistics(cnn.MultiKernelDW2d(6, 4, groups=2, add=add))
    x = maps(6, 5, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x)[:, :2].sum(), x)
    assert gradient[:, :3].abs().min() > 0
    assert gradient[:, 3:].eq(0).all()


@pytest.mark.parametrize(
    ("build", "axes"), [(cnn.MultiKernelDW1d, 1), (cnn.MultiKernelDW2d, 2), (cnn.MultiKernelDW3d, 3)]
)
def test_positions_and_training(build: type, axes: int) -> None:
    check_positions(partial(build, shortcut=False, kernel_sizes=(1, 3)), axes)
    check_trains(build(3, 4, activation="gelu"), maps(3, *(4, 4, 4)[:axes]))


def test_has_a_shortcut_where_maps_keep_their_size() -> None:
    assert isinstance(cnn.MultiKernelDW2d(4, 4).project, nn.Identity)
    assert cnn.MultiKernelDW2d(4, 6).project.weight.shape == (6, 4, 1, 1)
    assert cnn.MultiKernelDW2d(4, 6, stride=2).project is None
    assert sum(p.numel() for p in cnn.MultiKernelConv(IMAGES, 8).parameters()) == 41 * 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_sizes": (1, 4)}, "kernel_sizes=4 must be odd"),
        ({"kernel_sizes": "1,x"}, "kernel_sizes='1,x' must be sides of kernels, such as 1,3,5"),
        ({"kernel_sizes": ()}, "kernel_sizes=() must have at least one side"),
        ({"expansion_factor": 0.1}, "expansion_factor=0.1 leaves no channel of 4"),
        ({"activation": "relu7"}, "activation='relu7' is not one of relu6, "),
        ({"stride": 2, "dw_parallel": False}, "stride=(2, 2) needs dw_parallel=True"),
        ({"groups": 3}, "groups=3"),
    ],
)
def test_refuses(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        cnn.MultiKernelDW2d(4, 4, **settings)
