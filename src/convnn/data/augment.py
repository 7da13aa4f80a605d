"""Random augmentation of a whole batch at once, with separate random numbers for every image."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.data.seeds import Draws

CROP_FRACTION = 8
"""A crop moves an image by up to 1/8 of its side: the usual 4 pixels at 32."""

COLOURED = 0.8
"""The share of views whose colours change."""


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


def random_view(
    images: Tensor,
    draws: Draws,
    *,
    smallest: float = 0.2,
    strength: float = 0.4,
    grey: float = 0.2,
) -> Tensor:
    r"""Draw another view of each image, as contrastive learning does: a part of it, mirrored, in other colours.

    A rectangle with a share of at least `smallest` of the area, and sides of a ratio between 3/4 and 4/3, is scaled to
    the size of the image by bilinear interpolation; then `random_flip`; then, in four of five images, brightness,
    contrast and saturation are multiplied by factors between 1 - strength and 1 + strength; in a fifth of them colour
    is lost.

    Args:
        images: (B, C, H, W), values 0 to 1.
        draws: random numbers for these B images, on their device.
        smallest: smallest share of the area, above 0 and at most 1.
        strength: how much colours change, 0 to 1.
        grey: probability of no colours; images of another number of channels than 3 have none to lose.

    Returns:
        (B, C, H, W), values 0 to 1.

    Reference:
        Chen et al., arXiv 2002.05709, appendix A, with the strengths for CIFAR-10 and without the change of hue.
    """
    views = random_flip(_random_part(images, draws, smallest), draws)
    brightness, contrast, saturation = (1 + strength * (2 * draws.uniform(3, 1, 1, 1) - 1)).unbind(1)
    coloured = (views * brightness).clamp(0, 1)
    mean = _grey(coloured).mean((1, 2, 3), keepdim=True)
    coloured = (mean + contrast * (coloured - mean)).clamp(0, 1)
    luminance = _grey(coloured)
    coloured = (luminance + saturation * (coloured - luminance)).clamp(0, 1)
    views = torch.where(draws.uniform(1, 1, 1) < COLOURED, coloured, views)
    return torch.where(draws.uniform(1, 1, 1) < grey, _grey(views), views)


def _random_part(images: Tensor, draws: Draws, smallest: float) -> Tensor:
    """Return a random rectangle of each image, scaled to its size."""
    area = smallest + (1 - smallest) * draws.uniform()
    ratio = ((2 * draws.uniform() - 1) * math.log(4 / 3)).exp()
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    sides = torch.stack([width, height], 1)
    centres = (1 - sides) * (2 * draws.uniform(2) - 1)
    grid = F.affine_grid(
        torch.cat([sides.diag_embed(), centres.unsqueeze(2)], 2), list(images.shape), align_corners=False
    )
    return F.grid_sample(images, grid.to(images), padding_mode="border", align_corners=False)


def _grey(images: Tensor) -> Tensor:
    """Return the luminance of colours (B, 3, H, W), in each channel, and other images as they are."""
    if images.shape[1] != 3:
        return images
    weights = images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (weights * images).sum(1, keepdim=True).expand_as(images)
