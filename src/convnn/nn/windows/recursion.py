"""Recursion over resolutions: small kernels on maps of half, a quarter, ... of the sides reach far on the whole one."""

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import check_at_least, check_choice, check_odd
from convnn.nn._field import like
from convnn.nn._grid import Grid, Sides
from convnn.nn._grouped import check_groups
from convnn.nn._layer import MapLayer
from convnn.nn._places import Places
from convnn.nn._settings import unless_usual, written
from convnn.nn.kernels.convolution import ConvMaker, Convolution

UPSAMPLINGS = ("bilinear", "nearest")
LINEAR = ("linear", "bilinear", "trilinear")
"""By the number of axes, from one."""


class RecursiveConv(nn.Module):
    r"""Kernels of one size on maps of falling resolution, each added to the next finer one.

    .. math:: y = w_l * (x + z_0), \qquad z_{i - 1} = \operatorname{up}(w_{l - i} * (x_i + z_i)), \qquad
        x_i = v *_{/2} x_{i - 1}

    with :math:`x_0 = x`, :math:`z_l = 0`, and one kernel v with stride 2 for all levels i = l, ..., 1; all of them for
    each channel. l + 2 kernels of side k stand for one of side :math:`k \, 2^l`; their reach depends on the position.

    Args:
        make: creates the convolutions, for maps of some number of axes.
        channels: number of channels.
        kernel_size: k, an odd number.
        level: l, the number of times that the map is halved.
        upsampling: how maps are brought to the size of the finer one: "bilinear", along each axis, or "nearest".
        kernel_bias: add a learned bias to every convolution.

    Shapes:
        input and output (B, C, \*S).

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        make: ConvMaker,
        channels: int,
        *,
        kernel_size: int = 5,
        level: int = 2,
        upsampling: str = "bilinear",
        kernel_bias: bool = False,
    ) -> None:
        super().__init__()
        check_odd("kernel_size", kernel_size)
        check_at_least("level", level, 0)
        check_choice("upsampling", upsampling, UPSAMPLINGS)
        self.mode = LINEAR[make.axes - 1] if upsampling == "bilinear" else upsampling
        self.down = make.depthwise(channels, kernel_size, stride=2, bias=kernel_bias) if level else None
        self.convs = nn.ModuleList(make.depthwise(channels, kernel_size, bias=kernel_bias) for _ in range(level + 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *S) to (B, C, *S)."""
        maps = [x]
        for _ in self.convs[1:]:
            assert self.down is not None
            maps.append(self.down(maps[-1]))
        out = self.convs[0](maps.pop())
        for conv in self.convs[1:]:
            finer = maps.pop()
            out = conv(finer + F.interpolate(out, size=finer.shape[2:], mode=self.mode))
        return out


class RecConv(MapLayer):
    r"""`RecursiveConv`, small kernels on maps of falling resolution, and a 1x1 convolution.

    .. math:: y = W f(x) + b

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        kernel_size: k, side of every kernel, an odd number.
        level: l, the number of times that the map is halved; published: 4 on maps of a quarter of an image's side, and
            one less whenever the side halves.
        upsampling: how maps are brought to the size of the finer one: "bilinear", along each axis, or "nearest".
        kernel_bias: add a learned bias to every kernel.
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
        Zhao et al., "RecConv", arXiv 2412.19628.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 5,
        level: int = 2,
        upsampling: str = "bilinear",
        kernel_bias: bool = False,
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
        self.kernel_size, self.level, self.upsampling = kernel_size, level, upsampling
        self.kernel_bias, self.groups = kernel_bias, groups
        self.places = Places(Grid(window_size, stride, padding, dilation), self.spatial_dims)
        make = ConvMaker(self.spatial_dims, device, dtype, backend)
        self.operator = RecursiveConv(
            make, in_channels, kernel_size=kernel_size, level=level, upsampling=upsampling, kernel_bias=kernel_bias
        )
        self.pointwise = make.pointwise(in_channels, out_channels, groups=groups, bias=bias)

    def _forward(self, x: Tensor) -> Tensor:
        return like(x, self.pointwise(self.places.of(self.operator(x))))

    def last_convolution(self) -> Convolution:
        """Return the 1x1 convolution."""
        return self.pointwise

    def settings(self) -> Iterable[object]:
        """Return kernels, levels, geometry and groups."""
        yield written(kernel_size=self.kernel_size, level=self.level)
        yield unless_usual(upsampling=(self.upsampling, "bilinear"), kernel_bias=(self.kernel_bias, False))
        yield from (self.places, unless_usual(groups=(self.groups, 1)))


class RecConv1d(RecConv):
    """`RecConv` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1


class RecConv2d(RecConv):
    """`RecConv` on images: (B, C, H, W).

    Example:
        >>> RecConv2d(8, 16, level=2)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2


class RecConv3d(RecConv):
    """`RecConv` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3
