"""Tables whose columns sort by a click, on a page that loads no other file; and the same tables as Markdown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from math import isnan
from string import Template

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


def sorted_page(
    columns: Sequence[Column],
    *,
    title: str,
    wide: str,
    narrow: str,
    picture: str,
    table: str,
    note: str,
    before: Callable[[int], str] = lambda row: "",
) -> str:
    """Return a page with a picture above a table.

    Args:
        columns: of the table; the first has the names of the rows.
        title: of the page, plain text.
        wide: the picture as SVG.
        narrow: the same for a narrow screen.
        picture: what the picture shows, for those who hear it.
        table: what the table shows, likewise.
        note: sentences below the table, HTML.
        before: what stands before the name of a row, HTML.
    """
    return Template(_text("sorted.html")).substitute(
        style=sorted_style(),
        script=sorted_script(),
        title=escape(title),
        wide=wide,
        narrow=narrow,
        picture=escape(picture),
        table=escape(table),
        note=note,
        head="".join(map(head_cell, columns)),
        rows="\n".join(_row(columns, row, before(row)) for row in range(len(columns[0].cells))),
    )


def _row(columns: Sequence[Column], row: int, before: str) -> str:
    name, *others = columns
    cells = "".join(body_cell(column, row) for column in others)
    first = f"<div>{before}<span>{escape(name.cells[row])}</span></div>"
    return f'<tr><th scope="row" data-key="{escape(str(name.keys[row]))}">{first}</th>{cells}</tr>'


def _text(name: str) -> str:
    return (files("convnn.viz") / "_page" / name).read_text(encoding="utf-8")


def sorted_style() -> str:
    """Return the style of a page with such a table, in a light and a dark scheme."""
    return _text("table.css")


def sorted_script() -> str:
    """Return the script that sorts the tables of a page."""
    return _text("table.js")


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
