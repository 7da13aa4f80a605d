"""Tangent kernels as text, for people and for programs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import TYPE_CHECKING

from convnn.viz._sorted import Column

if TYPE_CHECKING:  # it imports scikit-learn
    from convnn.tangent import TangentReport

UNKNOWN = "–"


@dataclass(frozen=True)
class TangentRun:
    """The tangent kernel of a network at its start and after training.

    Attributes:
        name: by which it is told from others.
        trained: its kernel after training.
        start: that of the weights with which training began; None where they are not known.
        accuracy: test accuracy after training, 0 to 1; nan where it is not known.
    """

    name: str
    trained: "TangentReport"
    start: "TangentReport | None" = None
    accuracy: float = nan

    @property
    def reports(self) -> list[tuple[str, "TangentReport"]]:
        """Both kernels, or the one that is known, with the words for their weights."""
        before = [] if self.start is None else [("at start", self.start)]
        return [*before, ("trained", self.trained)]

    @property
    def moved(self) -> float:
        """The alignment of both kernels, 1 where training left it as it was; nan where the start is not known."""
        from convnn.tangent import alignment

        return nan if self.start is None else alignment(self.start.kernel, self.trained.kernel)


COLUMNS = ("run", "weights", "effective_rank", "largest", "alignment", "mean", "with_start", "test_top1")
"""Columns of tangent.csv; of shares, alignments and accuracies up to 1, empty if unknown."""

LAYER_COLUMNS = ("run", "weights", "layer", "share", "alignment")
"""Columns of layers.csv."""


def values_of(runs: Iterable[TangentRun]) -> list[dict[str, str | float]]:
    """Return a row of `COLUMNS` for each kernel."""
    return [
        {
            "run": run.name,
            "weights": weights,
            "effective_rank": report.effective_rank,
            "largest": report.largest,
            "alignment": report.alignment,
            "mean": report.mean,
            "with_start": 1.0 if weights == "at start" else run.moved,
            "test_top1": nan if weights == "at start" else run.accuracy,
        }
        for run in runs
        for weights, report in run.reports
    ]


def layer_values_of(runs: Iterable[TangentRun]) -> list[dict[str, str | float]]:
    """Return a row of `LAYER_COLUMNS` for each module of each kernel."""
    return [
        {"run": run.name, "weights": weights, "layer": part.name, "share": part.share, "alignment": part.alignment}
        for run in runs
        for weights, report in run.reports
        for part in report.layers
    ]


def csv_rows(rows: Iterable[dict[str, str | float]]) -> list[list[str]]:
    """Return rows as text, with six digits per number, which rounding errors do not reach."""
    return [[value if isinstance(value, str) else _digits(value) for value in row.values()] for row in rows]


FORMS = {
    "effective_rank": ("effective rank", "{:.1f}"),
    "largest": ("largest eigenvalue", "{:.1%}"),
    "alignment": ("with labels", "{:.3f}"),
    "mean": ("mean", "{:.3g}"),
    "with_start": ("with start", "{:.3f}"),
    "test_top1": ("test top-1", "{:.2%}"),
}


def columns_of(runs: Sequence[TangentRun]) -> list[Column]:
    """Return the columns of the readable table; the best alignment with the labels is marked."""
    rows = values_of(runs)
    none = (False,) * len(rows)
    columns = []
    for name in ("run", "weights"):
        cells = tuple(str(row[name]) for row in rows)
        columns.append(Column(name, cells, cells, none, is_number=False))
    for name, (heading, form) in FORMS.items():
        values = tuple(float(row[name]) for row in rows)
        cells = tuple(UNKNOWN if isnan(value) else form.format(value) for value in values)
        is_ranked = name == "alignment" and len(set(values)) > 1
        best = tuple(value == max(values) for value in values) if is_ranked else none
        columns.append(Column(heading, cells, values, best, is_number=True))
    return columns


def _digits(value: float) -> str:
    return "" if isnan(value) else f"{value:.6g}"
