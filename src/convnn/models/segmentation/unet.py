"""U-Net: double layers on maps that are halved level by level, and back, joined with what was there on the way down."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least
from convnn.models._dense import map_layers, resized
from convnn.models._registry import register_model
from convnn.models.segmentation._network import BRIEFLY, SegmentationNetwork
from convnn.nn import LayerFactory
from convnn.ops._transforms import is_transformed

CHANNELS = 64
"""Channels of the first level."""

DEEPEST = 12
"""Halvings; the last of so many would be of images of 4096 pixels."""


class UNet(SegmentationNetwork):
    r"""U-Net of any layer on maps.

    .. math:: x_0 = f_0(\text{image}), \quad x_{l+1} = f_{l+1}(\operatorname{pool}(x_l)), \qquad
        y_n = x_n, \quad y_l = g_l([x_l, \operatorname{up}(y_{l+1})])

    Each f and g is the layer twice, each time followed by batch normalisation and ReLU. Pooling takes the largest of
    2x2 positions and every level has twice the channels of the one above; `up` is a transposed 2x2 convolution that
    halves them. A 1x1 convolution maps :math:`y_0` to logits.

    Args:
        layer: the layer: the name of one on maps, or a function from input and output channels to one.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on the channels, 64 in the first level.
        num_layers: number of halvings n, 1 to 12.

    Shapes:
        images (B, C, H, W) of any sides from :math:`2^n` pixels; logits (B, num_classes, H, W).

    Raises:
        InputError: an argument is out of range; in forward: the images have other channels, or are too small.

    Reference:
        Ronneberger et al., arXiv 1505.04597, with padded layers, so that maps keep their size, and with batch
        normalisation. Odd sides are brought to the size of the map that they join.

    Example:
        >>> UNet("Conv2d", num_classes=2, width=0.125)(torch.randn(2, 3, 64, 96)).shape
        torch.Size([2, 2, 64, 96])
    """

    default_layer: ClassVar[str] = "Conv2d"
    defaults_on: ClassVar[Mapping[str, Mapping[str, Any]]] = {"shapes": {"width": 0.125, "num_epochs": 20, **BRIEFLY}}

    def __init__(
        self,
        layer: str | LayerFactory = default_layer,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        width: float = 1.0,
        num_layers: int = 4,
    ) -> None:
        super().__init__(in_channels, num_classes, width, layer=layer)
        check_at_least("num_layers", num_layers, 1)
        if num_layers > DEEPEST:
            raise InputError(
                f"num_layers={num_layers} must be at most {DEEPEST}, the number of times images are halved"
            )
        self.num_layers = num_layers
        make = map_layers(layer)
        widths = [self.scaled(CHANNELS) * 2**level for level in range(num_layers + 1)]
        self.down = nn.ModuleList(_double(make, before, after) for before, after in pairwise([in_channels, *widths]))
        joins = [*pairwise(reversed(widths))]
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, stride=2) for coarse, fine in joins)
        self.up = nn.ModuleList(_double(make, 2 * fine, fine) for _, fine in joins)
        self.head = nn.Conv2d(widths[0], num_classes, 1)

    def check_size(self, height: int, width: int) -> None:
        """Refuse images with a side of fewer than 2^n pixels.

        Raises:
            InputError: the size is refused; the message names both.
        """
        if min(height, width) < 2**self.num_layers:
            raise InputError(
                f"images of {height}x{width} pixels are too small for num_layers={self.num_layers}, which halves them"
                f" as often; enlarge them to {2**self.num_layers} or more"
            )

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to the features (B, F, H, W) of the first level."""
        skips: list[Tensor] = []
        for level, double in enumerate(self.down):
            x = double(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        x = skips.pop()
        for enlarge, double in zip(self.enlarge, self.up, strict=True):
            skip, x = skips.pop(), enlarge(x)
            x = x if x.shape[2:] == skip.shape[2:] else resized(x, skip)
            x = double(torch.cat([skip, x], dim=1))
        return x

    def _maps(self, images: Tensor, auxiliary: bool) -> tuple[Tensor, ...]:
        self.check_size(images.shape[2], images.shape[3])
        x = images if is_transformed() else images.contiguous(memory_format=torch.channels_last)
        return (self.head(self.forward_features(x)),)


def _double(make: LayerFactory, in_channels: int, out_channels: int) -> nn.Sequential:
    """Create the layer twice, each time with normalisation and activation."""
    parts: list[nn.Module] = []
    for before in (in_channels, out_channels):
        parts += [make(before, out_channels), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts)


@register_model(UNet)
def unet(layer: str | LayerFactory = UNet.default_layer, **settings: Any) -> UNet:
    """U-Net, with 64 channels in the first of five levels."""
    return UNet(layer, **settings)
