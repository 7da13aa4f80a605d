"""Reading a picture and converting between pictures and network inputs."""

import errno
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from convnn.errors import InputError, check_choice

Size = tuple[int, int]
"""Height and width in pixels."""

FITS = ("crop", "pad", "stretch")
"""Ways to bring a picture of another shape to the size of a network's input."""

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that turns a picture upright, by its EXIF orientation."""

SHORTAGES = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)
"""System errors that do not mean that the file is broken."""


class BrokenImageError(InputError):
    """A file is not a picture or cannot be read; the message names it."""


def load_image(
    path: str | Path,
    image_shape: tuple[int, ...],
    mean: Sequence[float],
    std: Sequence[float],
    fit: str = "crop",
) -> Tensor:
    """Read a picture of any size and mode as a network input, turned upright by its EXIF orientation.

    Args:
        path: file of the picture.
        image_shape: (C, H, W) of the network's input; C is 1 (gray) or 3 (RGB).
        mean: C means, of images scaled to [0, 1].
        std: C standard deviations, of images scaled to [0, 1].
        fit: how to bring a picture of another shape to H x W: "crop" scales it until its shorter side fits and crops
            it around its centre, "pad" scales it until its longer side fits and pads it with black, "stretch" scales
            each side separately.

    Returns:
        (1, C, H, W) float32, normalised.

    Raises:
        InputError: the file is missing, broken or not a picture, and the message names it; or `fit` is unknown.
    """
    check_choice("fit", fit, FITS)
    channels, *size = image_shape
    picture = fit_picture(read_image(path, channels), (size[0], size[1]), fit)
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
    """Decode a picture to gray (1 channel) or RGB (3 channels), upright; transparency is dropped.

    Raises:
        BrokenImageError: the file is missing, broken, not a picture, or has more than 8 bits per channel.
        MemoryError: its pixels do not fit in memory.
    """
    try:
        image: Image.Image = Image.open(path)
        # Loading closes the file, but a broken image does not get that far.
        with image:
            image.load()
            return _convert(_turn_upright(image), path, "L" if channels == 1 else "RGB")
    except (BrokenImageError, MemoryError):
        raise
    except Exception as error:  # each decoder of Pillow fails in its own way
        if getattr(error, "errno", None) in SHORTAGES:
            raise
        reason = getattr(error, "strerror", None) or "it is broken or not a picture"
        raise BrokenImageError(f"cannot read the image {path}: {reason}") from error


def fit_picture(picture: Image.Image, size: Size, how: str = "crop") -> Image.Image:
    """Bring a picture to a size in one of the ways of `FITS`; a picture of that size is unchanged."""
    height, width = size
    side = (width, height)
    bilinear = Image.Resampling.BILINEAR
    if how == "stretch":
        return picture if picture.size == side else picture.resize(side, bilinear)
    scaled: Image.Image = (ImageOps.pad if how == "pad" else ImageOps.fit)(picture, side, method=bilinear)
    return scaled


def _turn_upright(image: Image.Image) -> Image.Image:
    """Turn an image upright by its EXIF orientation; EXIF data that cannot be read is ignored."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            orientation = image.getexif().get(ExifTags.Base.Orientation)
    except MemoryError:
        raise
    except Exception:  # broken EXIF data raises errors of many types
        return image
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def _convert(image: Image.Image, path: str | Path, mode: str) -> Image.Image:
    if image.mode[0] in "IF":
        raise BrokenImageError(f"cannot read the image {path}: it has more than 8 bits per channel (mode {image.mode})")
    if image.mode == "LAB":
        image = image.convert("RGB")  # Pillow converts LAB to gray only by way of RGB
    elif image.has_transparency_data:
        image = image.convert("RGBA")
    return image.convert(mode)


def to_tensor(picture: Image.Image) -> Tensor:
    """Copy the pixels to (C, H, W) uint8."""
    pixels = torch.from_numpy(np.array(picture))
    return pixels.view(picture.height, picture.width, -1).permute(2, 0, 1)


def quantise(images: Tensor, values: int) -> Tensor:
    """Turn (B, C, H, W) uint8 images into whole numbers from 0 to `values` - 1, float32, by cells of equal size."""
    return (images.int() * values // 256).float()


def channel_values(values: Sequence[float], device: torch.device | str = "cpu") -> Tensor:
    """Return per-channel values as (C, 1, 1) float32, which broadcasts over images."""
    return torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Turn (B, C, H, W) uint8 images into float32 of mean 0 and standard deviation 1, given (C, 1, 1) statistics."""
    return (images.float() / 255 - mean) / std
