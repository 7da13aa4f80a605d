"""A U-Net on volumes, whose deepest level is whatever maps volumes to volumes."""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_positive
from convnn.models._dense import layer_name
from convnn.models._registry import register_model
from convnn.models.segmentation._network import BRIEFLY, SegmentationNetwork
from convnn.nn import LayerFactory, list_layers
from convnn.nn.replace import build_along, factory_along

Bottleneck = Callable[[int, int, int], nn.Module]
"""A function from input, hidden and output channels to a module on volumes (B, C, D, H, W)."""


FEATURES = 16
"""Channels of the finest level."""


class UNet3d(SegmentationNetwork):
    """A U-Net on volumes: pairs of layers with ReLU, halved by pooling and doubled by repetition.

    Level l, from 0 to L - 2, has f 2^l channels, and the deepest 2^(L-1) f. On the way up each level reads the one
    below, enlarged to twice its sides, and its own map from the way down. There is no normalisation.

    Args:
        features: f, channels of the finest level.
        levels: L, at least 2.
        in_channels: number of channels of the volumes.
        num_classes: number of maps of logits; one for a single foreground class.
        layer: what all levels are made of: the name of a layer with a form for volumes, or a function from input and
            output channels to one. "Conv2d" is `torch.nn.Conv3d`, with kernels of 3x3x3.
        bottleneck: creates the deepest level from input, hidden and output channels: f 2^(L-2), f 2^(L-1) and as many;
            None is a pair of layers like the others.

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

    default_layer: ClassVar[str] = "Conv2d"
    defaults_on: ClassVar[Mapping[str, Mapping[str, Any]]] = {"airways": {"width": 0.5, "num_epochs": 30, **BRIEFLY}}
    reads: ClassVar[str] = "volumes"
    data: ClassVar[str] = "volumes"

    def __init__(
        self,
        features: int = FEATURES,
        levels: int = 3,
        *,
        in_channels: int = 1,
        num_classes: int = 1,
        layer: str | LayerFactory = "Conv2d",
        bottleneck: Bottleneck | None = None,
    ) -> None:
        super().__init__(in_channels, num_classes, layer=layer)
        check_at_least("features", features, 1)
        check_at_least("levels", levels, 2)
        self.features, self.levels = features, levels
        pair = partial(_pair, volume_layers(layer))
        widths = [features * 2**level for level in range(levels - 1)]
        self.encoder = nn.ModuleList(pair(*ends) for ends in pairwise([in_channels, *widths]))
        deepest = widths[-1], 2 * widths[-1]
        self.bottleneck = pair(*deepest) if bottleneck is None else bottleneck(*deepest, 2 * widths[-1])
        self.decoder = nn.ModuleList(pair(3 * width, width) for width in reversed(widths))
        self.head = nn.Conv3d(features, num_classes, 1)

    @property
    def multiple(self) -> int:
        """What the sides of volumes are multiples of, so that they can be halved from level to level: 2^(L-1)."""
        step: int = 2 ** (self.levels - 1)
        return step

    def check_inputs(self, images: Tensor) -> None:
        """Refuse what this network cannot read.

        Raises:
            InputError: the volumes have other channels, another data type, or sides that cannot be halved.
        """
        if images.dim() != 5 or images.shape[1] != self.in_channels:
            raise InputError(f"volumes of shape {tuple(images.shape)} must be (B, {self.in_channels}, D, H, W)")
        if not images.is_floating_point():
            raise InputError(f"volumes of {images.dtype} must be floating; pass volumes.float(), scaled as in training")
        if any(side % self.multiple or not side for side in images.shape[2:]):
            sides = "x".join(map(str, images.shape[2:]))
            raise InputError(
                f"volumes of {sides} voxels must have sides that are multiples of {self.multiple}; pad or crop them"
            )

    def _maps(self, images: Tensor, auxiliary: bool) -> tuple[Tensor, ...]:
        x, skips = images, []
        for layers in self.encoder:
            skips.append(layers(x))
            x = F.max_pool3d(skips[-1], 2)
        x = self.bottleneck(x)
        for layers in self.decoder:
            x = layers(torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), skips.pop()], dim=1))
        return (self.head(x),)


@register_model(UNet3d, decided=("features", "bottleneck"))
def unet3d(layer: str | LayerFactory = UNet3d.default_layer, *, width: float = 1.0, **settings: Any) -> UNet3d:
    """U-Net on volumes, with 16 channels in the first of three levels."""
    return UNet3d(scaled_features(width), layer=layer, **settings)


def scaled_features(width: float) -> int:
    """Return the channels of the finest level of a network of this width.

    Raises:
        InputError: the width is not positive.
    """
    check_positive("width", width)
    return max(1, round(FEATURES * width))


def volume_layers(layer: str | LayerFactory) -> LayerFactory:
    """Return the function from input and output channels to a layer on volumes.

    Raises:
        InputError: the layer is unknown or has no form for volumes, or is neither name nor function.
    """
    if callable(layer):
        return layer
    name = layer_name(layer)
    if build_along(name, 3) is None:
        known = ", ".join(one for one in list_layers("maps") if build_along(one, 3) is not None)
        raise InputError(f"layer={name!r} has no form for volumes; choose one that has: {known}")
    return factory_along(name, 3)


def _pair(layer: LayerFactory, in_channels: int, out_channels: int) -> nn.Sequential:
    """Create the layer twice, each time followed by ReLU."""
    return nn.Sequential(layer(in_channels, out_channels), nn.ReLU(), layer(out_channels, out_channels), nn.ReLU())
