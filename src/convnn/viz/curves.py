"""The curves of a training run in one picture."""

from itertools import cycle
from math import inf, isnan
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter

from convnn.figures import figure_of
from convnn.runs.curves import Curves, metric_of, read_curves, validation_part
from convnn.runs.files import TERM
from convnn.viz.figure import FAINT, INK, own_style, save_figure, style_panel

COLUMNS = ("epoch", "train_loss", "test_loss", "train_top1", "test_top1", "lr")
TRAIN, TEST = "#56b4e9", "#d55e00"  # sky blue and vermilion of Okabe and Ito
TERMS = ("#0072b2", "#009e73", "#cc79a7", "#e69f00", "#000000")  # others of theirs


@own_style()
def draw_curves(metrics: Path | str, path: Path | str) -> Path:
    """Draw loss, top-1 accuracy and learning rate of a run over its epochs.

    In place of the accuracy comes the first measure, if there are any; without labels or measures there is none.

    Args:
        metrics: a metrics.csv with at least the columns of `COLUMNS`; accuracies from 0 to 1; values may be empty.
            Columns of val, if there are any, are drawn instead of those of test; those of terms of the loss, if there
            are any, get a panel of their own.
        path: the picture, .png, .pdf or .svg, in an existing folder: a deleted run folder is not created again.

    Returns:
        The path of the picture.

    Raises:
        InputError: the table is missing, has no rows, lacks a column, or a value is not a number.
        OutputError: the picture cannot be written.
    """
    curves = read_curves(Path(metrics), COLUMNS)
    terms = [name for name in curves if name.startswith(TERM)]
    metric = metric_of(curves)
    widths = (3, *([3] if terms else []), *([] if metric == "loss" else [3]), 1.6)
    figure = Figure(figsize=(2.4 + 1.0 * sum(widths), 3.3), layout=ConstrainedLayoutEngine(wspace=0.06))
    panels = figure.subplots(1, len(widths), width_ratios=widths)
    loss, rate = panels[0], panels[-1]
    decides = loss if metric == "loss" else panels[-2]
    _draw_pair(loss, "Loss", curves, "loss")
    if decides is not loss:
        _draw_pair(decides, "Top-1 accuracy" if metric == "top1" else metric, curves, metric)
    if figure_of(metric).is_share:
        decides.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    _mark_best(decides, curves)
    _draw_rate(rate, curves)
    if terms:
        _set_title(panels[1], "Terms of the training loss")
        for name, color in zip(terms, cycle(TERMS), strict=False):
            _draw_curve(panels[1], curves["epoch"], curves[name], color, name.removeprefix(TERM).replace("_", " "))
    for panel in panels:
        _style(panel, curves["epoch"])
    for panel in [loss, *(panels[1:2] if terms else [])]:
        panel.legend(frameon=False, fontsize=9, labelcolor="linecolor", handlelength=1.2)
    return save_figure(figure, path)


def _draw_pair(panel: Axes, title: str, curves: Curves, measure: str) -> None:
    _set_title(panel, title)
    for name, color in (("train", TRAIN), (validation_part(curves), TEST)):
        if f"{name}_{measure}" in curves:
            _draw_curve(panel, curves["epoch"], curves[f"{name}_{measure}"], color, name)


def _draw_curve(panel: Axes, epochs: list[float], values: list[float], color: str, label: str) -> None:
    """Draw a line through the known values, which bridges gaps, or a dot if there is only one."""
    known = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if not isnan(value)]
    xs, ys = [epoch for epoch, _ in known], [value for _, value in known]
    marker = "o" if len(known) == 1 else ""
    panel.plot(xs, ys, color=color, linewidth=1.8, marker=marker, markersize=5, label=label, solid_capstyle="round")


def _mark_best(panel: Axes, curves: Curves) -> None:
    part, metric = validation_part(curves), metric_of(curves)
    figure, values = figure_of(metric), curves[f"{part}_{metric}"]
    merits = [-inf if isnan(value) else figure.merit(value) for value in values]
    index = merits.index(max(merits))
    if merits[index] == -inf:
        return
    epoch, best = curves["epoch"][index], values[index]
    panel.axvline(epoch, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
    panel.plot(epoch, best, "o", markersize=7, markerfacecolor="white", markeredgecolor=TEST, markeredgewidth=1.8)
    test = curves[f"test_{metric}"][index]
    suffix = "" if part == "test" or isnan(test) else f"\ntest {figure.text(test)}"  # one line would run into the title
    panel.set_title(f"best {part} {figure.text(best)} at epoch {epoch:g}{suffix}", loc="right", fontsize=9, color=TEST)


def _draw_rate(panel: Axes, curves: Curves) -> None:
    _set_title(panel, "Learning rate")
    rates = [rate for rate in curves["lr"] if not isnan(rate)]
    if rates and min(rates) > 0 and max(rates) > 100 * min(rates):
        panel.set_yscale("log")
    _draw_curve(panel, curves["epoch"], curves["lr"], INK, "lr")
    if panel.get_yscale() == "linear":
        panel.set_ylim(bottom=0)  # an axis around a constant rate would show noise


def _set_title(panel: Axes, title: str) -> None:
    panel.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)


def _style(panel: Axes, epochs: list[float]) -> None:
    first, last = min(epochs), max(epochs)
    margin = max(0.5, 0.03 * (last - first))
    panel.set_xlim(first - margin, last + margin)
    panel.set_xlabel("epoch", fontsize=9, color=FAINT)
    panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    style_panel(panel)
