"""Training images from which predictions come, in one picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Tensor

from convnn.errors import InputError, check_at_least
from convnn.viz.figure import COLORS, INK, own_style, save_figure, write_plainly

FOR, AGAINST = COLORS[2], COLORS[1]


@own_style()
def draw_attribution(
    queries: Tensor,
    samples: Tensor,
    parts: np.ndarray,
    path: Path | str,
    *,
    count: int = 4,
    names: Sequence[str] | None = None,
) -> Path:
    """Draw images, each beside the training images that add most to a prediction and those that take most from it.

    Args:
        queries: (M, C, H, W) images, a row each; C is 1 or 3, any range of values.
        samples: (N, C, H, W) training images.
        parts: (M, N) what each training image adds to the prediction, such as those of the predicted class of
            `TangentSurrogate.attribute`.
        path: the picture, .png, .pdf or .svg, in an existing folder.
        count: training images on each side, 1 to N.
        names: what is written above each image.

    Returns:
        The path of the picture.

    Raises:
        InputError: shapes do not agree, `count` is out of range, or the suffix is not one of these.
        OutputError: the picture cannot be written.
    """
    _check(queries, samples, parts, names)
    check_at_least("count", count, 1)
    count = min(count, samples.shape[0])
    rows, columns = queries.shape[0], 1 + 2 * count
    figure = Figure(figsize=(1.05 * columns, 1.3 * rows + 0.3), layout=ConstrainedLayoutEngine(wspace=0.03))
    panels = figure.subplots(rows, columns, squeeze=False)
    for row, (query, its_parts) in enumerate(zip(queries, parts, strict=True)):
        _draw(panels[row, 0], query, "" if names is None else names[row], INK)
        order = np.argsort(-its_parts, kind="stable")
        for place, sample in enumerate(order[:count]):
            _draw(panels[row, 1 + place], samples[sample], f"{its_parts[sample]:+.2f}", FOR)
        for place, sample in enumerate(order[::-1][:count]):
            _draw(panels[row, 1 + count + place], samples[sample], f"{its_parts[sample]:+.2f}", AGAINST)
    return save_figure(figure, path)


def _draw(panel: Axes, image: Tensor, text: str, color: str) -> None:
    """Draw an image (C, H, W) in the range of its values, with a frame and a line of text."""
    pixels = image.detach().cpu().float().movedim(0, -1).numpy()
    low, high = pixels.min(), pixels.max()
    pixels = (pixels - low) / (high - low if high > low else 1.0)
    panel.imshow(pixels[..., 0] if pixels.shape[-1] == 1 else pixels, cmap="gray", interpolation="nearest")
    panel.set(xticks=[], yticks=[])
    for spine in panel.spines.values():
        spine.set(color=color, linewidth=1.6)
    write_plainly(panel.set_title("", fontsize=8, color=color, pad=3), text)


def _check(queries: Tensor, samples: Tensor, parts: np.ndarray, names: Sequence[str] | None) -> None:
    if queries.dim() != 4 or samples.dim() != 4 or queries.shape[1] not in (1, 3) or not queries.shape[0]:
        raise InputError(
            f"queries of shape {tuple(queries.shape)} and samples of shape {tuple(samples.shape)} must be images"
            " (M, C, H, W) and (N, C, H, W) of 1 or 3 channels"
        )
    if parts.shape != (queries.shape[0], samples.shape[0]):
        raise InputError(f"parts of shape {parts.shape} must be {(queries.shape[0], samples.shape[0])}")
    if names is not None and len(names) != queries.shape[0]:
        raise InputError(f"names={list(names)} must have {queries.shape[0]} texts, one for each query")
