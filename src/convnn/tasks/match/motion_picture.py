"""Motion as colour: the hue is the direction, and the stronger the colour, the farther."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from convnn.errors import InputError
from convnn.nn.matches.batch import ImagePairs, check_pairs
from convnn.ops.matches import cell_centers
from convnn.tasks.match.picture import draw_matches
from convnn.viz.figure import INK, own_style, save_figure, write_plainly, write_title

UNKNOWN = 190
"""Grey of pixels whose motion is not known."""

LINES, RIGHT = 7, 3.0
"""How many lines along each side, and within how many pixels one is right."""


def flow_colours(flow: Tensor, largest: float) -> Tensor:
    """Return motion as colours, those of the wheel of Middlebury: white is none, and longer ones are as the largest.

    Args:
        flow: (B, 2, H, W), in pixels.
        largest: the length of the strongest colours, positive.

    Returns:
        (B, 3, H, W) uint8.

    Reference:
        Baker et al., "A Database and Evaluation Methodology for Optical Flow", 2011; `torchvision.utils.flow_to_image`.
    """
    from torchvision.utils import flow_to_image  # takes a second to import

    lengths = flow.norm(dim=1, keepdim=True).clamp_min(1e-12)
    shorter = (flow * (largest / lengths).clamp_max(1)).float()
    scale = torch.zeros_like(shorter[:1])  # the function divides by the largest length of a batch
    scale[:, 0] = largest
    return flow_to_image(torch.cat([shorter, scale]))[:-1]


@own_style()
def draw_flow(pairs: ImagePairs, found: Tensor, path: Path | str, *, is_true_known: bool = True) -> Path:
    """Draw a row for each pair: both images, the motion that was found, and the true one, with the wheel beside them.

    Args:
        pairs: the pairs, at least one.
        found: flows (B, 2, H, W), in pixels.
        path: the picture, .png, .pdf or .svg.
        is_true_known: whether the flow of the pairs is drawn too.

    Returns:
        The path.

    Raises:
        InputError: shapes do not agree, or there is no pair.
        OutputError: the file cannot be written.
    """
    check_pairs(pairs)
    if found.shape != pairs.flow.shape or not found.shape[0]:
        raise InputError(f"found of shape {tuple(found.shape)} must be {tuple(pairs.flow.shape)}, of at least one pair")
    lengths = torch.cat([found, *([pairs.flow] if is_true_known else [])]).norm(dim=1)
    largest = max(1.0, lengths.quantile(0.99).item() if lengths.numel() < 2**24 else lengths.max().item())
    columns = {"first": pairs.first, "second": pairs.second, "motion found": flow_colours(found, largest)}
    if is_true_known:
        true = flow_colours(pairs.flow, largest)
        columns["true motion"] = true.where(pairs.known.unsqueeze(1), UNKNOWN)
    rows, (height, width) = found.shape[0], found.shape[2:]
    size = (1.9 * (len(columns) + 0.6), 1.9 * rows * height / width + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, len(columns) + 1, squeeze=False, width_ratios=[*[1] * len(columns), 0.5])
    for row, line in enumerate(panels):
        for panel, (name, images) in zip(line, columns.items(), strict=False):
            panel.imshow(_pixels(images[row]))
            if row == 0:
                write_title(panel, name)
        for panel in line:
            panel.set_axis_off()
    _draw_wheel(panels[0, -1], largest)
    return save_figure(figure, path)


def draw_lines(pairs: ImagePairs, found: Tensor, path: Path | str, *, is_true_known: bool = True) -> Path:
    """Draw the first pair, with lines from places of one image to where they were found in the other.

    Args, returns and errors are those of `draw_flow`. Where the true motion is known, lines that end farther than
    three pixels from the true place are orange. Places that leave the image have no line.
    """
    check_pairs(pairs)
    height, width = found.shape[2:]
    scale = found.new_tensor([2 / width, 2 / height])
    rows, columns = (_spread(side) for side in (height, width))
    places = cell_centers(found)[0][:, rows][:, :, columns].flatten(1).T
    steps, true = (one[0][:, rows][:, :, columns].flatten(1).T for one in (found, pairs.flow))
    stays = (places + scale * steps).abs().amax(1) <= 1
    right = (steps - true).norm(dim=1) <= RIGHT
    title = "matches"
    if is_true_known:
        stays &= pairs.known[0][rows][:, columns].flatten()
        title = f"{int(right[stays].sum())} of {int(stays.sum())} matches are within {RIGHT:g} pixels of the true place"
    matches = torch.cat([places, places + scale * steps], 1)[stays]
    first, second = (one[0] / 255 for one in (pairs.first, pairs.second))
    return draw_matches(first, second, matches, path, title=title, right=right[stays] if is_true_known else None)


def _spread(side: int) -> Tensor:
    """Return pixels that divide a side evenly, away from its ends."""
    return (((torch.arange(LINES) + 0.5) / LINES) * side).long()


def _draw_wheel(panel: Axes, largest: float) -> None:
    """Draw which colour is which direction; the edge of the wheel has the largest length."""
    steps = cell_centers(torch.empty(1, 1, 121, 121))
    colours = _pixels(flow_colours(largest * steps, largest)[0])
    outside = steps[0].norm(dim=0).numpy() > 1
    panel.imshow(np.dstack([colours, np.where(outside, 0, 255).astype(np.uint8)]))
    note: Any = panel.set_title("", fontsize=8, color=INK, y=-0.35)
    write_plainly(note, f"{largest:.1f} pixels")


def _pixels(image: Tensor) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = image.permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return pixels
