"""A kernel as large as the map, which is attention with fixed weights that depend on the offset alone."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_odd
from convnn.nn._field import like
from convnn.nn._grid import Grid, Sides, each_side
from convnn.nn._grouped import check_groups
from convnn.nn._layer import MapLayer
from convnn.nn._places import Places
from convnn.nn._reset import reset_as_conv
from convnn.nn._settings import unless_usual, written
from convnn.nn.kernels.convolution import CONVOLVE, ConvMaker, Convolution


class OffsetAttention(nn.Module):
    r"""Attention whose weights are learned for each offset, computed as a convolution.

    .. math:: y_{ic} = b_c + \sum_j A_{g(c) i j} x_{jc}, \qquad A_{g i j} = w_{g, j - i}

    with G kernels w for as many blocks of consecutive channels, and :math:`A = 0` beyond them. There are neither
    queries and keys nor a softmax. A kernel of side 2 n - 1 relates all positions of a map of side n.

    Args:
        make: device, data type and axes.
        channels: number of channels.
        kernel_size: sides of the kernels, odd numbers.
        kernels: G; 0: one for each channel.
        kernel_bias: add the learned b.

    Shapes:
        input and output (B, C, \*S); weight (G, 1, \*K).

    Raises:
        InputError: a side is even, or the kernels do not divide the channels.
    """

    def __init__(
        self,
        make: ConvMaker,
        channels: int,
        *,
        kernel_size: Sides = 27,
        kernels: int = 0,
        kernel_bias: bool = True,
    ) -> None:
        super().__init__()
        check_at_least("kernels", kernels, 0)
        kernels = channels if kernels == 0 else kernels
        if channels % kernels:
            raise InputError(f"kernels={kernels} must divide the {channels} channels, or be 0 for one each")
        sides = each_side("kernel_size", kernel_size, make.axes)
        for side in sides:
            check_odd("kernel_size", side)
        where: dict[str, Any] = {"device": make.device, "dtype": make.dtype}
        self.weight = nn.Parameter(torch.empty(kernels, 1, *sides, **where))
        self.bias = nn.Parameter(torch.empty(channels, **where)) if kernel_bias else None
        self.channels = channels
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias as a `torch.nn.Conv2d` with a kernel for each channel does."""
        reset_as_conv(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *S) to (B, C, *S)."""
        weight = self.weight.repeat_interleave(self.channels // self.weight.shape[0], dim=0)
        sides = weight.shape[2:]
        convolve = CONVOLVE[len(sides) - 1]
        return convolve(x, weight, self.bias, padding=[side // 2 for side in sides], groups=self.channels)

    def attention(self, size: Sequence[int]) -> Tensor:
        """Return A of each kernel for a map of some size, its positions in raster order, (G, N, N)."""
        sides, axes = self.weight.shape[2:], len(size)
        index, is_within = [], torch.ones((), dtype=torch.bool, device=self.weight.device)
        for axis, (n, side) in enumerate(zip(size, sides, strict=True)):
            places = torch.arange(n, device=self.weight.device)
            offsets = places - places.unsqueeze(1) + side // 2
            shape = [1] * (2 * axes)
            shape[axis] = shape[axes + axis] = n
            is_within = is_within & ((offsets >= 0) & (offsets < side)).view(shape)
            index.append(offsets.clamp(0, side - 1).view(shape))
        by_offset = self.weight[:, 0].movedim(0, -1)
        weights = by_offset[tuple(index)] * is_within.unsqueeze(-1)
        return weights.movedim(-1, 0).flatten(axes + 1).flatten(1, axes)


class LKCA(MapLayer):
    r"""Large kernel convolutional attention: `OffsetAttention` and a 1x1 convolution.

    .. math:: y = W f(x) + b

    The authors have published no code; the number of kernels, their bias and their initial weights are ours.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        kernel_size: sides of the kernels, odd numbers; 27 relates all positions of maps of up to 14 x 14.
        kernels: number of kernels, each for a block of channels; 0: one for each channel.
        kernel_bias: add a learned bias to every channel before W.
        groups: number of blocks of channels that do not mix.
        stride, padding, window_size, dilation: those of the convolution that it replaces; it computes the middle of
            each window, on the map continued by zeros.
        bias: add the learned b.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, \*S) or (C_in, \*S); output (B, C_out, \*S').

    Raises:
        InputError: an argument is out of range.

    Reference:
        "LKCA: Large Kernel Convolutional Attention", arXiv 2401.05738.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: Sides = 27,
        kernels: int = 0,
        kernel_bias: bool = True,
        groups: int = 1,
        stride: Sides = 1,
        padding: Sides | str = 0,
        window_size: Sides | None = None,
        dilation: Sides = 1,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels)
        check_groups(groups, in_channels, out_channels)
        self.kernel_size, self.groups = kernel_size, groups
        self.places = Places(Grid(window_size, stride, padding, dilation), self.spatial_dims)
        make = ConvMaker(self.spatial_dims, device, dtype)
        self.operator = OffsetAttention(
            make, in_channels, kernel_size=kernel_size, kernels=kernels, kernel_bias=kernel_bias
        )
        self.pointwise = make.pointwise(in_channels, out_channels, groups=groups, bias=bias)

    def _forward(self, x: Tensor) -> Tensor:
        return like(x, self.pointwise(self.places.of(self.operator(x))))

    def last_convolution(self) -> Convolution:
        """Return the 1x1 convolution."""
        return self.pointwise

    def settings(self) -> Iterable[object]:
        """Return kernels, geometry and groups."""
        kernels, has_bias = self.operator.weight.shape[0], self.operator.bias is not None
        yield written(kernel_size=self.kernel_size)
        yield unless_usual(kernels=(kernels, self.in_channels), kernel_bias=(has_bias, True))
        yield from (self.places, unless_usual(groups=(self.groups, 1)))


class LKCA1d(LKCA):
    """`LKCA` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1


class LKCA2d(LKCA):
    """`LKCA` on images: (B, C, H, W).

    Example:
        >>> LKCA2d(8, 16)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2


class LKCA3d(LKCA):
    """`LKCA` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3
