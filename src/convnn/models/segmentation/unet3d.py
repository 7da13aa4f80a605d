"""A U-Net on volumes, whose deepest level is whatever maps volumes to volumes."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least
from convnn.models.segmentation._network import SegmentationNetwork

Bottleneck = Callable[[int, int, int], nn.Module]
"""A function from input, hidden and output channels to a module on volumes (B, C, D, H, W)."""


def conv_bottleneck(in_channels: int, hidden: int, out_channels: int) -> nn.Sequential:
    """Create two 3x3x3 convolutions, each followed by ReLU: the usual deepest level."""
    return nn.Sequential(
        nn.Conv3d(in_channels, hidden, 3, padding=1),
        nn.ReLU(),
        nn.Conv3d(hidden, out_channels, 3, padding=1),
        nn.ReLU(),
    )


class UNet3d(SegmentationNetwork):
    """A U-Net on volumes: pairs of 3x3x3 convolutions with ReLU, halved by pooling and doubled by repetition.

    Level l, from 0 to L - 2, has f 2^l channels, and the deepest 2^(L-1) f. On the way up each level reads the one
    below, enlarged to twice its sides, and its own map from the way down. There is no normalisation.

    Args:
        features: f, channels of the finest level.
        levels: L, at least 2.
        in_channels: number of channels of the volumes.
        num_classes: number of maps of logits; one for a single foreground class.
        bottleneck: creates the deepest level from input, hidden and output channels: f 2^(L-2), f 2^(L-1) and as many.

    Shapes:
        volumes (B, C, D, H, W), whose sides are multiples of 2^(L-1); logits (B, num_classes, D, H, W).

    Raises:
        InputError: an argument is out of range; in forward: the volumes have other channels or sides.

    Reference:
        Cicek et al., "3D U-Net", arXiv 1606.06650, in the form of arXiv 1908.08588.

    Example:
        >>> UNet3d(4, num_classes=2)(torch.randn(2, 1, 8, 12, 16)).shape
        torch.Size([2, 2, 8, 12, 16])
    """

    default_layer: ClassVar[str] = "Conv3d"

    def __init__(
        self,
        features: int = 16,
        levels: int = 3,
        *,
        in_channels: int = 1,
        num_classes: int = 1,
        bottleneck: Bottleneck = conv_bottleneck,
    ) -> None:
        super().__init__(in_channels, num_classes, auxiliary=False, layer=self.default_layer)
        check_at_least("features", features, 1)
        check_at_least("levels", levels, 2)
        self.features, self.levels = features, levels
        widths = [features * 2**level for level in range(levels - 1)]
        self.encoder = nn.ModuleList(map(_convs, [in_channels, *widths[:-1]], widths))
        self.bottleneck = bottleneck(widths[-1], 2 * widths[-1], 2 * widths[-1])
        self.decoder = nn.ModuleList(_convs(3 * width, width) for width in reversed(widths))
        self.head = nn.Conv3d(features, num_classes, 1)

    def maps(self, images: Tensor, *, auxiliary: bool = True) -> tuple[Tensor, ...]:
        """Map volumes (B, C, D, H, W) to their logits, the only map.

        Raises:
            InputError: the volumes have other channels or sides.
        """
        self.check_volumes(images)
        return self._maps(images, auxiliary)

    def check_volumes(self, volumes: Tensor) -> None:
        """Refuse what this network cannot read.

        Raises:
            InputError: the volumes have other channels, another data type, or sides that cannot be halved.
        """
        if volumes.dim() != 5 or volumes.shape[1] != self.in_channels:
            raise InputError(f"volumes of shape {tuple(volumes.shape)} must be (B, {self.in_channels}, D, H, W)")
        if not volumes.is_floating_point():
            raise InputError(
                f"volumes of {volumes.dtype} must be floating; pass volumes.float(), scaled as in training"
            )
        step = 2 ** (self.levels - 1)
        if any(side % step or not side for side in volumes.shape[2:]):
            sides = "x".join(map(str, volumes.shape[2:]))
            raise InputError(
                f"volumes of {sides} voxels must have sides that are multiples of {step}; pad or crop them"
            )

    def _maps(self, images: Tensor, auxiliary: bool) -> tuple[Tensor, ...]:
        x, skips = images, []
        for convs in self.encoder:
            skips.append(convs(x))
            x = F.max_pool3d(skips[-1], 2)
        x = self.bottleneck(x)
        for convs in self.decoder:
            x = convs(torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), skips.pop()], dim=1))
        return (self.head(x),)


def _convs(in_channels: int, out_channels: int) -> nn.Sequential:
    return conv_bottleneck(in_channels, out_channels, out_channels)
