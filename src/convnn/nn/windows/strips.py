"""A large kernel as a small square and two dilated strips, selected by channel and by position."""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.nn._field import like
from convnn.nn._grid import Grid, Sides
from convnn.nn._grouped import check_groups
from convnn.nn._layer import MapLayer
from convnn.nn._places import Places
from convnn.nn._settings import unless_usual, written
from convnn.nn.kernels.convolution import CONVOLUTIONS, ConvMaker, Convolution, check_can_normalise, reset_by_fan_out
from convnn.nn.windows._gated import Projected, SpatialSelection, by_group, together

STRIPS = {7: (3, 3, 2), 11: (3, 5, 2), 23: (5, 7, 3), 35: (5, 11, 3)}
"""By the side of the window: side of the square, taps of a strip, and their dilation."""
LEAST_HIDDEN = 32
"""Smallest number of channels from which the selection of channels is computed."""


class KernelSelection(nn.Module):
    r"""The sum of maps, each weighted by channel and by position.

    .. math:: y = \sum_k a_k \odot s_k \odot x_k, \qquad a_k = \sigma(f_k(f(z))), \qquad s = S(u)

    with :math:`u = \sum_k x_k`, its mean z over all positions, `SpatialSelection` S, and f a 1x1 convolution, a 3x3
    kernel for each channel, batch normalisation and ReLU. Because of the ReLU :math:`a_k` is at least a half.

    Args:
        make: creates the convolutions.
        channels: number of channels.
        number: number of maps.
        groups: number of blocks of channels that do not mix.
    """

    def __init__(self, make: ConvMaker, channels: int, number: int, *, groups: int = 1) -> None:
        super().__init__()
        self.groups = groups
        hidden = groups * max(channels // groups // 16, -(-LEAST_HIDDEN // groups))
        self.reduce = _channel_map(make, channels, hidden, groups)
        self.expand = nn.ModuleList(_channel_map(make, hidden, channels, groups) for _ in range(number))
        self.select = SpatialSelection(make, number)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Map several (B, C, H, W) to one (B, C, H, W).

        Raises:
            InputError: there is a single image to train the normalisation on.
        """
        total = maps[0]
        for one in maps[1:]:
            total = total + one
        mean = total.mean((2, 3), keepdim=True)
        check_can_normalise(self.reduce, mean)
        hidden = self.reduce(mean)
        shares = self.select(by_group(total, self.groups))
        chosen = [
            together(by_group(one * expand(hidden).sigmoid(), self.groups) * share, self.groups)
            for one, expand, share in zip(maps, self.expand, shares, strict=True)
        ]
        return torch.stack(chosen).sum(0)


def _channel_map(make: ConvMaker, in_channels: int, out_channels: int, groups: int) -> nn.Sequential:
    """Create f; of the 3x3 kernels only the middle meets the single position, the rest is for published weights."""
    return nn.Sequential(
        make.pointwise(in_channels, out_channels, groups=groups),
        make.depthwise(out_channels, 3),
        make.norm(out_channels),
        nn.ReLU(),
    )


class StripGate2d(nn.Module):
    r"""A map multiplied by a selection of a small kernel and two dilated strips of what it computes.

    .. math:: y = x \odot (W \, S(u, w_h *_d u, w_v *_d u) + b), \qquad u = w * x

    with `KernelSelection` S, and a kernel and bias for each channel in every convolution.

    Args:
        channels: number of channels.
        kernel_size: side of the window that they span: 7, 11, 23 or 35.
        groups: number of blocks of channels that do not mix.
        backend: backend of the kernels of single channels: "auto" (the fastest), "cpu" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input and output (B, C, H, W).

    Raises:
        InputError: no strips are known for the side.
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 23,
        groups: int = 1,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if kernel_size not in STRIPS:
            raise InputError(f"kernel_size={kernel_size} has no strips; choose from {', '.join(map(str, STRIPS))}")
        side, taps, apart = STRIPS[kernel_size]
        make = ConvMaker(2, device, dtype, backend)
        self.small = make.depthwise(channels, side)
        self.wide = make.depthwise(channels, (1, taps), dilation=apart)
        self.tall = make.depthwise(channels, (taps, 1), dilation=apart)
        self.select = KernelSelection(make, channels, 3, groups=groups)
        self.mix = make.pointwise(channels, channels, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        small = self.small(x)
        return x * self.mix(self.select([small, self.wide(small), self.tall(small)]))


class SDLSKA2d(MapLayer):
    r"""Sparse decomposed large separable kernel attention: 1x1 convolution, GELU, `StripGate2d`, 1x1 convolution.

    .. math:: y = x' + W_2 \, g(\operatorname{GELU}(W_1 x + b_1)) + b_2

    with x' = x, or 0 if channels change. The gate grows with the square of its input, so normalisation should precede
    the layer.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        kernel_size: side of the window that square and strips span: 7, 11, 23 or 35.
        shortcut: add x'; needless in a network that has a shortcut around the layer.
        groups: number of blocks of channels that do not mix; each selects by itself.
        stride, padding, window_size, dilation: those of the convolution that it replaces; it computes the middle of
            each window, on the map continued by zeros.
        bias: add the learned b_2.
        backend: backend of the kernels of single channels: "auto" (the fastest), "cpu" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, H, W) or (C_in, H, W); output (B, C_out, H', W').

    Raises:
        InputError: an argument is out of range; in forward: there is a single image to train the normalisation on.

    Reference:
        BEVANet, arXiv 2508.07300.

    Example:
        >>> SDLSKA2d(8, 16)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 23,
        shortcut: bool = True,
        groups: int = 1,
        stride: Sides = 1,
        padding: Sides | str = 0,
        window_size: Sides | None = None,
        dilation: Sides = 1,
        bias: bool = True,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels)
        check_groups(groups, in_channels, out_channels)
        self.kernel_size, self.shortcut, self.groups = kernel_size, shortcut, groups
        self.places = Places(Grid(window_size, stride, padding, dilation), 2)
        gate = StripGate2d(
            out_channels, kernel_size=kernel_size, groups=groups, backend=backend, device=device, dtype=dtype
        )
        form: dict[str, Any] = {"places": self.places, "shortcut": shortcut, "groups": groups, "bias": bias}
        self.gated = Projected(ConvMaker(2, device, dtype, backend), in_channels, out_channels, gate, **form)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights from a normal distribution of variance 2 / fan-out, as published; biases are 0."""
        reset_by_fan_out(*(part for part in self.modules() if isinstance(part, CONVOLUTIONS)))

    def _forward(self, x: Tensor) -> Tensor:
        return like(x, self.gated(x))

    def last_convolution(self) -> Convolution | None:
        """Return the last 1x1 convolution, if nothing is added to it."""
        return None if self.gated.has_shortcut else self.gated.after

    def settings(self) -> Iterable[object]:
        """Return kernel, shortcut, geometry and groups."""
        yield written(kernel_size=self.kernel_size)
        yield from (unless_usual(shortcut=(self.shortcut, True)), self.places, unless_usual(groups=(self.groups, 1)))
