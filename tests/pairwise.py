"""Parameter sweeps: every run covers each pair of values, each value, or a few cases; `make test-long` runs all."""

import random
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, product
from typing import Any

import pytest

Case = dict[str, Any]


def tuples(case: Case, size: int) -> set[tuple[tuple[str, Any], ...]]:
    return set(combinations(case.items(), size))


def cover_of(cases: list[Case], size: int) -> list[Case]:
    """Cover tuples of values greedily: of a few hundred random cases, take that with most new, until none is left."""
    rng = random.Random(0)
    missing = set().union(*(tuples(case, size) for case in cases))
    cover = []
    while missing:
        best = max(rng.sample(cases, min(300, len(cases))), key=lambda case: len(tuples(case, size) & missing))
        if tuples(best, size) & missing:
            cover.append(best)
            missing -= tuples(best, size)
    return cover


def sweep(**axes: Sequence[Any]) -> pytest.MarkDecorator:
    """Parametrize a test by every combination of values; those outside a cover of all pairs are marked `long`."""
    return _parametrize(axes, 2)


def each(**axes: Sequence[Any]) -> pytest.MarkDecorator:
    """Parametrize a test by every combination of values; those outside a cover of all values are marked `long`."""
    return _parametrize(axes, 1)


def _parametrize(axes: dict[str, Sequence[Any]], size: int) -> pytest.MarkDecorator:
    cases = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    cover = cover_of(cases, size)
    return pytest.mark.parametrize(
        tuple(axes),
        [pytest.param(*case.values(), marks=[] if case in cover else pytest.mark.long) for case in cases],
        ids=lambda value: str(value).removeprefix("torch."),
    )


def one_in(step: int, cases: Iterable[Any]) -> list[Any]:
    """Return the values of a parameter (tuples for several): every `step`-th from the first, the others as `long`."""
    return [_param(case, number % step == 0) for number, case in enumerate(cases)]


def only(is_usual: Callable[[Any], bool], cases: Iterable[Any]) -> list[Any]:
    """Return the values of a parameter (tuples for several): the usual ones, and the others as `long`."""
    return [_param(case, is_usual(case)) for case in cases]


def _param(case: Any, is_usual: bool) -> Any:
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=() if is_usual else pytest.mark.long)
