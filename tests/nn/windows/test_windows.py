"""Tests of layers on windows: identities, and errors."""

import pytest
import torch
from torch import nn

from against_definition import sloping_maps
from convnn import nn as cnn
from convnn.errors import InputError


def test_attention_to_a_window_as_large_as_the_map_is_non_local() -> None:
    local = cnn.NeighborhoodAttention2d(4, 4, kernel_size=5, relative_bias=False).double()
    whole = cnn.NonLocal2d(4, 4).double()
    with torch.no_grad():
        query, key, value = local.qkv.weight.chunk(3)
        query_bias, key_bias, value_bias = local.qkv.bias.chunk(3)
        for linear, weight, bias in (
            (whole.query, query / 2, query_bias / 2),  # the square root of the width of the head
            (whole.key, key, key_bias),
            (whole.value, value, value_bias),
        ):
            linear.weight, linear.bias = nn.Parameter(weight), nn.Parameter(bias)
        whole.output = local.output
    x = sloping_maps(4, 5, 5)
    torch.testing.assert_close(whole(x) - x, local(x), rtol=0, atol=1e-12)


def test_shares_can_shift_farther() -> None:
    x = sloping_maps(8, 5, 6)
    once, twice = cnn.SpatialShift2d(8), cnn.SpatialShift2d(8, step=2)
    padded = nn.functional.pad(x, [2, 2, 2, 2])
    assert torch.equal(twice(x), once(once(padded))[..., 2:-2, 2:-2])


def test_refuses_channels_that_have_no_eighth() -> None:
    with pytest.raises(InputError, match="channels=12 must be a multiple of 8"):
        cnn.SpatialShift2d(12)
    with pytest.raises(InputError, match="step=0"):
        cnn.SpatialShift2d(8, step=0)
