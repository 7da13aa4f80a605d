"""DenseNet for small images, in which every layer reads all previous maps."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convnn.models._network import Network
from convnn.models._parts import make_pooled_head, make_stem
from convnn.models._registry import register_model
from convnn.nn import LayerFactory


class DenseLayer(nn.Module):
    """Append new channels to the map: batch norm, 1x1 bottleneck, batch norm, layer."""

    def __init__(self, in_channels: int, bottleneck: int, growth: int, layer: LayerFactory) -> None:
        super().__init__()
        self.new = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(in_channels, bottleneck, kernel_size=1, bias=False),
            nn.BatchNorm2d(bottleneck),
            nn.ReLU(inplace=True),
            layer(bottleneck, growth),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C + growth, H, W)."""
        return torch.cat([x, self.new(x)], dim=1)


class Transition(nn.Sequential):
    """Compress the channels by a 1x1 convolution and halve the map."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.BatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False),
            nn.AvgPool2d(2),
        )


class DenseNet(Network):
    """DenseNet (Huang et al., arXiv 1608.06993) of any layer, with a 3x3 stem that keeps the size of small images.

    Args:
        depths: number of layers in each dense block.
        layer: function from input and output channels to a layer.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers.
        dropout: probability before the linear head.
        growth: number of channels that each layer adds; its bottleneck has four times as many.

    Raises:
        InputError: an argument is out of range; in forward: images smaller than 8 x 8 pixels.
    """

    min_size: ClassVar[int] = 8

    def __init__(
        self,
        depths: tuple[int, ...],
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        width: float = 1.0,
        dropout: float = 0.5,
        growth: int = 32,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        growth = self.scaled(growth)
        channels = 2 * growth
        self.stem = make_stem(in_channels, channels)
        blocks: list[nn.Module] = []
        for i, depth in enumerate(depths):
            if i > 0:
                blocks.append(Transition(channels, channels // 2))
                channels //= 2
            for _ in range(depth):
                blocks.append(DenseLayer(channels, 4 * growth, growth, layer))
                channels += growth
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.head = make_pooled_head(channels, num_classes, dropout)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to features (B, F, H / 8, W / 8)."""
        return self.norm(self.blocks(self.stem(x)))


@register_model(DenseNet)
def densenet121(layer: LayerFactory, **settings: Any) -> DenseNet:
    """DenseNet with 58 layers in four blocks."""
    return DenseNet((6, 12, 24, 16), layer, **settings)
