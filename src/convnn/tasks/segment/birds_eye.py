"""A picture of the ground around a vehicle, seen from above, and of what its cameras see of it."""

from collections.abc import Sequence
from typing import cast

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from convnn.errors import InputError
from convnn.models.segmentation import BirdsEyeNetwork
from convnn.nn._modes import evaluating
from convnn.ops.surround import MAP
from convnn.viz.figure import COLORS, own_style, write_title


@own_style()
@torch.no_grad()
def draw(network: BirdsEyeNetwork, images: Tensor, truth: Tensor, cell: tuple[int, int]) -> Figure:
    """Draw the camera images of a scene, the windows in them to which one cell attends, and the ground: true and found.

    Args:
        network: the network, of two classes.
        images: images (n, 1, h, w) of its cameras.
        truth: the class of each cell, (cells, cells).
        cell: row and column.

    Raises:
        InputError: there is no such cell.
    """
    cells = network.points.shape[1]
    if len(cell) != 2 or not all(0 <= place < cells for place in cell):
        raise InputError(f"cell={cell} must be a row and a column of the {cells} x {cells} cells")
    with evaluating(network):
        shares = network(images.unsqueeze(0)).softmax(1)[0, 1].cpu()
    indices, _, absent = (None if one is None else one.cpu() for one in network.table)
    here = torch.zeros(cells, cells, dtype=torch.bool)
    here[cell] = True
    own = cast(Tensor, indices)[0, here.flatten()]
    chosen = torch.zeros(images.numel(), dtype=torch.bool)
    chosen[own if absent is None else own[~absent[0, here.flatten()]]] = True
    chosen = chosen.view(-1, *MAP)
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    above, below = cast(Sequence[SubFigure], figure.subfigures(2, 1, height_ratios=[1, 2]))
    for number, panel in enumerate(above.subplots(1, images.shape[0])):
        panel.imshow(images[number, 0].cpu().numpy(), cmap="gray", vmin=-0.3, vmax=1.3)
        _frame(panel, chosen[number])
        write_title(panel, f"camera {number + 1}")
    titles = ("the ground", "found")
    for panel, title, ground in zip(below.subplots(1, 2), titles, (truth.cpu(), shares), strict=True):
        panel.imshow(ground.numpy(), cmap="gray", vmin=0, vmax=1)
        _frame(panel, here)
        panel.plot((cells - 1) / 2, (cells - 1) / 2, marker="^", color=COLORS[0], markersize=9)
        write_title(panel, title)
    return figure


def _frame(panel: Axes, chosen: Tensor) -> None:
    """Draw a frame around each chosen position and hide the axes."""
    panel.set_xticks([])
    panel.set_yticks([])
    for row, column in chosen.nonzero().tolist():
        left, right, top, bottom = column - 0.5, column + 0.5, row - 0.5, row + 0.5
        panel.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=COLORS[1], linewidth=1.5)
