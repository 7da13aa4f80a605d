"""SE-ResNet for small images: three stages of blocks whose channels are weighted."""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from convnn.models._network import Network
from convnn.models._registry import register_model
from convnn.nn import LayerFactory

PUBLISHED: tuple[int, tuple[int, int, int], int] = (16, (64, 128, 256), 16)
"""Channels before the stages and in each, and their ratio to those from which their factors are computed."""


class ChannelWeights(nn.Module):
    r"""Squeeze and excitation: a factor for each channel from the means of all.

    .. math:: y = x \odot \sigma(W_2 \, \mathrm{ReLU}(W_1 \bar{x}))
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, channels, bias=False), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        return x * self.fc(x.mean((2, 3)))[:, :, None, None]


class SEBlock(nn.Module):
    r"""Two layers, their channels weighted, and a shortcut around them.

    .. math:: y = \mathrm{ReLU}(s(x) + \operatorname{weigh}(n_2(f_2(\mathrm{ReLU}(n_1(f_1(x)))))))

    With `preactivation`, normalisation and ReLU precede each layer, and nothing follows the sum. A layer that changes
    channels or halves the sides is a convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        layer: LayerFactory,
        *,
        stride: int = 1,
        reduction: int = 16,
        preactivation: bool = False,
    ) -> None:
        super().__init__()
        changes = in_channels != out_channels or stride > 1
        self.preactivation, self.stride = preactivation, stride
        self.conv1 = (
            nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
            if changes
            else layer(out_channels, out_channels, bias=False)
        )
        self.bn1 = nn.BatchNorm2d(in_channels if preactivation else out_channels)
        self.conv2 = layer(out_channels, out_channels, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.se = ChannelWeights(out_channels, reduction)
        self.relu = nn.ReLU()
        self.downsample = nn.Sequential()
        if changes:
            project = nn.Conv2d(in_channels, out_channels, 1, bias=False)  # of every `stride`th position
            self.downsample = nn.Sequential(project, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H / stride, W / stride)."""
        # Not by a stride of the convolution, whose weight gradient crashes in oneDNN (PyTorch 2.14.1) for few channels.
        shortcut = self.downsample(x[:, :, :: self.stride, :: self.stride])
        if self.preactivation:
            inner = self.conv2(self.relu(self.bn2(self.conv1(self.relu(self.bn1(x))))))
            return shortcut + self.se(inner)
        inner = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(shortcut + self.se(inner))


class SEResNet(Network):
    """SE-ResNet (Hu et al., arXiv 1709.01507) of any layer for small images, as published with kernel sharing.

    Args:
        depth: number of blocks of each of the three stages.
        layer: function from input and output channels to a layer.
        stem_channels: number of channels before the stages.
        channels: number of channels of each stage.
        channel_reduction: ratio of the channels to those from which their factors are computed.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Azadbakht et al., arXiv 2210.14151, whose blocks are these.
    """

    default_layer: ClassVar[str] = "Conv2d"

    def __init__(
        self,
        depth: int,
        layer: LayerFactory,
        stem_channels: int,
        channels: Sequence[int],
        channel_reduction: int,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        width: float = 1.0,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        before = self.scaled(stem_channels)
        self.conv1 = nn.Conv2d(in_channels, before, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(before)
        self.relu = nn.ReLU()
        stages = []
        for stride, after in zip((1, 2, 2), map(self.scaled, channels), strict=True):
            stages.append(make_stage(before, after, depth, layer, stride=stride, reduction=channel_reduction))
            before = after
        self.layer1, self.layer2, self.layer3 = stages
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to features (B, F, H / 4, W / 4)."""
        x = self.relu(self.bn1(self.conv1(x)))
        return self.layer3(self.layer2(self.layer1(x)))


def make_stage(
    in_channels: int, out_channels: int, depth: int, layer: LayerFactory, *, stride: int = 1, **settings: Any
) -> nn.Sequential:
    """Create blocks of which the first changes the channels, and divides the sides by the stride."""
    first = SEBlock(in_channels, out_channels, layer, stride=stride, **settings)
    return nn.Sequential(first, *(SEBlock(out_channels, out_channels, layer, **settings) for _ in range(depth - 1)))


@register_model(SEResNet)
def se_resnet_d_2(layer: LayerFactory, **settings: Any) -> SEResNet:
    """SE-ResNet with 2 blocks in each stage: 2.8 million weights for 10 classes, 1.2 with shared kernels."""
    return SEResNet(2, layer, *PUBLISHED, **settings)


@register_model(SEResNet)
def se_resnet_d_3(layer: LayerFactory, **settings: Any) -> SEResNet:
    """SE-ResNet with 3 blocks in each stage: 4.3 million weights for 10 classes, 1.2 with shared kernels."""
    return SEResNet(3, layer, *PUBLISHED, **settings)


@register_model(SEResNet)
def se_resnet_d_4(layer: LayerFactory, **settings: Any) -> SEResNet:
    """SE-ResNet with 4 blocks in each stage: 5.9 million weights for 10 classes, 1.2 with shared kernels."""
    return SEResNet(4, layer, *PUBLISHED, **settings)


@register_model(SEResNet)
def se_resnet_d_6(layer: LayerFactory, **settings: Any) -> SEResNet:
    """SE-ResNet with 6 blocks in each stage: 9.0 million weights for 10 classes, 1.3 with shared kernels."""
    return SEResNet(6, layer, *PUBLISHED, **settings)


@register_model(SEResNet)
def se_resnet_d_8(layer: LayerFactory, **settings: Any) -> SEResNet:
    """SE-ResNet with 8 blocks in each stage: 12.1 million weights for 10 classes, 1.3 with shared kernels."""
    return SEResNet(8, layer, *PUBLISHED, **settings)


@register_model(SEResNet)
def se_resnet_d_10(layer: LayerFactory, **settings: Any) -> SEResNet:
    """SE-ResNet with 10 blocks in each stage: 15.3 million weights for 10 classes, 1.3 with shared kernels."""
    return SEResNet(10, layer, *PUBLISHED, **settings)
