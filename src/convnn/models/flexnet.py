"""FlexNet: a residual network whose layers learn the size of their kernels."""

from typing import Any, ClassVar

from torch import nn

from convnn.models._isotropic import (
    BATCH_NORMS,
    FIVE,
    SEVEN,
    Isotropic,
    NormedUnit,
    growing_widths,
    normal_head,
    two_layer_blocks,
)
from convnn.models._registry import register_model
from convnn.nn import LayerFactory


class FlexNet(Isotropic):
    """FlexNet (Romero, Bruintjes et al., arXiv 2110.08059, section 4) of any layer, on images.

    Args:
        factors: widths of the blocks as factors of d_hidden, each with its number of blocks.
        layer: function from input and output channels to a layer.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers.
        d_hidden: number of channels of the first layer.
        dropout: probability between the two layers of a block.
        horizon: largest number of taps along each axis, or "same": as many as the input has samples.

    Raises:
        InputError: an argument is out of range.
    """

    default_layer: ClassVar[str] = "FlexConv"

    def __init__(
        self,
        factors: tuple[tuple[float, int], ...],
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        width: float = 1.0,
        d_hidden: int = 24,
        dropout: float = 0.2,
        horizon: str = "33",
    ) -> None:
        super().__init__(in_channels, num_classes, width, dropout=dropout)
        first, axes = self.scaled(d_hidden), self.axes
        widths = growing_widths(self.scaled, d_hidden, factors)

        def unit(channels: int, outputs: int) -> nn.Module:
            made = layer(channels, outputs, horizon=horizon, causal=axes == 1)
            return NormedUnit(made, BATCH_NORMS[axes](outputs))

        blocks = two_layer_blocks(first, widths, unit, dropout, axes=axes)
        self.features = nn.Sequential(unit(in_channels, first), nn.ReLU(), *blocks)
        self.head = normal_head(widths[-1], num_classes)


class FlexNet1d(FlexNet):
    """FlexNet on sequences: causal kernels as long as the sequence, and a head on the last sample."""

    reads: ClassVar[str] = "sequences"
    on_last: ClassVar[bool] = True


@register_model(FlexNet)
def flexnet7(layer: LayerFactory, **settings: Any) -> FlexNet:
    """FlexNet with 7 blocks of 24, 36 and 48 channels."""
    return FlexNet(SEVEN, layer, **settings)


@register_model(FlexNet)
def flexnet5(layer: LayerFactory, *, d_hidden: int = 22, **settings: Any) -> FlexNet:
    """FlexNet with 5 blocks of 22, 33 and 44 channels."""
    return FlexNet(FIVE, layer, d_hidden=d_hidden, **settings)


@register_model(FlexNet1d)
def flexnet7_1d(layer: LayerFactory, *, horizon: str = "same", **settings: Any) -> FlexNet1d:
    """FlexNet for sequences, with 7 blocks of 24, 36 and 48 channels."""
    return FlexNet1d(SEVEN, layer, horizon=horizon, **settings)
