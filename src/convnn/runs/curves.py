"""The metrics of a run, epoch by epoch."""

import csv
import io
from collections.abc import Sequence
from math import nan
from pathlib import Path

from convnn.errors import InputError
from convnn.runs.files import COLUMNS, SCORES, TERM, VAL_COLUMNS

Curves = dict[str, list[float]]

OPTIONAL = ("val_", "test_", TERM)
"""How the names of columns begin that only some tables have."""

NO_MEASURES = COLUMNS + VAL_COLUMNS
"""Columns that are no measures of a task."""

ACCURACIES = tuple(f"_{name}" for name in SCORES[1:])
"""How the names of columns end that tables of networks without labels lack."""


def read_curves(metrics: Path, columns: Sequence[str] = COLUMNS) -> Curves:
    """Read columns of a metrics.csv or times.csv, and those of val, terms of the loss and measures if it has them.

    A table without labels has no accuracies at all. There is a value per epoch, NaN where the table is empty.

    Raises:
        InputError: the table is missing, is not text, has no rows, lacks a column, or a value is not a number.
    """
    if not metrics.is_file():
        raise InputError(f"'{metrics}' does not exist")
    try:
        table = csv.DictReader(io.StringIO(metrics.read_text(encoding="utf-8"), newline=""))
        rows = [row for row in table if row.get("epoch")]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"'{metrics}' cannot be read: {getattr(error, 'strerror', None) or error}") from None
    found = table.fieldnames or ()
    if not any(name.endswith(ACCURACIES) for name in found):
        columns = [name for name in columns if not name.endswith(ACCURACIES)]
    missing = [name for name in columns if name not in found]
    if missing:
        raise InputError(f"'{metrics}' lacks the column {missing[0]!r}")
    if not rows:
        raise InputError(f"'{metrics}' has no rows; read it after the first epoch")
    others = (name for name in found if name not in COLUMNS and name.startswith(OPTIONAL))
    columns = [*columns, *others]
    return {name: [_number(row[name], name, metrics) for row in rows] for name in columns}


def metric_of(curves: Curves) -> str:
    """Return the metric that decides which epoch is best: the first measure of the task, or else "top1", or "loss"."""
    start = f"{validation_part(curves)}_"
    found = (name.removeprefix(start) for name in curves if name.startswith(start) and name not in NO_MEASURES)
    return next(found, "top1" if f"{start}top1" in curves else "loss")


def validation_part(curves: Curves) -> str:
    """Return the part that decides which epoch is best: "val", or "test" for a run with only two parts."""
    return "val" if "val_loss" in curves else "test"


def _number(text: str | None, column: str, metrics: Path) -> float:
    try:
        return float(text) if text else nan
    except ValueError:
        raise InputError(f"'{metrics}' has {text!r} in the column {column!r}; it must be a number") from None
