"""CKCNN: two residual blocks on sequences, whose kernels are as long as the sequence."""

from typing import Any, ClassVar

from torch import nn

from convnn.models._isotropic import Isotropic, NormedUnit, layer_norm, normal_head, two_layer_blocks
from convnn.models._registry import register_model
from convnn.nn import LayerFactory


class CKCNN(Isotropic):
    """CKCNN (Romero et al., arXiv 2102.02611, section 5) of any layer along one axis.

    The norm takes its statistics over channels and time, so that logits depend on all samples, although every layer is
    causal.

    Args:
        layer: function from input and output channels to a layer.
        in_channels: number of channels of the sequences.
        num_classes: number of classes, or of predicted numbers.
        width: factor on d_hidden.
        d_hidden: number of channels of the blocks.
        num_layers: number of blocks of two layers.
        dropout: probability after each layer.

    Raises:
        InputError: an argument is out of range.
    """

    reads: ClassVar[str] = "sequences"
    default_layer: ClassVar[str] = "Conv2d"
    axes: ClassVar[int] = 1
    on_last = True

    def __init__(
        self,
        layer: LayerFactory,
        *,
        in_channels: int = 1,
        num_classes: int = 10,
        width: float = 1.0,
        d_hidden: int = 30,
        num_layers: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(in_channels, num_classes, width, dropout)
        widths = [self.scaled(d_hidden)] * num_layers

        def unit(channels: int, outputs: int) -> nn.Module:
            return NormedUnit(layer(channels, outputs), layer_norm(outputs))

        self.blocks = two_layer_blocks(in_channels, widths, unit, dropout, axes=1, activated=True)
        self.head = normal_head(widths[-1], num_classes, std=0.01)


@register_model(CKCNN)
def ckcnn(layer: LayerFactory, **settings: Any) -> CKCNN:
    """CKCNN for sequences, with 2 blocks of 30 channels."""
    return CKCNN(layer, **settings)


@register_model(CKCNN)
def ckcnn_1m(layer: LayerFactory, *, d_hidden: int = 100, **settings: Any) -> CKCNN:
    """CKCNN for sequences, with 2 blocks of 100 channels."""
    return CKCNN(layer, d_hidden=d_hidden, **settings)
