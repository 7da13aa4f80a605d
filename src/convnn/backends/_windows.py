"""The definition of convolutions on windows: they are PyTorch's.

Maps (B, C, *S) meet a kernel (C, 1, *K) for each channel, or any kernel (C_out, C / G, *K) for G groups of channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

CONVOLVE = (F.conv1d, F.conv2d, F.conv3d)
"""PyTorch's convolutions, by the number of axes of the map, from one."""


def depthwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """Return the sums (B, C, *S') of the windows of each channel, times its kernel; see `ops.windows`."""
    return CONVOLVE[len(stride) - 1](x, weight, bias, [*stride], [*padding], [*dilation], weight.shape[0])


def depthwise_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    needs: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None]:
    """Return the needed gradients of map and weight, from the gradient (B, C, *S') of the output."""
    geometry = [*stride], [*padding], [*dilation], False, [0] * len(stride)
    grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, *geometry, weight.shape[0], [*needs, False]
    )
    return grad_x, grad_weight


def sliding(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """Return a convolution (B, C_out, *S') with stride 1; see `ops.sliding`."""
    groups = x.shape[1] // weight.shape[1]
    return CONVOLVE[len(padding) - 1](x, weight, bias, 1, [*padding], [*dilation], groups)


def sliding_backward(
    grad: Tensor, x: Tensor, weight: Tensor, padding: Sequence[int], dilation: Sequence[int], needs: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the needed gradients of map and weight, from the gradient (B, C_out, *S') of the output."""
    axes, groups = len(padding), x.shape[1] // weight.shape[1]
    grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, [1] * axes, [*padding], [*dilation], False, [0] * axes, groups, [*needs, False]
    )
    return grad_x, grad_weight


def map_of(rows: Tensor) -> Tensor:
    """Return the map (B, C, *S) of contiguous rows (B, *S, C): the memory format in which convolutions are quickest."""
    return rows.movedim(-1, 1)


def rows_of(x: Tensor) -> Tensor:
    """Return contiguous rows (B, *S, C) of a map; a copy only if its memory has another order."""
    return x.movedim(1, -1).contiguous()


def window_counts(
    sides: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> list[int]:
    """Return how many windows there are along each axis."""
    axes = zip(sides, kernel, stride, padding, dilation, strict=True)
    return [(size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d in axes]
