"""Convolution in the space of matches: against scipy, by its symmetries, and the head around it."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from convnn.errors import InputError
from convnn.nn.matches import (
    CentrePivotConv4d,
    CHM4d,
    CHM6d,
    HoughMatcher,
    expected_targets,
    pair_classes,
    transfer_keypoints,
)
from convnn.ops.matches import convolve, cosine_matches, match_space, mutual_filter, resize_matches


@pytest.mark.parametrize(("sharing", "weights"), [("psi", (55, 11)), ("iso", (15, 6)), ("full", (625, 81))])
def test_matches_that_are_related_alike_share_a_weight(sharing: str, weights: tuple[int, int]) -> None:
    assert tuple(CHM4d(side, sharing).weight.numel() for side in (5, 3)) == weights
    assert CHM6d(5, sharing).weight.numel() == {"psi": 220, "iso": 45, "full": 5625}[sharing]
    seen = list(dict.fromkeys(pair_classes(5, 2, sharing).flatten().tolist()))
    assert seen == list(range(weights[0]))  # in order of appearance


def test_a_swap_a_flip_and_a_turn_change_no_kernel_of_relations() -> None:
    kernel = CHM4d(5).kernel.detach()
    assert torch.equal(kernel, kernel.permute(2, 3, 0, 1))
    assert torch.equal(kernel, kernel.flip(0, 2))
    assert torch.equal(kernel, kernel.rot90(1, (0, 1)).rot90(1, (2, 3)))
    assert not torch.equal(kernel, kernel.flip(0))


@pytest.mark.parametrize(("make", "side", "sharing"), [(CHM4d, 3, "psi"), (CHM4d, 5, "iso"), (CHM6d, 3, "full")])
def test_the_convolution_is_that_of_scipy(make, side: int, sharing: str) -> None:
    torch.manual_seed(0)
    layer = make(side, sharing).double()
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    shape = (3, 4, 1, 2) if layer.axes == 4 else (2, 2, 3, 1, 2, 3)
    x = torch.randn(2, 1, *shape, dtype=torch.double)
    kernel, bias = layer.kernel.detach().numpy(), layer.bias.item()
    wanted = np.stack([ndimage.correlate(one.numpy(), kernel, mode="constant") + bias for one in x[:, 0]])
    torch.testing.assert_close(layer(x)[:, 0].detach(), torch.from_numpy(wanted))


def test_gradients_are_those_of_finite_differences() -> None:
    x = torch.randn(2, 2, 2, 3, 1, 2, dtype=torch.double, requires_grad=True)
    weight = torch.randn(2, 2, 3, 3, 1, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(convolve, (x, weight, torch.zeros(2).double()), fast_mode=True)


def test_a_centre_pivot_is_a_dense_kernel_with_zeros() -> None:
    layer = CentrePivotConv4d(2, 3, (3, 5)).double()
    dense = torch.zeros(3, 2, 5, 5, 5, 5, dtype=torch.double)
    dense[:, :, 1:4, 1:4, 2, 2] += layer.source.weight.detach()
    dense[:, :, 2, 2] += layer.target.weight.detach()
    x = torch.randn(2, 2, 3, 4, 5, 2, dtype=torch.double)
    torch.testing.assert_close(layer(x), convolve(x, dense, layer.source.bias + layer.target.bias))


def test_a_map_matches_itself_at_every_scale_and_keeps_mutual_matches() -> None:
    x, y = torch.randn(2, 4, 3, 5), torch.randn(2, 4, 4, 2)
    space = match_space(x, y, (1, 2))
    assert space.shape == (2, 1, 2, 2, 3, 5, 4, 2)
    torch.testing.assert_close(space[:, 0, 0, 0], cosine_matches(x, y).clamp_min(0))
    torch.testing.assert_close(
        cosine_matches(x, x).flatten(1, 2).flatten(2).diagonal(dim1=1, dim2=2), torch.ones(2, 15)
    )
    c = torch.tensor([[[2.0, 1.0], [0.0, 0.0]]])
    assert mutual_filter(c).tolist() == [[[2.0, 0.5], [0.0, 0.0]]]


def test_the_head_has_the_published_number_of_parameters() -> None:
    heads = [HoughMatcher(1024, sharing) for sharing in ("psi", "iso", "full")]
    counts = [sum(p.numel() for p in head.parameters()) for head in heads]
    assert counts == [7_078_165, 7_077_950, 7_084_140]


def test_points_follow_their_cells() -> None:
    size = (4, 6)
    shifted = torch.eye(24).reshape(24, 4, 6).roll(1, 2)  # each cell to its neighbour on the right
    moved = expected_targets(1e3 * shifted.reshape(1, 24, 24), size)
    torch.testing.assert_close(moved[0, 0, 0], torch.tensor(-1 + 2 / 5))
    points = torch.tensor([[[-1.0, 0.13], [-1.0, 0.5]]])  # the first on a cell, the second in reach of none
    found = transfer_keypoints(1e3 * shifted.reshape(1, 24, 24), points, (size, size))
    torch.testing.assert_close(found, torch.tensor([[[-0.6, 0.6], [-1.0, 1 / 3]]]))


def test_it_learns_to_match_a_map_with_itself() -> None:
    torch.manual_seed(0)
    network = HoughMatcher(8, kernel_size=3)
    x = torch.randn(2, 8, 3, 3)
    right = torch.eye(36).expand(2, -1, -1)
    optimizer, losses = torch.optim.Adam(network.parameters(), 0.02), []
    for _ in range(6):
        c = network(x, x)
        losses.append(-(right * (c / c.sum(2, keepdim=True)).clamp_min(1e-9).log()).sum())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]


BAD = [
    (lambda: CHM4d(4), r"kernel_size=4 must be odd"),
    (lambda: CHM6d(5, scale_kernel=2), r"kernel_size=2 must be odd"),
    (lambda: CHM4d(3, "pis"), r"sharing='pis' is not one of psi, iso, full; did you mean 'psi'\?"),
    (lambda: CHM4d(3)(torch.zeros(1, 1, 2, 2, 2)), r"x of shape \(1, 1, 2, 2, 2\) must be \(B, 1, H, W, H', W'\)"),
    (lambda: CHM4d(3)(torch.zeros(1, 2, 2, 2, 2, 2)), r"must be \(B, 1, H, W, H', W'\)"),
    (lambda: CHM6d(3)(torch.zeros(1, 1, 2, 3, 2, 2, 2, 2)), r"2 scales of the source and 3 of the target"),
    (lambda: CentrePivotConv4d(1, 1, 2), r"kernel_size=2 must be odd"),
    (lambda: CentrePivotConv4d(1, 1, (3, 3, 3)), r"kernel_size=\(3, 3, 3\) must be a side, or one for each"),
    (lambda: CentrePivotConv4d(1, 1, 3)(torch.zeros(1, 2, 2, 2, 2, 2)), r"must be \(B, 1, H, W, H', W'\)"),
    (lambda: convolve(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 3)), r"weight of shape \(1, 1, 3\) must be"),
    (
        lambda: convolve(torch.zeros(1, 1, 2), torch.zeros(1, 1, 3), torch.zeros(2)),
        r"bias of shape \(2,\) must be \(1,\)",
    ),
    (lambda: match_space(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, 3)), r"batch and channels of the source"),
    (lambda: match_space(*torch.zeros(2, 1, 2, 3, 3), scales=(0,)), r"scales=0 must be a positive number"),
    (lambda: match_space(*torch.zeros(2, 1, 2, 3, 3), project=[]), r"project has 0 functions"),
    (lambda: resize_matches(torch.zeros(1, 2, 2), (1, 1, 1, 1)), r"must be \(B, H, W, H', W'\)"),
    (lambda: HoughMatcher(3), r"channels=3 must be an integer of at least 4"),
    (lambda: HoughMatcher(4, scales=()), r"scales=\(\) must have at least one"),
    (lambda: expected_targets(torch.zeros(1, 4, 5), (2, 2)), r"must be \(B, N, 2 \* 2\)"),
    (lambda: expected_targets(torch.zeros(1, 4, 4), (2, 2), 0), r"sigma=0 must be a positive number"),
    (lambda: transfer_keypoints(torch.zeros(1, 4, 4), torch.zeros(1, 3, 2), ((2, 2), (2, 2))), r"must be \(1, 2, P\)"),
    (
        lambda: transfer_keypoints(torch.zeros(1, 4, 4), torch.zeros(1, 2, 2), ((2, 3), (2, 2))),
        r"must be \(B, 2 \* 3, M\)",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=range(len(BAD)))
def test_bad_input_is_told_in_a_sentence(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
