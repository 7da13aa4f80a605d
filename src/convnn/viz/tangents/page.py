"""Tangent kernels of networks on one self-contained page."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

from convnn.viz._figure import own_style, svg_text, themed
from convnn.viz._sorted import Column, body_cell, head_cell, sorted_script, sorted_style
from convnn.viz.tangents.plot import tangent_figure
from convnn.viz.tangents.table import TangentRun, columns_of


@own_style()
def tangent_page(runs: Sequence[TangentRun], title: str) -> str:
    """Return the page as HTML: the picture, and a table that sorts by a click on a heading; it loads no other file."""
    template = Template((files("convnn.viz.tangents") / "page.html").read_text(encoding="utf-8"))
    columns = columns_of(runs)
    return template.substitute(
        style=sorted_style(),
        script=sorted_script(),
        title=escape(title),
        wide=themed(svg_text(tangent_figure(runs))),
        narrow=themed(svg_text(tangent_figure(runs, is_narrow=True))),
        head="".join(map(head_cell, columns)),
        rows="\n".join(_row(columns, number) for number in range(len(columns[0].cells))),
    )


def _row(columns: Sequence[Column], number: int) -> str:
    name, *others = columns
    text = escape(name.cells[number])
    cells = "".join(body_cell(column, number) for column in others)
    return f'<tr><th scope="row" data-key="{text}"><div><span>{text}</span></div></th>{cells}</tr>'
