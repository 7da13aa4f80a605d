"""Two kernels, one in front of the other, of which each position selects by weights of its own."""

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
from convnn.nn._settings import unless_usual
from convnn.nn.kernels.convolution import CONVOLUTIONS, ConvMaker, Convolution, reset_by_fan_out
from convnn.nn.windows._gated import Projected, SpatialSelection, by_group, together


class SelectedGate(nn.Module):
    r"""A map multiplied by a mixture of two kernels, whose shares differ from position to position.

    .. math:: y = x \odot \left( W (s_1 \odot v_1 + s_2 \odot v_2) + b \right), \qquad v_i = W_i u_i + b_i

    with :math:`u_1 = w_1 * x + c_1` of side 5 and :math:`u_2 = w_2 *_3 u_1 + c_2` of side 7, a kernel for each channel;
    each v has half of the channels of a block, at least one, and s is `SpatialSelection` of both.

    Args:
        make: creates the convolutions, for maps of some number of axes.
        channels: number of channels.
        groups: number of blocks of channels that do not mix; each selects by itself.

    Shapes:
        input and output (B, C, \*S).

    Raises:
        InputError: there is a single channel, which has no half.
    """

    def __init__(self, make: ConvMaker, channels: int, *, groups: int = 1) -> None:
        super().__init__()
        if channels < 2:
            raise InputError(
                f"out_channels={channels} must be at least 2, for kernels are mixed in half of the channels"
            )
        half = groups * max(1, channels // groups // 2)
        self.groups = groups
        self.local = make.depthwise(channels, 5)
        self.dilated = make.depthwise(channels, 7, dilation=3)
        self.near = make.pointwise(channels, half, groups=groups)
        self.far = make.pointwise(channels, half, groups=groups)
        self.select = SpatialSelection(make, 2)
        self.mix = make.pointwise(half, channels, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *S) to (B, C, *S)."""
        local = self.local(x)
        near = by_group(self.near(local), self.groups)
        far = by_group(self.far(self.dilated(local)), self.groups)
        of_near, of_far = self.select(torch.cat([near, far], dim=1))
        return x * self.mix(together(near * of_near + far * of_far, self.groups))


class LSK(MapLayer):
    r"""Large selective kernel: a 1x1 convolution, GELU, `SelectedGate`, and another 1x1 convolution.

    .. math:: y = x' + W_2 \, g(\operatorname{GELU}(W_1 x + b_1)) + b_2

    with x' = x, or 0 if channels change. The kernels reach 5 and 23 positions; the gate grows faster than its input, so
    normalisation should precede the layer.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        shortcut: add x'; needless in a network that has a shortcut around the layer.
        groups: number of blocks of channels that do not mix; each selects by itself.
        stride, padding, window_size, dilation: those of the convolution that it replaces; it computes the middle of
            each window, on the map continued by zeros.
        bias: add the learned b_2.
        backend: backend of the kernels of single channels: "auto" (the fastest), "cpu" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, \*S) or (C_in, \*S); output (B, C_out, \*S').

    Raises:
        InputError: an argument is out of range, or there is a single output channel.

    Reference:
        Li et al., "Large Selective Kernel Network", arXiv 2303.09030, arXiv 2403.11735.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
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
        self.shortcut, self.groups = shortcut, groups
        self.places = Places(Grid(window_size, stride, padding, dilation), self.spatial_dims)
        make = ConvMaker(self.spatial_dims, device, dtype, backend)
        gate = SelectedGate(make, out_channels, groups=groups)
        form: dict[str, Any] = {"places": self.places, "shortcut": shortcut, "groups": groups, "bias": bias}
        self.gated = Projected(make, in_channels, out_channels, gate, **form)
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
        """Return shortcut, geometry and groups."""
        return unless_usual(shortcut=(self.shortcut, True)), self.places, unless_usual(groups=(self.groups, 1))


class LSK1d(LSK):
    """`LSK` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1


class LSK2d(LSK):
    """`LSK` on images: (B, C, H, W).

    Example:
        >>> LSK2d(8, 16)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2


class LSK3d(LSK):
    """`LSK` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3
