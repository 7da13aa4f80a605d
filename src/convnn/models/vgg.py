"""VGG with batch norm: convolutions in five stages, each followed by pooling, and a large classifier."""

from typing import Any, ClassVar

from torch import Tensor, nn

from convnn.models._network import Network
from convnn.models._registry import register_model
from convnn.nn import LayerFactory

CHANNELS = (64, 128, 256, 512, 512)


class VGG(Network):
    """VGG (Simonyan and Zisserman, arXiv 1409.1556, table 1) of any layer, with batch norm.

    Args:
        depths: number of layers in each of the five stages.
        layer: function from input and output channels to a layer.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers, including those of the classifier.
        dropout: probability after each hidden layer of the classifier.

    Raises:
        InputError: an argument is out of range; in forward: images smaller than 32 x 32 pixels.
    """

    min_size: ClassVar[int] = 32

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
        features: list[nn.Module] = []
        channels = in_channels
        for depth, stage_channels in zip(depths, map(self.scaled, CHANNELS), strict=True):
            for _ in range(depth):
                features += [layer(channels, stage_channels), nn.BatchNorm2d(stage_channels), nn.ReLU(inplace=True)]
                channels = stage_channels
            features.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*features)
        hidden = self.scaled(4096)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(7),
            nn.Flatten(),
            nn.Linear(channels * 7 * 7, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to features (B, F, H / 32, W / 32)."""
        return self.features(x)


@register_model(VGG)
def vgg11(layer: LayerFactory, **settings: Any) -> VGG:
    """VGG with 8 layers and 3 linear ones."""
    return VGG((1, 1, 2, 2, 2), layer, **settings)


@register_model(VGG)
def vgg13(layer: LayerFactory, **settings: Any) -> VGG:
    """VGG with 10 layers and 3 linear ones."""
    return VGG((2, 2, 2, 2, 2), layer, **settings)


@register_model(VGG)
def vgg16(layer: LayerFactory, **settings: Any) -> VGG:
    """VGG with 13 layers and 3 linear ones."""
    return VGG((2, 2, 3, 3, 3), layer, **settings)


@register_model(VGG)
def vgg19(layer: LayerFactory, **settings: Any) -> VGG:
    """VGG with 16 layers and 3 linear ones."""
    return VGG((2, 2, 4, 4, 4), layer, **settings)
