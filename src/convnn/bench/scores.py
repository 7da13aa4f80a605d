"""Scores over many tasks: which share is right and fast, by how much, and how likely one of several tries is right.

Reference:
    Ouyang et al., "KernelBench: Can LLMs Write Efficient GPU Kernels?", arXiv 2502.10517.
"""

import math
from collections.abc import Sequence

from convnn.errors import InputError, check_at_least, check_not_negative

THRESHOLDS = (0.0, 0.5, 0.8, 1.0, 1.5, 2.0)
"""The speed-ups p of a table of fast_p."""
NOT_TIMED = -1.0
"""The time of a candidate that was not timed, as published; NaN says the same."""


def fast_p(correct: Sequence[bool], baseline: Sequence[float], runtime: Sequence[float], p: float) -> float:
    r"""Return the share of the tasks whose candidate is correct and more than p times as fast as the baseline.

    .. math:: \text{fast}_p = \frac{1}{n} \left| \{ i : c_i \text{ and } b_i / a_i > p \} \right|

    The comparison is strict. A correct candidate that was not timed is not fast, and without tasks the share is 0.

    Args:
        correct: n times whether the candidate is correct, c.
        baseline: n times of the definition, b.
        runtime: n times of the candidate, a; NaN or -1 where it was not timed.
        p: speed-up, at least 0.

    Raises:
        InputError: lengths differ, p is negative, or a correct and timed candidate has a time that is not positive.
    """
    check_not_negative("p", p)
    speedups = speedups_of_correct(correct, baseline, runtime)
    return sum(speedup > p for speedup in speedups) / len(correct) if len(correct) else 0.0


def geometric_mean_speedup(
    correct: Sequence[bool], baseline: Sequence[float], runtime: Sequence[float], *, faster_only: bool = False
) -> float:
    r"""Return the geometric mean of the speed-ups of correct candidates, :math:`(\prod b_i / a_i)^{1/m}`; 0 of none.

    Candidates that were not timed are left out; `not_timed` counts them.

    Args:
        correct, baseline, runtime: as in `fast_p`.
        faster_only: whether to leave out those that are not faster than the baseline.

    Raises:
        InputError: as in `fast_p`.
    """
    speedups = [one for one in speedups_of_correct(correct, baseline, runtime) if one > 1 or not faster_only]
    return math.exp(math.fsum(map(math.log, speedups)) / len(speedups)) if speedups else 0.0


def not_timed(correct: Sequence[bool], runtime: Sequence[float]) -> int:
    """Return how many correct candidates were not timed."""
    _check_lengths(correct=correct, runtime=runtime)
    return sum(bool(is_right) and not _is_timed(time) for is_right, time in zip(correct, runtime, strict=True))


def pass_at_k(n: int, c: int, k: int) -> float:
    r"""Return the probability that one of k tries is right, if c of n were.

    .. math:: 1 - \binom{n - c}{k} \Big/ \binom{n}{k}

    A k above n counts as n.

    Raises:
        InputError: n or k is below 1, or c is not between 0 and n.
    """
    check_at_least("n", n, 1)
    check_at_least("c", c, 0)
    check_at_least("k", k, 1)
    if c > n:
        raise InputError(f"c={c} must be at most n={n}, the number of tries")
    k = min(k, n)
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def speedups_of_correct(correct: Sequence[bool], baseline: Sequence[float], runtime: Sequence[float]) -> list[float]:
    """Return the speed-ups of the candidates that are correct and timed, in order.

    Raises:
        InputError: as in `fast_p`.
    """
    _check_lengths(correct=correct, baseline=baseline, runtime=runtime)
    found = []
    for is_right, before, after in zip(correct, baseline, runtime, strict=True):
        if is_right and _is_timed(after):
            for name, time in (("baseline", before), ("runtime", after)):
                if not 0 < time < math.inf:
                    raise InputError(f"{name}={float(time)!r} must be a positive time for a correct, timed task")
            found.append(float(before) / float(after))
    return found


def _is_timed(time: float) -> bool:
    return not (math.isnan(time) or time == NOT_TIMED)


def _check_lengths(**lists: Sequence[object]) -> None:
    (first, reference), *others = lists.items()
    for name, values in others:
        if len(values) != len(reference):
            raise InputError(f"{name} of length {len(values)} must have a value for each of {len(reference)} {first}")
