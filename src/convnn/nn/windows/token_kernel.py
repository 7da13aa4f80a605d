"""Attention on maps with fixed weights that depend on the offset alone."""

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor

from convnn.nn._field import like
from convnn.nn._grid import Grid, Sides
from convnn.nn._grouped import check_groups
from convnn.nn._layer import MapLayer
from convnn.nn._places import Places
from convnn.nn._settings import unless_usual, written
from convnn.nn.kernels.convolution import ConvMaker, Convolution
from convnn.nn.kernels.offsets import OffsetAttention


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
        backend: backend of the kernels of single channels: "auto" (the fastest), "cpu" or "reference".
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
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels)
        check_groups(groups, in_channels, out_channels)
        self.kernel_size, self.groups = kernel_size, groups
        self.places = Places(Grid(window_size, stride, padding, dilation), self.spatial_dims)
        make = ConvMaker(self.spatial_dims, device, dtype, backend)
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
