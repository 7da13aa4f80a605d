"""Tests of layers on windows: identities, and errors."""

import pytest
import torch
from torch import nn

from against_definition import sloping_maps
from convnn import nn as cnn
from convnn.errors import InputError
from kernel_layers import check_trains


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


def test_the_block_is_attention_then_a_feed_forward_network_that_sees_the_adjacent_positions() -> None:
    torch.manual_seed(0)
    block = cnn.ShiftBlock2d(6, kernel_size=3, head_channels=3, expansion=1.5, activation="gelu").double()
    x = sloping_maps(6, 5, 4)
    mean, deviation = x.mean(1, keepdim=True), x.var(1, correction=0, keepdim=True)
    z = x + block.attention((x - mean) / (deviation + 1e-5).sqrt())
    torch.testing.assert_close(block(x), z + block.feed_forward(block.norms[1](z)), rtol=0, atol=1e-12)
    forward = block.feed_forward
    hidden = nn.functional.pad(forward.before(z), [1, 1, 1, 1])
    offsets = [(-1, 0), (1, 0), (0, -1), (0, 1), (1, 1), (1, -1), (-1, 1), (-1, -1)]
    moved = torch.stack([hidden[:, c, 1 + i : 6 + i, 1 + j : 5 + j] for c, (i, j) in enumerate(offsets)], dim=1)
    assert hidden.shape[1] == 8  # 1.5 * 6, to a multiple of 8
    torch.testing.assert_close(forward(z), forward.after(nn.functional.gelu(moved)), rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(block, (x[:1].clone().requires_grad_(),), fast_mode=True)
    check_trains(block, x)


def test_the_feed_forward_network_refuses() -> None:
    with pytest.raises(InputError, match="activation='swish' is not one of relu, gelu"):
        cnn.ShiftFeedForward2d(8, 8, activation="swish")
    with pytest.raises(InputError, match="expansion=0 must be positive"):
        cnn.ShiftFeedForward2d(8, 8, expansion=0)
