"""Comparison of several runs on one self-contained page."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

from convnn.runs import Run
from convnn.viz._figure import own_style, svg_text, themed
from convnn.viz._sorted import Column, body_cell, head_cell, sorted_script, sorted_style
from convnn.viz.compare.plot import comparison_figure, stroke_of
from convnn.viz.compare.table import comparison
from convnn.words import counted


@own_style()
def comparison_page(runs: Sequence[Run], against: str | None = None) -> str:
    """Return the page as HTML: curves, and a table that sorts by a click on a heading; it loads no other file."""
    template = Template((files("convnn.viz.compare") / "page.html").read_text(encoding="utf-8"))
    columns = comparison(runs, against)
    return template.substitute(
        style=sorted_style(),
        script=sorted_script(),
        title=f"Comparison of {_counted(runs)}",
        curves=themed(svg_text(comparison_figure(runs))),
        narrow=themed(svg_text(comparison_figure(runs, is_narrow=True))),
        head="".join(map(head_cell, columns)),
        rows="\n".join(_row(columns, number) for number in range(len(runs))),
    )


def _counted(runs: Sequence[Run]) -> str:
    """Return the number of runs, or of settings and of the runs that are averaged."""
    repeats = sum(len(run.repeats) for run in runs)
    return counted(len(runs), "run") if not repeats else f"{counted(len(runs), 'setting')}, {counted(repeats, 'run')}"


def _row(columns: Sequence[Column], number: int) -> str:
    name, *others = columns
    cells = "".join(body_cell(column, number) for column in others)
    first = f"<div>{_line_sample(number)}<span>{escape(name.cells[number])}</span></div>"
    return f'<tr><th scope="row" data-key="{escape(str(name.keys[number]))}">{first}</th>{cells}</tr>'


def _line_sample(number: int) -> str:
    """Return the line of a run as in the picture."""
    stroke = stroke_of(number)
    dashes = " ".join(f"{2 * length:g}" for length in stroke.dashes)
    line = f'<line x1="0" x2="26" y1="5" y2="5" stroke="{stroke.color}" stroke-width="2" stroke-dasharray="{dashes}"/>'
    return f'<svg class="sample" width="26" height="10" aria-hidden="true">{line}</svg>'
