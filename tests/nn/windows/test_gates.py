"""Tests of layers that gate their input by kernels: identities between them, and errors."""

import re
from functools import partial

import pytest
import torch
from torch import nn

from convnn import nn as cnn
from convnn.errors import InputError
from kernel_layers import check_positions, check_trains, maps, with_statistics

IMAGES = cnn.ConvMaker(2)
BUILDS = [
    cnn.LKA1d,
    cnn.LKA2d,
    partial(cnn.LKA3d, kernel_size=5, kernel_dilation=2),
    cnn.LSK1d,
    cnn.LSK2d,
    partial(cnn.SDLSKA2d, kernel_size=11),
]


def axes_of(build: type | partial) -> int:
    return getattr(build, "func", build).spatial_dims


@pytest.mark.parametrize("build", BUILDS)
def test_positions(build: type | partial) -> None:
    check_positions(build, axes_of(build))


@pytest.mark.parametrize("build", BUILDS)
def test_trains(build: type | partial) -> None:
    layer = build(4, 4)
    for part in layer.modules():
        if isinstance(part, nn.Sequential):  # the maps of SDLSKA's selection, where ReLU may leave no gradient
            part[2].bias.data.fill_(3.0)
    taken_out = r"reduce\.\d\.bias|expand\.\d\.[01]\.bias"  # by the normalisation after them
    check_trains(layer, maps(4, *(6, 5, 4)[: axes_of(build)], batch=3), taken_out)


def test_a_gate_of_one_is_the_identity() -> None:
    gate = cnn.StackedGate(IMAGES, 4).double()
    for parameter in gate.parameters():
        nn.init.zeros_(parameter)
    nn.init.ones_(gate.mix.bias)
    assert torch.equal(gate(maps(4, 6, 7)), maps(4, 6, 7))


def test_the_stack_is_one_large_kernel_away_from_the_border() -> None:
    gate = cnn.StackedGate(IMAGES, 2).double()
    impulse = torch.zeros(1, 2, 23, 23, dtype=torch.double)
    impulse[:, :, 11, 11] = 1
    without_bias = [nn.functional.conv2d(impulse, gate.local.weight, padding=2, groups=2)]
    kernel = nn.functional.conv2d(without_bias[0], gate.dilated.weight, padding=9, dilation=3, groups=2).flip(2, 3)
    bias = gate.dilated.bias + gate.dilated.weight.sum((1, 2, 3)) * gate.local.bias
    x = maps(2, 22, 20)
    stack = gate.dilated(gate.local(x))
    one = nn.functional.conv2d(x, kernel.transpose(0, 1), bias, padding=11, groups=2)
    inside = (slice(None), slice(None), slice(9, -9), slice(9, -9))
    torch.testing.assert_close(stack[inside], one[inside], rtol=0, atol=1e-12)
    assert (stack - one).abs().max() > 1e-3, "the map between the kernels ends at the border"


def test_selection_of_the_second_kernel_is_large_kernel_attention() -> None:
    selected, stacked = cnn.SelectedGate(IMAGES, 6).double(), cnn.StackedGate(IMAGES, 6).double()
    nn.init.zeros_(selected.select.squeeze.weight)
    selected.select.squeeze.bias.data = torch.tensor([-60.0, 60.0], dtype=torch.double)
    stacked.local, stacked.dilated = selected.local, selected.dilated
    mix, far = selected.mix.weight.detach()[..., 0, 0], selected.far.weight.detach()[..., 0, 0]
    stacked.mix.weight.data = (mix @ far)[..., None, None]
    stacked.mix.bias.data = mix @ selected.far.bias.detach() + selected.mix.bias.detach()
    torch.testing.assert_close(selected(maps(6, 8, 9)), stacked(maps(6, 8, 9)), rtol=0, atol=1e-12)


def test_strips_of_equal_shares_are_a_sum() -> None:
    gate = with_statistics(cnn.StripGate2d(4, kernel_size=7))
    nn.init.zeros_(gate.select.select.squeeze.weight)
    nn.init.zeros_(gate.select.select.squeeze.bias)
    for one in gate.select.expand:
        one[2].weight.data.zero_()
        one[2].bias.data.fill_(-1.0)  # below the ReLU: each channel has half of its maps
    x = maps(4, 8, 9)
    small = gate.small(x)
    expected = x * gate.mix((small + gate.wide(small) + gate.tall(small)) / 4)
    torch.testing.assert_close(gate(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("side", "support"), [(7, 33), (11, 57), (23, 205), (35, 325)])
def test_square_and_strips_reach_as_far_as_published(side: int, support: int) -> None:
    gate = cnn.StripGate2d(1, kernel_size=side).double()
    x = torch.zeros(1, 1, 45, 45, dtype=torch.double, requires_grad=True)
    small = gate.small(x)
    (gradient,) = torch.autograd.grad((small + gate.wide(small) + gate.tall(small))[0, 0, 22, 22], x)
    rows, columns = gradient[0, 0].nonzero().unbind(1)
    assert (len(rows), rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (support, side, side)


@pytest.mark.parametrize("build", [cnn.LKA2d, cnn.LSK2d, cnn.SDLSKA2d])
def test_groups_do_not_mix(build: type) -> None:
    layer = with_statistics(build(4, 8, groups=2))
    x = maps(4, 6, 6).requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x)[:, :4].sum(), x)
    assert gradient[:, :2].abs().max() > 0
    assert gradient[:, 2:].eq(0).all()


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_numbers_of_parameters_are_the_published() -> None:
    assert [_count(cnn.StackedGate(IMAGES, channels)) for channels in (4, 5, 64)] == [324, 410, 9024]
    assert [_count(cnn.SelectedGate(IMAGES, channels)) for channels in (4, 5, 8, 64)] == [534, 617, 918, 11334]
    strips = [_count(cnn.StripGate2d(channels, kernel_size=35)) for channels in (64, 128, 256)]
    assert strips == [18_761, 45_001, 122_057]


def test_merging_takes_in_the_normalisation_of_the_selection() -> None:
    layer = with_statistics(cnn.SDLSKA2d(4, 4, kernel_size=7))
    report = cnn.merge(layer)
    assert len(report.merged) == 4
    torch.testing.assert_close(report.model(maps(4, 6, 5)), layer(maps(4, 6, 5)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (partial(cnn.LKA2d, kernel_size=0), "kernel_size=0"),
        (partial(cnn.LKA2d, kernel_dilation=0), "kernel_dilation=0"),
        (partial(cnn.LKA2d, groups=3), "groups=3"),
        (partial(cnn.LSK2d, groups=3), "groups=3"),
        (partial(cnn.SDLSKA2d, kernel_size=9), "kernel_size=9 has no strips; choose from 7, 11, 23, 35"),
    ],
)
def test_refuses(build: partial, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        build(4, 4)


def test_refuses_what_cannot_be_selected_or_normalised() -> None:
    with pytest.raises(InputError, match="out_channels=1 must be at least 2"):
        cnn.LSK2d(4, 1)
    with pytest.raises(InputError, match=r"input of \(1, 4, 1, 1\) has one value for each channel"):
        cnn.SDLSKA2d(4, 4)(torch.zeros(1, 4, 5, 5))
