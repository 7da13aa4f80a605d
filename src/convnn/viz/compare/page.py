"""Comparison of several runs on one self-contained page."""

from collections.abc import Sequence

from convnn.runs import Run
from convnn.viz._sorted import sorted_page
from convnn.viz.compare.plot import comparison_figure, stroke_of
from convnn.viz.compare.table import comparison
from convnn.viz.figure import own_style, svg_text, themed
from convnn.words import counted


@own_style()
def comparison_page(runs: Sequence[Run], against: str | None = None) -> str:
    """Return the page as HTML: curves, and a table that sorts by a click on a heading; it loads no other file."""
    return sorted_page(
        comparison(runs, against),
        title=f"Comparison of {_counted(runs)}",
        wide=themed(svg_text(comparison_figure(runs))),
        narrow=themed(svg_text(comparison_figure(runs, is_narrow=True))),
        picture="Accuracy and loss over the epochs",
        table="Table of the runs",
        note="A ring is the best epoch of a run. Bold is the best of a column, where it is better by more than the"
        " spread.",
        before=_line_sample,
    )


def _counted(runs: Sequence[Run]) -> str:
    """Return the number of runs, or of settings and of the runs that are averaged."""
    repeats = sum(len(run.repeats) for run in runs)
    return counted(len(runs), "run") if not repeats else f"{counted(len(runs), 'setting')}, {counted(repeats, 'run')}"


def _line_sample(number: int) -> str:
    """Return the line of a run as in the picture."""
    stroke = stroke_of(number)
    dashes = " ".join(f"{2 * length:g}" for length in stroke.dashes)
    line = f'<line x1="0" x2="26" y1="5" y2="5" stroke="{stroke.color}" stroke-width="2" stroke-dasharray="{dashes}"/>'
    return f'<svg class="sample" width="26" height="10" aria-hidden="true">{line}</svg>'
