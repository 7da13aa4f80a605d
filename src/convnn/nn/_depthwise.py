"""Convolutions with a kernel for each channel: PyTorch's, but computed by the core where that is quicker."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from convnn.ops._convolve import convolve

_PLAIN: tuple[Any, ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def convolve_depthwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int] | int = 1,
    padding: Sequence[int] | int | str = 0,
    dilation: Sequence[int] | int = 1,
    backend: str = "auto",
) -> Tensor:
    """Convolve every channel of (B, C, *S) or (C, *S) with its kernel (C, 1, *K), as PyTorch does.

    The arguments are those of `torch.nn.functional.conv2d`, and so is the memory format of the output.
    """
    return convolve(x, weight, bias, stride, padding, dilation, weight.shape[0], backend)


def _convolve(conv: "DepthwiseConvolution", x: Any, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute a convolution in place of the method of PyTorch's class, which computes it where `torch.fx` traces."""
    if not isinstance(x, Tensor):
        return _PLAIN[len(conv.kernel_size) - 1]._conv_forward(conv, x, weight, bias)
    if conv.padding_mode != "zeros":
        x = F.pad(x, conv._reversed_padding_repeated_twice, mode=conv.padding_mode)
    padding = conv.padding if conv.padding_mode == "zeros" else 0
    return convolve_depthwise(x, weight, bias, conv.stride, padding, conv.dilation, conv.backend)


class DepthwiseConv1d(nn.Conv1d):
    """`torch.nn.Conv1d` with as many groups as channels, which trains with the gradients of the compiled core."""

    backend: str = "auto"

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _convolve(self, input, weight, bias)

    def _get_name(self) -> str:
        return super()._get_name().removeprefix("Depthwise")


class DepthwiseConv2d(nn.Conv2d):
    """`torch.nn.Conv2d` with as many groups as channels, which trains with the gradients of the compiled core.

    On the CPU, kernels of 25 taps and more, those of fewer than 16 channels, and all in float64, are computed by
    `convnn.ops.sliding_conv`; the others, other devices and exported networks by PyTorch. Parameters, text and results
    are those of `torch.nn.Conv2d`.

    Example:
        >>> import torch
        >>> DepthwiseConv2d(8, 8, 13, padding=6, groups=8)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 8, 14, 14])
    """

    backend: str = "auto"

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _convolve(self, input, weight, bias)

    def _get_name(self) -> str:
        return super()._get_name().removeprefix("Depthwise")


class DepthwiseConv3d(nn.Conv3d):
    """`torch.nn.Conv3d` with as many groups as channels, which trains with the gradients of the compiled core."""

    backend: str = "auto"

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _convolve(self, input, weight, bias)

    def _get_name(self) -> str:
        return super()._get_name().removeprefix("Depthwise")


DepthwiseConvolution = DepthwiseConv1d | DepthwiseConv2d | DepthwiseConv3d
DEPTHWISE = (DepthwiseConv1d, DepthwiseConv2d, DepthwiseConv3d)
"""By the number of axes of the map, from one."""
