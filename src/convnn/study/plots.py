"""Pictures of a study, as in the paper: accuracy against a setting or a cost."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator

from convnn.study.definition import COSTS, Plot
from convnn.study.results import HEADINGS, Group, figure_of_groups, heading
from convnn.viz import draw_comparison
from convnn.viz.figure import (
    COLORS,
    FAINT,
    own_style,
    save_figure,
    style_panel,
    write_legend,
    write_plainly,
    write_title,
)

PANEL_WIDTH, HEIGHT = 4.4, 3.6
"""In inches."""

MOST_LETTERS = 48
"""The largest total length of tick labels before they are slanted, so that they do not overlap."""

SLANTED: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}

MOST_CURVES = 18
"""The largest number of curves in a picture; more cannot be distinguished."""

Point = tuple[Any, float, float]
"""Place on the axis, mean and spread; the spread of a single run is NaN."""


@own_style()
def draw_plot(plot: Plot, groups: Sequence[Group], path: Path | str) -> Path:
    """Draw the means of a study, with error bars of one standard deviation if there are repetitions.

    Args:
        plot: the settings of axis, lines and panels; of all others the best is shown.
        groups: finished runs.
        path: the picture, .png, .pdf or .svg, in an existing folder.

    Returns:
        The path of the picture.

    Raises:
        InputError: the suffix is not one of these.
        OutputError: the picture cannot be written.
    """
    groups = [group for group in groups if plot.x in COSTS or group.settings[plot.x] is not None]
    panels = _split(groups, plot.panels)
    figure = Figure(
        figsize=(max(1, len(panels)) * PANEL_WIDTH + 1.2, HEIGHT), layout=ConstrainedLayoutEngine(wspace=0.06)
    )
    axes = figure.subplots(1, max(1, len(panels)), sharey=True, squeeze=False)[0]
    names = list(_split(groups, plot.lines))
    for panel, (title, members) in zip(axes, panels.items(), strict=False):
        _draw_panel(panel, plot, members, names)
        write_title(panel, title or heading(plot.y, groups))
    unit = ", %" if figure_of_groups(groups).is_share else ""
    axes[0].set_ylabel(f"{heading(plot.y, groups)}{unit}", fontsize=9, color=FAINT)
    if names != [""] and names:
        write_legend(figure, axes[0].containers, names)
    return save_figure(figure, path)


def draw_loss_curves(groups: Sequence[Group], path: Path | str) -> Path:
    """Draw the mean test accuracy and loss of every setting over the epochs; if there are many, of the best ones.

    Args:
        groups: finished runs.
        path: the picture, .png, .pdf or .svg, in an existing folder.

    Returns:
        The path of the picture.

    Raises:
        InputError: the suffix is not one of these.
        OutputError: the picture cannot be written.
    """
    figure = figure_of_groups(groups)
    best = sorted(groups, key=lambda group: -figure.merit(group.mean("best")))[:MOST_CURVES]
    return draw_comparison([group.mean_run for group in groups if group in best], path)


def _split(groups: Sequence[Group], settings: Sequence[str]) -> dict[str, list[Group]]:
    """Split groups by the values of some settings, which name the parts, in the order of the study."""
    parts: dict[str, list[Group]] = {}
    for group in groups:
        parts.setdefault(group.named(settings), []).append(group)
    return parts


def _draw_panel(panel: Axes, plot: Plot, groups: Sequence[Group], names: Sequence[str]) -> None:
    style_panel(panel)
    lines = _split(groups, plot.lines)
    ticks, scale = _ticks(plot, groups), figure_of_groups(groups).scale
    for number, name in enumerate(names):
        points = _points(plot, lines.get(name, []), ticks)
        xs, means = [x for x, _, _ in points], [scale * mean for _, mean, _ in points]
        spreads = [0 if isnan(spread) else scale * spread for _, _, spread in points]
        style: dict[str, Any] = {"color": COLORS[number % len(COLORS)], "marker": "osD^vP"[number // len(COLORS) % 6]}
        style |= {"linewidth": 1.6, "linestyle": "none" if ticks else "-", "markersize": 5, "capsize": 2.5}
        panel.errorbar(xs, means, spreads, elinewidth=1.2, **style)
    panel.set_xlabel(HEADINGS.get(plot.x, plot.x), fontsize=9, color=FAINT)
    panel.yaxis.set_major_formatter(FuncFormatter(lambda percent, _: f"{percent:g}"))
    if all(isinstance(group.settings.get(plot.x), int) for group in groups):
        panel.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    if ticks:
        words = [str(tick) for tick in ticks]
        panel.set_xticks(range(len(words)), words, **(SLANTED if sum(map(len, words)) > MOST_LETTERS else {}))
        for label, word in zip(panel.get_xticklabels(), words, strict=True):
            write_plainly(label, word)


def _ticks(plot: Plot, groups: Sequence[Group]) -> list[Any]:
    """Return the values of an axis that are not all numbers, in the order of the study; otherwise an empty list."""
    values = [] if plot.x in COSTS else list(dict.fromkeys(group.settings[plot.x] for group in groups))
    return values if any(isinstance(value, str) for value in values) else []


def _points(plot: Plot, groups: Sequence[Group], ticks: Sequence[Any]) -> list[Point]:
    """Return the best of the groups at each place of the axis."""
    best: dict[Any, Point] = {}
    merit = figure_of_groups(groups).merit
    for group in groups:
        x = group.mean(plot.x) if plot.x in COSTS else group.settings[plot.x]
        point = (ticks.index(x) if ticks else x, group.mean(plot.y), group.spread(plot.y))
        if x is not None and not isnan(point[1]) and (x not in best or merit(point[1]) > merit(best[x][1])):
            best[x] = point
    return sorted(best.values(), key=lambda point: point[0])
