"""Convolutions over a matrix group: a map is lifted to it, convolved on it, and projected back."""

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_choice
from convnn.nn._field import like
from convnn.nn._grid import Grid, Sides, check_sides, each_side
from convnn.nn._grouped import check_groups
from convnn.nn._layer import MapLayer
from convnn.nn._settings import unless_usual, written
from convnn.nn.kernels.convolution import convolve_on
from convnn.nn.lie_groups.decomposition import GROUPS, Samples, check_group, coordinates, determinant, draw

GROUP_POOLS = ("max", "mean")


class SineKernel(nn.Module):
    r"""A kernel as a function of coordinates: layers :math:`\sin(w_0 (W u + b))`, and a linear one.

    Args:
        in_features: number of coordinates.
        out_features: number of values.
        hidden: width of the layers.
        num_hidden: their number less one.
        w0: w_0.
        fan: number of inputs over which a convolution sums the values; their initial deviation is its root's inverse.
        device: device of the weights.
        dtype: data type of the weights.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        hidden: int,
        num_hidden: int,
        w0: float,
        fan: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_at_least("kernel_hidden", hidden, 1)
        check_at_least("num_hidden", num_hidden, 0)
        self.w0, self.fan = w0, fan
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        widths = [in_features, *[hidden] * (num_hidden + 1)]
        self.layers = nn.ModuleList(nn.Linear(a, b, **where) for a, b in pairwise(widths))
        self.last = nn.Linear(hidden, out_features, **where)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw uniform weights: of 1 / in for the first layer, sqrt(6 / in) / w_0 for others; the last bias is 0."""
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            bound = 1 / layer.in_features if i == 0 else math.sqrt(6 / layer.in_features) / self.w0
            nn.init.uniform_(layer.weight, -bound, bound)
        bound = math.sqrt(6 / self.last.in_features / self.fan)
        nn.init.uniform_(self.last.weight, -bound, bound)
        nn.init.zeros_(self.last.bias)

    def forward(self, u: Tensor) -> Tensor:
        """Map coordinates (..., in_features) to values (..., out_features)."""
        for layer in self.layers:
            u = torch.sin(self.w0 * layer(u))
        return self.last(u)


class GroupConv(nn.Module):
    """What lifting and group convolution share: the kernel function, its window, and the bias.

    Args:
        in_channels: number of input channels C.
        out_channels: number of output channels O.
        group: "gl2", the linear maps that keep the orientation, or "sl2", those that keep areas.
        kernel_size: side of the window on which the kernel function is evaluated.
        metric_alpha: scale of the metric of the group.
        kernel_hidden, num_hidden, w0: width, number less one, and frequency of the layers of the kernel function.
        centered: angles in (-pi, pi], smooth at the identity; otherwise in [0, 2 pi), as published.
        stride, padding, dilation, padding_mode: as in `torch.nn.Conv2d`.
        groups: number of blocks of channels that do not mix.
        bias: add a learned bias.
        device: device of the weights.
        dtype: data type of the weights.

    Raises:
        InputError: an argument is out of range.
    """

    on_group: ClassVar[bool]
    points: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        group: str = "sl2",
        kernel_size: Sides = 5,
        metric_alpha: float = 1.0,
        kernel_hidden: int = 60,
        num_hidden: int = 1,
        w0: float = 10.0,
        centered: bool = True,
        stride: Sides = 1,
        padding: Sides | str = 0,
        dilation: Sides = 1,
        groups: int = 1,
        padding_mode: str = "zeros",
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_group(group, metric_alpha)
        check_sides("kernel_size", kernel_size, 1)
        check_groups(groups, in_channels, out_channels)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.group, self.metric_alpha, self.centered = group, metric_alpha, centered
        self.grid = Grid(kernel_size, stride, padding, dilation, padding_mode)
        sides = each_side("kernel_size", kernel_size, 2)
        inputs = in_channels // groups
        of_group = {"gl2": 4, "sl2": 3}[group] if self.on_group else 0
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.kernel = SineKernel(
            2 + of_group,
            out_channels * inputs,
            hidden=kernel_hidden,
            num_hidden=num_hidden,
            w0=w0,
            fan=inputs * sides[0] * sides[1],
            **where,
        )
        self.bias = nn.Parameter(torch.zeros(out_channels, **where)) if bias else None
        centers = [(2 * torch.arange(side, dtype=torch.double) + 1) / side - 1 for side in sides]
        points = torch.stack(torch.meshgrid(*centers, indexing="ij")[::-1], dim=-1)  # x first
        self.register_buffer("points", points.to(self.kernel.last.weight.device, dtype or torch.get_default_dtype()))

    def _masked(self, u: Tensor, place: Tensor) -> Tensor:
        """Return the kernel at coordinates u (..., D), fading or ending one unit away from the identity."""
        values = self.kernel(u)
        if self.group == "sl2":
            return values * (torch.linalg.vector_norm(place, dim=-1) <= 1).to(u.dtype).unsqueeze(-1)
        return values * torch.sigmoid(2 * (1 - torch.linalg.vector_norm(u, dim=-1))).unsqueeze(-1)

    def _places(self, inverse: Tensor) -> Tensor:
        """Return the points of the window moved by the inverses (N, 2, 2), (N, k, k, 2)."""
        return torch.einsum("nij,yxj->nyxi", inverse, self.points)

    def extra_repr(self) -> str:
        """Return channels, group, window and geometry."""
        sides = self.grid.window_size
        parts = [f"{self.in_channels}, {self.out_channels}", written(group=self.group, kernel_size=sides)]
        parts += [self.grid.changed_from(Grid(sides, padding=0)), unless_usual(groups=(self.groups, 1))]
        return ", ".join(filter(None, parts))


class LiftConv2d(GroupConv):
    r"""Lift a map to functions on a group: a convolution with the kernel moved by every element.

    .. math:: y_o(x, h) = \sum_c \sum_{x'} k_{oc}\big(h^{-1} (x' - x)\big) \, m \, f_c(x') + b_o

    The kernel is a function of continuous coordinates. m is 1 within a distance of 1 and 0 beyond for "sl2"; for "gl2"
    it is :math:`|\det h^{-1}|` times a sigmoid that falls with the distance.

    Shapes:
        input (B, C, H, W); output (B, O, N, H', W') for N elements.

    Reference:
        Mironenco and Forré, "Lie Group Decompositions for Equivariant Neural Networks", arXiv 2310.11366.
    """

    on_group = False

    def weight(self, samples: Samples) -> Tensor:
        """Return the kernels (O, N, C / groups, k, k) for the elements."""
        places = self._places(samples.inverse)
        values = self._masked(places, places)
        if self.group == "gl2":
            values = values * determinant(samples.inverse).abs().view(-1, 1, 1, 1)
        return values.unflatten(-1, (self.out_channels, -1)).permute(3, 0, 4, 1, 2)

    def forward(self, x: Tensor, samples: Samples) -> Tensor:
        """Map (B, C, H, W) to (B, O, N, H', W').

        Raises:
            InputError: the input has other channels or axes.
        """
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise InputError(f"input of shape {tuple(x.shape)} must be (B, {self.in_channels}, H, W)")
        weight = self.weight(samples)
        bias = None if self.bias is None else self.bias.repeat_interleave(weight.shape[1])
        out = convolve_on(self.grid, x, weight.flatten(0, 1), bias, self.groups)
        return out.unflatten(1, (self.out_channels, -1))


class GroupConv2d(GroupConv):
    r"""Convolve functions on a group, sampled at elements h', to samples at elements h.

    .. math:: y_o(x, h) = \sum_c \sum_{h'} \sum_{x'} k_{oc}\big(h^{-1} (x' - x),\, \xi^{-1}(h^{-1} h')\big) \, m \,
        f_c(x', h') + b_o

    with the coordinates :math:`\xi^{-1}` of `decomposition.coordinates`. m is as in `LiftConv2d` for "sl2"; for "gl2"
    it is :math:`1 / |\det h'|` times a sigmoid that falls with the length of all coordinates. There are no further
    weights: samples are a proposal under which the kernel is learned. The elements h are those of the next layer's h'.

    Shapes:
        input (B, C, N', H, W) for N' elements h'; output (B, O, N, H', W').

    Reference:
        As of `LiftConv2d`.
    """

    on_group = True

    def weight(self, samples: Samples, inputs: Samples) -> Tensor:
        """Return the kernels (O, N, C / groups, N', k, k) for elements h of the output and h' of the input."""
        place = self._places(samples.inverse)
        between = samples.inverse.unsqueeze(1) @ inputs.g
        xi = coordinates(between, self.group, self.metric_alpha, centered=self.centered)
        shape = (*between.shape[:2], *place.shape[1:3])
        u = torch.cat([place.unsqueeze(1).expand(*shape, 2), xi[:, :, None, None].expand(*shape, xi.shape[-1])], dim=-1)
        values = self._masked(u, u[..., :2])
        if self.group == "gl2":
            values = values / determinant(inputs.g).abs().view(-1, 1, 1, 1)
        return values.unflatten(-1, (self.out_channels, -1)).permute(4, 0, 5, 1, 2, 3)

    def forward(self, x: Tensor, samples: Samples, inputs: Samples) -> Tensor:
        """Map (B, C, N', H, W) to (B, O, N, H', W').

        Raises:
            InputError: the input has other channels or axes, or is sampled at another number of elements.
        """
        number = inputs.g.shape[0]
        if x.dim() != 5 or x.shape[1] != self.in_channels or x.shape[2] != number:
            raise InputError(f"input of shape {tuple(x.shape)} must be (B, {self.in_channels}, {number}, H, W)")
        weight = self.weight(samples, inputs)
        bias = None if self.bias is None else self.bias.repeat_interleave(weight.shape[1])
        out = convolve_on(self.grid, x.flatten(1, 2), weight.flatten(2, 3).flatten(0, 1), bias, self.groups)
        return out.unflatten(1, (self.out_channels, -1))


class LieConv2d(MapLayer):
    r"""A convolution whose output is the largest, or the mean, over a kernel moved by elements of a group.

    .. math:: y_o(x) = \max_h \Big( \sum_c \sum_{x'} k_{oc}\big(h^{-1} (x' - x)\big) \, m \, f_c(x') + b_o \Big)

    Approximately, a turned, stretched or sheared map has a turned, stretched or sheared output. The number of
    parameters does not depend on the side of the kernel, which is a function of continuous coordinates.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        kernel_size: side of the window on which the kernel function is evaluated.
        lie_group: "sl2", maps of the plane that keep areas, or "gl2", those that keep the orientation.
        num_gsamples: number of elements.
        group_pool: "max" or "mean".
        kernel_hidden: width of the kernel function.
        bounds: variance of the symmetric factors; 0: rotations alone.
        sample_inference: draw elements in evaluation too, as published; otherwise those of the constructor are used,
            so that an output can be repeated and exported. In training they are drawn in every call.
        stride, padding, dilation, groups, padding_mode: as in `torch.nn.Conv2d`; with "same" the map keeps its size.
        bias: add a learned b.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, H, W) or (C_in, H, W); output (B, C_out, H', W').

    Raises:
        InputError: an argument is out of range; in forward: the window does not fit in the map.

    Reference:
        Mironenco and Forré, "Lie Group Decompositions for Equivariant Neural Networks", arXiv 2310.11366.

    Example:
        >>> LieConv2d(8, 16, num_gsamples=4)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2
    g: Tensor
    inverse: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: Sides = 5,
        lie_group: str = "sl2",
        num_gsamples: int = 10,
        group_pool: str = "max",
        kernel_hidden: int = 60,
        bounds: float = 0.1,
        sample_inference: bool = False,
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
        check_choice("lie_group", lie_group, GROUPS)
        check_choice("group_pool", group_pool, GROUP_POOLS)
        check_at_least("num_gsamples", num_gsamples, 1)
        self.num_gsamples, self.group_pool, self.bounds = num_gsamples, group_pool, bounds
        self.sample_inference, self.kernel_hidden = sample_inference, kernel_hidden
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        geometry: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        self.lift = LiftConv2d(
            in_channels,
            out_channels,
            group=lie_group,
            kernel_size=kernel_size,
            kernel_hidden=kernel_hidden,
            padding_mode=padding_mode,
            bias=bias,
            **geometry,
            **where,
        )
        samples = self.draw()
        self.register_buffer("g", samples.g)
        self.register_buffer("inverse", samples.inverse)

    def draw(self) -> Samples:
        """Draw elements of the group, where the weights are and of their type."""
        weight = self.lift.kernel.last.weight
        dtype = torch.promote_types(weight.dtype, torch.float32)  # the exponential has no half types
        drawn = draw(self.num_gsamples, self.lift.group, bounds=self.bounds, device=weight.device, dtype=dtype)
        return Samples(*(one.to(weight.dtype) for one in drawn))

    def _forward(self, x: Tensor) -> Tensor:
        is_drawn = self.training or self.sample_inference
        lifted = self.lift(x, self.draw() if is_drawn else Samples(self.g, self.inverse))
        return like(x, lifted.amax(2) if self.group_pool == "max" else lifted.mean(2))

    def settings(self) -> Iterable[object]:
        """Return group, window, samples and geometry."""
        grid = self.lift.grid
        yield written(kernel_size=grid.window_size, lie_group=self.lift.group, num_gsamples=self.num_gsamples)
        yield unless_usual(
            group_pool=(self.group_pool, "max"),
            kernel_hidden=(self.kernel_hidden, 60),
            bounds=(self.bounds, 0.1),
            sample_inference=(self.sample_inference, False),
        )
        yield grid.changed_from(Grid(grid.window_size, padding="same"))
        yield unless_usual(groups=(self.lift.groups, 1))
