"""Residual networks that keep the size of their input, for layers whose kernel reaches over all of it."""

import typing
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import check_at_least, check_fraction
from convnn.models._network import Network
from convnn.nn import LayerFactory

SEVEN = ((1.0, 2), (1.5, 3), (2.0, 2))
FIVE = ((1.0, 1), (1.5, 2), (2.0, 2))
"""Widths of seven and of five blocks, as factors of that of the first layer, each with its number of blocks."""

Unit = Callable[..., nn.Module]
"""A function from input and output channels to a layer with its norm."""

CONVOLUTIONS: dict[int, type[nn.Conv1d | nn.Conv2d]] = {1: nn.Conv1d, 2: nn.Conv2d}
BATCH_NORMS: dict[int, type[nn.BatchNorm1d | nn.BatchNorm2d]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}


def layer_norm(channels: int) -> nn.GroupNorm:
    """Create the norm over channels and positions together, with a scale and a shift for each channel."""
    return nn.GroupNorm(1, channels, eps=1e-12)


class CausalConv1d(nn.Conv1d):
    """A convolution of which no output depends on later samples: zeros are added before the sequence only."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, T) to (B, C_out, T)."""
        return super().forward(F.pad(x, (self.dilation[0] * (self.kernel_size[0] - 1), 0)))


class NormedUnit(nn.Module):
    r"""A layer and its norm, to which those of a small convolution may be added.

    .. math:: u(x) = \operatorname{norm}(f(x)) + \operatorname{norm}'(g(x))

    Args:
        layer: the layer :math:`f`.
        norm: its norm.
        small: the convolution :math:`g` and its norm, or None.
    """

    def __init__(self, layer: nn.Module, norm: nn.Module, small: nn.Sequential | None = None) -> None:
        super().__init__()
        self.layer = layer
        self.norm = norm
        self.small = small

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, *S) to (B, C_out, *S)."""
        y = self.norm(self.layer(x))
        return y if self.small is None else y + self.small(x)


class TwoLayerBlock(nn.Module):
    r"""Two layers, each with its norm, and a shortcut around them.

    .. math:: y = \operatorname{ReLU}(u_2(\operatorname{dropout}(\operatorname{ReLU}(u_1(x)))) + s(x))

    With `activated`, ReLU and dropout follow :math:`u_2` too. The shortcut :math:`s` is the identity, or a 1x1
    convolution if the channels change.
    """

    def __init__(
        self, in_channels: int, out_channels: int, unit: Unit, dropout: float, *, axes: int, activated: bool
    ) -> None:
        super().__init__()
        self.first = unit(in_channels, out_channels)
        self.second = unit(out_channels, out_channels)
        self.dropout = nn.Dropout(dropout)
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else CONVOLUTIONS[axes](in_channels, out_channels, kernel_size=1)
        self.activated = activated

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, *S) to (B, C_out, *S)."""
        y = self.second(self.dropout(self.first(x).relu()))
        y = self.dropout(y.relu()) if self.activated else y
        return (y + self.shortcut(x)).relu()


class MixingBlock(nn.Module):
    r"""A layer and a pointwise map after a norm, and a shortcut around them, as in S4.

    .. math:: y = x + \operatorname{GELU}(W \operatorname{dropout}(\operatorname{GELU}(f(\operatorname{norm}(x)))) + b)
    """

    def __init__(self, channels: int, layer: LayerFactory, dropout: float, *, axes: int) -> None:
        super().__init__()
        self.norm = BATCH_NORMS[axes](channels)
        self.layer = layer(channels, channels)
        self.dropout = nn.Dropout(dropout)
        self.mix = pointwise(channels, channels, axes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *S) to (B, C, *S)."""
        return x + F.gelu(self.mix(self.dropout(F.gelu(self.layer(self.norm(x))))))


class Isotropic(Network):
    """Blocks at full size, then a linear head on the mean of all positions, or on the last sample of a sequence.

    Attributes:
        features: the first layer, the residual blocks, and what else precedes the head.
        head: linear map from pooled features to logits.
        on_last: whether the head reads the last sample instead of the mean.

    Raises:
        InputError: an argument is out of range.
    """

    on_last: ClassVar[bool] = False
    features: nn.Sequential

    def __init__(
        self, in_channels: int, num_classes: int, width: float, *, num_layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        check_at_least("num_layers", num_layers, 1)
        check_fraction("dropout", dropout)

    @property
    def axes(self) -> int:
        """Number of axes of the input: 1 for sequences, 2 for images."""
        return 1 if self.reads == "sequences" else 2

    def forward_features(self, x: Tensor) -> Tensor:
        """Map (B, C, *S) to features (B, F, *S)."""
        return self.features(x)

    def forward_head(self, features: Tensor) -> Tensor:
        """Map features (B, F, *S) to logits (B, num_classes)."""
        return self.head(features[..., -1] if self.on_last else features.flatten(2).mean(2))


def two_layer_blocks(
    in_channels: int, widths: Sequence[int], unit: Unit, dropout: float, *, axes: int, activated: bool = False
) -> list[TwoLayerBlock]:
    """Create a `TwoLayerBlock` for each of the widths."""
    make = partial(TwoLayerBlock, unit=unit, dropout=dropout, axes=axes, activated=activated)
    return [make(before, after) for before, after in pairwise([in_channels, *widths])]


def growing_widths(width: Callable[[int], int], d_hidden: int, factors: Sequence[tuple[float, int]]) -> list[int]:
    """Return the widths of blocks: `count` of int(d_hidden * factor) for each (factor, count), scaled by `width`."""
    return [width(int(d_hidden * factor)) for factor, count in factors for _ in range(count)]


def pointwise(in_channels: int, out_channels: int, axes: int) -> nn.Conv1d | nn.Conv2d:
    """Create a 1x1 convolution with He's normal weights and bias 0."""
    conv = CONVOLUTIONS[axes](in_channels, out_channels, kernel_size=1)
    nn.init.kaiming_normal_(conv.weight)
    nn.init.zeros_(typing.cast("Tensor", conv.bias))
    return conv


def normal_head(channels: int, num_classes: int, std: float | None = None) -> nn.Linear:
    """Create a linear head with normal weights, by He's rule where no standard deviation is given, and bias 0."""
    head = nn.Linear(channels, num_classes)
    with torch.no_grad():
        nn.init.kaiming_normal_(head.weight) if std is None else nn.init.normal_(head.weight, std=std)
        nn.init.zeros_(head.bias)
    return head
