"""Effective receptive fields over the depth of a network in one picture."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from convnn.errors import InputError
from convnn.viz.fields.layers import SHARES, LayerField
from convnn.viz.figure import FAINT, INK, evenly_spaced, own_style, save_figure, style_panel, write_plainly

PICTURE, GAP, NAME = 1.9, 0.14, 0.36  # inches
LEFT, TOP, LINE, BOTTOM, CURVES = 0.15, 0.48, 0.2, 0.62, 3.5
COLUMNS, MOST = 4, 8

SQUARES = ("#56b4e9", "#00c08a", "#e69f00", "#ff6347")
"""Colours of the squares by share, which show on black and on white."""

WIDTHS = (0.9, 1.8, 2.7, 3.6)
"""Widths of their lines, so that all of equal squares show."""


@own_style()
def draw_fields(fields: Sequence[LayerField], path: Path | str, *, title: str | None = None) -> Path:
    """Draw the effective receptive fields of layers as heat maps, and the sides of their squares over the layers.

    A map shows log10(M + 1) over its maximum, in colours that follow its square root so that little shows too, and the
    smallest squares around the middle that hold 20, 30, 50 and 99 % of its sum. Of more than eight layers, evenly
    spaced ones are drawn, the last among them.

    Args:
        fields: results of `layer_fields`.
        path: the picture, .png, .pdf or .svg, in an existing folder.
        title: title above the panels.

    Returns:
        The path of the picture.

    Raises:
        InputError: there is no field, or the suffix is not one of these.
        OutputError: the picture cannot be written.
    """
    if not fields:
        raise InputError("fields=[] must not be empty; pass the result of layer_fields")
    shown = evenly_spaced(len(fields), MOST)
    height, width = fields[0].scores.shape
    figure, maps, curves = _panels(len(shown), min(height / width, 2.0), title)
    for panel, index in zip(maps, shown, strict=True):
        image = _draw_map(panel, fields[index], index + 1)
    _draw_bar(figure, image)
    _draw_sides(curves, fields)
    return save_figure(figure, path)


def _panels(number: int, proportion: float, title: str | None) -> tuple[Figure, list[Axes], Axes]:
    """Make a figure with a panel for each map, of some height / width, and one to their right."""
    columns = min(COLUMNS, number)
    rows, high = -(-number // columns), PICTURE * proportion
    width = LEFT + columns * (PICTURE + GAP) + CURVES
    lines = textwrap.wrap(title or "", int(10.5 * width))
    top = TOP + LINE * len(lines)
    height = top + rows * (high + NAME) - NAME + BOTTOM
    figure = Figure(figsize=(width, height))
    words = figure.suptitle("", x=LEFT / width, y=1 - 0.14 / height, ha="left", va="top")
    words.set(fontsize=11, fontweight="bold", color=INK)
    write_plainly(words, "\n".join(lines))

    def panel(left: float, down: float, wide: float, tall: float) -> Axes:
        return figure.add_axes((left / width, 1 - (down + tall) / height, wide / width, tall / height))

    places = [divmod(place, columns) for place in range(number)]
    maps = [panel(LEFT + column * (PICTURE + GAP), top + row * (high + NAME), PICTURE, high) for row, column in places]
    tall = height - top - BOTTOM - 0.15
    return figure, maps, panel(width - CURVES + 0.6, top + 0.15, CURVES - 0.9, tall)


def _draw_map(panel: Axes, field: LayerField, number: int) -> AxesImage:
    """Draw contributions and squares, with the name of the layer above."""
    shares = np.log1p(field.scores.numpy())
    height, width = shares.shape
    image = panel.imshow(
        shares / max(shares.max(), np.finfo(shares.dtype).tiny),
        cmap="magma",
        norm=PowerNorm(0.5, 0, 1),
        extent=(0, width, height, 0),
        interpolation="nearest",
    )
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[:].set_visible(False)
    for side, color, linewidth in reversed(list(zip(field.sides, SQUARES, WIDTHS, strict=True))):
        if side.side is not None:
            low = (width // 2 - side.side // 2, height // 2 - side.side // 2)
            square = Rectangle(low, side.side, side.side, fill=False, edgecolor=color, linewidth=linewidth)
            square.set_joinstyle("miter")
            panel.add_patch(square)
    name = panel.set_title("", loc="left", fontsize=7.5, color=INK, pad=4)
    write_plainly(name, f"{number}  {_shortened(field.name)}")
    return image


def _shortened(name: str, length: int = 30) -> str:
    return name if len(name) <= length else f"…{name[1 - length :]}"


def _draw_bar(figure: Figure, image: AxesImage) -> None:
    width, height = figure.get_size_inches()
    strip = figure.add_axes((LEFT / width, 0.32 / height, PICTURE / width, 0.09 / height))
    bar = figure.colorbar(image, cax=strip, orientation="horizontal", ticks=[0, 1])
    strip.set_xticklabels(["nothing", "contributes most"])
    strip.minorticks_off()
    strip.tick_params(length=0, labelsize=7.5, labelcolor=INK)
    first, last = strip.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    bar.outline.set_visible(False)


def _draw_sides(panel: Axes, fields: Sequence[LayerField]) -> None:
    """Draw a line for each share over the layers; a square that does not exist leaves a gap."""
    for place, (share, color) in enumerate(zip(SHARES, SQUARES, strict=True)):
        sides = [field.sides[place].side or np.nan for field in fields]
        panel.plot(range(1, len(fields) + 1), sides, color=color, linewidth=1.6, marker="o", markersize=3.5, zorder=3)
        panel.annotate(
            f"\N{BLACK SQUARE} {share:.0%}", (place / len(SHARES), 1), (0, 7), xycoords="axes fraction",
            textcoords="offset points", fontsize=8, color=color, fontweight="bold",
        )  # fmt: skip
    panel.set_title("Side of the square that holds", loc="left", fontsize=10, fontweight="bold", color=INK, pad=22)
    panel.set_xlim(0.5, len(fields) + 0.5)
    panel.set_ylim(0, fields[0].scores.shape[0])
    panel.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    panel.set_xlabel("layer", fontsize=9, color=FAINT)
    panel.set_ylabel("pixels", fontsize=9, color=FAINT)
    style_panel(panel)
