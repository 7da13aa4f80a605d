"""Masks drawn over images, with a legend of the classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from convnn.data.masks import IGNORED
from convnn.errors import InputError
from convnn.viz.figure import COLORS, own_style, save_figure, write_legend, write_plainly, write_title

GROUND = "#4d4d4d"
"""Colour of class 0, which most sets have for what is nothing else."""

OPACITY, OF_GROUND = 0.55, 0.3
MOST_NAMED = 20
"""Classes in a legend; the largest of them."""

SIDE, ALONE = 1.5, 4.0
"""Inches along the longer side of an image, of several or of one."""


def class_colors(count: int) -> list[str]:
    """Return a colour for each class: grey for the first, then easily told ones, then many hues."""
    others = [to_hex(colormaps["hsv"]((0.618034 * number) % 1)) for number in range(max(0, count - 1 - len(COLORS)))]
    return [GROUND, *COLORS, *others][:count]


@own_style()
def draw_masks(
    images: Sequence[Tensor],
    masks: Mapping[str, Sequence[Tensor]],
    names: Sequence[str],
    path: Path | str,
    *,
    titles: Sequence[str] = (),
) -> Path:
    """Draw images in a row, and below them (beside them, if there is one) with each kind of masks over them.

    Args:
        images: images (3, H, W) or (1, H, W) with values from 0 to 1.
        masks: by the name of their row, such as "found", a mask (H, W) for each image, of classes and 255 for what is
            not counted, which stays uncovered.
        names: names of the classes.
        path: the picture, .png, .pdf or .svg.
        titles: what stands above each image; empty: nothing.

    Returns:
        The path.

    Raises:
        InputError: there is no image, or sizes do not agree.
        OutputError: the file cannot be written.
    """
    if not images:
        raise InputError("images=() is empty; give at least one image")
    for row, found in masks.items():
        for image, mask in zip(images, found, strict=True):
            if mask.shape != image.shape[1:]:
                raise InputError(f"masks[{row!r}] of shape {tuple(mask.shape)} must have the size of its image")
    height, width = max(image.shape[1] for image in images), max(image.shape[2] for image in images)
    rows: dict[str, Sequence[Tensor | None]] = {"image": [None] * len(images), **masks}
    is_one = len(images) == 1  # whose masks stand beside it
    inches = (ALONE if is_one else SIDE) / max(height, width)
    across, down = (len(rows), 1) if is_one else (len(images), len(rows))
    size = (across * (inches * width + 0.1) + 1.6, down * (inches * height + 0.1) + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(down, across, squeeze=False)
    panels = panels.T if is_one else panels
    colors = class_colors(len(names))
    for (row, covers), line in zip(rows.items(), panels, strict=True):
        for image, cover, panel in zip(images, covers, line, strict=True):
            panel.imshow(covered(image, cover, colors), interpolation="nearest")
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_visible(False)
        write_plainly(line[0].set_ylabel("", fontsize=9), "" if is_one else row)
    for panel, title in zip(panels[0], titles, strict=bool(titles)):
        write_title(panel, title)
    _write_names(figure, [mask for found in masks.values() for mask in found], names, colors)
    return save_figure(figure, path)


def covered(image: Tensor, mask: Tensor | None, colors: Sequence[str]) -> np.ndarray:
    """Return an image (H, W, 3); where a mask has a class, its brightness alone is left, below the colour of the class.

    Colours of the image would make one class look like another.
    """
    pixels = image.expand(3, -1, -1).permute(1, 2, 0).clamp(0, 1).numpy()
    if mask is None:
        return pixels
    table = np.array([to_rgb(color) for color in colors])
    values = mask.numpy()
    shares = np.where(values == 0, OF_GROUND, np.where(values < len(colors), OPACITY, 0.0))[..., None]
    grey = np.where(shares > 0, pixels.mean(-1, keepdims=True), pixels)
    return (1 - shares) * grey + shares * table[np.minimum(values, len(colors) - 1)]


def _write_names(figure: Figure, masks: Sequence[Tensor], names: Sequence[str], colors: Sequence[str]) -> None:
    """Write the names of the classes that masks have, of many the largest, in the order of the classes."""
    values = np.concatenate([mask.numpy().ravel() for mask in masks])
    counts = np.bincount(values, minlength=IGNORED + 1)[: len(names)]
    largest = sorted(np.argsort(-counts, kind="stable")[:MOST_NAMED])
    shown = [number for number in largest if counts[number]]
    patches = [Patch(facecolor=colors[number], alpha=0.5 + OPACITY / 2) for number in shown]
    write_legend(figure, patches, [names[number] for number in shown])
