"""RepLKNet: blocks of large kernels inside bottlenecks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from torch import nn

from convnn.models._registry import register_model
from convnn.models.hierarchical._parts import IMAGES, Residual, sequence
from convnn.models.hierarchical._skeleton import HierarchicalNetwork, Mixers, Place, Rule, rising
from convnn.nn import ConvNorm, LayerFactory, ParallelConv

DEPTHS = (2, 2, 18, 2)
FFN_RATIO = 4
PAIR = ("mixing", "feed_forward")
"""The two parts of a block, which the published code counts as blocks of their own."""


class RepLKNet(HierarchicalNetwork):
    r"""RepLKNet (Ding et al., arXiv 2203.06717) in the form of its code.

    .. math:: y = x + P_2 \, g(f(g(P_1 \operatorname{norm}(x)))), \qquad
        z = y + \operatorname{FFN}(\operatorname{norm}(y))

    with ReLU g, 1x1 convolutions P, and for f a large kernel beside a small one, or any other layer. Batch
    normalisation follows every convolution; `convnn.merge` folds it.

    Args:
        depths: number of pairs of such blocks of each stage.
        channels: number of channels of each stage.
        kernels: side of the large kernel of each stage.
        inner_ratio: ratio of the channels of f to those of the stage.
        layer: function from input and output channels to a layer.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers.
        drop_path: stochastic depth rate of the last pair, 0 to 1; it rises linearly from 0 at the first.

    Raises:
        InputError: an argument is out of range.
    """

    default_layer: ClassVar[str] = "RepLK"
    published_names: ClassVar[tuple[Rule, ...]] = (
        (r"^head\.", "head.fc."),
        (r"^norm\.", "head.norm."),
        (r"\.bn\.", ".norm."),
        (r"^stem\.(\d)\.", r"stem.\1.0."),
        (r"^transitions\.(\d)\.(\d)\.", lambda found: f"stages.{int(found[1]) + 1}.downsample.{found[2]}.0."),
        (r"\.blocks\.(\d+)\.", lambda found: f".blocks.{int(found[1]) // 2}.{PAIR[int(found[1]) % 2]}.inner."),
        (r"\.pre(lkb|ffn)_bn\.", ".norm."),
        (r"\.large_kernel\.lkb_origin\.", ".mixer.branches.0."),
        (r"\.large_kernel\.small_conv\.", ".mixer.branches.1."),
    )

    def __init__(
        self,
        depths: Sequence[int],
        channels: Sequence[int],
        kernels: Sequence[int],
        inner_ratio: float,
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        width: float = 1.0,
        drop_path: float = 0.3,
    ) -> None:
        mixers = Mixers(layer, self.default_layer, self.operator)

        def block(place: Place) -> nn.Module:
            n, rate = place.channels, place.drop_path
            inside = int(n * inner_ratio)
            mixer = mixers(inside, kernel_size=kernels[place.stage])
            return sequence(
                mixing=Residual(bottleneck(n, inside, nn.ReLU(), mixer=mixer, last=nn.ReLU()), n, drop_path=rate),
                feed_forward=Residual(bottleneck(n, FFN_RATIO * n, nn.GELU()), n, drop_path=rate),
            )

        super().__init__(
            depths,
            channels,
            layer,
            stem=_stem,
            downsample=lambda old, new: nn.Sequential(_active(old, new, 1), _active(new, new, 3, stride=2, groups=new)),
            block=block,
            head=lambda number, classes: sequence(
                norm=nn.BatchNorm2d(number),
                pool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                fc=nn.Linear(number, classes),
            ),
            in_channels=in_channels,
            num_classes=num_classes,
            width=width,
            drop_rates=rising(drop_path, depths),
        )

    @staticmethod
    def operator(channels: int, *, kernel_size: int, backend: str = "auto", **of_layer: Any) -> nn.Module:
        """Create the published f: a large kernel for every channel beside a small one, of side 0 if there is none."""
        sides = [(side, 1) for side in (kernel_size, of_layer["small_kernel"]) if side]
        return ParallelConv(replace(IMAGES, backend=backend), channels, channels, sides, groups=channels)


def _active(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Create a convolution, batch normalisation and ReLU."""
    conv = ConvNorm(IMAGES, in_channels, out_channels, kernel_size, stride=stride, groups=groups)
    return nn.Sequential(conv, nn.ReLU())


def _stem(in_channels: int, channels: int) -> nn.Sequential:
    """Create four convolutions that quarter the sides."""
    return nn.Sequential(
        _active(in_channels, channels, 3, stride=2),
        _active(channels, channels, 3, groups=channels),
        _active(channels, channels, 1),
        _active(channels, channels, 3, stride=2, groups=channels),
    )


def bottleneck(channels: int, inside: int, activation: nn.Module, **between: nn.Module) -> nn.Sequential:
    """Create two 1x1 convolutions with an activation and other parts between them, all of it after normalisation."""
    return sequence(
        norm=nn.BatchNorm2d(channels),
        pw1=ConvNorm(IMAGES, channels, inside),
        activation=activation,
        **between,
        pw2=ConvNorm(IMAGES, inside, channels),
    )


@register_model(RepLKNet)
def replknet_31b(layer: LayerFactory, *, drop_path: float = 0.5, **settings: Any) -> RepLKNet:
    """RepLKNet with 79.9 million weights for 1000 classes."""
    kernels, channels = (31, 29, 27, 13), (128, 256, 512, 1024)
    return RepLKNet(DEPTHS, channels, kernels, 1, layer, drop_path=drop_path, **settings)


@register_model(RepLKNet)
def replknet_31l(layer: LayerFactory, **settings: Any) -> RepLKNet:
    """RepLKNet with 172.7 million weights for 1000 classes."""
    return RepLKNet(DEPTHS, (192, 384, 768, 1536), (31, 29, 27, 13), 1, layer, **settings)


@register_model(RepLKNet, small_kernel=0)
def replknet_xl(layer: LayerFactory, **settings: Any) -> RepLKNet:
    """RepLKNet with 335.4 million weights for 1000 classes, and no small kernels."""
    return RepLKNet(DEPTHS, (256, 512, 1024, 2048), (27, 27, 27, 13), 1.5, layer, **settings)
