"""Matches as lines between two images."""

from pathlib import Path

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from convnn.errors import InputError
from convnn.viz.figure import COLORS, own_style, save_figure, write_title

GAP = 0.08
"""Space between the images, as a share of a side."""


@own_style()
def draw_matches(
    source: Tensor, target: Tensor, matches: Tensor, path: Path | str, *, title: str, right: Tensor | None = None
) -> Path:
    """Draw two images side by side, and a line from each place of the first to its place in the second.

    Args:
        source, target: images (3, H, W) with values from 0 to 1, of one size.
        matches: (N, 4) x and y in the source, x and y in the target, from -1 to 1 between the edges.
        path: the picture, .png, .pdf or .svg.
        title: what stands above.
        right: (N,) bool, which matches are right: blue; the others are orange. None draws all in blue.

    Returns:
        The path.

    Raises:
        InputError: shapes do not agree.
        OutputError: the file cannot be written.
    """
    if source.dim() != 3 or source.shape[0] != 3 or target.shape != source.shape:
        raise InputError(
            f"source of shape {tuple(source.shape)} and target of shape {tuple(target.shape)} must both be (3, H, W)"
        )
    if matches.dim() != 2 or matches.shape[1] != 4 or (right is not None and right.shape != matches.shape[:1]):
        raise InputError(f"matches of shape {tuple(matches.shape)} must be (N, 4), and right (N,)")
    height, width = source.shape[1:]
    step = width * (1 + GAP)
    figure = Figure(figsize=(9, 9 * height / (width + step) + 0.4), layout="constrained")
    panel = figure.subplots()
    for image, left in ((source, 0.0), (target, step)):
        panel.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy(), extent=(left, left + width, height, 0))
    lines = ((matches.numpy() + 1) / 2 * [width, height, width, height]).reshape(-1, 2, 2)
    lines[:, 1, 0] += step
    panel.add_collection(LineCollection(list(lines), colors=_colors(len(lines), right), linewidths=0.9))
    for end in (0, 1):
        panel.scatter(
            lines[:, end, 0],
            lines[:, end, 1],
            s=9,
            c=_colors(len(lines), right),
            edgecolors="white",
            linewidths=0.4,
            zorder=3,
        )
    panel.set(xlim=(0, step + width), ylim=(height, 0))
    panel.set_axis_off()
    write_title(panel, title)
    return save_figure(figure, path)


def _colors(count: int, right: Tensor | None) -> NDArray[np.str_]:
    is_right = np.ones(count, dtype=bool) if right is None else right.numpy()
    return np.where(is_right, COLORS[0], COLORS[1])
