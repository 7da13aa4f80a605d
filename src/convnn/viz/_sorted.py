"""Tables whose columns sort by a click, on a page that loads no other file; and the same tables as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from math import isnan

from convnn.tables import escape_markdown, markdown_table


@dataclass(frozen=True)
class Column:
    """A column of the table, with a cell for each run.

    Attributes:
        heading: heading of the column.
        cells: text of the cells.
        keys: sort keys of the cells: numbers or text; NaN if unknown.
        best: whether each cell holds the best number; none does if all are equal or cannot be ranked.
        is_number: whether the cells are aligned as numbers.
    """

    heading: str
    cells: tuple[str, ...]
    keys: tuple[float | str, ...]
    best: tuple[bool, ...]
    is_number: bool


def sorted_style() -> str:
    """Return the style of a page with such a table, in a light and a dark scheme."""
    return (files("convnn.viz") / "_page" / "table.css").read_text(encoding="utf-8")


def sorted_script() -> str:
    """Return the script that sorts the tables of a page."""
    return (files("convnn.viz") / "_page" / "table.js").read_text(encoding="utf-8")


def head_cell(column: Column) -> str:
    """Return the heading of a column as HTML."""
    kind = ' class="number"' if column.is_number else ""
    return f'<th scope="col"{kind}><button type="button">{escape(column.heading)}</button></th>'


def body_cell(column: Column, number: int) -> str:
    """Return a cell of a column as HTML."""
    key, text = column.keys[number], escape(column.cells[number])
    kind = ' class="number"' if column.is_number else ""
    known = "" if isinstance(key, float) and isnan(key) else escape(str(key))
    return f'<td{kind} data-key="{known}">{f"<strong>{text}</strong>" if column.best[number] else text}</td>'


def columns_markdown(columns: Sequence[Column]) -> str:
    """Return the table as Markdown, with the best numbers in bold."""
    head = [escape_markdown(column.heading) for column in columns]
    rows = [
        [f"**{escape_markdown(c.cells[row])}**" if c.best[row] else escape_markdown(c.cells[row]) for c in columns]
        for row in range(len(columns[0].cells))
    ]
    return markdown_table(head, rows, [column.is_number for column in columns])
