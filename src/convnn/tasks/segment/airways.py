"""Airways that were found in volumes: how much of each tree, and a picture of its surface."""

import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import ndimage
from torch import Tensor, nn

from convnn.data.labelled_volumes import VolumeLoader
from convnn.errors import InputError
from convnn.nn._modes import evaluating
from convnn.tasks.segment.trees import TreeScores, largest_part, mean_scores, score_tree
from convnn.viz.figure import COLORS, own_style, write_title

FINER = 8
"""How many pixels a voxel of a picture has along each side."""
SMOOTH = 0.6
"""By how many voxels the surface is smoothed for the light."""
LEVEL = 0.35
"""Where the surface of a smoothed mask lies; at a half, thin branches would vanish."""
LIGHT = np.array([0.45, 0.77, 0.45])
"""Where the light goes: down, away from the viewer, and to the right."""
PARTS = {"found": COLORS[0], "false": COLORS[1], "missing": "#d9d9d9"}
"""The colours of a picture."""


@torch.no_grad()
def evaluate_trees(network: nn.Module, loader: VolumeLoader) -> TreeScores:
    """Return the means over volumes of what is found of each tree, of which the largest part counts; see `TreeScores`.

    Args:
        network: maps volumes (B, 1, D, H, W) to logits (B, classes, D, H, W); all classes but the first are the tree.
        loader: volumes, masks and branches of trees.

    Raises:
        InputError: the branches are not known.
    """
    if loader.branches is None:
        raise InputError("loader must have the branches of trees; convnn.tasks.segment.trees.branches_of finds them")
    scores = []
    with evaluating(network):
        for batch in loader:
            found = network(batch.inputs).argmax(1).cpu()
            branches = loader.branches[batch.indices.cpu()]
            for one, *tree in zip(found, batch.labels.cpu(), branches, strict=True):
                scores.append(score_tree(largest_part(one), *tree))
    return mean_scores(scores)


@own_style()
def draw(found: dict[str, Tensor], true: Tensor, volume: Tensor | None = None) -> Figure:
    """Draw the surface of a tree, and beside it what was found: what is true, what is not, and what is missing.

    Surfaces are seen along the second axis, with the first one down; what stands behind cannot be seen.

    Args:
        found: masks (D, H, W) by their titles.
        true: the mask (D, H, W) of the tree.
        volume: (D, H, W) or (1, D, H, W), drawn first, as the mean over the middle third of the second axis.

    Raises:
        InputError: shapes differ, or there is no mask.
    """
    if not found:
        raise InputError("found={} must have at least one mask")
    for title, mask in found.items():
        if mask.shape != true.shape or true.dim() != 3:
            raise InputError(f"found[{title!r}] of shape {tuple(mask.shape)} must be (D, H, W), {tuple(true.shape)}")
    is_true = true != 0
    pictures = {} if volume is None else {"the volume": _middle(volume.reshape(true.shape))}
    pictures["the tree"] = _surface([is_true])
    for title, mask in found.items():
        is_found = mask != 0
        pictures[title] = _surface([is_found & is_true, is_found & ~is_true, is_true & ~is_found])
    return _side_by_side(pictures)


def _side_by_side(pictures: dict[str, np.ndarray]) -> Figure:
    figure = Figure(figsize=(2.3 * len(pictures), 2.8), layout="constrained")
    for panel, (title, picture) in zip(
        figure.subplots(1, len(pictures), squeeze=False)[0], pictures.items(), strict=True
    ):
        panel.imshow(picture, cmap="gray", interpolation="nearest" if picture.ndim == 2 else "bilinear")
        write_title(panel, title)
        panel.set_axis_off()
    marks = [Line2D([], [], marker="o", linestyle="", color=color) for color in PARTS.values()]
    figure.get_layout_engine().set(h_pad=0.08)  # type: ignore[union-attr, call-arg]
    figure.legend(marks, list(PARTS), loc="outside lower right", ncols=len(PARTS), frameon=False, fontsize=8)
    return figure


def _middle(volume: Tensor) -> np.ndarray:
    """Return the mean over the middle third of the second axis."""
    third = volume.shape[1] // 3
    mean: np.ndarray = volume[:, third : 2 * third + 1].mean(1).numpy()
    return mean


def _surface(parts: list[Tensor]) -> np.ndarray:
    """Return the picture (FINER D, FINER W, 3) of the surface of all parts (D, H, W), each in its colour of `PARTS`."""
    padded = [np.pad(part.numpy(), 1) for part in parts]
    whole = np.any(padded, axis=0)
    smooth = ndimage.gaussian_filter(whole.astype(float), SMOOTH)
    fine = ndimage.zoom(smooth, FINER, order=1, grid_mode=True, mode="nearest")
    is_solid = fine > LEVEL
    depth = is_solid.argmax(1)  # of what is met first
    rows, columns = np.indices(depth.shape)
    slopes = np.stack([one[rows, depth, columns] for one in np.gradient(fine)], -1)  # they lead inside
    slopes /= np.linalg.norm(slopes, axis=-1, keepdims=True).clip(1e-9)
    light = (0.35 + 0.65 * (slopes @ LIGHT).clip(0)) * (1 - 0.35 * depth / fine.shape[1])
    nearest = ndimage.distance_transform_edt(~whole, return_distances=False, return_indices=True)
    part_of = np.argmax(padded, axis=0)[tuple(nearest)]  # also of the voxels around the surface
    colors = np.array([to_rgb(color) for color in PARTS.values()])
    picture = colors[part_of[rows // FINER, depth // FINER, columns // FINER]] * light[..., None]
    picture[~is_solid.any(1)] = 1
    return picture[FINER:-FINER, FINER:-FINER].clip(0, 1)
