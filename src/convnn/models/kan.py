"""Plain stacks of KAN convolutions: each has its normalisation and activation inside."""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from convnn.errors import InputError, check_fraction
from convnn.models._network import Network
from convnn.models._parts import make_pooled_head
from convnn.models._registry import register_model
from convnn.nn import KANConv2d, LayerFactory

SIMPLE = ((32, 64, 128, 256), (2, 2, 1))
EIGHT = ((16, 32, 64, 128, 256, 256, 512, 512), (2, 2, 1, 1, 2, 1, 1))
"""Widths of all layers, and strides of all but the first."""


class KANNetwork(Network):
    """A stack of layers, the mean over all positions, and a linear head (Drokin, arXiv 2407.01092).

    Any other layer than KANConv is followed by batch normalisation and ReLU, as in the published baseline.

    Args:
        widths: output channels of each layer.
        strides: stride of each layer but the first.
        layer: function from input and output channels to a layer, which also takes stride and groups.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers.
        dropout: probability before the linear head.
        layer_dropout: probability of dropping a channel in every layer but the first.
        kan_groups: number of blocks of channels that do not mix, in every layer but the first.

    Raises:
        InputError: an argument is out of range.
    """

    default_layer: ClassVar[str] = "KANConv"

    def __init__(
        self,
        widths: Sequence[int],
        strides: Sequence[int],
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        width: float = 1.0,
        dropout: float = 0.5,
        layer_dropout: float = 0.0,
        kan_groups: int = 1,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        check_fraction("layer_dropout", layer_dropout)
        scaled = [self.scaled(one) for one in widths]
        if kan_groups < 1 or any(channels % kan_groups for channels in scaled):
            raise InputError(f"kan_groups={kan_groups} must divide the channels of all layers, {scaled}")
        published: dict[str, Any] = {"norm_layer": "batch", "activate": True}
        first = layer(in_channels, scaled[0], **published)
        self.layers = nn.Sequential(first if isinstance(first, KANConv2d) else _normalised(first, scaled[0], 1))
        of_others: dict[str, Any] = published | {"groups": kan_groups, "dropout": layer_dropout}
        if isinstance(first, KANConv2d):
            of_others["padding"] = tuple(side // 2 for side in first.weight.shape[2:])
        for inputs, outputs, stride in zip(scaled[:-1], scaled[1:], strides, strict=True):
            if isinstance(first, KANConv2d):
                self.layers.append(layer(inputs, outputs, stride=stride, **of_others))
            else:
                self.layers.append(_normalised(layer(inputs, outputs, groups=kan_groups), outputs, stride))
        self.head = make_pooled_head(scaled[-1], num_classes, dropout)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to features (B, F, H', W')."""
        return self.layers(x)


def _normalised(layer: nn.Module, channels: int, stride: int) -> nn.Sequential:
    """Put every stride-th row and column of a layer through batch normalisation and ReLU."""
    return nn.Sequential(layer, nn.MaxPool2d(1, stride), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


@register_model(KANNetwork)
def kan4(layer: LayerFactory, **settings: Any) -> KANNetwork:
    """Stack of 4 KAN convolutions, the published SimpleConvKAN."""
    return KANNetwork(*SIMPLE, layer, **settings)


@register_model(KANNetwork)
def kan8(layer: LayerFactory, **settings: Any) -> KANNetwork:
    """Stack of 8 KAN convolutions, the published EightSimpleConvKAN."""
    return KANNetwork(*EIGHT, layer, **settings)
