"""Parameter sweeps: every run covers each pair of values, and `make test-long` runs the whole product."""

import random
from collections.abc import Sequence
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
