"""Effective receptive fields as text, for people and for programs."""

from collections.abc import Iterable

from convnn.tables import escape_markdown, markdown_table
from convnn.viz.fields.layers import SHARES, LayerField

PERCENTS = [f"{100 * share:.0f}" for share in SHARES]
COLUMNS = ("layer", "height", "width", "reached", *(f"{what}_{n}" for n in PERCENTS for what in ("side", "area")))
"""Columns of receptive_field.csv: sides in pixels, areas and what is reached as shares of the image, from 0 to 1."""

Value = str | int | float | None


def values_of(field: LayerField) -> dict[str, Value]:
    """Return the values of `COLUMNS`, None for a square that does not exist."""
    squares = [value for side in field.sides for value in (side.side, side.ratio)]
    return dict(zip(COLUMNS, (field.name, field.height, field.width, field.reached, *squares), strict=True))


def csv_rows(fields: Iterable[LayerField]) -> list[list[str]]:
    """Return a row of `COLUMNS` for each layer, with six digits per number and nothing for None."""
    return [[_digits(value) for value in values_of(field).values()] for field in fields]


def readable_rows(fields: Iterable[LayerField]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of a readable table: layers numbered as in the picture, sides in pixels."""
    head = ["", "layer", "map", *(f"{n}\N{NO-BREAK SPACE}% in" for n in PERCENTS), "reached"]
    rows = [
        [
            str(number),
            field.name,
            f"{field.height}×{field.width}",
            *("–" if side.side is None else f"{side.side}×{side.side}" for side in field.sides),
            f"{field.reached:.1%}",
        ]
        for number, field in enumerate(fields, start=1)
    ]
    return head, rows


def readable_markdown(fields: Iterable[LayerField]) -> str:
    """Return the readable table as Markdown."""
    head, rows = readable_rows(fields)
    is_number = [name != "layer" for name in head]
    return markdown_table(head, [[escape_markdown(cell) for cell in row] for row in rows], is_number)


def _digits(value: Value) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
