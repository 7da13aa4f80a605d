"""Small and large kernels one after the other, each with a residual and GELU, between 1x1 convolutions."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.nn._field import like
from convnn.nn._grid import Grid, Sides
from convnn.nn._grouped import check_groups
from convnn.nn._layer import MapLayer
from convnn.nn._places import Places
from convnn.nn._settings import unless_usual, written
from convnn.nn.kernels.convolution import ConvMaker, Convolution, as_sizes
from convnn.nn.kernels.parallel import ResidualConv

FEWEST = 4
"""With fewer input channels, those of an image, a 1x1 convolution to the output channels comes first."""


class SuperKernelConv(nn.Module):
    r"""Kernels of growing size, one after the other, between two pairs of 1x1 convolutions.

    .. math:: x_1 = g(x + W_2 g(W_1 x)), \qquad x_{j + 1} = g(x_j + w_j * x_j), \qquad
        y = W_4 g(W_3 g(x_n + P x_n))

    with GELU g, a bias in every convolution, a kernel for each channel in :math:`w_j`, and one and a half times the
    channels after :math:`W_1` and :math:`W_3`. `convnn.merge` makes the residuals part of :math:`w_j` and P.

    Args:
        make: creates the convolutions, for maps of some number of axes.
        in_channels: number of input channels.
        out_channels: number of output channels.
        k_conv: sides of the kernels in their order.
        groups: number of blocks of channels that do not mix.
        bias: add a learned bias to the output.

    Shapes:
        input (B, C_in, \*S); output (B, C_out, \*S).
    """

    def __init__(
        self,
        make: ConvMaker,
        in_channels: int,
        out_channels: int,
        k_conv: Sequence[int] = (1, 15),
        *,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        inner = groups * int(1.5 * (in_channels // groups))
        self.first = _two(make, in_channels, inner, in_channels, groups, bias=True)
        self.convs = nn.ModuleList(ResidualConv(make.depthwise(in_channels, side)) for side in k_conv)
        self.mix = ResidualConv(make.pointwise(in_channels, in_channels, groups=groups))
        self.output = _two(make, in_channels, inner, out_channels, groups, bias=bias)

    def kernels(self, x: Tensor) -> Tensor:
        """Map (B, C_in, *S) to (B, C_in, *S), before the last two 1x1 convolutions."""
        x = F.gelu(x + self.first(x))
        for conv in self.convs:
            x = F.gelu(conv(x))
        return F.gelu(self.mix(x))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, *S) to (B, C_out, *S)."""
        return self.output(self.kernels(x))


def _two(make: ConvMaker, in_channels: int, inner: int, out_channels: int, groups: int, *, bias: bool) -> nn.Sequential:
    """Create two 1x1 convolutions with GELU between them."""
    return nn.Sequential(
        make.pointwise(in_channels, inner, groups=groups),
        nn.GELU(),
        make.pointwise(inner, out_channels, groups=groups, bias=bias),
    )


class SuperKernel(MapLayer):
    r"""`SuperKernelConv`, kernels of growing size one after the other, in the place of a convolution.

    Args:
        in_channels: number of input channels; from three of them or fewer, a 1x1 convolution makes the output channels
            first, if those are more.
        out_channels: number of output channels.
        k_conv: sides of the kernels in their order, odd numbers, as a sequence or as text such as "1,15".
        groups: number of blocks of channels that do not mix.
        stride, padding, window_size, dilation: those of the convolution that it replaces; it computes the middle of
            each window, on the map continued by zeros.
        bias: add a learned bias to the output.
        backend: backend of the kernels of single channels: "auto" (the fastest), "cpu" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, \*S) or (C_in, \*S); output (B, C_out, \*S').

    Raises:
        InputError: an argument is out of range.

    Reference:
        Sun et al., "SKFlow", arXiv 2205.14623, in the form of its code.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        k_conv: Sequence[int] | str = "1,15",
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
        self.k_conv, self.groups = as_sizes("k_conv", k_conv), groups
        self.places = Places(Grid(window_size, stride, padding, dilation), self.spatial_dims)
        make = ConvMaker(self.spatial_dims, device, dtype, backend)
        is_image = in_channels < FEWEST <= out_channels
        self.widen = make.pointwise(in_channels, out_channels, groups=groups) if is_image else nn.Identity()
        self.operator = SuperKernelConv(
            make, out_channels if is_image else in_channels, out_channels, self.k_conv, groups=groups, bias=bias
        )

    def _forward(self, x: Tensor) -> Tensor:
        wide = self.operator.kernels(self.widen(x))
        return like(x, self.operator.output(self.places.of(wide)))

    def last_convolution(self) -> Convolution:
        """Return the last 1x1 convolution."""
        return cast("Convolution", self.operator.output[2])

    def settings(self) -> Iterable[object]:
        """Return sizes, geometry and groups."""
        return written(k_conv=self.k_conv), self.places, unless_usual(groups=(self.groups, 1))


class SuperKernel1d(SuperKernel):
    """`SuperKernel` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1


class SuperKernel2d(SuperKernel):
    """`SuperKernel` on images: (B, C, H, W).

    Example:
        >>> SuperKernel2d(8, 16, k_conv=(1, 15))(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2


class SuperKernel3d(SuperKernel):
    """`SuperKernel` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3
