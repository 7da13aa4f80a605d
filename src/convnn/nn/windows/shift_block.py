"""A block of neighbourhood attention and a feed-forward network in which channels move to adjacent positions."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_choice
from convnn.nn._layer import MapLayer
from convnn.nn._settings import written
from convnn.nn.windows.neighborhood import NeighborhoodAttention2d
from convnn.nn.windows.shift import OFFSETS, SpatialShift2d

SHIFT_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}


class ChannelNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of every position: (B, C, H, W) to (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every position."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ShiftFeedForward2d(MapLayer):
    r"""Two 1x1 convolutions; between them, each eighth of the channels moves by one of eight directions.

    .. math:: y = W_2 \, a(\operatorname{shift}(W_1 x + b_1)) + b_2

    The shift is `SpatialShift2d`, which has no parameters, so that the network sees 3 x 3 positions at the cost of one.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        expansion: ratio of the channels that move to the input channels; their number is rounded to a multiple of 8.
        step: by how many positions they move.
        activation: "relu" or "gelu".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, H, W) or (C_in, H, W); output (B, C_out, H, W).

    Raises:
        InputError: an argument is out of range.

    Reference:
        The block of Wang et al., arXiv 2303.14324, has such a network, of which there is no code; the order is that of
        Wu et al., "Fully 1x1 Convolutional Network for Lightweight Image Super-Resolution", arXiv 2307.16140.
    """

    spatial_dims: ClassVar[int] = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        expansion: float = 2.0,
        step: int = 1,
        activation: str = "relu",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels)
        check_choice("activation", activation, SHIFT_ACTIVATIONS)
        if not expansion > 0:
            raise InputError(f"expansion={expansion} must be positive")
        share = len(OFFSETS)
        hidden = max(round(in_channels * expansion / share), 1) * share
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.before = nn.Conv2d(in_channels, hidden, 1, **where)
        self.shift = SpatialShift2d(hidden, step=step)
        self.activation = SHIFT_ACTIVATIONS[activation]()
        self.after = nn.Conv2d(hidden, out_channels, 1, **where)

    def _forward(self, x: Tensor) -> Tensor:
        return self.after(self.activation(self.shift(self.before(x))))

    def settings(self) -> tuple[str, ...]:
        """Return the number of channels that move."""
        return (written(hidden_channels=self.shift.in_channels),)


class ShiftBlock2d(MapLayer):
    r"""Neighbourhood attention, then a feed-forward network with a shift, each normalised first and with a shortcut.

    .. math:: z = x + \mathrm{NA}(\mathrm{LN}(x)), \qquad y = z + \mathrm{FFN}(\mathrm{LN}(z))

    Args:
        channels: number of channels.
        expansion, step, activation: settings of `ShiftFeedForward2d`.
        device: device of the weights.
        dtype: data type of the weights.
        attention: settings of `NeighborhoodAttention2d`, such as kernel_size.

    Shapes:
        input and output (B, C, H, W) or (C, H, W).

    Raises:
        InputError: an argument is out of range.

    Reference:
        Wang et al., arXiv 2303.14324, of which there is no code: the order of normalisation and shortcuts is that of
        transformers.

    Example:
        >>> ShiftBlock2d(16, kernel_size=5)(torch.randn(2, 16, 12, 12)).shape
        torch.Size([2, 16, 12, 12])
    """

    spatial_dims: ClassVar[int] = 2

    def __init__(
        self,
        channels: int,
        *,
        expansion: float = 2.0,
        step: int = 1,
        activation: str = "relu",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **attention: Any,
    ) -> None:
        super().__init__(channels, channels)
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.norms = nn.ModuleList(ChannelNorm2d(channels, **where) for _ in range(2))
        self.attention = NeighborhoodAttention2d(channels, channels, **attention, **where)
        form: dict[str, Any] = {"expansion": expansion, "step": step, "activation": activation}
        self.feed_forward = ShiftFeedForward2d(channels, channels, **form, **where)

    def _forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norms[0](x))
        return x + self.feed_forward(self.norms[1](x))
