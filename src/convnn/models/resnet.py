"""ResNet in the form published with ConvNN: four stages at full resolution."""

from typing import Any

from torch import Tensor, nn

from convnn.models._network import Network
from convnn.models._parts import make_pooled_head, make_stem
from convnn.models._registry import register_model
from convnn.nn import LayerFactory

CHANNELS = (64, 128, 256, 512)


class ResidualBlock(nn.Module):
    r"""Two layers with a shortcut around them.

    .. math:: y = \mathrm{ReLU}(x' + f(x)), \qquad x' = x \text{ or, if channels change, its 1x1 projection}
    """

    def __init__(self, in_channels: int, out_channels: int, layer: LayerFactory) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            layer(in_channels, out_channels),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            layer(out_channels, out_channels),
            nn.BatchNorm2d(out_channels),
        )
        same = in_channels == out_channels
        self.identity = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H, W)."""
        return self.relu(self.residual(x) + self.identity(x))


class ResNet(Network):
    """ResNet (He et al., arXiv 1512.03385) of any layer, for small images: a 3x3 stem and no down-sampling.

    Args:
        depths: number of blocks in each of the four stages.
        layer: function from input and output channels to a layer.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers.
        dropout: probability before the linear head.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        depths: tuple[int, ...],
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        width: float = 1.0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        channels = self.scaled(CHANNELS[0])
        self.stem = make_stem(in_channels, channels)
        stages: list[nn.Module] = []
        for depth, stage_channels in zip(depths, map(self.scaled, CHANNELS), strict=True):
            blocks = []
            for _ in range(depth):
                blocks.append(ResidualBlock(channels, stage_channels, layer))
                channels = stage_channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.head = make_pooled_head(channels, num_classes, dropout)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to features (B, F, H, W)."""
        return self.stages(self.stem(x))


@register_model(ResNet)
def resnet18(layer: LayerFactory, **settings: Any) -> ResNet:
    """ResNet with 8 blocks of two layers."""
    return ResNet((2, 2, 2, 2), layer, **settings)


@register_model(ResNet)
def resnet34(layer: LayerFactory, **settings: Any) -> ResNet:
    """ResNet with 16 blocks of two layers."""
    return ResNet((3, 4, 6, 3), layer, **settings)
