"""Kernels of several sizes for every channel, each normalised and activated, then summed."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from math import gcd
from typing import ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_choice
from convnn.nn._field import like
from convnn.nn._grid import Grid, Sides
from convnn.nn._grouped import check_groups
from convnn.nn._layer import MapLayer
from convnn.nn._places import Places
from convnn.nn._settings import unless_usual, written
from convnn.nn.kernels.convolution import CONVOLUTIONS, ConvMaker, as_sizes
from convnn.nn.kernels.parallel import ConvNorm

KERNEL_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu6": nn.ReLU6,
    "relu": nn.ReLU,
    "leaky_relu": partial(nn.LeakyReLU, 0.2),
    "prelu": nn.PReLU,
    "gelu": nn.GELU,
    "hardswish": nn.Hardswish,
}


class MultiKernelConv(nn.Module):
    r"""Convolutions of several sizes with a kernel for each channel, each with normalisation and activation.

    .. math:: y = \sum_k o_k, \qquad o_k = \sigma(\operatorname{norm}_k(w_k * x))

    If they are not parallel, each reads the sum of x and the outputs before it. With add=False the outputs are
    concatenated. Because of the activations they do not become one kernel; `convnn.merge` takes in the normalisation.

    Args:
        make: creates the convolutions, for maps of some number of axes.
        channels: number of channels.
        kernel_sizes: sides of the kernels, odd numbers.
        stride: as in `torch.nn.Conv2d`, of all of them.
        activation: "relu6", "relu", "leaky_relu" (slope 0.2), "prelu", "gelu" or "hardswish".
        dw_parallel: whether all of them read x.
        add: sum the outputs.

    Shapes:
        input (B, C, \*S); output (B, C, \*S') or, concatenated, (B, C * number of kernels, \*S').

    Raises:
        InputError: an argument is out of range, or there is a stride and the convolutions are not parallel.
    """

    def __init__(
        self,
        make: ConvMaker,
        channels: int,
        kernel_sizes: Sequence[int] = (1, 3, 5),
        *,
        stride: Sides = 1,
        activation: str = "relu6",
        dw_parallel: bool = True,
        add: bool = True,
    ) -> None:
        super().__init__()
        check_choice("activation", activation, KERNEL_ACTIVATIONS)
        is_strided = stride not in (1, (1,) * make.axes)
        if is_strided and not dw_parallel:
            raise InputError(f"stride={stride} needs dw_parallel=True, since maps of two sizes cannot be summed")
        self.dw_parallel, self.add, active = dw_parallel, add, KERNEL_ACTIVATIONS[activation]
        self.branches = nn.ModuleList(
            nn.Sequential(ConvNorm(make, channels, channels, side, stride=stride, groups=channels), active())
            for side in kernel_sizes
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *S) to (B, C, *S'), or to (B, C * number of kernels, *S')."""
        outputs = []
        for branch in self.branches:
            outputs.append(branch(x))
            if not self.dw_parallel:
                x = x + outputs[-1]
        return reduce(torch.add, outputs) if self.add else torch.cat(outputs, dim=1)


class MultiKernelDW(MapLayer):
    r"""An inverted residual: 1x1 to more channels, `MultiKernelConv`, 1x1 to the output channels.

    .. math:: y = x' + \operatorname{norm}(W_2 \, s(f(\sigma(\operatorname{norm}(W_1 x)))))

    with a channel shuffle s, and x' = x or, if channels change, a 1x1 projection of it; with a stride x' = 0.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        kernel_sizes: sides of the kernels, odd numbers, as a sequence or as text such as "1,3,5".
        expansion_factor: ratio of the channels under the kernels to the input channels.
        activation: "relu6", "relu", "leaky_relu" (slope 0.2), "prelu", "gelu" or "hardswish".
        dw_parallel: whether all kernels read the same map; otherwise also the outputs of those before them.
        add: sum the outputs of the kernels; otherwise concatenate them.
        shortcut: add x'; needless in a network that has a shortcut around the layer.
        groups: number of blocks of channels that do not mix; if there are several, nothing is shuffled.
        stride, padding, window_size, dilation: those of the convolution that it replaces; it computes the middle of
            each window, on the map continued by zeros.
        bias: ignored; the normalisation at the end has a bias.
        backend: backend of the kernels of single channels: "auto" (the fastest), "cpu" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, \*S) or (C_in, \*S); output (B, C_out, \*S').

    Raises:
        InputError: an argument is out of range; in forward: there is a single value to train the normalisation on.

    Reference:
        MK-UNet, arXiv 2509.18493: MKDC and MKIR.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_sizes: Sequence[int] | str = "1,3,5",
        expansion_factor: float = 2.0,
        activation: str = "relu6",
        dw_parallel: bool = True,
        add: bool = True,
        shortcut: bool = True,
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
        check_choice("activation", activation, KERNEL_ACTIVATIONS)
        self.kernel_sizes = as_sizes("kernel_sizes", kernel_sizes)
        inner = groups * int(in_channels // groups * expansion_factor)
        if not inner > 0:
            raise InputError(f"expansion_factor={expansion_factor} leaves no channel of {in_channels // groups}")
        self.expansion_factor, self.has_shortcut, self.groups = expansion_factor, shortcut, groups
        self.places = Places(Grid(window_size, stride, padding, dilation), self.spatial_dims)
        make = ConvMaker(self.spatial_dims, device, dtype, backend)
        self.expand = ConvNorm(make, in_channels, inner, groups=groups)
        self.activation = KERNEL_ACTIVATIONS[activation]()
        self.operator = MultiKernelConv(
            make,
            inner,
            self.kernel_sizes,
            stride=self.places.stride,
            activation=activation,
            dw_parallel=dw_parallel,
            add=add,
        )
        outputs = 1 if add else len(self.kernel_sizes)
        # With groups, what the kernels make of a channel comes together, so that it stays in its block.
        self.shuffle = nn.ChannelShuffle(gcd(outputs * inner, out_channels) if groups == 1 else outputs)
        self.reduce = ConvNorm(make, outputs * inner, out_channels, groups=groups)
        self.project: nn.Module | None = None
        if shortcut and stride in (1, (1,) * self.spatial_dims):
            is_same = in_channels == out_channels
            of_both = in_channels, out_channels
            self.project = nn.Identity() if is_same else make.pointwise(*of_both, groups=groups, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights from a normal distribution of deviation 0.02, as published."""
        for part in self.modules():
            if isinstance(part, CONVOLUTIONS):
                nn.init.normal_(part.weight, std=0.02)

    def _forward(self, x: Tensor) -> Tensor:
        computed = self.places.left_of(self.operator(self.activation(self.expand(x))))
        out = self.reduce(self.shuffle(computed))
        return like(x, out if self.project is None else out + self.project(self.places.of(x)))

    def settings(self) -> Iterable[object]:
        """Return sizes, expansion and form, geometry and groups."""
        yield written(kernel_sizes=self.kernel_sizes)
        form = {"dw_parallel": (self.operator.dw_parallel, True), "add": (self.operator.add, True)}
        yield unless_usual(expansion_factor=(self.expansion_factor, 2.0), **form, shortcut=(self.has_shortcut, True))
        yield from (self.places, unless_usual(groups=(self.groups, 1)))


class MultiKernelDW1d(MultiKernelDW):
    """`MultiKernelDW` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1


class MultiKernelDW2d(MultiKernelDW):
    """`MultiKernelDW` on images: (B, C, H, W).

    Example:
        >>> MultiKernelDW2d(8, 16, kernel_sizes=(1, 3, 5))(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2


class MultiKernelDW3d(MultiKernelDW):
    """`MultiKernelDW` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3
