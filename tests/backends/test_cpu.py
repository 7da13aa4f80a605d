"""The compiled core against the definition, for every instruction set of this machine."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from convnn.backends import cpu, reference
from convnn.ops import METRICS
from ill_conditioned import cases
from pairwise import each, one_in, sweep

pytestmark = pytest.mark.skipif(bool(cpu.unavailable_reasons()), reason="the core is not compiled")


def _random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _indices(batch: int, queries: int, K: int, length: int) -> Tensor:
    return torch.randint(length, (batch, queries, K), generator=torch.Generator().manual_seed(9))


def _same_choice(
    queries: Tensor, keys: Tensor, K: int, metric: str, positions: Tensor | None, candidates: Tensor | None
) -> bool:
    arguments = (queries, keys, K, metric, positions, candidates)
    return torch.equal(cpu.nearest(*arguments), reference.nearest(*arguments))


# Panels hold 4, 8 or 16 keys, blocks 24 or 32 queries, chunks 1024 keys.
LENGTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 63, 64, 65, 1023, 1024, 1025]


@each(length=LENGTHS, metric=METRICS, channels=(1, 3, 65))
def test_nearest_chooses_as_the_definition(core: str, length: int, metric: str, channels: int) -> None:
    positions = torch.arange(length)[-70:]  # more queries than two blocks
    for K in (1, 9, 31, 32, 33, length):
        if K <= length:
            rows = _random(1, length, channels, seed=K)
            assert _same_choice(rows[:, positions], rows, K, metric, positions, None)
            assert _same_choice(rows[:, :3], rows, K, metric, None, None)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("metric", METRICS)
def test_nearest_among_candidates(core: str, metric: str, dtype: torch.dtype) -> None:
    keys, positions = _random(3, 50, 5, dtype=dtype), torch.arange(5, 41)
    for candidates in (torch.arange(0, 50, 3), torch.tensor([2, 3, 49])):
        for K in {1, 2, len(candidates)}:
            assert _same_choice(keys[:, positions], keys, K, metric, positions, candidates)
            assert _same_choice(keys[:, positions], keys, K, metric, None, candidates)
        assert _same_choice(keys[:, positions], keys, len(candidates) + 1, metric, positions, candidates)


@pytest.mark.parametrize("metric", METRICS)
def test_queries_that_all_stand_at_one_position(core: str, metric: str) -> None:
    """Check that an expanded list of positions counts with its full length."""
    keys, position = _random(2, 30, 5), torch.tensor([7])
    assert _same_choice(keys[:, :20], keys, 4, metric, position.expand(20), None)
    assert _same_choice(keys[:, :20], keys, 4, metric, position.expand(20), torch.arange(3, 20))


@each(length=[30, 1100, 2500], channels=[3, 40], metric=METRICS)
def test_ties_are_the_definitions(
    core: str, length: int, channels: int, metric: str, each_thread_count: tuple[int, ...]
) -> None:
    """Check constant, two-tone and grey images, and one whose best keys come last: the lists overflow and are cut."""
    brightness = torch.arange(length)[:, None] % 7 + 1
    images = {
        "constant": torch.ones(length, channels),
        "two tones": torch.where(torch.arange(length)[:, None] % 3 == 0, 0.3, 0.7).expand(-1, channels),
        "two colours": _random(2, channels)[(torch.arange(length) % 3 == 0).long()],
        "grey": brightness / 7 * torch.ones(channels),
        "zeros": torch.zeros(length, channels),
        "ever closer": torch.linspace(5, 0, length)[:, None].expand(-1, channels) ** 2,
        "half zeros": _random(length, channels) * (torch.arange(length) % 2)[:, None],
    }
    for image in images.values():
        rows = image.unsqueeze(0).contiguous()
        for K in (1, 9, 33)[: 3 if length >= 33 else 2]:
            arguments = (rows[:, :40], rows, K, metric, torch.arange(min(40, length)), None)
            expected = reference.nearest(*arguments)
            for threads in each_thread_count:
                torch.set_num_threads(threads)
                assert torch.equal(cpu.nearest(*arguments), expected)


@pytest.mark.parametrize(("metric", "bad"), one_in(4, itertools.product(METRICS, [math.nan, math.inf, -math.inf])))
def test_numbers_that_are_none_rank_last(core: str, metric: str, bad: float) -> None:
    for channels, length in itertools.product((5, 20), (40, 1100)):
        rows = _random(3, length, channels)
        rows[1, 7, 2] = bad
        rows[2] = bad
        for K in (1, 9, 39, 40):
            assert _same_choice(rows[:, :40], rows, K, metric, torch.arange(40), None)


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e-5, 1e5, 1e15, 1e18])
@pytest.mark.parametrize("metric", METRICS)
def test_the_choice_does_not_depend_on_the_unit(core: str, metric: str, scale: float) -> None:
    """Check that exact sums decide where float32 sums cannot distinguish or represent keys."""
    rows = _random(1, 300, 20, dtype=torch.float64) * scale
    assert _same_choice(rows, rows, 9, metric, torch.arange(300), None)
    near = 10 * scale + rows * 1e-3
    assert _same_choice(near, near, 9, metric, torch.arange(300), None)


@pytest.mark.parametrize("count", [54, pytest.param(1000, marks=pytest.mark.long)])
def test_rows_that_are_hard_to_tell_apart(core: str, count: int) -> None:
    wrong = [case.name for case in cases(count) if not _same_choice(*case[1:])]
    assert not wrong


@pytest.mark.slow
@pytest.mark.parametrize("count", [30, pytest.param(1000, marks=pytest.mark.long)])
def test_keys_in_leaves(core: str, count: int) -> None:
    """Enough keys to be cut into leaves, and few enough channels that leaves are far apart."""
    wrong = [case.name for case in cases(count, 1, 500, 700, 9) if not _same_choice(*case[1:])]
    assert not wrong


@pytest.mark.parametrize(
    ("channels", "metric", "length"), one_in(5, itertools.product([3, 24], METRICS, [511, 512, 545, 1025]))
)
def test_lengths_around_those_of_leaves(core: str, channels: int, metric: str, length: int) -> None:
    walk = _random(2, length, channels, seed=length).cumsum(1)
    assert _same_choice(walk, walk, 9, metric, torch.arange(length), None)
    assert _same_choice(walk[:, ::7] + 0.5, walk, 33, metric, None, torch.arange(length - 1))
    rounded = (walk / 4).round()  # ties
    assert _same_choice(rounded, rounded, 9, metric, torch.arange(length), None)


def test_leaves_with_what_is_not_finite(core: str) -> None:
    walk = _random(1, 600, 3).cumsum(1)
    for odd in (torch.nan, torch.inf, -torch.inf, 1e30, 0.0):
        keys = walk.clone()
        keys[:, ::50] = odd
        keys[:, 7::50, 1] = odd
        for metric in METRICS:
            assert _same_choice(keys, keys, 9, metric, torch.arange(600), None), (odd, metric)


def test_a_row_of_nan_does_not_hide_one_of_infinity(core: str) -> None:
    """In float32 one of two keys at an infinite distance looks like NaN, before which both rank."""
    rows = _random(1, 40, 20)
    rows[:, 9, 0], rows[:, 10, 0], rows[:, 12] = torch.inf, -torch.inf, torch.nan
    lists = torch.zeros(1, 40, dtype=torch.long)
    for metric in METRICS:
        assert _same_choice(rows, rows, 38, metric, torch.arange(40), None)
        arguments = (rows, rows, 38, metric, torch.arange(40), lists, lists.unsqueeze(2), 1)
        assert torch.equal(cpu.nearest_in_lists(*arguments), reference.nearest_in_lists(*arguments))


SHAPES = {
    "narrow": (2, 9, 9, 3, 1, 5, 1),
    "65-channels": (3, 30, 25, 9, 65, 7, 1),
    "one-image": (1, 120, 101, 9, 16, 33, 1),
    "K33": (2, 60, 50, 33, 17, 16, 1),
    "tiny-maps": (5, 4, 4, 4, 32, 64, 1),
    "3-groups": (2, 20, 13, 4, 6, 9, 3),
    "2-wide-groups": (2, 20, 13, 4, 34, 66, 2),
    "depthwise": (2, 20, 13, 5, 7, 7, 7),
    "wide-depthwise": (2, 20, 13, 5, 130, 130, 130),
    "two-kernels-a-channel": (2, 20, 13, 5, 7, 14, 7),
    "many-rows": (2, 300, 280, 2, 3, 64, 1),
    "rows-in-parts": (1, 1100, 1090, 2, 16, 24, 1),
    "channels-in-parts": (3, 20, 20, 3, 290, 40, 1),
    "15-channels": (2, 40, 40, 4, 15, 16, 1),
}
"""Batch, positions, queries, K, channels, outputs and groups."""


@sweep(shape=tuple(SHAPES), scored=[False, True], dtype=[torch.float32, torch.float64])
def test_convolve_and_its_gradients_are_the_definitions(
    core: str, shape: str, scored: bool, dtype: torch.dtype
) -> None:
    batch, length, queries, K, channels, outputs, groups = SHAPES[shape]
    values, indices = _random(batch, length, channels, dtype=dtype), _indices(batch, queries, K, length)
    scores = _random(batch, queries, K, seed=1, dtype=dtype) if scored else None
    weight = _random(outputs, channels // groups, K, seed=2, dtype=dtype)
    grad = _random(batch, queries, outputs, seed=3, dtype=dtype)
    exact = [None if one is None else one.double() for one in (grad, values, scores, weight)]
    for bias in (None, _random(outputs, seed=4, dtype=dtype)):
        out = cpu.convolve(values, indices, scores, weight, bias, groups)
        exact_bias = None if bias is None else bias.double()
        _assert_near(out, reference.convolve(exact[1], indices, exact[2], exact[3], exact_bias, groups))
    for needs in itertools.product((False, True), repeat=3):
        found = cpu.convolve_backward(grad, values, indices, scores, weight, groups, needs)
        expected = reference.convolve_backward(exact[0], exact[1], indices, exact[2], exact[3], groups, needs)
        for one, other in zip(found, expected, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                _assert_near(one, other)


@pytest.mark.parametrize("scored", [False, True], ids=["plain", "scored"])
@pytest.mark.parametrize("channels", [3, 20])
def test_rows_that_share_neighbours_share_products(core: str, channels: int, scored: bool) -> None:
    """Check slots in which all rows have the same neighbour, pairs of rows do, and each row has its own."""
    batch, length = 3, 50
    values, weight, grad = _random(batch, length, channels), _random(9, channels, 4), _random(batch, length, 9, seed=1)
    place = torch.arange(length)
    slots = [place * 0 + 7, place // 2, place, place.flip(0)]
    indices = torch.stack(slots, dim=-1).expand(batch, -1, -1).contiguous()
    scores = _random(batch, length, 4, seed=2) if scored else None
    exact = [None if one is None else one.double() for one in (grad, values, scores, weight)]
    out = cpu.convolve(values, indices, scores, weight, None, 1)
    _assert_near(out, reference.convolve(exact[1], indices, exact[2], exact[3], None, 1))
    needs = (True, scored, True)
    found = cpu.convolve_backward(grad, values, indices, scores, weight, 1, needs)
    expected = reference.convolve_backward(exact[0], exact[1], indices, exact[2], exact[3], 1, needs)
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            _assert_near(one, other)


@pytest.mark.parametrize("channels", [3, 20])
def test_an_image_does_not_reach_another(core: str, channels: int) -> None:
    """Check that NaN in one image, which shares blocks of rows with the next, stays there."""
    values, indices, grad = _random(4, 9, channels), _indices(4, 9, 5, 9), _random(4, 9, 8, seed=1)
    weight = _random(8, channels, 5, seed=2)
    values[1], grad[1] = math.nan, math.nan
    out = cpu.convolve(values, indices, None, weight, None, 1)
    grad_values, _, _ = cpu.convolve_backward(grad, values, indices, None, weight, 1, (True, False, False))
    for found in (out, grad_values):
        assert found[[0, 2, 3]].isfinite().all()
        assert found[1].isnan().any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("channels", [1, 3, 8, 65, 130])
def test_similarity_and_its_gradients_are_the_definitions(
    core: str, channels: int, metric: str, dtype: torch.dtype
) -> None:
    queries, keys = _random(2, 70, channels, dtype=dtype), _random(2, 33, channels, seed=1, dtype=dtype)
    queries[0, 3], keys[1, 4] = 0, 0
    indices, grad = _indices(2, 70, 9, 33), _random(2, 70, 9, seed=3, dtype=dtype)
    exact = queries.double(), keys.double()
    _assert_near(cpu.similarity(queries, keys, indices, metric), reference.similarity(*exact, indices, metric))
    found = cpu.similarity_backward(grad, queries, keys, indices, metric)
    expected = reference.similarity_backward(grad.double(), *exact, indices, metric)
    for one, other in zip(found, expected, strict=True):
        # The cosine of numbers is their sign: nothing but rounding passes, in units of the shortest.
        _assert_near(one, other, absolute=1 / keys[keys != 0].abs().min().item() if channels == 1 else 0)


@pytest.mark.parametrize("groups", [1, 2, 6], ids=["dense", "grouped", "depthwise"])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_list_that_a_batch_shares_is_a_list_for_each(core: str, batch: int, groups: int) -> None:
    rows, weight = _random(batch, 33, 6), _random(6, 6 // groups, 4)
    shared = _indices(1, 20, 4, 33).expand(batch, -1, -1)
    scores, grad = _random(batch, 20, 4, seed=1), _random(batch, 20, 6, seed=2)
    results = []
    for indices in (shared, shared.contiguous()):
        found = [cpu.convolve(rows, indices, scores, weight, None, groups)]
        found += cpu.convolve_backward(grad, rows, indices, scores, weight, groups, (True, True, True))
        found += [cpu.similarity(rows[:, :20], rows, indices, "matmul")]
        results.append([*found, *cpu.similarity_backward(scores, rows[:, :20], rows, indices, "matmul")])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def _assert_near(found: Tensor, exact: Tensor, absolute: float = 0) -> None:
    eps = torch.finfo(found.dtype).eps
    scale = max(exact.abs().max().item(), absolute)
    assert (found.double() - exact).abs().max().item() <= 100 * eps * scale


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_types_are_computed_in_float32(core: str, dtype: torch.dtype) -> None:
    values, indices = _random(2, 30, 20).to(dtype), _indices(2, 25, 9, 30)
    weight, grad = _random(8, 20, 9, seed=2).to(dtype), _random(2, 25, 8, seed=3).to(dtype)
    out = cpu.convolve(values, indices, None, weight, None, 1)
    wide = cpu.convolve(values.float(), indices, None, weight.float(), None, 1)
    assert torch.equal(out, wide.to(dtype))
    found = cpu.convolve_backward(grad, values, indices, None, weight, 1, [True, False, True])
    wides = cpu.convolve_backward(grad.float(), values.float(), indices, None, weight.float(), 1, [True, False, True])
    for one, other in zip(found, wides, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other.to(dtype))


@pytest.mark.parametrize(("batch", "channels", "groups"), [(1, 40, 1), (7, 3, 1), (2, 40, 40), (3, 40, 2)])
def test_bits_do_not_depend_on_threads_or_runs(
    core: str, batch: int, channels: int, groups: int, each_thread_count: tuple[int, ...]
) -> None:
    length, K = 400, 9
    rows, weight = _random(batch, length, channels), _random(40, channels // groups, K, seed=2)
    scores, grad = _random(batch, length, K, seed=1), _random(batch, length, 40, seed=3)

    def everything() -> list[Tensor]:
        indices = cpu.nearest(rows, rows, K, "cosine", torch.arange(length), None)
        lists = rows[..., 0].gt(0).long() + rows[..., 1].gt(0)
        found = cpu.nearest_in_lists(rows, rows, K, "cosine", None, lists, lists.unsqueeze(2), 3)
        results = [indices, found, cpu.convolve(rows, indices, scores, weight, None, groups)]
        results += cpu.convolve_backward(grad, rows, indices, scores, weight, groups, [True] * 3)
        results += [cpu.similarity(rows, rows, indices, "cosine")]
        return [*results, *cpu.similarity_backward(scores, rows, rows, indices, "cosine")]

    torch.set_num_threads(1)
    expected = everything()
    for threads in each_thread_count * 2:
        torch.set_num_threads(threads)
        for found, one in zip(everything(), expected, strict=True):
            assert torch.equal(found, one)


def test_strides_do_not_matter(core: str) -> None:
    dense = _random(2, 30, 20)
    indices, weight, grad = _indices(2, 30, 9, 30), _random(8, 20, 9, seed=2), _random(2, 30, 8, seed=3)
    strided = dense.transpose(1, 2).contiguous().transpose(1, 2)
    spread = torch.zeros(2, 30, 40)[:, :, ::2].copy_(dense)
    for rows in (strided, spread):
        assert _same_choice(rows, rows, 9, "cosine", torch.arange(30), None)
        out = cpu.convolve(rows, indices[:, :, :9], None, weight.mT.contiguous().mT, None, 1)
        assert torch.equal(out, cpu.convolve(dense, indices, None, weight, None, 1))
        skewed = grad.transpose(0, 1).contiguous().transpose(0, 1)
        found = cpu.convolve_backward(skewed, rows, indices, None, weight, 1, [True, False, True])
        expected = cpu.convolve_backward(grad, dense, indices, None, weight, 1, [True, False, True])
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[2], expected[2])


def test_nothing_to_do(core: str) -> None:
    weight = _random(4, 3, 2)
    for batch, queries in ((0, 5), (2, 0)):
        rows, indices = torch.zeros(batch, 5, 3), torch.zeros(batch, queries, 2, dtype=torch.long)
        assert cpu.nearest(rows[:, :queries], rows, 2, "cosine", None, None).shape == (batch, queries, 2)
        assert cpu.convolve(rows, indices, None, weight, None, 1).shape == (batch, queries, 4)
        grads = cpu.convolve_backward(torch.zeros(batch, queries, 4), rows, indices, None, weight, 1, [True] * 3)
        assert grads[0].shape == rows.shape
        assert grads[2].eq(0).all()
        grad = torch.zeros(batch, queries, 2)
        assert cpu.similarity(rows[:, :queries], rows, indices, "cosine").shape == (batch, queries, 2)
        assert cpu.similarity_backward(grad, rows[:, :queries], rows, indices, "cosine")[1].eq(0).all()


@pytest.mark.parametrize("wrong", [-1, 5])
def test_an_index_outside_is_refused(core: str, wrong: int) -> None:
    rows, indices = torch.zeros(1, 5, 3), torch.full((1, 5, 2), wrong)
    with pytest.raises(IndexError, match="outside the positions"):
        cpu.convolve(rows, indices, None, _random(4, 3, 2), None, 1)
    with pytest.raises(IndexError, match="outside the positions"):
        cpu.similarity(rows, rows, indices, "cosine")
    with pytest.raises(IndexError, match="outside the positions"):
        cpu.nearest(rows, rows, 2, "cosine", None, torch.tensor([0, 1, wrong]))
