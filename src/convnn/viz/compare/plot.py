"""The curves of several runs in one picture."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from convnn.runs import Run, metric_name, validation_parts
from convnn.viz.figure import COLORS, FAINT, INK, own_style, save_figure, style_panel, write_legend

DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1, 1.5), (6, 1.5, 1, 1.5))

LONGEST_NAME = 32
"""The longest name beside the panels; longer names show their end."""


class Stroke(NamedTuple):
    """The line style of a run: colour, and lengths of dashes and gaps in line widths, none for a solid line."""

    color: str
    dashes: tuple[float, ...]


def stroke_of(number: int) -> Stroke:
    """Return the line style of run `number`, from 0, out of 24."""
    return Stroke(COLORS[number % len(COLORS)], DASHES[number // len(COLORS) % len(DASHES)])


@own_style()
def draw_comparison(runs: Sequence[Run], path: Path | str) -> Path:
    """Draw test accuracy and test loss of runs over their epochs, or those of val if a run has it.

    In place of the accuracy comes the first measure; runs with neither have one panel.

    Args:
        runs: results of `read_runs`; a ring marks the best epoch of a run, and names are sorted by it, best first.
        path: the picture, .png, .pdf or .svg, in an existing folder.

    Returns:
        The path of the picture.

    Raises:
        InputError: the suffix is not one of these.
        OutputError: the picture cannot be written.
    """
    return save_figure(comparison_figure(runs), path)


@own_style()
def comparison_figure(runs: Sequence[Run], *, is_narrow: bool = False) -> Figure:
    """Return the figure; a narrow one has its panels stacked, and no names."""
    layout = ConstrainedLayoutEngine(wspace=0.06, hspace=0.06)
    figure = Figure(figsize=(4.2, 6.4) if is_narrow else (10, 3.9), layout=layout)
    by_loss = all(run.metric == "loss" for run in runs)
    panels = figure.subplots(*((2 - by_loss, 1) if is_narrow else (1, 2 - by_loss)), squeeze=False).flatten()
    accuracy, loss = panels[0], panels[-1]
    for number, run in enumerate(runs):
        stroke = stroke_of(number)
        _draw(accuracy, run, f"{run.validation_part}_{run.metric}", stroke)
        if loss is not accuracy:
            _draw(loss, run, f"{run.validation_part}_loss", stroke)
        _mark_best(accuracy, run, stroke)
    part = validation_parts(runs).capitalize()
    metric = metric_name(runs)
    _style(accuracy, f"{part} {metric}{' accuracy' if metric == 'top-1' else ''}")
    if all(run.figure.is_share for run in runs):
        accuracy.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    if loss is not accuracy:
        _style(loss, f"{part} loss")
    if not is_narrow:
        _name_lines(figure, runs)
    return figure


def _draw(panel: Axes, run: Run, column: str, stroke: Stroke) -> None:
    """Draw a line through the known values, or a dot if there is only one."""
    known = [
        (epoch, value) for epoch, value in zip(run.curves["epoch"], run.curves[column], strict=True) if not isnan(value)
    ]
    epochs, values = [epoch for epoch, _ in known], [value for _, value in known]
    panel.plot(epochs, values, **_look(stroke), marker="o" if len(known) == 1 else "", markersize=5)


def _mark_best(panel: Axes, run: Run, stroke: Stroke) -> None:
    if run.best is not None:
        place = run.at(run.best, "epoch"), run.values[run.best]
        panel.plot(*place, "o", markersize=6, markerfacecolor="white", markeredgecolor=stroke.color, zorder=3)


def _name_lines(figure: Figure, runs: Sequence[Run]) -> None:
    """Add a legend beside the panels, in the order of the table."""
    lines = [Line2D([], [], **_look(stroke_of(number))) for number in range(len(runs))]
    write_legend(figure, lines, [_shortened(run.name) for run in runs], handlelength=2.4)


def _look(stroke: Stroke) -> dict[str, Any]:
    linestyle = (0, stroke.dashes) if stroke.dashes else "-"
    return {"color": stroke.color, "linestyle": linestyle, "linewidth": 1.7}


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"


def _style(panel: Axes, title: str) -> None:
    panel.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
    panel.set_xlabel("epoch", fontsize=9, color=FAINT)
    panel.margins(x=0.03)
    panel.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    style_panel(panel)
