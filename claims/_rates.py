"""How errors fall with the size of something: the power of it, with an interval over the seeds."""

from collections.abc import Sequence
from math import isnan

import numpy as np

from convnn.runs.paired import Difference, paired_difference


def rate(sizes: Sequence[float], errors: Sequence[Sequence[float]]) -> Difference:
    """Return the slope of log errors, one list a seed, by log sizes: its mean and the margin of its interval."""
    slopes = [float(np.polyfit(np.log(sizes), np.log(each), 1)[0]) for each in errors]
    return paired_difference(dict(enumerate(slopes)), dict.fromkeys(range(len(slopes)), 0.0))


def interval(found: Difference) -> tuple[float, float]:
    """Return both ends of the interval of a rate; of a single seed, the rate itself."""
    margin = 0.0 if isnan(found.margin) else found.margin
    return found.mean - margin, found.mean + margin


def printed(found: Difference) -> str:
    """Return a rate and its interval, as in "-0.48 [-0.55, -0.41]"."""
    low, high = interval(found)
    return f"{found.mean:.2f}" + ("" if low == high else f" [{low:.2f}, {high:.2f}]")
