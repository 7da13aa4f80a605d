"""Statistics of neighbours as text: for people, and for programs."""

from collections.abc import Iterable
from math import isnan

from convnn.tables import escaped, markdown_table
from convnn.viz.statistics.measure import MEASURES, LayerStatistics

COLUMNS = ("layer", "height", "width", "K", *MEASURES)
"""Of statistics.csv: distances in pixels or as a share of the diagonal, shares from 0 to 1; empty where unknown."""

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
}
PLAIN = ("distance", "hubness", "most_chosen")
"""Measures that are no shares."""


def csv_rows(layers: Iterable[LayerStatistics]) -> list[list[str]]:
    """A row of `COLUMNS` for each layer, six digits a number, which is less than rounding can change."""
    return [
        [one.name, str(one.height), str(one.width), str(one.K), *(_digits(getattr(one, name)) for name in MEASURES)]
        for one in layers
    ]


def readable_rows(
    layers: Iterable[LayerStatistics], measures: Iterable[str] = MEASURES
) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table to read, the layers numbered as in the picture: pixels, and shares in percent."""
    measures = list(measures)
    head = ["", "layer", "map", "K", *(HEADINGS[name] for name in measures)]
    rows = [
        [str(number), one.name, f"{one.height}×{one.width}", str(one.K), *(_readable(one, name) for name in measures)]
        for number, one in enumerate(layers, start=1)
    ]
    return head, rows


def readable_markdown(layers: Iterable[LayerStatistics]) -> str:
    """That table as Markdown."""
    head, rows = readable_rows(layers)
    is_number = [name != "layer" for name in head]
    return markdown_table(head, [[escaped(cell) for cell in row] for row in rows], is_number)


def _digits(value: float) -> str:
    return "" if isnan(value) else f"{value:.6g}"


def _readable(one: LayerStatistics, name: str) -> str:
    value = getattr(one, name)
    if isnan(value):
        return "–"
    return f"{value:.2f}" if name in PLAIN else f"{value:.1%}"
