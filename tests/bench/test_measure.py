"""Statistics of times; no test measures time."""

import statistics

import numpy as np
import pytest
import torch

from convnn.bench.measure import Times, milliseconds, peak_of, ratio
from convnn.errors import InputError

SOME = [4.0, 1.0, 2.5, 8.0, 3.0, 3.5]


def test_statistics_are_those_of_numpy() -> None:
    times = Times.of(SOME)
    assert (times.mean, times.std) == pytest.approx((np.mean(SOME), np.std(SOME)))
    assert (times.min, times.max, times.n) == (1.0, 8.0, 6)
    assert times.median == statistics.median(SOME)
    assert times.iqr == pytest.approx(np.percentile(SOME, 75) - np.percentile(SOME, 25))
    assert Times.of([0.123456] * 2).rounded().mean == 0.123
    with pytest.raises(InputError, match="times"):
        Times.of([])


def test_contestants_take_turns_after_one_that_warms_up() -> None:
    calls: list[str] = []
    times = milliseconds({name: lambda name=name: calls.append(name) for name in "ab"}, 3)
    assert calls == list("ab") * 4
    assert {name: len(found) for name, found in times.items()} == {"a": 3, "b": 3}
    assert ratio({"a": [2.0, 9.0, 1.0], "b": [1.0, 3.0, 1.0]}, "a", "b") == 2.0


def test_the_peak_is_what_an_action_adds() -> None:
    assert 60 < peak_of(lambda: torch.ones(16 << 20).sum()) < 80
