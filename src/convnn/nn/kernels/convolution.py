"""Convolutions that keep the size of a map, by its number of axes: the one place that creates them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convnn.backends._windows import CONVOLVE
from convnn.errors import InputError, check_at_least, check_odd
from convnn.nn._depthwise import DEPTHWISE
from convnn.nn._grid import Grid, Sides, each_side
from convnn.ops import check_backend

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
"""By the number of axes of the map, from one."""


@dataclass(frozen=True)
class ConvMaker:
    """Creates the convolutions of a layer: for maps of so many axes, on a device, of a data type.

    All of them have a middle, and zero padding of half their extent: they compute every position of the map, and with a
    stride s the positions 0, s, 2 s, ... along each axis.

    Attributes:
        axes: number of axes of the maps, 1 to 3.
        device: device of the weights.
        dtype: data type of the weights.
        backend: backend that computes those with a kernel for each channel, as in `ops.sliding_conv`.
    """

    axes: int
    device: torch.device | str | None = None
    dtype: torch.dtype | None = None
    backend: str = "auto"

    def __post_init__(self) -> None:
        check_backend(self.backend)

    def conv(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sides,
        *,
        stride: Sides = 1,
        dilation: Sides = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> Convolution:
        """Create a convolution.

        Raises:
            InputError: a side of the kernel is even.
        """
        sides, apart = each_side("kernel_size", kernel_size, self.axes), each_side("dilation", dilation, self.axes)
        for side in sides:
            check_odd("kernel_size", side)
        geometry: dict[str, Any] = {
            "kernel_size": sides,
            "stride": each_side("stride", stride, self.axes),
            "padding": tuple(d * (k // 2) for k, d in zip(sides, apart, strict=True)),
            "dilation": apart,
            "groups": groups,
        }
        is_depthwise = groups == in_channels == out_channels
        kind = (DEPTHWISE if is_depthwise else CONVOLUTIONS)[self.axes - 1]
        conv = kind(in_channels, out_channels, **geometry, bias=bias, device=self.device, dtype=self.dtype)
        if isinstance(conv, DEPTHWISE):
            conv.backend = self.backend
        return conv

    def depthwise(
        self, channels: int, kernel_size: Sides, *, stride: Sides = 1, dilation: Sides = 1, bias: bool = True
    ) -> Convolution:
        """Create a convolution with one kernel for each channel.

        Raises:
            InputError: a side of the kernel is even.
        """
        of_each: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": channels}
        return self.conv(channels, channels, kernel_size, **of_each, bias=bias)

    def pointwise(self, in_channels: int, out_channels: int, *, groups: int = 1, bias: bool = True) -> Convolution:
        """Create a convolution of single positions."""
        return self.conv(in_channels, out_channels, 1, groups=groups, bias=bias)

    def norm(self, channels: int) -> BatchNorm:
        """Create batch normalisation."""
        return BATCH_NORMS[self.axes - 1](channels, device=self.device, dtype=self.dtype)


def convolve_on(grid: Grid, maps: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """Convolve maps (B, C, *S), continued as a grid says, at its windows.

    Raises:
        InputError: a window does not fit in the map, or the map cannot be continued that far.
    """
    size = maps.shape[2:]
    grid.check(size, "kernel_size")
    axes = grid.axes(size)
    geometry: dict[str, Any] = {"stride": grid.stride, "dilation": grid.dilation, "groups": groups}
    if grid.padding_mode == "zeros" and all(axis.before == axis.after for axis in axes):
        geometry["padding"] = [axis.before for axis in axes]  # added by the convolution itself, without a copy
    else:
        maps = grid.pad(maps)
    return CONVOLVE[len(size) - 1](maps, weight, bias, **geometry)


def check_can_normalise(norm: nn.Module, x: Tensor) -> None:
    """Refuse a map (B, C, *S) with a single value for each channel, which has no variance, in training mode.

    Raises:
        InputError: there is one image of one position.
    """
    if norm.training and x.shape[0] == 1 and x.shape[2:].numel() == 1:
        raise InputError(
            f"input of {tuple(x.shape)} has one value for each channel, which batch normalisation cannot train on;"
            " give at least two images, or call eval()"
        )


def reset_by_fan_out(*convolutions: nn.Module) -> None:
    """Draw weights from a normal distribution of variance 2 / fan-out, the kernel's places times outputs per group."""
    for conv in convolutions:
        assert isinstance(conv, CONVOLUTIONS)
        fan_out = conv.weight[:, 0].numel() // conv.groups
        nn.init.normal_(conv.weight, std=(2 / fan_out) ** 0.5)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)


def as_sizes(name: str, value: Sequence[int] | str) -> tuple[int, ...]:
    """Return sides of kernels from a sequence, or from text such as "1,3,5", as a flag has them.

    Raises:
        InputError: there is none, or one is not an odd number; the message names the setting.
    """
    try:
        sizes = tuple(int(one) for one in value.split(",")) if isinstance(value, str) else tuple(value)
    except (TypeError, ValueError):
        raise InputError(f"{name}={value!r} must be sides of kernels, such as 1,3,5") from None
    if not sizes:
        raise InputError(f"{name}={value!r} must have at least one side of a kernel, such as 1,3,5")
    for size in sizes:
        check_odd(name, size)
    return sizes


def same_convolution(
    kind: type[Convolution],
    in_channels: int,
    out_channels: int,
    *,
    kernel_size: int = 3,
    depthwise: bool = False,
    bias: bool = True,
) -> Convolution:
    """Create a convolution that keeps the size of the map.

    Networks say whether each channel has its own kernel, and whether there is a bias.
    """
    check_at_least("kernel_size", kernel_size, 1)
    groups = in_channels if depthwise else 1
    return kind(in_channels, out_channels, kernel_size, padding="same", groups=groups, bias=bias)
