"""Differences between runs that are paired by their repetition, such as the seed."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from math import isnan, nan, sqrt
from statistics import fmean, stdev
from typing import TypeVar

from convnn.figures import SHARE, Figure

Key = TypeVar("Key", bound=Hashable)

CONFIDENCE = 0.95
"""The probability with which an interval covers the true mean, if differences are normally distributed."""


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences.

    Attributes:
        mean: mean difference.
        margin: half the length of its confidence interval, Student's t with one degree of freedom less than pairs; NaN
            for a single pair.
        pairs: number of pairs.
    """

    mean: float
    margin: float
    pairs: int

    def in_points(self, figure: Figure = SHARE) -> str:
        """Return a difference, of accuracies in percentage points, and its interval, as in "+1.60 [0.75, 2.45]"."""
        mean, margin, digits = figure.scale * self.mean, figure.scale * self.margin, figure.decimals
        interval = f" [{mean - margin:.{digits}f}, {mean + margin:.{digits}f}]"
        return f"{mean:+.{digits}f}" + ("" if isnan(margin) else interval)


def paired_difference(values: Mapping[Key, float], baseline: Mapping[Key, float]) -> Difference | None:
    r"""Return by how much values exceed those of a baseline, :math:`\bar d \pm t_{n-1} \, s_d / \sqrt n`.

    Args:
        values: a value for each repetition; NaN is unknown.
        baseline: likewise; repetitions that only one of the two has are left out.

    Returns:
        The difference, or None if no repetition is known in both.
    """
    differences = [value - baseline[key] for key, value in values.items() if key in baseline]
    known = [difference for difference in differences if not isnan(difference)]
    if not known:
        return None
    n = len(known)
    margin = nan if n < 2 else _quantile(n - 1) * stdev(known) / sqrt(n)
    return Difference(fmean(known), margin, n)


def _quantile(freedom: int) -> float:
    """Return the upper quantile of Student's t that leaves half of the remaining probability above it."""
    from scipy.special import stdtrit  # takes half a second to import

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
