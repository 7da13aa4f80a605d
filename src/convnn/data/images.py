"""Reading one picture, and the way between pictures and network inputs."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from convnn.errors import InputError

Size = tuple[int, int]
"""Height and width in pixels."""


class BrokenImageError(InputError):
    """A file that is no picture, or none that can be read; the message names it."""


def load_image(
    path: str | Path, image_shape: tuple[int, int, int], mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    """Read one picture, of any size and mode, as a network input.

    Args:
        path: the picture's file.
        image_shape: (C, H, W) of the network's input; C is 1 (gray) or 3 (RGB). The picture is scaled until its
            shorter side fits and cropped around its centre.
        mean: C values, of images scaled to [0, 1].
        std: C values, of images scaled to [0, 1].

    Returns:
        (1, C, H, W) float32, normalised.

    Raises:
        InputError: the file is missing, broken or not a picture; the message names it.
    """
    channels, *size = image_shape
    picture = fit(read_image(path, channels), (size[0], size[1]))
    return normalise(to_tensor(picture)[None], channel_values(mean), channel_values(std))


def denormalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Turn network inputs back into colours.

    Args:
        images: (..., C, H, W), normalised.
        mean: C values.
        std: C values.

    Returns:
        (..., C, H, W) in [0, 1].
    """
    return (images * channel_values(std, images.device) + channel_values(mean, images.device)).clamp(0, 1)


def read_image(path: str | Path, channels: int = 3) -> Image.Image:
    """Decode a picture to gray (1 channel) or RGB (3 channels); transparency is dropped.

    Raises:
        BrokenImageError: the file is missing, broken, not a picture, or has more than 8 bits per channel.
    """
    try:
        image: Image.Image = Image.open(path)
        # Loading closes the file, but a broken image does not get that far.
        with image:
            image.load()
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or "it is broken or not a picture"
        raise BrokenImageError(f"cannot read the image {path}: {reason}") from error
    if image.mode[0] in "IF":
        raise BrokenImageError(f"cannot read the image {path}: it has more than 8 bits per channel (mode {image.mode})")
    if image.has_transparency_data:
        image = image.convert("RGBA")
    return image.convert("L" if channels == 1 else "RGB")


def fit(picture: Image.Image, size: Size) -> Image.Image:
    """Scale until the shorter side fits `size`, then crop around the centre; a picture of that size is unchanged."""
    height, width = size
    fitted: Image.Image = ImageOps.fit(picture, (width, height), method=Image.Resampling.BILINEAR)
    return fitted


def to_tensor(picture: Image.Image) -> Tensor:
    """Copy the pixels to (C, H, W) uint8."""
    pixels: Tensor = F.pil_to_tensor(picture)
    return pixels


def channel_values(values: Sequence[float], device: torch.device | str = "cpu") -> Tensor:
    """Shape per-channel values as (C, 1, 1) float32, to be broadcast over images."""
    return torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Turn (B, C, H, W) uint8 images into float32 of mean 0 and standard deviation 1, given (C, 1, 1) statistics."""
    return (images.float() / 255 - mean) / std
