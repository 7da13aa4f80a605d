"""What the figures are made of: maps of cells in a row, framed, numbered and joined by arrows."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

INK, FAINT, GRID = "#262626", "#767676", "#d8d8d8"
QUERY, CHOSEN = "#1f5fbf", "#e8590c"
PADDING = "#e7eef9"
PIXELS = LinearSegmentedColormap.from_list("pixels", ["#ffffff", "#2b2b2b"])
FADED = LinearSegmentedColormap.from_list("faded", ["#ffffff", "#9c9c9c"])
"""Pixels under marks."""
SCORES = LinearSegmentedColormap.from_list("scores", ["#ffffff", "#fde3cf", "#f59f5c", "#c2410c"])
SIGNED = LinearSegmentedColormap.from_list("signed", ["#2166ac", "#ffffff", "#c2410c"])
WIDTH, HEIGHT, TITLE, GAP = 9.8, 2.1, 0.42, 0.34  # inches

Cell = tuple[int, int]


class Row:
    """A row of maps under short titles, in the middle of a figure of the same size for all.

    Args:
        widths: of the panels, in units of the height of a map.
    """

    def __init__(self, *widths: float) -> None:
        self.figure = Figure(figsize=(WIDTH, HEIGHT + TITLE))
        self.axes: list[Axes] = []
        left = (WIDTH - sum(widths) * HEIGHT - GAP * (len(widths) - 1)) / 2
        for width in widths:
            box = left / WIDTH, 0, width * HEIGHT / WIDTH, HEIGHT / (HEIGHT + TITLE)
            self.axes.append(self.figure.add_axes(box))
            left += width * HEIGHT + GAP

    def save(self, path: Path) -> None:
        """Write a picture that is sharp on fine screens too."""
        self.figure.savefig(path, dpi=200, facecolor="white")


def title(ax: Axes, text: str) -> None:
    """A line above a panel."""
    ax.set_title(text, fontsize=11.5, color=INK, pad=7, loc="left")


def draw_map(
    ax: Axes, values: ArrayLike, cmap: Colormap = PIXELS, low: float | None = None, high: float | None = None
) -> None:
    """Cells (H, W), row 0 on top."""
    values = np.asarray(values, dtype=float)
    rows, columns = values.shape
    low, high = np.nanmin(values) if low is None else low, np.nanmax(values) if high is None else high
    ax.pcolormesh(values, cmap=cmap, vmin=low, vmax=high, edgecolors=GRID, linewidth=0.5)
    ax.set(xlim=(-0.08, columns + 0.08), ylim=(rows + 0.08, -0.08), aspect="equal")
    ax.axis("off")


def draw_padding(ax: Axes, side: int, padding: int = 1) -> None:
    """Tint the cells of the padding of a square map."""
    whole = side + 2 * padding
    for row in range(whole):
        for column in range(whole):
            if not (padding <= row < whole - padding and padding <= column < whole - padding):
                ax.add_patch(Rectangle((column, row), 1, 1, facecolor=PADDING, edgecolor=GRID, linewidth=0.5))
    ax.add_patch(Rectangle((padding, padding), side, side, fill=False, edgecolor=FAINT, linewidth=1))


def draw_colors(ax: Axes, colors: ArrayLike) -> None:
    """Cells (H, W, 3) of their own colours; NaN is no cell."""
    colors = np.asarray(colors, dtype=float)
    for row, column in zip(*np.nonzero(np.isfinite(colors[..., 0])), strict=True):
        cell = Rectangle((column, row), 1, 1, facecolor=colors[row, column], edgecolor=GRID, linewidth=0.5)
        ax.add_patch(cell)
    rows, columns, _ = colors.shape
    ax.set(xlim=(-0.08, columns + 0.08), ylim=(rows + 0.08, -0.08), aspect="equal")
    ax.axis("off")


def frame(ax: Axes, cells: Iterable[Cell], color: str, width: float = 2, inset: float = 0.06) -> None:
    """Squares around cells (row, column)."""
    for row, column in cells:
        side = 1 - 2 * inset
        ax.add_patch(Rectangle((column + inset, row + inset), side, side, fill=False, edgecolor=color, linewidth=width))


def number(ax: Axes, cells: Sequence[Cell]) -> None:
    """1, 2, ... in cells, white on the colour of what is chosen."""
    for rank, cell in enumerate(cells, start=1):
        tint(ax, [cell], CHOSEN, str(rank))


def tint(ax: Axes, cells: Iterable[Cell], color: str, text: str) -> None:
    """Cells of one colour and name."""
    for row, column in cells:
        ax.add_patch(Rectangle((column + 0.06, row + 0.06), 0.88, 0.88, facecolor=color, linewidth=0))
        style = {"ha": "center", "va": "center_baseline", "weight": "bold", "fontsize": 8.5}
        ax.text(column + 0.5, row + 0.52, text, color="white", **style)


def dots(ax: Axes, cells: Iterable[Cell], color: str = CHOSEN) -> None:
    """A dot in each cell."""
    rows, columns = zip(*cells, strict=True)
    ax.scatter(np.add(columns, 0.5), np.add(rows, 0.5), s=16, color=color, linewidth=0)


def weights(ax: Axes, cells: Iterable[Cell], shares: ArrayLike) -> None:
    """A square in each cell, whose area is its share of the cell, 0 to 1."""
    for (row, column), share in zip(cells, np.sqrt(np.asarray(shares, dtype=float)), strict=True):
        side = 0.9 * share
        corner = column + 0.5 - side / 2, row + 0.5 - side / 2
        ax.add_patch(Rectangle(corner, side, side, facecolor=CHOSEN, linewidth=0))


def bars(ax: Axes, heights: ArrayLike, color: str = CHOSEN) -> None:
    """Bars over slots 1, 2, ..."""
    heights = np.asarray(heights, dtype=float)
    slots = np.arange(1, len(heights) + 1)
    ax.bar(slots, heights, color=color, width=0.78)
    ax.set(xticks=slots, xlim=(0.4, len(heights) + 0.6))
    ax.tick_params(labelsize=8.5, colors=FAINT, length=0)
    ax.set_box_aspect(0.8)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(GRID)
    ax.yaxis.set_visible(False)


def strip(ax: Axes, rows: Sequence[tuple[str, ArrayLike, Colormap, tuple[float, float]]], signs: Sequence[str]) -> None:
    """Rows of slots under each other, with their names, and what happens between them."""
    count = len(np.asarray(rows[0][1]))
    for line, (name, values, cmap, (low, high)) in enumerate(rows):
        top = line * 1.75
        for slot, value in enumerate(np.asarray(values, dtype=float)):
            color = cmap((value - low) / (high - low))
            ax.add_patch(Rectangle((slot, top), 1, 1, facecolor=color, edgecolor=GRID, linewidth=0.7))
            dark = np.dot(color[:3], (0.3, 0.59, 0.11)) < 0.55
            style = {"ha": "center", "va": "center_baseline", "fontsize": 7.5}
            ax.text(slot + 0.5, top + 0.52, f"{value:.2g}".replace("0.", "."), color="white" if dark else INK, **style)
        ax.text(0, top - 0.16, name, fontsize=9.5, color=INK, ha="left", va="bottom")
        if line < len(signs):
            ax.text(count + 0.35, top + 1.4, signs[line], fontsize=14, color=FAINT, ha="left", va="center")
    ax.set(xlim=(-0.1, count + 1.1), ylim=(1.75 * len(rows) - 0.5, -1), aspect="equal")
    ax.axis("off")
