r"""The algebra of kernels: what convolutions with and without batch normalisation are as taps around a middle.

A `Kernel` is a weight and a bias, in float64. Convolutions with the same stride and groups, whose zero padding is half
their extent, add up tap by tap:

.. math:: \sum_j \left( w_j * x + b_j \right) = \Big( \sum_j w_j \Big) * x + \sum_j b_j

with smaller kernels in the middle of the largest, and zeros between the taps of dilated ones. This holds at the border
of the map too, because all of them read the same zeros there.
"""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.nn._depthwise import DEPTHWISE
from convnn.nn.kernels.convolution import BatchNorm, ConvMaker, Convolution


class Kernel(NamedTuple):
    r"""A kernel without dilation.

    Attributes:
        weight: (C_out, C_in / groups, \*K), every side odd.
        bias: (C_out,).
    """

    weight: Tensor
    bias: Tensor

    @property
    def sides(self) -> torch.Size:
        """The sides K."""
        return self.weight.shape[2:]


def kernel_of(conv: Convolution) -> Kernel:
    """Return the kernel of a convolution, with zeros between the taps if it is dilated."""
    weight = conv.weight.detach().double()
    bias = weight.new_zeros(weight.shape[0]) if conv.bias is None else conv.bias.detach().double()
    return Kernel(spread(weight, conv.dilation), bias)


def spread(weight: Tensor, dilation: Sequence[int]) -> Tensor:
    """Put zeros between the taps of a weight (C_out, C_in, *K): side k becomes d (k - 1) + 1."""
    extents = [d * (k - 1) + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    out = weight.new_zeros(*weight.shape[:2], *extents)
    taps: Any = (slice(None), slice(None), *(slice(None, None, d) for d in dilation))
    out[taps] = weight
    return out


def centred(weight: Tensor, sides: Sequence[int]) -> Tensor:
    """Put a weight (C_out, C_in, *K) into the middle of one with larger sides, all of them odd."""
    margins = [(side - k) // 2 for side, k in zip(sides, weight.shape[2:], strict=True)]
    return F.pad(weight, [margin for margin in reversed(margins) for _ in range(2)])


def normalised(kernel: Kernel, norm: BatchNorm) -> Kernel:
    r"""Return a kernel with the batch normalisation after it, as it is in evaluation mode.

    .. math:: w' = t w, \qquad b' = \beta + t (b - \mu), \qquad t = \gamma / \sqrt{\sigma^2 + \varepsilon}
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        gain = norm.weight.detach().double()
        scale, shift = scale * gain, shift * gain + norm.bias.detach().double()
    weight = kernel.weight * scale.view(-1, *[1] * (kernel.weight.dim() - 1))
    return Kernel(weight, kernel.bias * scale + shift)


def added(kernels: Iterable[Kernel]) -> Kernel:
    """Return the sum of kernels, centred in the largest side along each axis."""
    kernels = list(kernels)
    sides = [max(of_axis) for of_axis in zip(*(kernel.sides for kernel in kernels), strict=True)]
    return Kernel(
        reduce(torch.add, (centred(kernel.weight, sides) for kernel in kernels)),
        reduce(torch.add, (kernel.bias for kernel in kernels)),
    )


def identity(kernel: Kernel) -> Kernel:
    """Return the kernel of the same shape that returns its input, for as many outputs as inputs."""
    weight = torch.zeros_like(kernel.weight)
    inputs, middle = weight.shape[1], tuple(side // 2 for side in kernel.sides)
    channels = torch.arange(weight.shape[0], device=weight.device)
    taps: Any = (channels, channels % inputs, *middle)
    weight[taps] = 1
    return Kernel(weight, torch.zeros_like(kernel.bias))


def as_convolution(kernel: Kernel, like: Convolution) -> Convolution:
    """Return a convolution with a kernel, and the stride, groups, data type and mode of another convolution."""
    backend = like.backend if isinstance(like, DEPTHWISE) else "auto"
    make = ConvMaker(len(kernel.sides), like.weight.device, like.weight.dtype, backend)
    channels, sides = (like.in_channels, like.out_channels), tuple(kernel.sides)
    conv = make.conv(*channels, sides, stride=like.stride, groups=like.groups)
    conv.weight, conv.bias = (nn.Parameter(part.to(like.weight.dtype)) for part in kernel)
    return conv.train(like.training)
