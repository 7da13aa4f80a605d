"""ConvMixer: patches, then blocks of one layer over positions and one over channels, without down-sampling."""

from typing import Any, ClassVar

from torch import Tensor, nn

from convnn.errors import InputError, check_at_least
from convnn.models._network import Network
from convnn.models._registry import register_model
from convnn.nn import LayerFactory


class MixerBlock(nn.Module):
    r"""A layer over positions with a shortcut, then a 1x1 convolution; the activation precedes normalisation.

    .. math:: z = x + \operatorname{norm}_1(a(f(x))), \qquad y = \operatorname{norm}_2(a(W z))
    """

    def __init__(self, channels: int, kernel_size: int, layer: LayerFactory, activation: type[nn.Module]) -> None:
        super().__init__()
        # Every channel of a convolution has its own kernel; other layers do not read this.
        over_positions = layer(channels, channels, kernel_size=kernel_size, depthwise=True)
        self.positions = nn.Sequential(over_positions, activation(), nn.BatchNorm2d(channels))
        self.channels = nn.Sequential(nn.Conv2d(channels, channels, 1), activation(), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        return self.channels(x + self.positions(x))


class ConvMixer(Network):
    """ConvMixer (Trockman and Kolter, arXiv 2201.09792) of any layer; its convolutions have a kernel per channel.

    Args:
        channels: number of channels of all blocks.
        depth: number of blocks.
        kernel_size: side of the kernels over positions.
        patch_size: side of the patches that become positions, in pixels.
        activation: class of the activations.
        layer: function from input and output channels to a layer.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers.

    Raises:
        InputError: an argument is out of range.
    """

    default_layer: ClassVar[str] = "Conv2d"

    def __init__(
        self,
        channels: int,
        depth: int,
        kernel_size: int,
        patch_size: int,
        activation: type[nn.Module],
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        width: float = 1.0,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        for name, value in {"depth": depth, "kernel_size": kernel_size, "patch_size": patch_size}.items():
            check_at_least(name, value, 1)
        self.patch_size = patch_size
        channels = self.scaled(channels)
        patches = nn.Conv2d(in_channels, channels, patch_size, stride=patch_size)
        self.stem = nn.Sequential(patches, activation(), nn.BatchNorm2d(channels))
        self.blocks = nn.Sequential(*(MixerBlock(channels, kernel_size, layer, activation) for _ in range(depth)))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))

    def check_size(self, height: int, width: int) -> None:
        """Refuse images smaller than a patch.

        Raises:
            InputError: the size is refused.
        """
        if min(height, width) < self.patch_size:
            raise InputError(
                f"images of {height}x{width} pixels are smaller than a patch of {self.patch_size}x{self.patch_size};"
                f" enlarge them: resize={self.patch_size}"
            )

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to features (B, F, H / patch_size, W / patch_size)."""
        return self.blocks(self.stem(x))


@register_model(ConvMixer)
def convmixer_256_16(layer: LayerFactory, **settings: Any) -> ConvMixer:
    """ConvMixer for images of 32 x 32: 1.4 million weights for 10 classes, 0.1 with shared kernels."""
    return ConvMixer(256, 16, 9, 1, nn.GELU, layer, **settings)


@register_model(ConvMixer)
def convmixer_768_32(layer: LayerFactory, **settings: Any) -> ConvMixer:
    """ConvMixer with 21.1 million weights for 1000 classes."""
    return ConvMixer(768, 32, 7, 7, nn.ReLU, layer, **settings)


@register_model(ConvMixer)
def convmixer_1024_20(layer: LayerFactory, **settings: Any) -> ConvMixer:
    """ConvMixer with 24.4 million weights for 1000 classes."""
    return ConvMixer(1024, 20, 9, 14, nn.GELU, layer, **settings)


@register_model(ConvMixer)
def convmixer_1536_20(layer: LayerFactory, **settings: Any) -> ConvMixer:
    """ConvMixer with 51.6 million weights for 1000 classes."""
    return ConvMixer(1536, 20, 9, 7, nn.GELU, layer, **settings)
