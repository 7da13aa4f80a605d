"""Tests of large kernels put together from small ones: against shifting and adding, and merged against trained."""

import copy
import re

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn import nn as cnn
from convnn.errors import InputError
from convnn.nn.kernels import taps
from convnn.nn.windows.shifted_sums import ghosts_of
from kernel_layers import check_merged, check_positions, check_trains, maps, with_statistics


def shifted(x: Tensor, down: int, right: int, size: torch.Size) -> Tensor:
    """Return out[i, j] = x[i - down, j - right], with zeros outside of x, of a given size."""
    margin = max(abs(down), abs(right)) + max(size)
    padded = F.pad(x, [margin] * 4)
    return padded[:, margin - down : margin - down + size[0], margin - right : margin - right + size[1]]


def shift_and_add(layer: cnn.ShiftedSum2d, x: Tensor) -> Tensor:
    """Return what the published operator computes: small kernels are convolved, then shifted maps are added."""
    x = x[:, layer.channels]
    s, (repeats, moved, number) = layer.weight.shape[-1], layer.wide.shape
    e, m, size = s // 2, layer.big_kernel // 2, x.shape[2:]
    small = layer.weight.sum(0).flatten(0, 1).unsqueeze(1)
    maps = F.conv2d(x[:, :moved], small, padding=s - 1, groups=moved).unflatten(1, (moved, number))
    parts = [torch.zeros_like(x[:, :moved]) for _ in range(3)]
    for r in range(repeats):
        for c in range(moved):
            for p in range(number):
                pad = m - p * s - (s - 1)
                parts[0][:, c] += shifted(maps[:, c, layer.wide[r, c, p]], -e, pad, size)
                parts[1][:, c] += shifted(maps[:, c, layer.tall[r, c, p]], pad, -e, size)
            parts[2][:, c] += shifted(maps[:, c, layer.square[r, c]], -e, -e, size)
    out = sum(norm(part) for norm, part in zip(layer.norms, parts, strict=True)) + x[:, :moved]
    return torch.cat([out, x[:, moved:]], dim=1)


@pytest.mark.parametrize(("big", "small"), [(9, 3), (13, 3), (11, 5), (8, 3), (4, 3), (51, 3)])
@pytest.mark.parametrize("band_norm", [True, False])
@torch.no_grad()
def test_is_shifting_and_adding(big: int, small: int, band_norm: bool) -> None:
    layer = with_statistics(
        cnn.ShiftedSum2d(3, ghosts=1, big_kernel=big, small_kernel=small, N_rep=2, band_norm=band_norm)
    )
    x = maps(3, 7, 10)
    expected = shift_and_add(layer, x)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.merge()(x), expected, rtol=0, atol=1e-12)
    dense = taps.added(layer.bands())
    margins = [side // 2 for side in dense.sides]
    moved = F.conv2d(x[:, layer.channels[:2]], dense.weight, dense.bias, padding=margins, groups=2)
    torch.testing.assert_close(moved, expected[:, :2], rtol=0, atol=1e-12)


def test_positions_training_and_merging() -> None:
    build = lambda i, o, **geometry: cnn.ShiftWise2d(i, o, big_kernel=7, **geometry)  # noqa: E731
    check_positions(build)
    check_trains(build(4, 4), maps(4, 6, 5))
    report = check_merged(build(4, 6, groups=2), maps(4, 6, 5))
    assert report.merged[0][:3] == ("operator", "ShiftedSum2d", "TwoBands2d")


def test_ghosts_pass_and_channels_keep_their_order() -> None:
    layer = cnn.ShiftWise2d(8, 8, groups=8, big_kernel=5, ghost_ratio=0.5).eval()
    torch.nn.init.ones_(layer.pointwise.weight)
    torch.nn.init.zeros_(layer.pointwise.bias)
    x = torch.randn(1, 8, 6, 6)
    same = [channel for channel in range(8) if torch.equal(layer(x)[:, channel], x[:, channel])]
    assert same == layer.operator.channels[4:].tolist()


def test_orders_follow_the_seed_and_differ_between_layers() -> None:
    def orders(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        return [cnn.ShiftedSum2d(4, big_kernel=13).wide for _ in range(2)]

    (one, two), (again, _), (other, _) = orders(0), orders(0), orders(1)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert not torch.equal(one, two)
    assert torch.equal(one.sort(-1).values, torch.arange(5).expand(4, 4, 5))


def test_numbers_are_the_published() -> None:
    assert [ghosts_of(channels, ratio) for channels, ratio in ((6, 0.23), (5, 0.0), (64, 0.23))] == [2, 1, 16]
    layer = cnn.ShiftedSum2d(6, ghosts=2, big_kernel=13)
    assert sum(p.numel() for p in layer.parameters()) == 384
    assert cnn.ShiftWise2d(1, 8).operator.moved == 6, "too few input channels are widened first"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"small_kernel": 2}, "small_kernel=2 must be odd"),
        ({"big_kernel": 2}, "big_kernel=2 must be an integer of at least 3"),
        ({"ghost_ratio": 1.5}, "ghost_ratio=1.5 must lie between 0 and 1"),
        ({"ghost_ratio": 1.0}, "ghost_ratio=1.0 leaves fewer than two of 4 channels"),
        ({"N_path": 0}, "N_path=0"),
        ({"N_rep": 0}, "N_rep=0"),
        ({"groups": 3}, "groups=3"),
    ],
)
def test_refuses(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        cnn.ShiftWise2d(4, 4, **settings)


def test_pruning_keeps_the_kernels_of_the_largest_products_with_their_gradients() -> None:
    layer = cnn.ShiftedSum2d(6, big_kernel=9, sparsity=0.3).double()
    with pytest.raises(InputError, match="needs the gradient of a batch; call backward"):
        layer.prune()
    (layer(maps(6, 5, 5)) ** 2).sum().backward()
    products = (layer.weight * layer.weight.grad).abs().sum((0, 3, 4))
    layer.prune()
    assert (~layer.kept).sum() == 5  # of 18
    assert products[~layer.kept].max() < products[layer.kept].min()
    assert not layer.weight[:, ~layer.kept].any()
    wide, *_ = layer.kernels()
    layer.weight.data[:, ~layer.kept] = 1.0
    assert torch.equal(layer.kernels()[0], wide), "what is pruned does not count, whatever the optimizer does to it"
    check_merged(layer, maps(6, 5, 5))


def test_small_kernels_make_room_for_drawn_ones() -> None:
    layer = cnn.ShiftedSum2d(10, big_kernel=12, sparsity=0.3)
    layer.weight.grad = torch.rand_like(layer.weight)
    layer.prune()
    before, sizes = layer.kept.clone(), layer.weight.detach().sum(0).abs().sum((2, 3))
    twin = copy.deepcopy(layer)
    layer.prune(torch.Generator().manual_seed(1))
    gone, grown = before & ~layer.kept, layer.kept & ~before
    assert gone.sum() == grown.sum() == 8  # 30 % of the 28 that were kept
    assert sizes[gone].max() <= sizes[before & layer.kept].min()
    assert not layer.weight[:, grown].any()
    twin.prune(torch.Generator().manual_seed(1))
    assert torch.equal(twin.kept, layer.kept)
    twin.load_state_dict(layer.state_dict())
    assert torch.equal(twin(maps(10, 4, 4).float()), layer(maps(10, 4, 4).float()))


def test_without_sparsity_there_is_no_buffer_for_it() -> None:
    assert "kept" not in cnn.ShiftedSum2d(4).state_dict()
    with pytest.raises(InputError, match=r"sparsity=1\.5 must lie between 0 and 1"):
        cnn.ShiftWise2d(4, 4, sparsity=1.5)
