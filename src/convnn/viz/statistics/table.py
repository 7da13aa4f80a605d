"""Statistics of neighbours as text, for people and for programs."""

from collections.abc import Iterable
from math import isnan

from convnn.tables import escape_markdown, markdown_table
from convnn.viz.statistics.measure import MEASURES, LayerStatistics

COLUMNS = ("layer", "height", "width", "K", *MEASURES)
"""Columns of statistics.csv: distances in pixels or shares of the diagonal, shares from 0 to 1, empty if unknown."""

HEADINGS = {
    "distance": "distance",
    "relative_distance": "of diagonal",
    "in_window": "in window",
    "outside": "outside",
    "hubness": "hubness",
    "never_chosen": "never chosen",
    "most_chosen": "most chosen",
    "class_agreement": "same class",
    "chance_agreement": "by chance",
    "recall": "found",
}
PLAIN = ("distance", "hubness", "most_chosen")
"""Measures that are not shares."""


def csv_rows(layers: Iterable[LayerStatistics]) -> list[list[str]]:
    """Return a row of `COLUMNS` for each layer, with six digits per number, which rounding errors do not reach."""
    return [
        [r.name, str(r.height), str(r.width), str(r.K), *(_digits(getattr(r, name)) for name in MEASURES)]
        for r in layers
    ]


def readable_rows(
    layers: Iterable[LayerStatistics], measures: Iterable[str] = MEASURES
) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of a readable table: layers numbered as in the picture, pixels, and shares in percent."""
    measures = list(measures)
    head = ["", "layer", "map", "K", *(HEADINGS[name] for name in measures)]
    rows = [
        [str(number), r.name, f"{r.height}×{r.width}", str(r.K), *(_readable(r, name) for name in measures)]
        for number, r in enumerate(layers, start=1)
    ]
    return head, rows


def readable_markdown(layers: Iterable[LayerStatistics]) -> str:
    """Return the readable table as Markdown."""
    head, rows = readable_rows(layers)
    is_number = [name != "layer" for name in head]
    return markdown_table(head, [[escape_markdown(cell) for cell in row] for row in rows], is_number)


def _digits(value: float) -> str:
    return "" if isnan(value) else f"{value:.6g}"


def _readable(layer: LayerStatistics, name: str) -> str:
    value = getattr(layer, name)
    if isnan(value):
        return "–"
    return f"{value:.2f}" if name in PLAIN else f"{value:.1%}"
