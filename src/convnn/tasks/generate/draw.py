"""Pictures of samples, one function for each form that samples have."""

import io
import math
from functools import singledispatch
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from convnn.data import denormalise
from convnn.errors import InputError
from convnn.files import write_atomically
from convnn.models import OwnLoss
from convnn.train import Recipe

LEAST_SIDE, GAP, PAPER = 64, 4, 1.0
"""Pixels of an image in the grid, to which small ones are enlarged by whole factors, and between them, in white."""


@singledispatch
def draw(network: OwnLoss, samples: Any, recipe: Recipe, path: Path) -> None:
    """Write a picture of samples; those of images become a grid, and others what is registered for their network.

    A network whose samples are no images registers its own function: `@draw.register` before a function of the same
    arguments, whose first is annotated with the class of the network.

    Args:
        network: what drew the samples; its class decides.
        samples: what `network.sample` returned.
        recipe: how the network was built, and what it learned.
        path: the picture, .png, in an existing folder.

    Raises:
        InputError: nothing is registered for a network whose samples are no images.
        OutputError: the picture cannot be written.
    """
    if network.data != "images":
        raise InputError(f"network={type(network).__name__} has samples of {network.data}, of which nothing draws any")
    write_png(grid(denormalise(samples.cpu(), recipe.mean, recipe.std)), path)


def grid(images: Tensor) -> Tensor:
    """Return the images (B, C, H, W) side by side, in nearly a square of rows, as one (C, H', W')."""
    factor = max(1, -(-LEAST_SIDE // max(images.shape[-2:])))
    large = F.pad(images.repeat_interleave(factor, 2).repeat_interleave(factor, 3), (0, GAP, 0, GAP), value=PAPER)
    columns = math.ceil(math.sqrt(len(large)))
    rows = -(-len(large) // columns)
    blank = large.new_full((rows * columns - len(large), *large.shape[1:]), PAPER)
    cells = torch.cat([large, blank]).unflatten(0, (rows, columns))
    return cells.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)[:, :-GAP, :-GAP]


def write_png(image: Tensor, path: Path) -> None:
    """Write an image (1 or 3, H, W) of values from 0 to 1.

    Raises:
        InputError: it has other channels.
        OutputError: the file cannot be written.
    """
    if image.shape[0] not in (1, 3):
        raise InputError(f"an image of {image.shape[0]} channels cannot be written; it must have 1 or 3")
    pixels = (image * 255).round().to(torch.uint8).expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    write_atomically(path, buffer.getvalue())
