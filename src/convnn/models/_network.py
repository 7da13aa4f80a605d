"""What every network has in common."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least


class Network(nn.Module):
    """An image classifier: `forward_features`, then `forward_head`.

    Attributes:
        min_size: smallest side of an image, in pixels, that its pooling leaves anything of.
        head: what makes logits of the features.
    """

    min_size: ClassVar[int] = 1
    head: nn.Module

    def __init__(self, in_channels: int, num_classes: int, width: float) -> None:
        super().__init__()
        check_at_least("in_channels", in_channels, 1)
        check_at_least("num_classes", num_classes, 1)
        if not width > 0:
            raise InputError(f"width={width} must be positive; 1 is the published network")
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.width = width

    def scaled(self, channels: int) -> int:
        """Channels of the published network times the width factor."""
        return max(1, round(channels * self.width))

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, num_classes).

        Raises:
            InputError: the images have other channels, or are too small.
        """
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise InputError(f"images of shape {tuple(x.shape)} must be (B, {self.in_channels}, H, W)")
        if min(x.shape[2:]) < self.min_size:
            raise InputError(
                f"images of {x.shape[2]}x{x.shape[3]} pixels are too small for {type(self).__name__}, which halves them"
                f" until {self.min_size}x{self.min_size} is one pixel; enlarge them with --resize {self.min_size}"
            )
        x = x.contiguous(memory_format=torch.channels_last)  # the layout of positions: no layer has to copy
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to a map of features (B, F, H', W')."""
        raise NotImplementedError

    def forward_head(self, features: Tensor) -> Tensor:
        """A map of features (B, F, H', W') to logits (B, num_classes)."""
        return self.head(features)
