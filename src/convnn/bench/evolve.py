"""Search among kernels, generation by generation: proposals are verified, and the fastest right ones are parents.

Reference:
    Lange et al., "Towards Robust Agentic CUDA Kernel Benchmarking, Verification, and Optimization", arXiv 2509.14279.
    Its proposals come from a language model; here they come from any function, such as one that draws a block's size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from convnn.errors import InputError, check_at_least

T = TypeVar("T")


class Kernel(NamedTuple, Generic[T]):
    """A candidate that is right, and its time."""

    candidate: T
    runtime: float


@dataclass(frozen=True)
class Evolution(Generic[T]):
    """The outcome of a search.

    Attributes:
        parents: the fastest right candidates, fastest first; of equal ones the older.
        best: the best time after each generation, infinite before anything is right; it never increases.
        tried, refused: candidates that were evaluated, and those that the verifier refused before.
    """

    parents: list[Kernel[T]]
    best: list[float]
    tried: int
    refused: int


def evolve(
    propose: Callable[[Sequence[Kernel[T]]], Sequence[T]],
    evaluate: Callable[[T], float | None],
    *,
    generations: int,
    survivors: int,
    verifier: Callable[[T], bool] | None = None,
) -> Evolution[T]:
    """Search for the fastest right candidate.

    Args:
        propose: function of the parents, none at first, that returns candidates.
        evaluate: function of a candidate that returns its time, or None where it is wrong.
        generations: number of generations.
        survivors: number of parents.
        verifier: cheap guess whether a candidate is right; it is not evaluated if not. None evaluates all.

    Raises:
        InputError: a number is below 1.
    """
    check_at_least("generations", generations, 1)
    check_at_least("survivors", survivors, 1)
    parents: list[Kernel[T]] = []
    best, tried, refused = [], 0, 0
    for _ in range(generations):
        for candidate in propose(parents):
            if verifier is not None and not verifier(candidate):
                refused += 1
                continue
            tried += 1
            runtime = evaluate(candidate)
            if runtime is not None:
                parents = [*parents, Kernel(candidate, runtime)]
        parents = sorted(parents, key=lambda kernel: kernel.runtime)[:survivors]  # stable: older ones first
        best.append(parents[0].runtime if parents else float("inf"))
    return Evolution(parents, best, tried, refused)


class Prediction(NamedTuple):
    """How well a verifier predicts which candidates are wrong; a share without cases is 0."""

    accuracy: float
    precision: float
    recall: float
    f1: float


def prediction(guessed: Sequence[bool], correct: Sequence[bool]) -> Prediction:
    """Return how well guesses "is right" agree with the truth, for the class of the wrong.

    Raises:
        InputError: there is none, or the lengths differ.
    """
    if not correct or len(guessed) != len(correct):
        raise InputError(f"guessed of length {len(guessed)} must have a value for each of {len(correct)}, at least one")
    pairs = [(not guess, not truth) for guess, truth in zip(guessed, correct, strict=True)]
    hits = sum(guess and truth for guess, truth in pairs)
    precision, recall = (_share(hits, sum(pair[i] for pair in pairs)) for i in (0, 1))
    accuracy = _share(sum(guess == truth for guess, truth in pairs), len(pairs))
    return Prediction(accuracy, precision, recall, _share(2 * precision * recall, precision + recall))


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
