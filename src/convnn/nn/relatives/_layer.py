"""What the relatives have in common."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convnn.nn._field import Field, like
from convnn.nn._grid import Grid
from convnn.nn._grouped import check_groups, grouped_linear
from convnn.nn.maps._layer import ChoosingLayer, reset_as_conv
from convnn.nn.relatives.positional import PositionalEncoding2d
from convnn.ops import Neighbors, check_backend, select


class Relative(ChoosingLayer):
    """A layer on images whose neighbours another paper chose: (B, C_in, H, W) to (B, C_out, H', W').

    It works on the map as it is, without padding. The grid says which positions it computes: those in the middle of
    the windows of such a convolution, so that it goes where that was. Where asked for, a positional encoding stands in
    front of it: many of them cannot tell one place from another.

    Attributes:
        positional: the encoding, or None.

    Raises:
        InputError: an argument is out of range.
    """

    spatial_dims: ClassVar[int] = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        grid: Grid,
        positional_size: int,
        groups: int,
        backend: str,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__(in_channels, out_channels)
        check_groups(groups, in_channels, out_channels)
        check_backend(backend)
        self.grid = grid
        self.positional = PositionalEncoding2d(in_channels, positional_size, device, dtype) if positional_size else None
        self.groups = groups
        self.backend = backend

    def field(self, x: Tensor) -> Field:
        """The positions of x (B, C, H, W), all of which can be neighbours; those of the grid have some."""
        return Field(x.flatten(2).transpose(1, 2), self.grid.axes_without_padding(x.shape[2:]))

    def neighbors(self, x: Tensor) -> Neighbors:
        """Whom every position of x (B, C, H, W) that is computed looks at, those of each image's heads in a row."""
        return self._neighbors(self.field(self._encoded(x)))

    def _forward(self, x: Tensor) -> Tensor:
        field = self.field(self._encoded(x))
        return like(x, field.to_map(self._rows(field)))

    def _encoded(self, x: Tensor) -> Tensor:
        return x if self.positional is None else self.positional(x)

    def _neighbors(self, field: Field) -> Neighbors:
        """Whom the positions of the grid look at, on the encoded map."""
        raise NotImplementedError

    def _rows(self, field: Field) -> Tensor:
        """What it computes at the positions of the grid of the encoded map, (B, N, C_out)."""
        raise NotImplementedError

    def named(self) -> dict[str, Any]:
        """Settings to show beside the channels."""
        return {}

    def extra_repr(self) -> str:
        """Channels, and the settings."""
        settings = [f"{name}={value!r}" for name, value in self.named().items()]
        groups = f"groups={self.groups}" if self.groups != 1 else ""
        backend = f"backend={self.backend!r}" if self.backend != "auto" else ""
        geometry = self.grid.beside(Grid(padding=0))
        encoding = f"positional_size={self.positional.kernel_size[0]}" if self.positional else ""
        return ", ".join(filter(None, [super().extra_repr(), *settings, encoding, geometry, groups, backend]))


class EdgeLinear(Relative):
    r"""A layer with a linear map of an edge: :math:`W_1 u + W_2 v + b`, u from the position and v from a neighbour.

    Attributes:
        weight: (C_out, 2, C_in / groups), :math:`W_1` and :math:`W_2`; (C_out, 1, C_in / groups) where both are one.
        bias: (C_out,) or None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        grid: Grid,
        positional_size: int,
        groups: int,
        bias: bool,
        backend: str,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
        ends: int = 2,
    ) -> None:
        super().__init__(in_channels, out_channels, grid, positional_size, groups, backend, device, dtype)
        shape = (out_channels, ends, in_channels // groups)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias as a 1x1 `torch.nn.Conv2d` of 2 * C_in channels does."""
        reset_as_conv(self.weight, self.bias)

    def combine(self, own: Tensor, other: Tensor) -> Tensor:
        """The linear map of both, (B, N, C_out)."""
        first, second = self.weight.unbind(1)
        return grouped_linear(own, first, self.bias) + grouped_linear(other, second)


class MaxRelative(EdgeLinear):
    r"""A 1x1 convolution of what a position has, and of the most that any neighbour has more.

    .. math:: y_i = W_1 x_i + W_2 m_i + b, \qquad m_{ic} = \max_{j \in N(i)} (x_{jc} - x_{ic})

    Who the neighbours :math:`N(i)` are is what its kinds differ in.
    """

    def _rows(self, field: Field) -> Tensor:
        own = field.at_queries(field.features)
        return self.combine(own, self.relative_max(field, own))

    def relative_max(self, field: Field, own: Tensor) -> Tensor:
        """The most that a neighbour has more than each position that is computed, (B, N, C)."""
        raise NotImplementedError


def nearest_every(
    queries: Tensor, keys: Tensor, K: int, step: int, *, metric: str, positions: Tensor | None, backend: str
) -> Neighbors:
    """Every step-th of the K * step keys nearest to each query, or of all where there are fewer."""
    wanted = min(K * step, keys.shape[1])
    found = select.nearest(queries, keys, wanted, metric=metric, positions=positions, backend=backend)
    return found.every(step)
