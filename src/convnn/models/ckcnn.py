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
        horizon: number of taps of generated kernels, or "same": as many as the sequence has samples.
        omega_0: frequency of the kernels of CKConv, which the paper tunes to each data set.
        weight_norm: learn length and direction of the rows of its networks.

    Raises:
        InputError: an argument is out of range.
    """

    reads: ClassVar[str] = "sequences"
    default_layer: ClassVar[str] = "CKConv"
    on_last: ClassVar[bool] = True

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
        horizon: str = "same",
        omega_0: float = 31.09,
        weight_norm: bool = True,
    ) -> None:
        super().__init__(in_channels, num_classes, width, num_layers=num_layers, dropout=dropout)
        of_layers = {"horizon": horizon, "causal": True, "omega_0": omega_0, "weight_norm": weight_norm}
        widths = [self.scaled(d_hidden)] * num_layers

        def unit(channels: int, outputs: int) -> nn.Module:
            return NormedUnit(layer(channels, outputs, **of_layers), layer_norm(outputs))

        self.features = nn.Sequential(*two_layer_blocks(in_channels, widths, unit, dropout, axes=1, activated=True))
        self.head = normal_head(widths[-1], num_classes, std=0.01)


@register_model(CKCNN)
def ckcnn(layer: LayerFactory, **settings: Any) -> CKCNN:
    """CKCNN for sequences, with 2 blocks of 30 channels."""
    return CKCNN(layer, **settings)


@register_model(CKCNN)
def ckcnn_1m(layer: LayerFactory, *, d_hidden: int = 100, **settings: Any) -> CKCNN:
    """CKCNN for sequences, with 2 blocks of 100 channels."""
    return CKCNN(layer, d_hidden=d_hidden, **settings)
