"""A kernel as large as the map, which is attention with fixed weights that depend on the offset alone."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_odd
from convnn.nn._depthwise import convolve_depthwise
from convnn.nn._grid import Sides, each_side
from convnn.nn._reset import reset_as_conv
from convnn.nn.kernels.convolution import ConvMaker


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
        self.channels, self.backend = channels, make.backend
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias as a `torch.nn.Conv2d` with a kernel for each channel does."""
        reset_as_conv(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *S) to (B, C, *S)."""
        weight = self.weight.repeat_interleave(self.channels // self.weight.shape[0], dim=0)
        return convolve_depthwise(x, weight, self.bias, padding="same", backend=self.backend)

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
