"""VAN: gates from stacks of kernels."""

from collections.abc import Sequence
from typing import Any, ClassVar

from convnn.models._registry import register_model
from convnn.models.hierarchical._gated import GatedNetwork, names_of_gates
from convnn.models.hierarchical._skeleton import Rule
from convnn.nn import LayerFactory, LKA2d

MLP_RATIOS = (8, 8, 4, 4)


class VAN(GatedNetwork):
    """Visual attention network (Guo et al., arXiv 2202.09741): `GatedNetwork` with LKA, or any other layer.

    Args:
        depths: number of blocks of each stage.
        channels: number of channels of each stage.
        mlp_ratios: ratio of the channels inside the MLP to those outside, by stage.
        layer: function from input and output channels to a layer.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers.
        drop_path: stochastic depth rate of the last block, 0 to 1; it rises linearly from 0 at the first.
        layer_scale: initial value of the learned factors of what the blocks add.
        dropout: probability inside and after the MLP, 0 to 1.

    Raises:
        InputError: an argument is out of range.
    """

    default_layer: ClassVar[str] = "LKA"
    published_names: ClassVar[tuple[Rule, ...]] = names_of_gates((r"\.conv1\.", ".mix."))

    def __init__(
        self,
        depths: Sequence[int],
        channels: Sequence[int],
        mlp_ratios: Sequence[int],
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        width: float = 1.0,
        drop_path: float = 0.1,
        layer_scale: float = 1e-2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            depths,
            channels,
            mlp_ratios,
            layer,
            lambda number, **settings: LKA2d(number, number, **settings),
            in_channels=in_channels,
            num_classes=num_classes,
            width=width,
            drop_path=drop_path,
            layer_scale=layer_scale,
            dropout=dropout,
        )


WIDE = (64, 128, 320, 512)


@register_model(VAN)
def van_b0(layer: LayerFactory, **settings: Any) -> VAN:
    """VAN with 4.1 million weights for 1000 classes."""
    return VAN((3, 3, 5, 2), (32, 64, 160, 256), MLP_RATIOS, layer, **settings)


@register_model(VAN)
def van_b1(layer: LayerFactory, **settings: Any) -> VAN:
    """VAN with 13.9 million weights for 1000 classes."""
    return VAN((2, 2, 4, 2), WIDE, MLP_RATIOS, layer, **settings)


@register_model(VAN)
def van_b2(layer: LayerFactory, **settings: Any) -> VAN:
    """VAN with 26.6 million weights for 1000 classes."""
    return VAN((3, 3, 12, 3), WIDE, MLP_RATIOS, layer, **settings)


@register_model(VAN)
def van_b3(layer: LayerFactory, *, drop_path: float = 0.2, **settings: Any) -> VAN:
    """VAN with 44.8 million weights for 1000 classes."""
    return VAN((3, 5, 27, 3), WIDE, MLP_RATIOS, layer, drop_path=drop_path, **settings)


@register_model(VAN)
def van_b4(layer: LayerFactory, *, drop_path: float = 0.2, **settings: Any) -> VAN:
    """VAN with 60.3 million weights for 1000 classes; its stochastic depth is that of van_b3."""
    return VAN((3, 6, 40, 3), WIDE, MLP_RATIOS, layer, drop_path=drop_path, **settings)


@register_model(VAN)
def van_b5(layer: LayerFactory, *, drop_path: float = 0.2, **settings: Any) -> VAN:
    """VAN with 90.0 million weights for 1000 classes; its stochastic depth is that of van_b3."""
    return VAN((3, 3, 24, 3), (96, 192, 480, 768), MLP_RATIOS, layer, drop_path=drop_path, **settings)


@register_model(VAN)
def van_b6(layer: LayerFactory, *, drop_path: float = 0.2, **settings: Any) -> VAN:
    """VAN with 199.8 million weights for 1000 classes; its stochastic depth is that of van_b3."""
    return VAN((6, 6, 90, 6), (96, 192, 384, 768), MLP_RATIOS, layer, drop_path=drop_path, **settings)
