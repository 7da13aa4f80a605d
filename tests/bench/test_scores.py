"""Scores over many tasks."""

from itertools import combinations
from math import nan, prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convnn.bench import fast_p, geometric_mean_speedup, pass_at_k
from convnn.bench.scores import THRESHOLDS, not_timed
from convnn.errors import InputError

CORRECT, BASELINE, RUNTIME = [True, True, False, True], [2.0, 3.0, 9.0, 1.0], [1.0, 3.0, 1.0, 2.0]


def test_exactly_p_times_as_fast_does_not_count() -> None:
    assert [fast_p(CORRECT, BASELINE, RUNTIME, p) for p in (0, 0.5, 0.99, 1, 2)] == [0.75, 0.5, 0.5, 0.25, 0]


def test_the_mean_is_of_what_is_right() -> None:
    assert geometric_mean_speedup(CORRECT, BASELINE, RUNTIME) == pytest.approx((2 * 1 * 0.5) ** (1 / 3))
    assert geometric_mean_speedup(CORRECT, BASELINE, RUNTIME, faster_only=True) == pytest.approx(2)
    assert geometric_mean_speedup([False], [1.0], [1.0]) == 0
    assert fast_p([], [], [], 0) == 0


def test_a_product_beyond_all_numbers_has_a_mean() -> None:
    times = [1e-200] * 4
    assert geometric_mean_speedup([True] * 4, [1.0] * 4, times) == pytest.approx(1e200)


@pytest.mark.parametrize("missing", [-1.0, nan])
def test_a_right_kernel_without_a_time_is_not_fast_and_is_counted(missing: float) -> None:
    assert fast_p([True, True], [1.0, 1.0], [missing, 0.5], 0) == 0.5
    assert geometric_mean_speedup([True, True], [1.0, 1.0], [missing, 0.5]) == pytest.approx(2)
    assert not_timed([True, True, False], [missing, 0.5, missing]) == 1


@given(st.lists(st.tuples(st.booleans(), st.floats(0.1, 10), st.floats(0.1, 10)), min_size=1))
def test_a_higher_p_is_harder_and_none_is_the_rate_of_right_ones(rows: list) -> None:
    shares = [fast_p(*zip(*rows, strict=True), p) for p in THRESHOLDS]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == sum(correct for correct, *_ in rows) / len(rows)


@pytest.mark.parametrize(("n", "c", "k"), [(5, 2, 2), (6, 0, 3), (4, 4, 1), (5, 3, 4), (3, 1, 9)])
def test_pass_at_k_is_the_share_of_draws_with_one_that_is_right(n: int, c: int, k: int) -> None:
    draws = list(combinations(range(n), min(k, n)))
    assert pass_at_k(n, c, k) == pytest.approx(sum(min(draw) < c for draw in draws) / len(draws))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([True], [1.0, 2.0], [1.0], 1.0), "baseline of length 2 must have a value for each of 1 correct"),
        (([True], [1.0], [], 1.0), "runtime of length 0"),
        (([True], [0.0], [1.0], 1.0), "baseline=0.0 must be a positive time"),
        (([True], [1.0], [-2.0], 1.0), "runtime=-2.0 must be a positive time"),
        (([True], [1.0], [1.0], -0.5), "p=-0.5 must be at least 0"),
    ],
)
def test_what_is_no_score_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fast_p(*arguments)


@pytest.mark.parametrize(
    ("n", "c", "k", "name"), [(5, 6, 1, "c=6"), (5, 1, 0, "k=0"), (0, 0, 1, "n=0"), (5, -1, 1, "c=-1")]
)
def test_tries_that_cannot_be_are_refused(n: int, c: int, k: int, name: str) -> None:
    with pytest.raises(InputError, match=name):
        pass_at_k(n, c, k)


def test_the_mean_is_the_root_of_the_product() -> None:
    speedups = [b / a for b, a in zip(BASELINE, RUNTIME, strict=True)]
    assert geometric_mean_speedup([True] * 4, BASELINE, RUNTIME) == pytest.approx(prod(speedups) ** 0.25)
