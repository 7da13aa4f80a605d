"""Errors of estimates by random walks on the karate club, and the law by which they fall."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from claims._experiment import spread
from claims._rates import printed, rate
from convnn.data.builtin_graphs import karate
from convnn.runs.paired import Difference

GRAPH = karate().edge_index
WALKS = (2, 4, 8, 16, 32, 64)
Estimate = Callable[[int, int], Tensor]
"""Returns what a number of walks with a seed yields."""


def off(found: Tensor, exact: Tensor) -> float:
    """Return the relative Frobenius error."""
    return ((found - exact).norm() / exact.norm()).item()


@dataclass(frozen=True)
class Law:
    """Errors of an estimate, a list for each seed with one for each number of walks."""

    walks: tuple[int, ...]
    errors: list[list[float]]

    @property
    def power(self) -> Difference:
        """Of the number of walks, as which errors fall."""
        return rate(self.walks, self.errors)

    @property
    def totals(self) -> list[float]:
        """The sums over the numbers of walks, of each seed."""
        return [sum(one) for one in self.errors]

    @property
    def falls_as_root(self) -> bool:
        return abs(self.power.mean + 0.5) < 0.1

    def row(self, name: str) -> list[str]:
        """Return the cells of a table: mean errors, and the power with its interval."""
        return [name, *(spread(column, ".3f") for column in zip(*self.errors, strict=True)), printed(self.power)]


def law(estimate: Estimate, exact: Tensor, seeds: list[int], quick: bool) -> Law:
    """Measure the mean error of single estimates, of other walks for each seed."""
    walks, repeats = (WALKS[:3], 4) if quick else (WALKS, 20)
    return Law(
        walks,
        [
            [statistics.mean(off(estimate(m, seed * repeats + i), exact) for i in range(repeats)) for m in walks]
            for seed in seeds
        ],
    )


def head(quick: bool) -> list[str]:
    return ["", *(f"m = {m}" for m in (WALKS[:3] if quick else WALKS)), "power of m"]


def even(rows: list[list[str]]) -> list[list[str]]:
    """Return rows with empty cells at their ends, as long as the first."""
    return [row + [""] * (len(rows[0]) - len(row)) for row in rows]


def of_means(estimate: Estimate, exact: Tensor, quick: bool) -> tuple[list[str], bool]:
    """Return cells with the errors of means over ever more estimates by four walks, and whether they fall as a root."""
    counts = (5, 20) if quick else (25, 100, 400)
    every = [estimate(4, seed) for seed in range(counts[-1])]
    errors = [off(sum(every[1:count], every[0]) / count, exact) for count in counts]
    is_root = errors[0] / errors[-1] > 0.6 * (counts[-1] / counts[0]) ** 0.5
    return [f"{one:.4f} of {count}" for one, count in zip(errors, counts, strict=True)], is_root
