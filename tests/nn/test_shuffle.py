"""Tests of pixel shuffling on any number of axes."""

import pytest
import torch
from torch.nn import functional as F

import brute_force
from convnn.errors import InputError
from convnn.nn import PixelShuffle1d, PixelUnshuffle1d
from convnn.nn.functional import pixel_shuffle, pixel_unshuffle

SIZES = {"1d": (12,), "2d": (6, 12), "3d": (6, 12, 6)}


@pytest.mark.parametrize("scale", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [(6, 6), (6, 12)], ids=str)
def test_2d_is_that_of_torch(size: tuple[int, int], scale: int) -> None:
    x = torch.randn(2, 3, *size)
    folded = F.pixel_unshuffle(x, scale)
    assert torch.equal(pixel_unshuffle(x, scale), folded)
    assert torch.equal(pixel_shuffle(folded, scale), F.pixel_shuffle(folded, scale))


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_round_trips(size: tuple[int, ...], scale: int) -> None:
    x = torch.randn(2, 3, *size)
    folded = pixel_unshuffle(x, scale)
    assert folded.shape == (2, 3 * scale ** len(size), *[n // scale for n in size])
    assert torch.equal(pixel_shuffle(folded, scale), x)
    channels = torch.randn(2, 2 * scale ** len(size), *size)
    assert torch.equal(pixel_unshuffle(pixel_shuffle(channels, scale), scale), channels)


@pytest.mark.parametrize("size", [(4,), (4, 2), (2, 4, 2)], ids=str)
def test_numbers_go_where_the_definition_says(size: tuple[int, ...]) -> None:
    x = torch.arange(2 * 3 * torch.Size(size).numel()).view(2, 3, *size)
    assert torch.equal(pixel_unshuffle(x, 2), brute_force.unshuffle(x, 2))
    channels = torch.arange(2 * 2 ** len(size) * torch.Size(size).numel()).view(1, -1, *size)
    assert torch.equal(pixel_shuffle(channels, 2), brute_force.shuffle(channels, 2))


def test_1d_is_a_plain_reshape() -> None:
    x = torch.arange(12).view(1, 2, 6)
    assert PixelUnshuffle1d(3)(x).tolist() == [[[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]]
    assert torch.equal(PixelShuffle1d(3)(PixelUnshuffle1d(3)(x)), x)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_non_contiguous_input_and_empty_batch(size: tuple[int, ...]) -> None:
    x = torch.randn(*size, 3, 2).movedim(-1, 0).movedim(-1, 1)
    assert not x.is_contiguous()
    assert torch.equal(pixel_unshuffle(x, 2), pixel_unshuffle(x.contiguous(), 2))
    assert pixel_unshuffle(x[:0], 2).shape == (0, 3 * 2 ** len(size), *[n // 2 for n in size])
    assert pixel_shuffle(pixel_unshuffle(x[:0], 2), 2).shape == (0, 3, *size)


def test_repr() -> None:
    assert repr(PixelUnshuffle1d(2)) == "PixelUnshuffle1d(downscale_factor=2)"
    assert repr(PixelShuffle1d(3)) == "PixelShuffle1d(upscale_factor=3)"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pixel_unshuffle(torch.zeros(1, 1, 7, 6), 2), r"shuffle_scale=2 must divide every side of the 7x6 map"),
        (lambda: pixel_unshuffle(torch.zeros(1, 1, 7), 3), r"shuffle_scale=3 must divide every side of the 7 map"),
        (lambda: pixel_shuffle(torch.zeros(1, 6, 2, 2), 2), r"shuffle_scale=2 needs a multiple of 4 channels, not 6"),
        (lambda: pixel_shuffle(torch.zeros(1, 6, 2, 2, 2), 2), r"shuffle_scale=2 needs a multiple of 8 channels"),
        (lambda: pixel_unshuffle(torch.zeros(1, 1, 4), 0), r"shuffle_scale=0 must be an integer of at least 1"),
        (lambda: pixel_shuffle(torch.zeros(1, 1, 4), -1), r"shuffle_scale=-1 must be an integer of at least 1"),
        (lambda: PixelShuffle1d(0), r"upscale_factor=0 must be an integer of at least 1"),
        (lambda: PixelUnshuffle1d(0), r"downscale_factor=0 must be an integer of at least 1"),
    ],
    ids=["unshuffle-2d", "unshuffle-1d", "shuffle-2d", "shuffle-3d", "scale-0", "scale--1", "upscale", "downscale"],
)
def test_errors(call, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert isinstance(error.value, InputError)
