"""A sheet of small pictures with the neighbours of a few pixels, layer by layer."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor

from convnn.errors import InputError, check_at_least
from convnn.files import make_folder
from convnn.viz.figure import FAINT, HAIRLINE, INK, evenly_spaced, own_style, rank_colors, save_figure, write_plainly
from convnn.viz.neighbors.layers import LayerNeighbors, best_first
from convnn.words import counted

Pixels = NDArray[np.float32]
Box = tuple[float, float, float, float]

PICTURE, GAP, HEADER, CAPTION, FOOTER = 1.75, 0.1, 0.45, 0.3, 0.45  # inches
DIMMED = 0.3  # the image under the marks: this share of its colours plus the same share of its gray
FRAME = 0.07  # width of the strip for padding around an image, as a share of its longer side
ENDS = {False: ("nearest", "farthest"), True: ("largest share", "smallest share")}
"""What the best and the last rank are, without and with patches that leave."""
GONE = 0.75  # opacity of patches that have left
SMALLEST = 0.035  # side of a mark on a fine map, as a share of the image's longer side


@own_style()
def draw_neighbors(
    image: Tensor,
    layers: Sequence[LayerNeighbors],
    queries: Sequence[tuple[int, int]],
    path: Path | str,
    *,
    title: str | None = None,
    max_layers: int = 6,
) -> Path:
    """Draw the neighbours of each query pixel, with a row for each pixel and a column for each layer.

    If only some positions of a layer choose, the nearest one is drawn, in the white frame.

    Where patches leave, those that have left are dark, and the neighbours are those that receive the features of one
    that leaves.

    A neighbour is a square of the size of a position of the layer's map, coloured by the rank of its score. Padding and
    the class token lie in the strip around the image, with their number below. With several heads, each neighbour is
    drawn once, by its best score.

    Args:
        image: (C, H, W) in [0, 1]; three channels are colours, otherwise their mean is shown in gray.
        layers: result of `find_neighbors` for this image.
        queries: row and column of pixels of the image.
        path: the picture, .png, .pdf or .svg.
        title: title above the sheet.
        max_layers: largest number of columns; if there are more layers, evenly spaced ones are drawn.

    Returns:
        The path.

    Raises:
        InputError: a query lies outside the image, there is nothing to draw, or the file cannot be written.
    """
    _check(image, layers, queries)
    check_at_least("max_layers", max_layers, 1)
    numbers = evenly_spaced(len(layers), max_layers)
    shown = [layers[i] for i in numbers]
    pixels = _as_pixels(image)
    figure, cells = _grid(pixels, len(queries), 1 + len(shown), title)
    counts = [len(_neighbors_of(layer, _nearest_query(layer, query, pixels))) for layer in shown for query in queries]
    ranks = _ranks(max(counts))
    for row, query in zip(cells, queries, strict=True):
        _draw_query(row[0], pixels, query)
        for cell, layer in zip(row[1:], shown, strict=True):
            _draw_choices(cell, pixels, layer, query, ranks)
    names = ["image", *(f"layer {i + 1} of {len(layers)}" for i in numbers)]
    sizes = [image.shape[1:], *(layer.size for layer in shown)]
    for cell, name, (height, width) in zip(cells[0], names, sizes, strict=True):
        cell.set_title(f"{name}\n{height} × {width}", fontsize=8, color=INK, pad=5)
    _draw_legend(figure, ranks, *ENDS[all(layer.gone is not None for layer in shown)])
    make_folder(Path(path).parent, "folder of the picture")
    return save_figure(figure, path)


def _check(image: Tensor, layers: Sequence[LayerNeighbors], queries: Sequence[tuple[int, int]]) -> None:
    if image.dim() != 3:
        raise InputError(f"image of shape {tuple(image.shape)} must be (C, H, W)")
    if not layers or not queries:
        numbers = f"{counted(len(layers), 'layer')} and {counted(len(queries), 'query', 'queries')}"
        raise InputError(f"there is nothing to draw with {numbers}; pass at least one of each")
    height, width = image.shape[1:]
    for row, column in queries:
        if not (0 <= row < height and 0 <= column < width):
            raise InputError(f"query ({row}, {column}) lies outside the {height}x{width} image")


def _as_pixels(image: Tensor) -> Pixels:
    """Return the image as (H, W, 3) in [0, 1]."""
    colors = image if len(image) == 3 else image.mean(dim=0, keepdim=True).expand(3, -1, -1)
    pixels: Pixels = colors.detach().float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return pixels


def _grid(pixels: Pixels, rows: int, columns: int, title: str | None) -> tuple[Figure, NDArray[Any]]:
    """Make a figure for rows x columns of pictures, and return it with their axes, (rows, columns)."""
    framed_height, framed_width = (side + 2 * FRAME * max(pixels.shape[:2]) for side in pixels.shape[:2])
    picture = PICTURE * min(framed_height / framed_width, 2.0)
    lines = textwrap.wrap(title or "", int(9.5 * PICTURE * columns))
    width = (PICTURE + GAP) * columns + GAP
    bottom, top = FOOTER + CAPTION, HEADER + 0.22 * len(lines)
    height = bottom + (picture + CAPTION) * rows - CAPTION + top
    figure = Figure(figsize=(width, height))
    write_plainly(figure.suptitle("", y=1 - 0.1 / height, fontsize=11, fontweight="bold", color=INK), "\n".join(lines))
    figure.subplots_adjust(GAP / width, bottom / height, 1 - GAP / width, 1 - top / height)
    figure.subplots_adjust(wspace=GAP / PICTURE, hspace=CAPTION / picture)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _ranks(count: int) -> ScalarMappable:
    count = max(count, 1)
    return ScalarMappable(BoundaryNorm(np.arange(count + 1) + 0.5, count), rank_colors(count))


def _draw_query(cell: Axes, pixels: Pixels, query: tuple[int, int]) -> None:
    _draw_image(cell, pixels)
    _outline(cell, _box(query, pixels.shape[:2], pixels))
    cell.set_xlabel(f"row {query[0]}, column {query[1]}", fontsize=7.5, color=INK, labelpad=3)


def _draw_choices(
    cell: Axes, pixels: Pixels, layer: LayerNeighbors, query: tuple[int, int], ranks: ScalarMappable
) -> None:
    _draw_image(cell, pixels if layer.gone is not None else DIMMED * (pixels + pixels.mean(axis=2, keepdims=True)))
    for place in () if layer.gone is None else layer.gone:
        cell.add_patch(_rectangle(_box(_place(place), layer.size, pixels), facecolor=INK, alpha=GONE, zorder=1))
    nearest = _nearest_query(layer, query, pixels)
    boxes = [_box(place, layer.size, pixels) for place in _neighbors_of(layer, nearest)]
    colors = ranks.to_rgba(np.arange(len(boxes)) + 1).tolist()
    for box, color in reversed(list(zip(boxes, colors, strict=True))):  # the nearest on top
        cell.add_patch(_rectangle(box, facecolor=(*color[:3], 0.6), edgecolor=color, zorder=2))
    _outline(cell, _box(_place(layer.queries[nearest]), layer.size, pixels))
    cell.set_xlabel(_caption(layer, nearest), fontsize=7.5, color=FAINT, labelpad=3)


def _nearest_query(layer: LayerNeighbors, pixel: tuple[int, int], pixels: Pixels) -> int:
    """Return the query of a layer that is nearest to a pixel of the image."""
    height, width = pixels.shape[:2]
    return layer.query_at(pixel, (height, width))


def _neighbors_of(layer: LayerNeighbors, query: int) -> list[tuple[int, int]]:
    """Return the neighbours of a query except itself, best first and without duplicates."""
    places = dict.fromkeys(map(_place, layer.places[query, best_first(layer.scores[query])]))
    places.pop(_place(layer.queries[query]), None)
    return list(places)


def _place(pair: Tensor) -> tuple[int, int]:
    row, column = pair.tolist()
    return row, column


def _caption(layer: LayerNeighbors, query: int) -> str:
    if layer.gone is not None:
        return f"{len(layer.gone)} of {layer.size[0] * layer.size[1]} have left"
    places = layer.places[query]
    outside = int(((places < 0) | (places >= torch.tensor(layer.size))).any(dim=1).sum())
    if not outside:
        return ""
    return f"{outside} of {len(places)} " + ("in the padding" if layer.outside == "padding" else "the class token")


def _draw_image(cell: Axes, pixels: Pixels) -> None:
    height, width = pixels.shape[:2]
    frame = FRAME * max(height, width)
    cell.set_facecolor(HAIRLINE)
    cell.imshow(pixels, extent=(0, width, height, 0), interpolation="nearest")
    cell.set_xlim(-frame, width + frame)
    cell.set_ylim(height + frame, -frame)
    cell.set_anchor("N")
    cell.set_xticks([])
    cell.set_yticks([])
    cell.spines[:].set_visible(False)


def _outline(cell: Axes, box: Box) -> None:
    for color, linewidth in ((INK, 3.2), ("white", 1.4)):
        cell.add_patch(_rectangle(box, fill=False, edgecolor=color, linewidth=linewidth, zorder=3))


def _rectangle(box: Box, **style: Any) -> Rectangle:
    left, top, right, bottom = box
    return Rectangle((left, top), right - left, bottom - top, joinstyle="miter", **style)


def _box(place: tuple[int, int], size: tuple[int, ...], pixels: Pixels) -> Box:
    """Return left, top, right and bottom, in pixels of the image, of a place on a map of any size."""
    longest = max(pixels.shape[:2])
    top, bottom = _span(place[0], size[0], pixels.shape[0], longest)
    left, right = _span(place[1], size[1], pixels.shape[1], longest)
    return left, top, right, bottom


def _span(place: int, n: int, side: int, longest: int) -> tuple[float, float]:
    """Return the extent of position `place` of n along a side in pixels; all padding lies in the strip around it."""
    if place < 0:
        return -FRAME * longest, 0.0
    if place >= n:
        return float(side), side + FRAME * longest
    center, half = (place + 0.5) * side / n, max(0.46 * side / n, SMALLEST * longest / 2)
    return center - half, center + half


def _draw_legend(figure: Figure, ranks: ScalarMappable, first: str, last: str) -> None:
    width, height = figure.get_size_inches()
    strip = figure.add_axes((0.5 - 1.4 / width, 0.32 / height, 2.8 / width, 0.1 / height))
    bar = figure.colorbar(ranks, cax=strip, orientation="horizontal")
    count = ranks.cmap.N
    bar.set_ticks([1, count] if count > 1 else [1])
    strip.set_xticklabels([f"1 {first}", f"{count} {last}"] if count > 1 else [f"1 {first}"])
    strip.minorticks_off()
    strip.tick_params(length=0, labelsize=7.5, labelcolor=INK)
    bar.outline.set_visible(False)
