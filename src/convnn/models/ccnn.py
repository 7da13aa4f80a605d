"""CCNN: one network of continuous kernels for sequences and images."""

from typing import Any, ClassVar

from torch import nn

from convnn.models._isotropic import BATCH_NORMS, Isotropic, MixingBlock, NormedUnit, normal_head
from convnn.models._registry import register_model
from convnn.nn import LayerFactory


class CCNN(Isotropic):
    """CCNN (Knigge, Romero et al., arXiv 2301.10540, section 4) of any layer, on images.

    Args:
        layer: function from input and output channels to a layer.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on d_hidden.
        d_hidden: number of channels of the blocks.
        num_layers: number of blocks.
        dropout: probability in each block.
        horizon: largest number of taps along each axis, or "same": as many as the input has samples.
        no_hidden: width of the networks that generate kernels.

    Raises:
        InputError: an argument is out of range.
    """

    default_layer: ClassVar[str] = "CCNNConv"

    def __init__(
        self,
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        width: float = 1.0,
        d_hidden: int = 140,
        num_layers: int = 4,
        dropout: float = 0.1,
        horizon: str = "33",
        no_hidden: int = 32,
    ) -> None:
        super().__init__(in_channels, num_classes, width, num_layers=num_layers, dropout=dropout)
        channels, axes = self.scaled(d_hidden), self.axes

        def make(inputs: int, outputs: int) -> nn.Module:
            return layer(inputs, outputs, no_hidden=no_hidden, horizon=horizon, causal=axes == 1)

        self.features = nn.Sequential(
            NormedUnit(make(in_channels, channels), BATCH_NORMS[axes](channels)),
            nn.GELU(),
            *(MixingBlock(channels, make, dropout, axes=axes) for _ in range(num_layers)),
            BATCH_NORMS[axes](channels),
        )
        self.head = normal_head(channels, num_classes)


class CCNN1d(CCNN):
    """CCNN on sequences, with causal kernels as long as the sequence."""

    reads: ClassVar[str] = "sequences"


@register_model(CCNN)
def ccnn4(layer: LayerFactory, **settings: Any) -> CCNN:
    """CCNN with 4 blocks of 140 channels."""
    return CCNN(layer, **settings)


@register_model(CCNN)
def ccnn6(
    layer: LayerFactory, *, d_hidden: int = 380, num_layers: int = 6, no_hidden: int = 64, **settings: Any
) -> CCNN:
    """CCNN with 6 blocks of 380 channels."""
    return CCNN(layer, d_hidden=d_hidden, num_layers=num_layers, no_hidden=no_hidden, **settings)


@register_model(CCNN1d)
def ccnn4_1d(layer: LayerFactory, *, horizon: str = "same", **settings: Any) -> CCNN1d:
    """CCNN for sequences, with 4 blocks of 140 channels."""
    return CCNN1d(layer, horizon=horizon, **settings)


@register_model(CCNN1d)
def ccnn6_1d(
    layer: LayerFactory,
    *,
    d_hidden: int = 380,
    num_layers: int = 6,
    no_hidden: int = 64,
    horizon: str = "same",
    **settings: Any,
) -> CCNN1d:
    """CCNN for sequences, with 6 blocks of 380 channels."""
    sizes = {"d_hidden": d_hidden, "num_layers": num_layers, "no_hidden": no_hidden}
    return CCNN1d(layer, horizon=horizon, **sizes, **settings)
