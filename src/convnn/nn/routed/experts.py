"""CondConv: a kernel for every sample, mixed of those of several experts."""

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import check_at_least
from convnn.nn._field import like
from convnn.nn._grid import Grid, Sides, check_sides, each_side
from convnn.nn._grouped import check_groups
from convnn.nn._layer import MapLayer
from convnn.nn._reset import reset_as_conv
from convnn.nn._settings import unless_usual, written
from convnn.nn.kernels.per_sample import mixture


class CondConv(MapLayer):
    r"""A convolution whose kernel is a mixture of those of several experts, chosen by the sample.

    .. math:: y_b = \Big( \sum_e r_{be} W_e \Big) * x_b + \sum_e r_{be} c_e, \qquad
        r_b = \sigma \Big( A \, \frac{1}{|S|} \sum_i x_{bi} + a \Big)

    with a share :math:`r_{be}` between 0 and 1 for each expert, which need not add up to 1.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        kernel_size: side of the window; a number, or one for each axis, as the next three.
        experts: number of kernels that are mixed.
        stride, padding, dilation: as in `torch.nn.Conv2d`; with "same" and stride s there is a window for every s
            positions.
        groups: number of blocks of channels that do not mix.
        padding_mode: values in the padding: "zeros", "reflect", "replicate" or "circular".
        bias: every expert has a bias, too.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, \*S) or (C_in, \*S); output (B, C_out, \*S'); weight W (experts, C_out, C_in / groups, \*k).

    Raises:
        InputError: an argument is out of range; in forward: the window does not fit the map.

    Reference:
        Yang et al., "CondConv: Conditionally Parameterized Convolutions for Efficient Inference", arXiv 1904.04971,
        equations 1 and 2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: Sides = 3,
        experts: int = 4,
        stride: Sides = 1,
        padding: Sides | str = "same",
        dilation: Sides = 1,
        groups: int = 1,
        padding_mode: str = "zeros",
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels)
        check_sides("kernel_size", kernel_size, 1)
        check_at_least("experts", experts, 1)
        check_groups(groups, in_channels, out_channels)
        self.grid = Grid(kernel_size, stride, padding, dilation, padding_mode)
        self.groups, self.experts = groups, experts
        sides = each_side("kernel_size", kernel_size, self.spatial_dims)
        shape = (experts, out_channels, in_channels // groups, *sides)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(shape[:2], device=device, dtype=dtype)) if bias else None
        self.routing = nn.Linear(in_channels, experts, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the kernel and bias of each expert as `torch.nn.Conv2d` does, and the routing as `torch.nn.Linear`."""
        for expert in range(self.experts):
            reset_as_conv(self.weight[expert], None if self.bias is None else self.bias[expert])
        self.routing.reset_parameters()

    def shares(self, x: Tensor) -> Tensor:
        r"""Return the share of each expert in the kernel of each map of x (B, C_in, \*S), (B, experts)."""
        return self.routing(x.flatten(2).mean(2)).sigmoid()

    def _forward(self, x: Tensor) -> Tensor:
        return like(x, mixture(x, self.shares(x), self.weight, self.bias, grid=self.grid))

    @torch.no_grad()
    def take_kernel(self, weight: Tensor, bias: Tensor | None) -> None:
        """Compute the convolution with this weight and bias from now on, in place.

        The routing starts with equal shares of a half. The experts differ, as they must to be told apart: by the
        deviations of newly drawn ones from their mean.
        """
        self.reset_parameters()
        nn.init.zeros_(self.routing.weight)
        nn.init.zeros_(self.routing.bias)
        whole = 2 / self.experts
        self.weight.add_(whole * weight - self.weight.mean(0))
        if self.bias is not None and bias is not None:
            self.bias.copy_((whole * bias).expand_as(self.bias))

    def settings(self) -> Iterable[object]:
        """Return window, experts, geometry and groups."""
        sides = self.grid.window_size
        yield written(kernel_size=sides, experts=self.experts)
        yield from (self.grid.changed_from(Grid(sides, padding="same")), unless_usual(groups=(self.groups, 1)))


class CondConv1d(CondConv):
    """`CondConv` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1


class CondConv2d(CondConv):
    """`CondConv` on images: (B, C, H, W).

    Example:
        >>> CondConv2d(8, 16, experts=4)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2


class CondConv3d(CondConv):
    """`CondConv` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3
