"""Search among kernels, on candidates that are numbers."""

from itertools import count
from math import inf

import pytest

from convnn.bench import Prediction, evolve, prediction
from convnn.errors import InputError


def test_the_best_time_never_increases_and_older_ones_win_ties() -> None:
    drawn = iter([[9, 5], [7, 5], [11, 8], [4, 3]])
    seen: list[list[int]] = []

    def propose(parents):
        seen.append([parent.candidate for parent in parents])
        return [(number, index) for index, number in enumerate(next(drawn), len(seen) * 10)]

    found = evolve(propose, lambda one: float(one[0]), generations=4, survivors=2)
    assert found.best == [5.0, 5.0, 5.0, 3.0]
    assert seen[2] == [(5, 11), (5, 21)]  # the older first
    assert [parent.runtime for parent in found.parents] == [3.0, 4.0]
    assert (found.tried, found.refused) == (8, 0)


def test_wrong_ones_are_no_parents_and_the_verifier_saves_their_evaluation() -> None:
    evaluated: list[int] = []
    numbers = count()

    def evaluate(number: int) -> float | None:
        evaluated.append(number)
        return None if number % 2 else 100.0 - number

    found = evolve(
        lambda _: [next(numbers) for _ in range(3)], evaluate, generations=2, survivors=9, verifier=lambda n: n != 4
    )
    assert evaluated == [0, 1, 2, 3, 5]
    assert [parent.candidate for parent in found.parents] == [2, 0]
    assert (found.tried, found.refused) == (5, 1)
    assert evolve(lambda _: [1], evaluate, generations=1, survivors=1).best == [inf]


def test_a_verifier_is_measured_by_the_wrong_ones_that_it_finds() -> None:
    guessed, correct = [False, False, True, True, True], [False, True, False, True, True]
    assert prediction(guessed, correct) == Prediction(3 / 5, 1 / 2, 1 / 2, 1 / 2)
    assert prediction([True], [True]) == Prediction(1.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("argument", ["generations", "survivors"])
def test_numbers_below_one_are_refused(argument: str) -> None:
    with pytest.raises(InputError, match=f"{argument}=0"):
        evolve(lambda _: [], lambda _: 1.0, **{"generations": 1, "survivors": 1, argument: 0})
    with pytest.raises(InputError, match="guessed"):
        prediction([], [])
