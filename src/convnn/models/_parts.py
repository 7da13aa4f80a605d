"""Parts that networks share: first and last layers for small images, stochastic depth, scales and norms, sizes."""

import torch
from torch import Tensor, nn

from convnn.errors import InputError


def make_stem(in_channels: int, channels: int) -> nn.Sequential:
    """Create a 3x3 convolution that keeps the map's size: (B, in_channels, H, W) to (B, channels, H, W)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def make_pooled_head(channels: int, num_classes: int, dropout: float) -> nn.Sequential:
    """Create global average pooling and a linear layer: (B, channels, H, W) to (B, num_classes)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, num_classes))


def drop_images(share: float) -> nn.Module:
    """Create stochastic depth, which skips a block for a share of the images of a training batch."""
    from torchvision.ops import StochasticDepth  # takes a second to import

    return StochasticDepth(share, "row")


def layer_scale(channels: int, initial: float = 1e-5) -> nn.Parameter:
    """Create a factor for each channel, initially so small that a block starts as its shortcut."""
    return nn.Parameter(torch.full((channels, 1, 1), initial))


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of every position of a map (B, C, *S)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *S) to (B, C, *S)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def check_whole_patches(height: int, width: int, patch_size: int) -> None:
    """Refuse images that are not a whole number of patches.

    Raises:
        InputError: the size is refused; the message names both sizes.
    """
    if height % patch_size or width % patch_size or not height or not width:
        nearest = max(patch_size, round(max(height, width) / patch_size) * patch_size)
        raise InputError(
            f"images of {height}x{width} pixels must have sides that are multiples of patch_size={patch_size};"
            f" resize them: resize={nearest}"
        )
