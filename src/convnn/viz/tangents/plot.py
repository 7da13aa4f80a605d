"""Tangent kernels of networks, before and after training, in one picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from convnn.errors import InputError
from convnn.viz.figure import (
    COLORS,
    FAINT,
    HAIRLINE,
    INK,
    own_style,
    save_figure,
    style_panel,
    write_legend,
    write_plainly,
    write_title,
)
from convnn.viz.tangents.table import TangentRun

if TYPE_CHECKING:  # it imports scikit-learn
    from convnn.tangent import TangentReport

DASHES = (0, (3, 2))
LEAST = 1e-6
"""Smallest share of an eigenvalue that is drawn; below are rounding errors of float32."""


@own_style()
def draw_tangents(runs: Sequence[TangentRun], path: Path | str, *, title: str | None = None) -> Path:
    """Draw the spectra of tangent kernels, their alignment with the labels, and that of each layer.

    Dashed lines and open circles are the networks at their start.

    Args:
        runs: kernels of one or several networks.
        path: the picture, .png, .pdf or .svg, in an existing folder.
        title: title above the panels.

    Returns:
        The path of the picture.

    Raises:
        InputError: there is no run, or the suffix is not one of these.
        OutputError: the picture cannot be written.
    """
    return save_figure(tangent_figure(runs, title=title), path)


@own_style()
def tangent_figure(runs: Sequence[TangentRun], *, title: str | None = None, is_narrow: bool = False) -> Figure:
    """Return the figure; a narrow one has its panels stacked.

    Raises:
        InputError: there is no run.
    """
    if not runs:
        raise InputError("runs=[] must not be empty; measure a network with tangent_report")
    layout = ConstrainedLayoutEngine(wspace=0.06, hspace=0.06)
    figure = Figure(figsize=(4.4, 9.6) if is_narrow else (12.5, 3.9), layout=layout)
    if title is not None:
        write_plainly(figure.suptitle("", fontsize=11, fontweight="bold", color=INK), title)
    spectra, whole, layers = figure.subplots(3, 1) if is_narrow else figure.subplots(1, 3)
    for number, run in enumerate(runs):
        color = COLORS[number % len(COLORS)]
        for weights, report in run.reports:
            look = _look(color, is_start=weights == "at start")
            _draw_spectrum(spectra, report, look)
            depth = np.linspace(0, 1, len(report.layers)) if len(report.layers) > 1 else [0.5]
            layers.plot(depth, [part.alignment for part in report.layers], **look)
        _draw_alignment(whole, run, len(runs) - number, color)
    _style(spectra, whole, layers, runs)
    if not is_narrow:
        _name(figure, runs)
    return figure


def _look(color: str, *, is_start: bool) -> dict[str, Any]:
    if is_start:
        return {"color": color, "linewidth": 1.1, "linestyle": DASHES}
    return {"color": color, "linewidth": 1.8, "solid_capstyle": "round"}


def _draw_spectrum(panel: Axes, report: "TangentReport", look: dict[str, Any]) -> None:
    shares = [share for share in report.spectrum.tolist() if share > LEAST]
    panel.plot(range(1, len(shares) + 1), shares, **look)


def _draw_alignment(panel: Axes, run: TangentRun, place: int, color: str) -> None:
    """Draw a line from the start, an open circle, to the trained network, a full one."""
    if run.start is not None:
        ends = [run.start.alignment, run.trained.alignment]
        panel.plot(ends, [place] * 2, color=color, linewidth=1.8, zorder=2)
        panel.plot(ends[0], place, "o", markersize=7, markerfacecolor="white", markeredgecolor=color, zorder=3)
    panel.plot(run.trained.alignment, place, "o", markersize=7, color=color, zorder=4)


def _style(spectra: Axes, whole: Axes, layers: Axes, runs: Sequence[TangentRun]) -> None:
    write_title(spectra, "Share of each eigenvalue")
    spectra.set(xscale="log", yscale="log")
    spectra.set_xlabel("eigenvalue, largest first", fontsize=9, color=FAINT)
    write_title(whole, "Alignment with the labels")
    whole.set(yticks=[], ylim=(0.4, len(runs) + 0.6))
    low, high = whole.get_xlim()
    whole.set_xlim(min(low, 0), high)
    write_title(layers, "Alignment of each layer")
    layers.set(xticks=[0, 1], xticklabels=["first layer", "last layer"])
    for panel in (spectra, whole, layers):
        style_panel(panel)
    whole.grid(axis="x", color=HAIRLINE, linewidth=0.8)


def _name(figure: Figure, runs: Sequence[TangentRun]) -> None:
    lines: list[Line2D] = [Line2D([], [], **_look(COLORS[i % len(COLORS)], is_start=False)) for i in range(len(runs))]
    names = [run.name if len(run.name) <= 32 else f"…{run.name[-31:]}" for run in runs]
    if any(run.start is not None for run in runs):
        lines.append(Line2D([], [], **_look(FAINT, is_start=True)))
        names.append("at start")
    write_legend(figure, lines, names)
