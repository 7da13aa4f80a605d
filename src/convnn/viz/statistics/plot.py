"""Statistics of neighbours over the depth of a network in one picture."""

from collections.abc import Callable, Sequence
from itertools import product
from math import hypot, nan
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator

from convnn.errors import InputError
from convnn.viz.choices import window_side
from convnn.viz.figure import FAINT, INK, own_style, save_figure, style_panel, write_plainly
from convnn.viz.statistics.measure import LayerStatistics

NEIGHBORS, REFERENCE = "#0072b2", FAINT  # blue of Okabe and Ito
PANELS = {
    "distance": "Distance in pixels",
    "relative_distance": "Distance / diagonal",
    "in_window": "Inside the window",
    "outside": "Outside the map",
    "hubness": "Hubness",
    "never_chosen": "Never chosen",
    "most_chosen": "Most chosen",
    "class_agreement": "Same class",
}
SHARES = ("relative_distance", "in_window", "outside", "never_chosen", "class_agreement")


@own_style()
def draw_statistics(layers: Sequence[LayerStatistics], path: Path | str, *, title: str | None = None) -> Path:
    """Draw a panel for each measure over the layers, in order of execution.

    Dashed lines show the window of a convolution, k x k with k * k >= K, or neighbours chosen at random.

    Args:
        layers: results of `neighbor_statistics`.
        path: the picture, .png, .pdf or .svg, in an existing folder.
        title: title above the panels.

    Returns:
        The path of the picture.

    Raises:
        InputError: there is no layer, or the suffix is not one of these.
        OutputError: the picture cannot be written.
    """
    if not layers:
        raise InputError("layers=[] must not be empty; pass the result of neighbor_statistics")
    figure = Figure(figsize=(11, 4.6), layout=ConstrainedLayoutEngine(wspace=0.05, hspace=0.08))
    if title is not None:
        write_plainly(figure.suptitle("", fontsize=11, fontweight="bold", color=INK), title)
    for panel, (name, heading) in zip(figure.subplots(2, 4, sharex=True).flat, PANELS.items(), strict=True):
        _style(panel, heading, len(layers), is_share=name in SHARES)
        values = [getattr(layer, name) for layer in layers]
        if name in REFERENCES:
            _draw_reference(panel, layers, *REFERENCES[name])
        _draw(panel, values, color=NEIGHBORS, marker="o", markersize=4)
        if not min(values) < 0:
            panel.set_ylim(bottom=0)
    figure.supxlabel("layer", fontsize=9, color=FAINT)
    return save_figure(figure, path)


def _window_distance(layer: LayerStatistics) -> float:
    """Return the mean distance of the other places in the window from its centre, in pixels."""
    side = window_side(layer.K)
    reach = range(-(side // 2), side // 2 + 1)
    return sum(hypot(*offset) for offset in product(reach, reach)) / (side**2 - 1) if side > 1 else nan


REFERENCES: dict[str, tuple[str, Callable[[LayerStatistics], float]]] = {
    "distance": ("window", _window_distance),
    "relative_distance": ("window", lambda layer: _window_distance(layer) / hypot(layer.height, layer.width)),
    "class_agreement": ("random others", lambda layer: layer.chance_agreement),
}


def _draw_reference(
    panel: Axes, layers: Sequence[LayerStatistics], label: str, reference: Callable[[LayerStatistics], float]
) -> None:
    """Draw a dashed line with its label at the right end."""
    values = [reference(layer) for layer in layers]
    _draw(panel, values, color=REFERENCE, linestyle=(0, (3, 2)))
    panel.annotate(
        label, (len(values), values[-1]), (0, 4), textcoords="offset points", ha="right", fontsize=8, color=REFERENCE
    )


def _draw(panel: Axes, values: Sequence[float], **style: Any) -> None:
    """Draw a line over the layers, with gaps where a value is unknown."""
    panel.plot(range(1, len(values) + 1), values, linewidth=1.6, clip_on=False, zorder=3, **style)


def _style(panel: Axes, heading: str, layers: int, *, is_share: bool) -> None:
    panel.set_title(heading, loc="left", fontsize=10, fontweight="bold", color=INK)
    panel.set_xlim(0.5, layers + 0.5)
    panel.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    if is_share:
        panel.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g}%"))
    style_panel(panel)
