"""Parameter sweeps: every run covers each pair of values, or a few cases, and `make test-long` runs all of them."""

import random
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, product
from typing import Any

import pytest

Case = dict[str, Any]


def pairs(case: Case) -> set[tuple[tuple[str, Any], ...]]:
    return set(combinations(case.items(), 2))


def pairwise_cover(cases: list[Case]) -> list[Case]:
    """Cover all pairs greedily: of a few hundred random cases, take the one with most new pairs, until none is left."""
    rng = random.Random(0)
    missing = set().union(*map(pairs, cases))
    cover = []
    while missing:
        best = max(rng.sample(cases, min(300, len(cases))), key=lambda case: len(pairs(case) & missing))
        if pairs(best) & missing:
            cover.append(best)
            missing -= pairs(best)
    return cover


def sweep(**axes: Sequence[Any]) -> pytest.MarkDecorator:
    """Parametrize a test by every combination of values; those outside the cover are marked `long`."""
    cases = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    cover = pairwise_cover(cases)
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
