"""One large kernel for every channel, trained with smaller ones beside it, which it takes in at inference."""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

from convnn.errors import InputError, check_odd
from convnn.nn._field import like
from convnn.nn._grid import Grid, Sides
from convnn.nn._grouped import check_groups
from convnn.nn._layer import MapLayer
from convnn.nn._places import Places
from convnn.nn._settings import unless_usual, written
from convnn.nn.kernels.convolution import ConvMaker, Convolution
from convnn.nn.kernels.parallel import ParallelConv

DILATED = {
    5: ((3, 1), (3, 2)),
    7: ((5, 1), (3, 2), (3, 3)),
    9: ((5, 1), (5, 2), (3, 3), (3, 4)),
    11: ((5, 1), (5, 2), (3, 3), (3, 4), (3, 5)),
    13: ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5)),
    15: ((5, 1), (7, 2), (3, 3), (3, 5), (3, 7)),
    17: ((5, 1), (9, 2), (3, 4), (3, 5), (3, 7)),
}
"""Sides and dilations of the small kernels beside a kernel of each side, as published."""


class RepLK(MapLayer):
    r"""A large kernel for every channel and a small one beside it, each normalised; then a 1x1 convolution.

    .. math:: y = W \left( \operatorname{norm}_1(w_1 * x) + \operatorname{norm}_2(w_2 * x) \right) + b

    `convnn.merge` makes one kernel of both.

    Args:
        in_channels: number of input channels, each with its own kernels.
        out_channels: number of output channels.
        kernel_size: side of the large kernel, an odd number; it may be larger than the map.
        small_kernel: side of the small one, an odd number; 0: there is none.
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
        InputError: an argument is out of range, or the small kernel is larger than the large one.

    Reference:
        Ding et al., "Scaling Up Your Kernels to 31x31", arXiv 2203.06717, section 3.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 31,
        small_kernel: int = 5,
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
        check_odd("kernel_size", kernel_size)
        if small_kernel != 0:
            check_odd("small_kernel", small_kernel)
            if small_kernel > kernel_size:
                raise InputError(f"small_kernel={small_kernel} must be at most kernel_size={kernel_size}, or 0")
        self.kernel_size, self.small_kernel, self.groups = kernel_size, small_kernel, groups
        self.places = Places(Grid(window_size, stride, padding, dilation), self.spatial_dims)
        make = ConvMaker(self.spatial_dims, device, dtype, backend)
        branches = [(side, 1) for side in (kernel_size, small_kernel) if side]
        own_kernels: dict[str, Any] = {"stride": self.places.stride, "groups": in_channels}
        self.operator = ParallelConv(make, in_channels, in_channels, branches, **own_kernels)
        self.pointwise = make.pointwise(in_channels, out_channels, groups=groups, bias=bias)

    def _forward(self, x: Tensor) -> Tensor:
        return like(x, self.pointwise(self.places.left_of(self.operator(x))))

    def last_convolution(self) -> Convolution:
        """Return the 1x1 convolution."""
        return self.pointwise

    def settings(self) -> Iterable[object]:
        """Return both sides, geometry and groups."""
        yield written(kernel_size=self.kernel_size, small_kernel=self.small_kernel)
        yield from (self.places, unless_usual(groups=(self.groups, 1)))


class RepLK1d(RepLK):
    """`RepLK` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1


class RepLK2d(RepLK):
    """`RepLK` on images: (B, C, H, W).

    Example:
        >>> RepLK2d(8, 16, kernel_size=31)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2


class RepLK3d(RepLK):
    """`RepLK` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3


class UniRepLK(MapLayer):
    r"""A large kernel for every channel and dilated small ones beside it, each normalised; then a 1x1 convolution.

    .. math:: y = W \sum_j \operatorname{norm}_j (w_j *_{d_j} x) + b

    with the dilations :math:`d_j` of the table `DILATED`. `convnn.merge` makes one kernel of them.

    Args:
        in_channels: number of input channels, each with its own kernels.
        out_channels: number of output channels.
        kernel_size: side of the large kernel: 5, 7, 9, 11, 13, 15 or 17; it may be larger than the map.
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
        InputError: an argument is out of range, or no branches are known for the kernel.

    Reference:
        Ding et al., "UniRepLKNet", arXiv 2311.15599, section 3.1 and equation 1; arXiv 2410.08049.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 13,
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
        branches = with_dilated(kernel_size)
        own_kernels: dict[str, Any] = {"stride": self.places.stride, "groups": in_channels}
        self.operator = ParallelConv(make, in_channels, in_channels, branches, **own_kernels)
        self.pointwise = make.pointwise(in_channels, out_channels, groups=groups, bias=bias)

    def _forward(self, x: Tensor) -> Tensor:
        return like(x, self.pointwise(self.places.left_of(self.operator(x))))

    def last_convolution(self) -> Convolution:
        """Return the 1x1 convolution."""
        return self.pointwise

    def settings(self) -> Iterable[object]:
        """Return the side, geometry and groups."""
        return written(kernel_size=self.kernel_size), self.places, unless_usual(groups=(self.groups, 1))


def with_dilated(kernel_size: int) -> list[tuple[int, int]]:
    """Return sides and dilations of a large kernel and of the small ones beside it.

    Raises:
        InputError: none are known for a kernel of this side.
    """
    if kernel_size not in DILATED:
        raise InputError(f"kernel_size={kernel_size} has no branches; choose from {', '.join(map(str, DILATED))}")
    return [(kernel_size, 1), *DILATED[kernel_size]]


class UniRepLK1d(UniRepLK):
    """`UniRepLK` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1


class UniRepLK2d(UniRepLK):
    """`UniRepLK` on images: (B, C, H, W).

    Example:
        >>> UniRepLK2d(8, 16)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2


class UniRepLK3d(UniRepLK):
    """`UniRepLK` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3
