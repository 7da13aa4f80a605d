"""A gate from a large kernel that is a stack of small ones: local, dilated, 1x1."""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import check_at_least
from convnn.nn._field import like
from convnn.nn._grid import Grid, Sides
from convnn.nn._grouped import check_groups
from convnn.nn._layer import MapLayer
from convnn.nn._places import Places
from convnn.nn._settings import unless_usual, written
from convnn.nn.kernels.convolution import CONVOLUTIONS, ConvMaker, Convolution, reset_by_fan_out
from convnn.nn.windows._gated import Projected


class StackedGate(nn.Module):
    r"""A map multiplied by what a stack of convolutions makes of it.

    .. math:: y = x \odot \left( W (w_2 *_d (w_1 * x + b_1) + b_2) + b_3 \right)

    with a kernel for each channel in :math:`w_1` of side 2 d - 1, and :math:`w_2` of the smallest odd side of at least
    K / d. The gate has no activation. The two kernels are not one of side K: the map between them is continued by
    zeros, too.

    Args:
        make: creates the convolutions, for maps of some number of axes.
        channels: number of channels.
        kernel_size: K, the side that the stack stands for.
        kernel_dilation: d, distance between the taps of the second kernel.
        groups: number of blocks of channels that W does not mix.

    Shapes:
        input and output (B, C, \*S).

    Raises:
        InputError: an argument is below 1.
    """

    def __init__(
        self, make: ConvMaker, channels: int, *, kernel_size: int = 21, kernel_dilation: int = 3, groups: int = 1
    ) -> None:
        super().__init__()
        check_at_least("kernel_size", kernel_size, 1)
        check_at_least("kernel_dilation", kernel_dilation, 1)
        taps = -(-kernel_size // kernel_dilation) | 1
        self.local = make.depthwise(channels, 2 * kernel_dilation - 1)
        self.dilated = make.depthwise(channels, taps, dilation=kernel_dilation)
        self.mix = make.pointwise(channels, channels, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *S) to (B, C, *S)."""
        return x * self.mix(self.dilated(self.local(x)))


class LKA(MapLayer):
    r"""Large kernel attention: a 1x1 convolution, GELU, `StackedGate`, and another 1x1 convolution.

    .. math:: y = x' + W_2 \, g(\operatorname{GELU}(W_1 x + b_1)) + b_2

    with x' = x, or 0 if channels change. The gate grows with the square of its input, so normalisation should precede
    the layer.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        kernel_size: K, the side of the window that the stack stands for; with K = 21 and d = 3 it reaches 23.
        kernel_dilation: d, distance between the taps of the second kernel; the first has the side 2 d - 1.
        shortcut: add x'; needless in a network that has a shortcut around the layer.
        groups: number of blocks of channels that do not mix.
        stride, padding, window_size, dilation: those of the convolution that it replaces; it computes the middle of
            each window, on the map continued by zeros.
        bias: add the learned b_2.
        backend: backend of the kernels of single channels: "auto" (the fastest), "cpu" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, \*S) or (C_in, \*S); output (B, C_out, \*S').

    Raises:
        InputError: an argument is out of range.

    Reference:
        Guo et al., "Visual Attention Network", arXiv 2202.09741, section 3.1 and figure 3.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 21,
        kernel_dilation: int = 3,
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
        self.kernel_size, self.kernel_dilation, self.groups = kernel_size, kernel_dilation, groups
        self.shortcut = shortcut
        self.places = Places(Grid(window_size, stride, padding, dilation), self.spatial_dims)
        make = ConvMaker(self.spatial_dims, device, dtype, backend)
        gate = StackedGate(make, out_channels, kernel_size=kernel_size, kernel_dilation=kernel_dilation, groups=groups)
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
        """Return kernel, shortcut, geometry and groups."""
        yield written(kernel_size=self.kernel_size, kernel_dilation=self.kernel_dilation)
        yield from (unless_usual(shortcut=(self.shortcut, True)), self.places, unless_usual(groups=(self.groups, 1)))


class LKA1d(LKA):
    """`LKA` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1


class LKA2d(LKA):
    """`LKA` on images: (B, C, H, W).

    Example:
        >>> LKA2d(8, 16)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2


class LKA3d(LKA):
    """`LKA` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3
