"""Convolutions with a kernel for each channel: PyTorch's, but computed by `ops.windows` where that is quicker."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.backends import cpu
from convnn.nn._field import like
from convnn.ops import windows
from convnn.ops._transforms import is_transformed

# Taps of the smallest kernels with which `ops.windows` is quicker: in training; in inference, on maps in
# `torch.channels_last` and on contiguous ones, of which it makes a copy.
_TAPS_IN_TRAINING, _TAPS_IN_ROWS, _TAPS_OF_CONTIGUOUS = 25, 100, 196
_ALWAYS_QUICKER = (torch.float64, torch.float16)  # oneDNN does not train, or not compute, in these types
_PLAIN: tuple[Any, ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
CONVOLVE = (F.conv1d, F.conv2d, F.conv3d)
"""PyTorch's convolutions, by the number of axes of the map, from one."""


def convolve_depthwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int] | int = 1,
    padding: Sequence[int] | int | str = 0,
    dilation: Sequence[int] | int = 1,
) -> Tensor:
    """Convolve every channel of (B, C, *S) or (C, *S) with its kernel (C, 1, *K), as PyTorch does.

    The arguments are those of `torch.nn.functional.conv2d`, and so is the memory format of the output.
    """
    axes = weight.dim() - 2
    steps, gaps = _of_each_axis(stride, axes), _of_each_axis(dilation, axes)
    margins = _margins(padding, weight, gaps)
    if margins is None or not _is_quicker(x, weight, bias):
        return CONVOLVE[axes - 1](x, weight, bias, steps, padding, gaps, weight.shape[0])
    maps = x if x.dim() == weight.dim() else x.unsqueeze(0)
    out = like(maps, windows.depthwise(maps, weight, bias, stride=steps, padding=margins, dilation=gaps))
    return out if x.dim() == weight.dim() else out.squeeze(0)


def _is_quicker(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Return whether the operator is quicker, and nothing stands against it.

    Exported networks should have PyTorch's convolutions, and bad input PyTorch's errors.
    """
    if x.device.type != "cpu" or weight.device.type != "cpu" or cpu.unavailable_reasons():
        return False
    is_traced = torch.jit.is_tracing()  # type: ignore[attr-defined]  # documented, but not marked as exported
    if is_traced or torch.compiler.is_exporting() or is_transformed():
        return False
    if x.dim() not in (weight.dim(), weight.dim() - 1) or x.shape[1 - weight.dim()] != weight.shape[0]:
        return False
    is_cast = torch.is_autocast_enabled("cpu")
    if not is_cast and not x.dtype == weight.dtype == (weight if bias is None else bias).dtype:
        return False
    dtype = torch.get_autocast_dtype("cpu") if is_cast else x.dtype
    trains = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    least = _TAPS_IN_TRAINING if trains else _TAPS_OF_CONTIGUOUS if x.is_contiguous() else _TAPS_IN_ROWS
    return dtype.is_floating_point and (dtype in _ALWAYS_QUICKER or prod(weight.shape[2:]) >= least)


def _of_each_axis(value: Sequence[int] | int, axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value)


def _margins(padding: Sequence[int] | int | str, weight: Tensor, dilation: Sequence[int]) -> tuple[int, ...] | None:
    """Return the zeros on both sides of each axis; None if there are more on one side."""
    if not isinstance(padding, str):
        return _of_each_axis(padding, weight.dim() - 2)
    if padding == "valid":
        return (0,) * len(dilation)
    both = [d * (side - 1) for side, d in zip(weight.shape[2:], dilation, strict=True)]
    return None if any(zeros % 2 for zeros in both) else tuple(zeros // 2 for zeros in both)


def _convolve(conv: "DepthwiseConvolution", x: Any, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute a convolution in place of the method of PyTorch's class, which computes it where `torch.fx` traces."""
    if not isinstance(x, Tensor):
        return _PLAIN[len(conv.kernel_size) - 1]._conv_forward(conv, x, weight, bias)
    if conv.padding_mode != "zeros":
        x = F.pad(x, conv._reversed_padding_repeated_twice, mode=conv.padding_mode)
    padding = conv.padding if conv.padding_mode == "zeros" else 0
    return convolve_depthwise(x, weight, bias, conv.stride, padding, conv.dilation)


class DepthwiseConv1d(nn.Conv1d):
    """`torch.nn.Conv1d` with as many groups as channels, which trains with the gradients of the compiled core."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _convolve(self, input, weight, bias)

    def _get_name(self) -> str:
        return super()._get_name().removeprefix("Depthwise")


class DepthwiseConv2d(nn.Conv2d):
    """`torch.nn.Conv2d` with as many groups as channels, which trains with the gradients of the compiled core.

    On the CPU, kernels of 25 taps and more, and all in float64, are computed by `convnn.ops.windows.depthwise`; the
    others, other devices and exported networks by PyTorch. Parameters, text and results are those of `torch.nn.Conv2d`.

    Example:
        >>> DepthwiseConv2d(8, 8, 13, padding=6, groups=8)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 8, 14, 14])
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _convolve(self, input, weight, bias)

    def _get_name(self) -> str:
        return super()._get_name().removeprefix("Depthwise")


class DepthwiseConv3d(nn.Conv3d):
    """`torch.nn.Conv3d` with as many groups as channels, which trains with the gradients of the compiled core."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _convolve(self, input, weight, bias)

    def _get_name(self) -> str:
        return super()._get_name().removeprefix("Depthwise")


DepthwiseConvolution = DepthwiseConv1d | DepthwiseConv2d | DepthwiseConv3d
DEPTHWISE = (DepthwiseConv1d, DepthwiseConv2d, DepthwiseConv3d)
"""By the number of axes of the map, from one."""
