"""Tests of the effective receptive field: the support of kernels, and squares by hand."""

import re

import pytest
import torch
from torch import nn

from convnn import nn as cnn
from convnn.errors import InputError
from convnn.viz import field_sides, receptive_field


@pytest.mark.parametrize(
    ("layer", "side"), [(nn.Conv2d(3, 64, 5, padding=2), 5), (cnn.UniRepLK2d(3, 64, kernel_size=9).eval(), 9)]
)
def test_reaches_as_far_as_the_kernel(layer: nn.Module, side: int) -> None:
    layer = layer.double()
    scores = receptive_field(layer, torch.randn(2, 3, 15, 13, dtype=torch.double))
    rows, columns = scores.nonzero().unbind(1)
    assert (rows.min(), rows.max()) == (7 - side // 2, 7 + side // 2)
    assert (columns.min(), columns.max()) == (6 - side // 2, 6 + side // 2)


def test_is_the_positive_part_of_a_kernel() -> None:
    conv = nn.Conv2d(1, 1, 3, padding=1)
    conv.bias.data.fill_(100.0)  # so that the output is positive
    scores = receptive_field(conv, torch.rand(1, 1, 7, 7))
    torch.testing.assert_close(scores[2:5, 2:5], conv.weight[0, 0].relu())
    assert scores.count_nonzero() <= 9


def test_a_gate_looks_at_all_it_multiplies_and_the_model_is_as_before() -> None:
    layer = cnn.SDLSKA2d(3, 8, kernel_size=7).double().train()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    scores = receptive_field(layer, torch.randn(2, 3, 16, 16, dtype=torch.double))
    assert scores.count_nonzero() > 200, "its selection depends on the mean over the map"
    assert layer.training
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_squares_hold_shares() -> None:
    scores = torch.zeros(11, 11)
    scores[5, 5] = scores[5, 6] = scores[5, 8] = 9.0  # each a third
    assert [side[:2] for side in field_sides(scores, (0.2, 0.6, 0.7, 1.0))] == [
        (0.2, 3),
        (0.6, 3),
        (0.7, 7),
        (1.0, None),
    ]
    assert field_sides(scores, (0.7,))[0].ratio == pytest.approx(49 / 121)
    assert field_sides(1e-12 * scores, (0.7,))[0].side == 7, "the smallest contributions are not rounded off"
    wide, tall = torch.zeros(5, 20), torch.zeros(20, 5)
    wide[2, 10] = tall[10, 2] = 1.0
    assert field_sides(wide)[0].side == field_sides(tall)[0].side == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: receptive_field(nn.Identity(), torch.rand(3, 5, 5)), "images of shape (3, 5, 5) must be (B, C, H, W)"),
        (lambda: receptive_field(nn.Flatten(), torch.rand(1, 3, 5, 5)), "the model returns (1, 75), which is no map"),
        (lambda: field_sides(torch.zeros(5, 5)), "scores of shape (5, 5) must be (H, W) with at least one above 0"),
    ],
)
def test_refuses(call, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        call()
