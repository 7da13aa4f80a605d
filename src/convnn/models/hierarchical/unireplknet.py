"""UniRepLKNet: blocks of large kernels trained with dilated ones beside them, and of small ones."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from torch import nn

from convnn.models._registry import register_model
from convnn.models.hierarchical._parts import IMAGES
from convnn.models.hierarchical._response import NAMES, ResponseNetwork
from convnn.models.hierarchical._skeleton import Mixers, Place, Rule
from convnn.nn import LayerFactory, ParallelConv
from convnn.nn.windows.large_kernel import with_dilated

LEAST_LARGE = 7
"""Smaller kernels stand alone."""


class UniRepLKNet(ResponseNetwork):
    """UniRepLKNet (Ding et al., arXiv 2311.15599, arXiv 2410.08049): `ResponseNetwork` with large and small kernels.

    Args:
        channels: number of channels of each stage.
        kernels: side of the kernel of every block, by stage.
        layer: function from input and output channels to a layer.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers.
        drop_path: stochastic depth rate of the last block, 0 to 1; it rises linearly from 0 at the first.
        layer_scale: initial value of the learned factors of what the blocks add.

    Raises:
        InputError: an argument is out of range.
    """

    default_layer: ClassVar[str] = "UniRepLK"
    published_names: ClassVar[tuple[Rule, ...]] = (
        *NAMES,
        (r"\.dwconv\.lk_origin\.", ".mixer.branches.0.conv."),
        (r"\.dwconv\.origin_bn\.", ".mixer.branches.0.norm."),
        (r"\.dwconv\.dil_conv_k\d_(\d)\.", r".mixer.branches.\1.conv."),  # up to side 13, the n-th has dilation n
        (r"\.dwconv\.dil_bn_k\d_(\d)\.", r".mixer.branches.\1.norm."),
        (r"\.dwconv\.", ".mixer."),
    )

    def __init__(
        self,
        channels: Sequence[int],
        kernels: Sequence[Sequence[int]],
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        width: float = 1.0,
        drop_path: float = 0.1,
        layer_scale: float = 1e-6,
    ) -> None:
        mixers = Mixers(layer, self.default_layer, depthwise)

        def mixer(place: Place) -> nn.Module:
            return mixers(place.channels, kernel_size=kernels[place.stage][place.number])

        super().__init__(
            [len(of_stage) for of_stage in kernels],
            channels,
            layer,
            mixer,
            in_channels=in_channels,
            num_classes=num_classes,
            width=width,
            drop_path=drop_path,
            layer_scale=layer_scale,
        )


def depthwise(channels: int, *, kernel_size: int, backend: str = "auto") -> nn.Module:
    """Create a kernel for every channel, a large one with dilated ones beside it."""
    make = replace(IMAGES, backend=backend)
    if kernel_size < LEAST_LARGE:
        return make.depthwise(channels, kernel_size, bias=False)
    return ParallelConv(make, channels, channels, with_dilated(kernel_size), groups=channels)


def _kernels(depths: Sequence[int], third: Sequence[int]) -> list[list[int]]:
    """Return the sides of all kernels; those of the third stage repeat a pattern."""
    pattern = [third[number % len(third)] for number in range(depths[2])]
    return [[3] * depths[0], [13] * depths[1], pattern, [13] * depths[3]]


SMALLEST = _kernels((2, 2, 6, 2), (13,))
DEEP = _kernels((3, 3, 27, 3), (13, 3, 3))


@register_model(UniRepLKNet)
def unireplknet_a(layer: LayerFactory, *, drop_path: float = 0.0, **settings: Any) -> UniRepLKNet:
    """UniRepLKNet with 4.6 million weights for 1000 classes."""
    return UniRepLKNet((40, 80, 160, 320), SMALLEST, layer, drop_path=drop_path, **settings)


@register_model(UniRepLKNet)
def unireplknet_f(layer: LayerFactory, *, drop_path: float = 0.0, **settings: Any) -> UniRepLKNet:
    """UniRepLKNet with 6.5 million weights for 1000 classes."""
    return UniRepLKNet((48, 96, 192, 384), SMALLEST, layer, drop_path=drop_path, **settings)


@register_model(UniRepLKNet)
def unireplknet_p(layer: LayerFactory, **settings: Any) -> UniRepLKNet:
    """UniRepLKNet with 11.1 million weights for 1000 classes."""
    return UniRepLKNet((64, 128, 256, 512), SMALLEST, layer, **settings)


@register_model(UniRepLKNet)
def unireplknet_n(layer: LayerFactory, **settings: Any) -> UniRepLKNet:
    """UniRepLKNet with 18.8 million weights for 1000 classes."""
    return UniRepLKNet((80, 160, 320, 640), _kernels((2, 2, 8, 2), (13,)), layer, **settings)


@register_model(UniRepLKNet)
def unireplknet_t(layer: LayerFactory, *, drop_path: float = 0.2, **settings: Any) -> UniRepLKNet:
    """UniRepLKNet with 31.7 million weights for 1000 classes."""
    kernels = _kernels((3, 3, 18, 3), (13, 3))
    return UniRepLKNet((80, 160, 320, 640), kernels, layer, drop_path=drop_path, **settings)


@register_model(UniRepLKNet)
def unireplknet_s(layer: LayerFactory, *, drop_path: float = 0.4, **settings: Any) -> UniRepLKNet:
    """UniRepLKNet with 56.5 million weights for 1000 classes."""
    return UniRepLKNet((96, 192, 384, 768), DEEP, layer, drop_path=drop_path, **settings)


@register_model(UniRepLKNet)
def unireplknet_b(layer: LayerFactory, **settings: Any) -> UniRepLKNet:
    """UniRepLKNet with 99.1 million weights for 1000 classes."""
    return UniRepLKNet((128, 256, 512, 1024), DEEP, layer, **settings)


@register_model(UniRepLKNet)
def unireplknet_l(layer: LayerFactory, **settings: Any) -> UniRepLKNet:
    """UniRepLKNet with 220.1 million weights for 1000 classes."""
    return UniRepLKNet((192, 384, 768, 1536), DEEP, layer, **settings)


@register_model(UniRepLKNet)
def unireplknet_xl(layer: LayerFactory, *, drop_path: float = 0.2, **settings: Any) -> UniRepLKNet:
    """UniRepLKNet with 388.7 million weights for 1000 classes."""
    return UniRepLKNet((256, 512, 1024, 2048), DEEP, layer, drop_path=drop_path, **settings)
