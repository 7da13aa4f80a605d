"""Random augmentation of a whole batch at once, with separate random numbers for every image."""

import torch
from torch import Tensor

from convnn.data.seeds import Draws

CROP_FRACTION = 8
"""A crop moves an image by up to 1/8 of its side: the usual 4 pixels at 32."""


def flip_and_crop(images: Tensor, draws: Draws) -> Tensor:
    """Apply `random_flip`, then `random_crop`."""
    return random_crop(random_flip(images, draws), draws)


def random_flip(images: Tensor, draws: Draws) -> Tensor:
    """Mirror each image left to right with probability 1/2.

    Args:
        images: (B, C, H, W).
        draws: random numbers for these B images, on their device.

    Returns:
        (B, C, H, W).
    """
    is_flipped = draws.uniform(1, 1, 1) < 0.5
    return torch.where(is_flipped, images.flip(-1), images)


def random_crop(images: Tensor, draws: Draws) -> Tensor:
    """Pad each image with 1/8 of its side by reflection and crop it back to its size at a random place.

    Args:
        images: (B, C, H, W); sides below 8 pixels stay as they are.
        draws: random numbers for these B images, on their device.

    Returns:
        (B, C, H, W).
    """
    rows, columns = (_shifted_positions(side, draws) for side in images.shape[-2:])
    images = images.gather(2, rows[:, None, :, None].expand_as(images))
    return images.gather(3, columns[:, None, None, :].expand_as(images))


def _shifted_positions(side: int, draws: Draws) -> Tensor:
    """Return (B, side) positions to read: a window moved at random and reflected at both borders."""
    reach = side // CROP_FRACTION
    shift = draws.integers(-reach, reach + 1, 1)
    positions = (torch.arange(side, device=shift.device) + shift).abs()
    return side - 1 - (side - 1 - positions).abs()
