"""Parallel convolutions that are trained apart and become one kernel at inference."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from convnn.errors import InputError
from convnn.nn._grid import Sides
from convnn.nn.kernels.convolution import ConvMaker, Convolution, check_can_normalise
from convnn.nn.kernels.merging import Mergeable
from convnn.nn.kernels.taps import Kernel, added, as_convolution, identity, kernel_of, normalised


class ConvNorm(Mergeable):
    r"""A convolution without bias, and batch normalisation: :math:`\operatorname{norm}(w * x)`.

    It merges into one convolution with bias.

    Args:
        make: creates both, for maps of some number of axes.
        in_channels, out_channels, kernel_size, stride, dilation, groups: those of the convolution.

    Raises:
        InputError: a side of the kernel is even; in forward: there is a single value to train the normalisation on.
    """

    def __init__(
        self,
        make: ConvMaker,
        in_channels: int,
        out_channels: int,
        kernel_size: Sides = 1,
        *,
        stride: Sides = 1,
        dilation: Sides = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        of_all: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": groups}
        self.conv = make.conv(in_channels, out_channels, kernel_size, **of_all, bias=False)
        self.norm = make.norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, *S) to (B, C_out, *S')."""
        x = self.conv(x)
        check_can_normalise(self.norm, x)
        return self.norm(x)

    def kernel(self) -> Kernel:
        """Return the kernel of both in evaluation mode."""
        return normalised(kernel_of(self.conv), self.norm)

    def merge(self) -> Convolution:
        """Return the convolution with that kernel."""
        return as_convolution(self.kernel(), self.conv)


class ParallelConv(Mergeable):
    r"""The sum of convolutions, each with its own batch normalisation.

    .. math:: y = \sum_j \operatorname{norm}_j (w_j * x)

    It merges into one convolution with bias.

    Args:
        make: creates them, for maps of some number of axes.
        in_channels: number of input channels.
        out_channels: number of output channels.
        branches: sides and dilation of each convolution; the first one reaches farthest.
        stride: as in `torch.nn.Conv2d`, of all of them.
        groups: as in `torch.nn.Conv2d`, of all of them.

    Shapes:
        input (B, C_in, \*S); output (B, C_out, \*S'), S' = S for stride 1, and S / stride rounded up for others.

    Raises:
        InputError: a side is even, or a convolution reaches farther than the first.

    Reference:
        Structural re-parameterisation: Ding et al., arXiv 2203.06717, section 3.2; dilated branches: arXiv 2311.15599,
        equation 1.
    """

    def __init__(
        self,
        make: ConvMaker,
        in_channels: int,
        out_channels: int,
        branches: Sequence[tuple[int, int]],
        *,
        stride: Sides = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        (largest, first), *others = branches
        for side, apart in others:
            if apart * (side - 1) > first * (largest - 1):
                raise InputError(
                    f"a branch of side {side} with dilation {apart} reaches farther than kernel_size={largest}, with"
                    " which it is merged; choose a larger kernel_size, or a smaller branch"
                )
        self.branches = nn.ModuleList(
            ConvNorm(make, in_channels, out_channels, side, stride=stride, dilation=apart, groups=groups)
            for side, apart in branches
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, *S) to (B, C_out, *S')."""
        first, *others = self.branches
        out = first(x)
        for branch in others:
            out = out + branch(x)
        return out

    def kernel(self) -> Kernel:
        """Return the kernel of the sum in evaluation mode."""
        return added(branch.kernel() for branch in self._branches())

    def merge(self) -> Convolution:
        """Return the convolution with that kernel."""
        return as_convolution(self.kernel(), self._branches()[0].conv)

    def _branches(self) -> list[ConvNorm]:
        return [branch for branch in self.branches if isinstance(branch, ConvNorm)]


class ResidualConv(Mergeable):
    r"""A convolution that is added to its input, :math:`x + w * x + b`.

    It merges into one convolution, with one added to the middle of every kernel.

    Args:
        conv: the convolution, with as many output as input channels.
    """

    def __init__(self, conv: Convolution) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *S) to (B, C, *S)."""
        return x + self.conv(x)

    def merge(self) -> Convolution:
        """Return the convolution with the sum of both kernels."""
        kernel = kernel_of(self.conv)
        return as_convolution(added([kernel, identity(kernel)]), self.conv)
