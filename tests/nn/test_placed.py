"""Tests of ConvNN by direction against a definition written slot by slot, and of its identities."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import convnn
import convnn.nn as cnn
from convnn.errors import InputError
from convnn.ops import select
from pairwise import sweep

LAYERS = {1: cnn.ConvNNPos1d, 2: cnn.ConvNNPos2d, 3: cnn.ConvNNPos3d}
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
METRICS = ["cosine", "euclidean", "matmul"]


def score(a: list[float], b: list[float], metric: str) -> float:
    product = math.fsum(p * q for p, q in zip(a, b, strict=True))
    if metric == "matmul":
        return product
    if metric == "euclidean":
        return -math.fsum((p - q) ** 2 for p, q in zip(a, b, strict=True))
    lengths = math.hypot(*a) * math.hypot(*b)
    return product / lengths if lengths else 0.0


def brute_force(x: Tensor, weight: Tensor, bias: Tensor, settings: dict[str, Any]) -> Tensor:
    """Compute the layer on (B, C, *S) in loops over images, positions, slots and candidates; zeros outside the map."""
    reach, stride, padding, dilation = (settings[name] for name in ("reach", "stride", "padding", "dilation"))
    first = len(bias) - math.ceil(settings["choosing"] * len(bias))
    sign = 1 if settings["prefer"] == "like" else -1
    kernel, size = weight.shape[2:], x.shape[2:]
    counts = [(n + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for n, k in zip(size, kernel, strict=True)]

    def is_inside(place: tuple[int, ...]) -> bool:
        return all(0 <= p < n for p, n in zip(place, size, strict=True))

    images = []
    for image in x:

        def at(place: tuple[int, ...], image: Tensor = image) -> Tensor:
            return image[(slice(None), *place)] if is_inside(place) else image.new_zeros(image.shape[0])

        rows = []
        for position in itertools.product(*map(range, counts)):
            corner = [p * stride - padding for p in position]
            middle = tuple(c + dilation * ((k - 1) // 2) for c, k in zip(corner, kernel, strict=True))
            total = bias.clone()
            for slot in itertools.product(*map(range, kernel)):
                lines = []
                for s, k, c in zip(slot, kernel, corner, strict=True):
                    steps = {s}
                    if s == 0:
                        steps |= set(range(-reach, 0))
                    if s == k - 1:
                        steps |= set(range(k, k + reach))
                    lines.append([c + dilation * step for step in sorted(steps)])
                candidates = list(itertools.product(*lines))
                on_the_map = [place for place in candidates if is_inside(place)]
                candidates = on_the_map or candidates  # zeros are chosen only if there is nothing else
                here, metric = at(middle).tolist(), settings["metric"]
                scores = [sign * score(here, at(place).tolist(), metric) for place in candidates]
                chosen = at(candidates[scores.index(max(scores))])
                own = at(tuple(c + dilation * step for c, step in zip(corner, slot, strict=True)))
                kernel_of_slot = weight[(slice(None), slice(None), *slot)]
                total = total + torch.cat([kernel_of_slot[:first] @ own, kernel_of_slot[first:] @ chosen])
            rows.append(total)
        images.append(torch.stack(rows, dim=-1).unflatten(-1, counts))
    return torch.stack(images)


def doubles(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


@sweep(
    form=[
        ((9,), (3,), 1, 1, 1, 1),
        ((9,), (4,), 2, 2, 1, 1),
        ((5, 3), (3, 3), 1, 1, 1, 1),
        ((1, 1), (3, 3), 2, 1, 1, 1),
        ((5, 4), (3, 1), 2, 2, 1, 1),
        ((6, 5), (5, 3), 1, 1, 2, 1),
        ((7, 6), (3, 3), 1, 2, 2, 2),
        ((2, 3, 3), (3, 3, 1), 1, 1, 1, 1),
    ],
    preference=[("unlike", 0.5), ("unlike", 1), ("like", 0.25), ("like", 0)],
    metric=METRICS,
)
def test_against_the_definition(form: tuple[Any, ...], preference: tuple[str, float], metric: str) -> None:
    size, kernel, reach, stride, padding, dilation = form
    prefer, choosing = preference
    settings = {"reach": reach, "choosing": choosing, "prefer": prefer, "metric": metric}
    settings |= {"stride": stride, "padding": padding, "dilation": dilation}
    layer = LAYERS[len(size)](2, 3, kernel_size=kernel, **settings, dtype=torch.double)
    x = doubles(2, 2, *size).requires_grad_()
    expected = brute_force(x, layer.weight, layer.bias, settings)
    actual = layer(x)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)
    sides = doubles(*expected.shape, seed=1)
    inputs = [x, layer.weight, layer.bias]
    ours, theirs = (torch.autograd.grad(y, inputs, sides) for y in (actual, expected))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=60, deadline=None)
@given(
    axes=st.integers(1, 3), kernel=st.integers(1, 4), groups=st.sampled_from([1, 2]), stride=st.integers(1, 3),
    dilation=st.integers(1, 2), mode=st.sampled_from(cnn.PADDING_MODES), padding=st.sampled_from(["same", 0, 2])
)  # fmt: skip
def test_without_reach_it_is_the_convolution(
    axes: int, kernel: int, groups: int, stride: int, dilation: int, mode: str, padding: Any
) -> None:
    given = {"padding": padding, "dilation": dilation, "groups": groups, "padding_mode": mode, "dtype": torch.double}
    given["stride"] = 1 if padding == "same" else stride
    conv = CONVOLUTIONS[axes](4, 6, kernel, **given)
    layer = LAYERS[axes](4, 6, kernel_size=kernel, reach=0, **given)
    layer.load_state_dict(conv.state_dict())
    x = doubles(2, 4, *[8, 9, 7][:axes])
    torch.testing.assert_close(layer(x), conv(x), rtol=0, atol=1e-12)


def test_groups_are_layers_beside_each_other() -> None:
    """Groups share the choice, which compares all channels."""
    layer = cnn.ConvNNPos2d(4, 6, groups=2, padding_mode="circular", dtype=torch.double)
    x = doubles(2, 4, 5, 6)
    field, indices = layer.field(x), layer.neighbors(x).indices
    rows = torch.stack([one[index] for one, index in zip(field.features, indices, strict=True)])
    conv = nn.Conv2d(4, 6, 3, padding=1, groups=2, padding_mode="circular", dtype=torch.double)
    conv.load_state_dict(layer.state_dict())
    chosen = [
        torch.einsum(
            "bnkc,ock->bon", rows[..., 2 * group : 2 * group + 2], layer.weight[3 * group : 3 * group + 3].flatten(2)
        )
        for group in range(2)
    ]
    expected, chosen = conv(x), field.to_map(torch.cat(chosen, 1).mT) + layer.bias[:, None, None]
    choosing = [1, 2, 4, 5]  # two of three in each group
    expected[:, choosing] = chosen[:, choosing]
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


def test_on_a_map_of_one_colour_nothing_is_chosen_but_the_place_of_each_slot() -> None:
    """All candidates tie, and the first of a slot's list, which has the colour of its place, is chosen."""
    layer = cnn.ConvNNPos2d(3, 4, padding_mode="replicate", dtype=torch.double)
    conv = nn.Conv2d(3, 4, 3, padding="same", padding_mode="replicate", dtype=torch.double)
    conv.load_state_dict(layer.state_dict())
    x = doubles(1, 3, 1, 1).expand(1, 3, 6, 5)
    torch.testing.assert_close(layer(x), conv(x), rtol=0, atol=1e-12)


def test_the_kernel_gives_the_window_whatever_the_grid_says() -> None:
    layer = cnn.ConvNNPos2d(3, 4, padding=1, dtype=torch.double)
    x = doubles(2, 3, 5, 6)
    for grid in (cnn.Grid(padding=1), cnn.Grid(3, padding=1), None):
        out = cnn.functional.convnn_pos(x, layer.weight, layer.bias, grid=grid)
        torch.testing.assert_close(out, layer(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (2, 1)])
def test_on_the_smallest_maps_it_is_the_convolution(size: tuple[int, int]) -> None:
    """Only padding lies beyond the places of the slots, and its zeros are not chosen."""
    layer, conv = cnn.ConvNNPos2d(3, 4, reach=2, dtype=torch.double), nn.Conv2d(3, 4, 3, padding=1, dtype=torch.double)
    conv.load_state_dict(layer.state_dict())
    x = doubles(2, 3, *size)
    torch.testing.assert_close(layer(x), conv(x), rtol=0, atol=1e-12)


def test_a_slot_takes_the_odd_one_out_in_its_direction() -> None:
    """The position two columns to the left of a bright pixel on a grey map finds it by its right slot."""
    layer = cnn.ConvNNPos2d(1, 1, bias=False, prefer="unlike", metric="euclidean", dtype=torch.double)
    with torch.no_grad():
        layer.weight.zero_()[0, 0, 1, 2] = 1
    x = torch.ones(1, 1, 7, 7, dtype=torch.double)
    x[0, 0, 3, 5] = 9
    y = layer(x)[0, 0]
    assert {tuple(place) for place in (y == 9).nonzero().tolist()} == {(3, 3), (3, 4)}


@pytest.mark.parametrize(("mode", "numpys"), [("reflect", "reflect"), ("circular", "wrap"), ("replicate", "edge")])
def test_a_small_map_is_continued_as_far_as_slots_reach(mode: str, numpys: str) -> None:
    x = doubles(1, 2, 3, 2)
    wide = cnn.Grid(3, padding=1, padding_mode=mode).widened((3, 3), reach=6)
    expected = np.pad(x.numpy(), [(0, 0), (0, 0), (7, 7), (7, 7)], mode=numpys)
    assert torch.equal(wide.pad(x), torch.from_numpy(expected))


def test_a_single_position_cannot_be_reflected() -> None:
    with pytest.raises(InputError, match="too wide for a map of"):
        cnn.ConvNNPos2d(2, 2, padding_mode="reflect", padding=1)(torch.zeros(1, 2, 1, 5))


def test_neighbors_are_what_the_slots_take() -> None:
    layer = cnn.ConvNNPos2d(3, 4, choosing=1, metric="cosine", dtype=torch.double)
    x = doubles(2, 3, 5, 4)
    neighbors, field = layer.neighbors(x), layer.field(x)
    assert neighbors.indices.shape == neighbors.scores.shape == (2, 20, 9)
    taken = torch.stack([rows[index] for rows, index in zip(field.features, neighbors.indices, strict=True)])
    out = torch.einsum("bnkc,ock->bno", taken, layer.weight.flatten(2)) + layer.bias
    torch.testing.assert_close(field.to_map(out), layer(x), rtol=0, atol=1e-12)
    offsets = field.places(neighbors.indices) - field.places(field.queries())[None, :, None]
    slots = torch.tensor(list(itertools.product((-1, 0, 1), repeat=2)))
    assert torch.equal(offsets.clamp(-1, 1), slots.expand(2, 20, -1, -1))
    assert offsets.abs().max() == 2
    torch.testing.assert_close(neighbors.scores[..., 4], torch.ones(2, 20, dtype=torch.double))


def test_sectors_part_the_window() -> None:
    for kernel, reach in itertools.product([(1,), (3,), (2, 3), (3, 3), (3, 1, 5)], (0, 1, 3)):
        wide = [k + 2 * reach for k in kernel]
        sectors = select.sectors(kernel, reach)
        assert sectors.shape[0] == math.prod(kernel)
        members = [set(row.tolist()) for row in sectors]
        assert set().union(*members) == set(range(math.prod(wide)))
        assert sum(map(len, members)) == math.prod(wide)  # no position twice


@pytest.mark.parametrize("unlike", [False, True])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 3, 16, 37])
def test_both_backends_choose_alike(metric: str, unlike: bool, dtype: torch.dtype, channels: int) -> None:
    choices = torch.randint(60, (30, 7, 5), generator=torch.Generator().manual_seed(1))
    queries, keys = doubles(2, 30, channels).to(dtype), doubles(2, 60, channels, seed=1).to(dtype)
    keys[:, 20:40] = keys[:, :20]  # ties
    keys[:, 50:] = 0
    chosen = [
        select.one_of_each(queries, keys, choices, metric=metric, unlike=unlike, backend=backend).indices
        for backend in ("reference", "cpu")
    ]
    assert torch.equal(*chosen)
    assert chosen[0].shape == (2, 30, 7)
    assert (choices.expand(2, -1, -1, -1) == chosen[0].unsqueeze(-1)).any(-1).all()


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("unlike", [False, True])
def test_what_is_no_number_ranks_last_and_ties_go_to_the_first(backend: str, unlike: bool) -> None:
    keys = torch.tensor([[[math.nan], [1.0], [2.0], [2.0], [math.inf], [1.0]]])
    queries = torch.ones(1, 1, 1)
    choices = torch.tensor([[[0, 1, 5, 0], [0, 3, 2, 1], [5, 1, 0, 0], [0, 0, 0, 0], [2, 3, 0, 0]]])
    chosen = select.one_of_each(queries, keys, choices, metric="matmul", unlike=unlike, backend=backend).indices
    assert chosen.tolist() == [[[1, 1 if unlike else 3, 5, 0, 2]]]


def test_wrong_lists_and_arguments_are_named() -> None:
    rows = torch.zeros(1, 4, 2)
    whole = torch.zeros(4, 2, 1, dtype=torch.long)
    for choices in (whole[1:], whole[..., :0], whole.float(), whole[0]):
        with pytest.raises(InputError, match=r"^choices of shape .* must be \(N, K, M\) int64 for the 4 queries"):
            select.one_of_each(rows, rows, choices)
    with pytest.raises(IndexError, match="an index lies outside the positions"):
        select.one_of_each(rows, rows, torch.full((4, 1, 1), 9), backend="cpu")
    with pytest.raises(InputError, match=r"^reach=-1 must be an integer of at least 0$"):
        cnn.ConvNNPos2d(3, 4, reach=-1)
    with pytest.raises(InputError, match=r"^choosing=1.5 must lie between 0 and 1$"):
        cnn.ConvNNPos2d(3, 4, choosing=1.5)
    with pytest.raises(InputError, match=r"^prefer='unlik' is not one of like, unlike; did you mean 'unlike'\?$"):
        cnn.ConvNNPos2d(3, 4, prefer="unlik")


def test_it_takes_the_place_and_the_weights_of_a_convolution() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, groups=1), nn.ReLU(), nn.Conv2d(8, 8, 5, padding=2, groups=4))
    x = torch.randn(2, 3, 12, 12)
    expected = network(x)
    convnn.replace_layers(network, "ConvNN_Pos", keep_weights=True, reach=0)
    assert [type(module) for module in network[::2]] == [cnn.ConvNNPos2d] * 2
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-5)


def test_its_words() -> None:
    assert repr(cnn.ConvNNPos2d(3, 8)) == "ConvNNPos2d(3, 8, kernel_size=3, reach=1)"
    layer = cnn.ConvNNPos2d(
        4, 8, kernel_size=5, reach=2, prefer="unlike", metric="cosine", stride=2, padding=1, groups=2
    )
    named = "kernel_size=5, reach=2, prefer='unlike', metric='cosine', stride=2, padding=1, groups=2"
    assert repr(layer) == f"ConvNNPos2d(4, 8, {named})"
