"""The block that Vision GNNs put around a graph layer."""

from typing import ClassVar

from torch import Tensor, nn

from convnn.errors import check_at_least, check_choice
from convnn.nn._activations import ACTIVATIONS
from convnn.nn._factory import LayerFactory
from convnn.nn._layer import MapLayer
from convnn.nn.positional import PositionalEncoding2d


class Grapher2d(MapLayer):
    r"""A layer between two 1x1 convolutions, with batch normalisation after each, and activation after the layer.

    .. math:: y = \operatorname{norm}(W_2 \operatorname{GELU}(\operatorname{norm}(f(\operatorname{norm}(W_1 x')))))

    with x' = x + P * x, an optional conditional positional encoding.

    Args:
        channels: number of channels of input and output.
        layer: function from input and output channels to f.
        expansion: ratio of output channels to input channels of f.
        positional_size: side of the window of P, an odd number; 0: no encoding.
        norm: normalise after f; layers with normalisation of their own need none.
        activation: activation after it, "gelu", "relu", "leaky_relu" (slope 0.2), "hardswish" or "none".

    Shapes:
        input and output (B, C, H, W) or (C, H, W).

    Raises:
        InputError: an argument is out of range.

    Reference:
        arXiv 2206.00272 and 2307.00395 (expansion 2, no encoding), 2406.05850 and 2405.06849 (expansion 1).

    Example:
        >>> import torch
        >>> from convnn.nn import ViG2d
        >>> Grapher2d(8, ViG2d, expansion=2)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 8, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2

    def __init__(
        self,
        channels: int,
        layer: LayerFactory,
        *,
        expansion: int = 1,
        positional_size: int = 0,
        norm: bool = True,
        activation: str = "gelu",
    ) -> None:
        super().__init__(channels, channels)
        check_at_least("expansion", expansion, 1)
        check_choice("activation", activation, ACTIVATIONS)
        inner = expansion * channels
        self.positional = (
            PositionalEncoding2d(channels, kernel_size=positional_size) if positional_size else nn.Identity()
        )
        self.before = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))
        self.layer = layer(channels, inner)
        self.norm = nn.BatchNorm2d(inner) if norm else nn.Identity()
        self.activation = ACTIVATIONS[activation]()
        self.after = nn.Sequential(nn.Conv2d(inner, channels, 1), nn.BatchNorm2d(channels))

    def _forward(self, x: Tensor) -> Tensor:
        x = self.before(self.positional(x))
        return self.after(self.activation(self.norm(self.layer(x))))
