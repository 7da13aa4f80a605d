"""The small networks of SMPConv: beside each layer, a convolution with a small kernel."""

from typing import Any, ClassVar

from torch import nn

from convnn.models._isotropic import (
    SEVEN,
    CausalConv1d,
    Isotropic,
    NormedUnit,
    growing_widths,
    normal_head,
    two_layer_blocks,
)
from convnn.models._registry import register_model
from convnn.nn import LayerFactory


class SMPNet(Isotropic):
    """The residual network of SMPConv (Kim and Park, arXiv 2304.02330, section 4) of any layer, on images.

    Args:
        factors: widths of the blocks as factors of d_hidden, each with its number of blocks.
        layer: function from input and output channels to a layer.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers.
        d_hidden: number of channels of the first layer.
        dropout: probability between the two layers of a block.
        horizon: number of taps along each axis, or "same": as many as the map has positions.

    Raises:
        InputError: an argument is out of range.
    """

    default_layer: ClassVar[str] = "SMPConv"

    def __init__(
        self,
        factors: tuple[tuple[float, int], ...],
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        width: float = 1.0,
        d_hidden: int = 24,
        dropout: float = 0.1,
        horizon: str = "33",
    ) -> None:
        super().__init__(in_channels, num_classes, width, dropout=dropout)
        first = self.scaled(d_hidden)
        widths = growing_widths(self.scaled, d_hidden, factors)

        def unit(channels: int, outputs: int, *, bias: bool = False) -> nn.Module:
            small = nn.Conv2d(channels, outputs, kernel_size=3, padding=1, bias=bias)
            parallel = nn.Sequential(small, nn.BatchNorm2d(outputs))
            return NormedUnit(layer(channels, outputs, horizon=horizon, bias=False), nn.BatchNorm2d(outputs), parallel)

        blocks = two_layer_blocks(first, widths, unit, dropout, axes=2)
        self.features = nn.Sequential(unit(in_channels, first, bias=True), nn.ReLU(), *blocks)
        self.head = normal_head(widths[-1], num_classes)


class SMPNet1d(Isotropic):
    """The temporal network of SMPConv (Kim and Park, arXiv 2304.02330, section 4) of any layer, on sequences.

    Args:
        layer: function from input and output channels to a layer.
        in_channels: number of channels of the sequences.
        num_classes: number of classes, or of predicted numbers.
        width: factor on d_hidden.
        d_hidden: number of channels of the blocks.
        num_layers: number of blocks of two layers.
        dropout: probability after each layer.
        horizon: number of taps, or "same": as many as the sequence has samples.
        n_points: number of points of each kernel of SMPConv.
        radius: their initial radius, published for 784 samples; one of at most 1 / (T - 1) reaches no sample from most
            positions between two, and 4 / T suits T samples.
        coord_std: standard deviation of their initial positions.
        layer_bias: add a learned bias in every layer, as published for CIFAR-10 and speech.

    Raises:
        InputError: an argument is out of range.
    """

    reads: ClassVar[str] = "sequences"
    default_layer: ClassVar[str] = "SMPConv"
    on_last: ClassVar[bool] = True

    def __init__(
        self,
        layer: LayerFactory,
        *,
        in_channels: int = 1,
        num_classes: int = 10,
        width: float = 1.0,
        d_hidden: int = 30,
        num_layers: int = 6,
        dropout: float = 0.1,
        horizon: str = "same",
        n_points: int = 30,
        radius: float = 0.002,
        coord_std: float = 0.1,
        layer_bias: bool = False,
    ) -> None:
        super().__init__(in_channels, num_classes, width, num_layers=num_layers, dropout=dropout)
        widths = [self.scaled(d_hidden)] * num_layers
        points = {"n_points": n_points, "radius": radius, "coord_std": coord_std}
        of_network: dict[str, Any] = {"horizon": horizon, "causal": True, "bias": layer_bias} | points

        def unit(channels: int, outputs: int) -> nn.Module:
            small = CausalConv1d(channels, outputs, kernel_size=5, bias=False)
            parallel = nn.Sequential(small, nn.BatchNorm1d(outputs))
            return NormedUnit(layer(channels, outputs, **of_network), nn.BatchNorm1d(outputs), parallel)

        self.features = nn.Sequential(*two_layer_blocks(in_channels, widths, unit, dropout, axes=1, activated=True))
        self.head = nn.Linear(widths[-1], num_classes)


@register_model(SMPNet)
def smpnet(layer: LayerFactory, **settings: Any) -> SMPNet:
    """SMPConv's residual network with 7 blocks of 24, 36 and 48 channels."""
    return SMPNet(SEVEN, layer, **settings)


@register_model(SMPNet1d)
def smpnet_1d(layer: LayerFactory, **settings: Any) -> SMPNet1d:
    """SMPConv's temporal network for sequences, with 6 blocks of 30 channels."""
    return SMPNet1d(layer, **settings)
