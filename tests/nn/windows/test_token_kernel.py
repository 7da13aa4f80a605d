"""Tests of attention by offset: the convolution and the matrix of attention are the same."""

import re
from itertools import product

import pytest
import torch
from torch import Tensor

from convnn import nn as cnn
from convnn.errors import InputError
from kernel_layers import check_positions, check_trains, maps


def sliding_windows(weight: Tensor, height: int, width: int) -> Tensor:
    """Return the attention as its paper builds it: a window slides from the last corner to the first, row by row."""
    return torch.stack(
        [
            weight[height - 1 - i : 2 * height - 1 - i, width - 1 - j : 2 * width - 1 - j].flatten()
            for i, j in product(range(height), range(width))
        ]
    )


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 2)])
def test_attention_is_that_of_sliding_windows(size: tuple[int, int]) -> None:
    height, width = size
    layer = cnn.OffsetAttention(cnn.ConvMaker(2), 2, kernel_size=(2 * height - 1, 2 * width - 1)).double()
    attention = layer.attention(size)
    for own, weight in zip(attention, layer.weight[:, 0], strict=True):
        assert torch.equal(own, sliding_windows(weight, height, width))


@pytest.mark.parametrize(("axes", "size"), [(1, (6,)), (2, (4, 5)), (3, (3, 2, 4))])
@pytest.mark.parametrize("kernel_size", [3, 9])
@pytest.mark.parametrize("kernels", [1, 2, 0])
def test_attention_is_convolution(axes: int, size: tuple[int, ...], kernel_size: int, kernels: int) -> None:
    layer = cnn.OffsetAttention(cnn.ConvMaker(axes), 4, kernel_size=kernel_size, kernels=kernels).double()
    x = maps(4, *size)
    attention = layer.attention(size).repeat_interleave(4 // layer.weight.shape[0], dim=0)
    by_matrix = torch.einsum("cij,bcj->bci", attention, x.flatten(2)) + layer.bias.unsqueeze(1)
    torch.testing.assert_close(layer(x).flatten(2), by_matrix, rtol=0, atol=1e-12)


@pytest.mark.parametrize("build", [cnn.LKCA1d, cnn.LKCA2d, cnn.LKCA3d])
def test_positions_and_training(build: type) -> None:
    axes = build.spatial_dims
    check_positions(lambda i, o, **geometry: build(i, o, kernel_size=5, **geometry), axes)
    check_trains(build(4, 2, kernel_size=5, kernels=2, groups=2), maps(4, *(6, 5, 4)[:axes]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_size": 6}, "kernel_size=6 must be odd"),
        ({"kernel_size": (3, 5, 7)}, "kernel_size=(3, 5, 7) must be one number, or 2"),
        ({"kernels": 3}, "kernels=3 must divide the 4 channels, or be 0"),
        ({"kernels": -1}, "kernels=-1"),
        ({"groups": 3}, "groups=3"),
    ],
)
def test_refuses(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        cnn.LKCA2d(4, 4, **settings)
