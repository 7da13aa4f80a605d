"""Sweeps: a cover in which each pair of values meets is for every run, the whole product for `make test-long`."""

import random
from collections.abc import Sequence
from itertools import combinations, product
from typing import Any

import pytest

Case = dict[str, Any]


def pairs(case: Case) -> set[tuple[tuple[str, Any], ...]]:
    return set(combinations(case.items(), 2))


def pairwise_cover(cases: list[Case]) -> list[Case]:
    """Greedily: of a few hundred random cases the one with most pairs not met yet, until all have met."""
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
    """Parameters of a test: every combination of values, those outside the cover as `long`."""
    cases = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    cover = pairwise_cover(cases)
    return pytest.mark.parametrize(
        tuple(axes),
        [pytest.param(*case.values(), marks=[] if case in cover else pytest.mark.long) for case in cases],
        ids=lambda value: str(value).removeprefix("torch."),
    )
