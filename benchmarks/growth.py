"""How time grows with size."""

import math
import statistics
from collections.abc import Sequence


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float:
    """Return the power of the size as which times grow, by least squares of logarithms; NaN of a single size."""
    if len(sizes) < 2:
        return math.nan
    return statistics.linear_regression([math.log(size) for size in sizes], [math.log(ms) for ms in times]).slope
