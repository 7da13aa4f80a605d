"""Kernels for shares of the channels: a square, a wide and a tall one, and none for the rest."""

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_fraction, check_odd
from convnn.nn._field import like
from convnn.nn._grid import Grid, Sides
from convnn.nn._grouped import check_groups
from convnn.nn._layer import MapLayer
from convnn.nn._places import Places
from convnn.nn._settings import unless_usual, written
from convnn.nn.kernels.convolution import ConvMaker, Convolution


class BandConv2d(nn.Module):
    r"""The channels as they are, and three equal shares of them under a square, a wide and a tall kernel.

    .. math:: y = [ x_1 ; \; w_2 * x_2 + b_2 ; \; w_3 * x_3 + b_3 ; \; w_4 * x_4 + b_4 ]

    with kernels of s x s, 1 x k and k x 1 places, each for int(channels * branch_ratio) channels of its own.

    Args:
        channels: number of channels.
        square_kernel_size: s, an odd number.
        band_kernel_size: k, an odd number.
        branch_ratio: share of the channels under each kernel, at most a third.
        kernel_dilation: distance between the taps of each kernel.
        backend: backend of the kernels of single channels: "auto" (the fastest), "cpu" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input and output (B, C, H, W).

    Raises:
        InputError: a side is even, or the share leaves no channel for a kernel, or needs more than there are.
    """

    def __init__(
        self,
        channels: int,
        *,
        square_kernel_size: int = 3,
        band_kernel_size: int = 11,
        branch_ratio: float = 0.125,
        kernel_dilation: int = 1,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_odd("square_kernel_size", square_kernel_size)
        check_odd("band_kernel_size", band_kernel_size)
        check_at_least("kernel_dilation", kernel_dilation, 1)
        share = share_of(channels, branch_ratio)
        if not 0 < 3 * share <= channels:
            problem = "leaves no channel for a kernel" if share == 0 else "needs more than all"
            raise InputError(
                f"branch_ratio={branch_ratio} {problem} of {channels} channels; it must give each of three kernels at"
                " least one, and all together at most all"
            )
        self.shares = (channels - 3 * share, share, share, share)
        make = ConvMaker(2, device, dtype, backend)
        self.square = make.depthwise(share, square_kernel_size, dilation=kernel_dilation)
        self.wide = make.depthwise(share, (1, band_kernel_size), dilation=kernel_dilation)
        self.tall = make.depthwise(share, (band_kernel_size, 1), dilation=kernel_dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        same, square, wide, tall = x.split(self.shares, dim=1)
        return torch.cat([same, self.square(square), self.wide(wide), self.tall(tall)], dim=1)


def share_of(channels: int, branch_ratio: float) -> int:
    """Return the number of channels under each kernel, as published: rounded down, without a tolerance.

    Raises:
        InputError: the ratio is outside [0, 1].
    """
    check_fraction("branch_ratio", branch_ratio)
    return int(channels * branch_ratio)


class InceptionDW2d(MapLayer):
    r"""`BandConv2d`, kernels for shares of the channels, and a 1x1 convolution.

    .. math:: y = W f(x) + b

    or, where the input has too few channels for a share, :math:`y = f(W x + b)`.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        square_kernel_size: side of the square kernel, an odd number.
        band_kernel_size: length of the wide and the tall kernel, an odd number.
        branch_ratio: share of the channels under each of the three kernels, at most a third.
        kernel_dilation: distance between the taps of each kernel.
        groups: number of blocks of channels that do not mix.
        stride, padding, window_size, dilation: those of the convolution that it replaces; it computes the middle of
            each window, on the map continued by zeros.
        bias: add a learned bias to the output of the 1x1 convolution.
        backend: backend of the kernels of single channels: "auto" (the fastest), "cpu" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, H, W) or (C_in, H, W); output (B, C_out, H', W').

    Raises:
        InputError: an argument is out of range, or neither number of channels gives every kernel one.

    Reference:
        Yu et al., "InceptionNeXt", arXiv 2303.16900, section 3.2, in the order of the channels of its code.

    Example:
        >>> InceptionDW2d(16, 32)(torch.randn(2, 16, 14, 14)).shape
        torch.Size([2, 32, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        square_kernel_size: int = 3,
        band_kernel_size: int = 11,
        branch_ratio: float = 0.125,
        kernel_dilation: int = 1,
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
        self.branch_ratio, self.groups = branch_ratio, groups
        self.places = Places(Grid(window_size, stride, padding, dilation), 2)
        self.is_first = share_of(in_channels, branch_ratio) > 0
        self.operator = BandConv2d(
            in_channels if self.is_first else out_channels,
            square_kernel_size=square_kernel_size,
            band_kernel_size=band_kernel_size,
            branch_ratio=branch_ratio,
            kernel_dilation=kernel_dilation,
            backend=backend,
            device=device,
            dtype=dtype,
        )
        self.pointwise = ConvMaker(2, device, dtype, backend).pointwise(
            in_channels, out_channels, groups=groups, bias=bias
        )

    def _forward(self, x: Tensor) -> Tensor:
        if self.is_first:
            return like(x, self.pointwise(self.places.of(self.operator(x))))
        return like(x, self.places.of(self.operator(self.pointwise(x))))

    def last_convolution(self) -> Convolution | None:
        """Return the 1x1 convolution, if it comes last."""
        return self.pointwise if self.is_first else None

    def settings(self) -> Iterable[object]:
        """Return kernels, share, geometry and groups."""
        square, wide = self.operator.square, self.operator.wide
        yield written(square_kernel_size=square.kernel_size[0], band_kernel_size=wide.kernel_size[-1])
        yield written(branch_ratio=self.branch_ratio)
        yield from (unless_usual(kernel_dilation=(wide.dilation[-1], 1)), self.places)
        yield unless_usual(groups=(self.groups, 1))
