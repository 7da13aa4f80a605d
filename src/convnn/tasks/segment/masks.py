"""Masks of pictures of any size, from a trained network, and files of masks."""

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from matplotlib.colors import to_rgb
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from convnn.data import load_image
from convnn.data.images import read_image, to_tensor
from convnn.data.masks import IGNORED
from convnn.files import write_atomically
from convnn.models import Network
from convnn.tasks.segment.picture import class_colors, draw_masks
from convnn.train import Recipe

MASK, OVER = "_mask.png", "_over.png"
"""Ends of the names of the files of a picture."""


def picture_masks(network: Network, recipe: Recipe, path: str | Path) -> tuple[Tensor, Tensor]:
    """Return a picture, and the class of each of its pixels.

    The picture is brought to the size of the network as in training, and the logits back to the size of the picture,
    bilinearly. What a crop to that size leaves out is 255.

    Args:
        network: network of the recipe.
        recipe: how images are read.
        path: file of the picture.

    Returns:
        Image (3, H, W) of values from 0 to 1, and classes (H, W) uint8.

    Raises:
        InputError: the file is missing, broken or not a picture.
    """
    picture = to_tensor(read_image(path)).float() / 255
    inputs = load_image(path, recipe.input_shape, recipe.mean, recipe.std, recipe.fit)
    device = next(network.parameters()).device
    with torch.no_grad():
        logits = network.eval()(inputs.to(device)).cpu()
    return picture, placed_back(logits[0], (picture.shape[1], picture.shape[2]), recipe.fit)


def picture_files(path: str | Path) -> list[str]:
    """Return the names of the files that `segment_picture` writes."""
    return [f"{Path(path).stem}{end}" for end in (MASK, OVER)]


def segment_picture(network: Network, recipe: Recipe, path: str | Path, folder: Path) -> Tensor:
    """Write the mask of a picture into a folder, and the picture with the mask over it; return the mask (H, W).

    Raises:
        InputError: as `picture_masks`.
        OutputError: a file cannot be written.
    """
    mask, over = (folder / name for name in picture_files(path))
    image, found = picture_masks(network, recipe, path)
    save_mask(found, mask)
    draw_masks([image], {"": [found]}, recipe.classes, over, titles=[Path(path).name])
    return found


def placed_back(logits: Tensor, size: tuple[int, int], fit: str) -> Tensor:
    """Return the classes (H, W) uint8 of a picture of a size, from logits (C, h, w) of what `fit` made of it."""
    (height, width), (rows, columns) = size, logits.shape[1:]
    scale = (min if fit == "pad" else max)(rows / height, columns / width)
    mask = torch.full(size, IGNORED, dtype=torch.uint8)
    if fit == "pad":  # only the part that the picture fills
        inner = max(1, round(scale * height)), max(1, round(scale * width))
        top, left = (rows - inner[0]) // 2, (columns - inner[1]) // 2
        logits = logits[:, top : top + inner[0], left : left + inner[1]]
    box = size if fit != "crop" else (min(height, round(rows / scale)), min(width, round(columns / scale)))
    found = F.interpolate(logits[None].float(), size=box, mode="bilinear", align_corners=False)[0].argmax(0)
    top, left = (height - box[0]) // 2, (width - box[1]) // 2
    mask[top : top + box[0], left : left + box[1]] = found.to(torch.uint8)
    return mask


def save_mask(mask: Tensor, path: Path) -> None:
    """Write classes (H, W) as a PNG with a palette, whose indices are the classes: the form in which masks are read.

    Raises:
        OutputError: the file cannot be written.
    """
    picture = Image.fromarray(mask.numpy())
    colors = [to_rgb(color) for color in class_colors(IGNORED)] + [(1.0, 1.0, 1.0)]
    picture.putpalette(np.rint(255 * np.array(colors)).astype(np.uint8).tobytes())
    file = BytesIO()
    picture.save(file, format="PNG")
    write_atomically(path, file.getvalue())
