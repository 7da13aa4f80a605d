"""LSKNet: gates from kernels that each position selects."""

from collections.abc import Sequence
from typing import Any, ClassVar

from convnn.models._registry import register_model
from convnn.models.hierarchical._gated import GatedNetwork, names_of_gates
from convnn.models.hierarchical._skeleton import Rule
from convnn.nn import LayerFactory, LSK2d

MLP_RATIOS = (8, 8, 4, 4)


class LSKNet(GatedNetwork):
    """Large selective kernel network (Li et al., arXiv 2303.09030): `GatedNetwork` with LSK, or any other layer.

    The published network has no head: detectors read the maps of `forward_stages`. The linear one here is that of VAN.

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

    default_layer: ClassVar[str] = "LSK"
    head_is_ours: ClassVar[bool] = True
    published_names: ClassVar[tuple[Rule, ...]] = names_of_gates(
        (r"\.conv1\.", ".near."),
        (r"\.conv2\.", ".far."),
        (r"\.conv_squeeze\.", ".select.squeeze."),
        (r"\.conv\.", ".mix."),
    )

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
        dropout: float = 0.1,
    ) -> None:
        super().__init__(
            depths,
            channels,
            mlp_ratios,
            layer,
            lambda number, **settings: LSK2d(number, number, **settings),
            in_channels=in_channels,
            num_classes=num_classes,
            width=width,
            drop_path=drop_path,
            layer_scale=layer_scale,
            dropout=dropout,
        )


@register_model(LSKNet)
def lsknet_t(layer: LayerFactory, **settings: Any) -> LSKNet:
    """LSKNet with 4.2 million weights for 1000 classes."""
    return LSKNet((3, 3, 5, 2), (32, 64, 160, 256), MLP_RATIOS, layer, **settings)


@register_model(LSKNet)
def lsknet_s(layer: LayerFactory, **settings: Any) -> LSKNet:
    """LSKNet with 14.4 million weights for 1000 classes."""
    return LSKNet((2, 2, 4, 2), (64, 128, 320, 512), MLP_RATIOS, layer, **settings)
