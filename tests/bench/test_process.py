"""Processes with limits."""

import os
import time

import numpy as np
import pytest

from convnn.bench.process import EndedError, Limits, call
from convnn.errors import InputError, check_at_least

QUICK = Limits(seconds=60, megabytes=512)


def test_a_result_comes_from_another_process() -> None:
    assert call(os.getpid, limits=QUICK) != os.getpid()


def test_an_error_of_input_is_told() -> None:
    with pytest.raises(InputError, match="seconds=0 must"):
        call(check_at_least, "seconds", 0, 1, limits=QUICK)


def test_what_takes_too_long_or_ends_without_a_result_is_told() -> None:
    with pytest.raises(EndedError, match=r"longer than 0\.2 s"):
        call(time.sleep, 100, limits=Limits(seconds=0.2))
    with pytest.raises(EndedError, match="status 3"):
        call(os._exit, 3, limits=QUICK)
    with pytest.raises(EndedError, match="killed by SIGABRT"):
        call(os.abort, limits=QUICK)


def test_memory_is_limited() -> None:
    assert call(np.ones, 1 << 10, limits=QUICK).sum() == 1024
    with pytest.raises(EndedError, match="MemoryError"):
        call(np.ones, 1 << 30, limits=QUICK)


def test_limits_out_of_range_are_refused() -> None:
    for argument in ("seconds", "megabytes", "threads"):
        with pytest.raises(InputError, match=f"{argument}=0"):
            Limits(**{argument: 0})
