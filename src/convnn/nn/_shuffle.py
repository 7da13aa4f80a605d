"""Pixel shuffling around a layer: space for channels before it, channels for space after it."""

from dataclasses import dataclass

from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_choice
from convnn.nn._settings import written
from convnn.words import counted

SHUFFLE_PATTERNS = ("NA", "B", "A", "BA")


def pixel_unshuffle(x: Tensor, scale: int) -> Tensor:
    """Move blocks of `scale` positions along each axis into channels, (B, C, *S) to (B, C * scale^axes, *S / scale).

    One axis: a plain reshape, as published. Several: as `torch.nn.PixelUnshuffle`, for any number of axes.

    Raises:
        InputError: the scale does not divide a side of the map.
    """
    check_at_least("shuffle_scale", scale, 1)
    batch, channels, *size = x.shape
    if any(n % scale for n in size):
        sides = "x".join(map(str, size))
        raise InputError(f"shuffle_scale={scale} must divide every side of the {sides} map")
    folded = [n // scale for n in size]
    axes = len(size)
    if axes > 1:
        x = x.reshape(batch, channels, *[n for side in folded for n in (side, scale)])
        x = x.permute(0, 1, *range(3, 2 * axes + 2, 2), *range(2, 2 * axes + 2, 2))
    return x.reshape(batch, channels * scale**axes, *folded)


def pixel_shuffle(x: Tensor, scale: int) -> Tensor:
    """Undo `pixel_unshuffle`: (B, C, *S) to (B, C / scale^axes, *S * scale).

    Raises:
        InputError: the channels are not a multiple of scale^axes.
    """
    check_at_least("shuffle_scale", scale, 1)
    batch, channels, *size = x.shape
    axes = len(size)
    if channels % scale**axes:
        raise InputError(f"shuffle_scale={scale} needs a multiple of {counted(scale**axes, 'channel')}, not {channels}")
    if axes > 1:
        x = x.reshape(batch, channels // scale**axes, *[scale] * axes, *size)
        x = x.permute(0, 1, *[axis for i in range(axes) for axis in (2 + axes + i, 2 + i)])
    return x.reshape(batch, channels // scale**axes, *[n * scale for n in size])


@dataclass(frozen=True)
class Shuffle:
    """The pixel shuffles around a layer.

    Attributes:
        pattern: "B" unshuffles pixels before, "A" shuffles them after, "BA" both, "NA" none.
        scale: factor of the shuffle along each axis; at least 1 if there is a pattern.

    Raises:
        InputError: the pattern is unknown, or it needs a scale.
    """

    pattern: str = "NA"
    scale: int = 0

    def __post_init__(self) -> None:
        check_choice("shuffle_pattern", self.pattern, SHUFFLE_PATTERNS)
        if self.pattern != "NA":
            check_at_least("shuffle_scale", self.scale, 1)

    def __str__(self) -> str:
        """Write pattern and scale; nothing without a shuffle."""
        return "" if self.pattern == "NA" else written(shuffle_pattern=self.pattern, shuffle_scale=self.scale)

    def before(self, x: Tensor) -> Tensor:
        """Unshuffle a map before a layer, for the patterns B and BA."""
        return pixel_unshuffle(x, self.scale) if "B" in self.pattern else x

    def after(self, x: Tensor) -> Tensor:
        """Shuffle a map after a layer, for the patterns A and BA."""
        return pixel_shuffle(x, self.scale) if self.pattern in ("A", "BA") else x

    def channels(self, in_channels: int, out_channels: int, axes: int) -> tuple[int, int]:
        """Return the input and output channels of the layer between the shuffles, on maps of this many axes."""
        factor = self.scale**axes
        inside = in_channels * factor if "B" in self.pattern else in_channels
        outside = out_channels * factor if self.pattern in ("A", "BA") else out_channels
        return inside, outside


class PixelUnshuffle1d(nn.Module):
    """Maps (B, C, T) to (B, C * scale, T / scale) by a plain reshape; see `pixel_unshuffle`."""

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        check_at_least("downscale_factor", downscale_factor, 1)
        self.downscale_factor = downscale_factor

    def extra_repr(self) -> str:
        """Return the factor."""
        return f"downscale_factor={self.downscale_factor}"

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T) to (B, C * downscale_factor, T / downscale_factor)."""
        return pixel_unshuffle(x, self.downscale_factor)


class PixelShuffle1d(nn.Module):
    """Maps (B, C, T) to (B, C / scale, T * scale) by a plain reshape; see `pixel_shuffle`."""

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        check_at_least("upscale_factor", upscale_factor, 1)
        self.upscale_factor = upscale_factor

    def extra_repr(self) -> str:
        """Return the factor."""
        return f"upscale_factor={self.upscale_factor}"

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T) to (B, C / upscale_factor, T * upscale_factor)."""
        return pixel_shuffle(x, self.upscale_factor)
