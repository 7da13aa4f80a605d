"""What layers over positions of the own row and column have in common."""

from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor

from convnn.errors import check_at_least
from convnn.nn._field import Field
from convnn.nn._grid import Grid, Sides
from convnn.nn.relatives._layer import MaxRelative
from convnn.nn.relatives.positional import PositionalEncoding2d
from convnn.ops import Neighbors, select

Shift = tuple[int, int]
"""Rows down and columns to the right, as `torch.roll` takes them."""


class Axial(MaxRelative):
    r"""Max-relative graph convolution over fixed positions of the own row and column, around the border.

    .. math:: y_i = W_1 x'_i + W_2 \max \left( 0, \max_{j \in N(i)} (x'_j - x'_i) \right) + b, \qquad
        x' = x + P * x

    with P a depthwise convolution, the conditional positional encoding. Nothing is searched: the map is rolled. Who the
    neighbours :math:`N(i)` are is what its kinds differ in.

    Attributes:
        step: distance of the neighbours in positions.
        positional: the encoding, or None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        step: int = 2,
        *,
        positional_size: int = 7,
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
        check_at_least("step", step, 1)
        grid = Grid(window_size, stride, padding, dilation)
        super().__init__(in_channels, out_channels, grid, groups, bias, backend, device, dtype)
        self.step = step
        self.positional = PositionalEncoding2d(in_channels, positional_size, device, dtype) if positional_size else None

    def shifts(self, size: Sequence[int]) -> list[Shift]:
        """Distances of the neighbours on a map of some height and width."""
        raise NotImplementedError

    def _forward(self, x: Tensor) -> Tensor:
        return super()._forward(x if self.positional is None else self.positional(x))

    def relative_max(self, x: Tensor, field: Field, own: Tensor) -> Tensor:
        """The most that a neighbour has more than each position that is computed, (B, N, C)."""
        with torch.no_grad():
            winners = self._winners(x)
        chosen = torch.gather(field.features, 1, field.at_queries(winners.flatten(2).transpose(1, 2)))
        return chosen - own

    def _winners(self, x: Tensor) -> Tensor:
        """Which position every channel of every position takes, (B, C, H, W), itself unless another has more."""
        here = torch.arange(prod(x.shape[2:]), device=x.device).view(1, 1, *x.shape[2:])
        best, winners = x, here.expand(x.shape)
        for shift, is_neighbor in self._candidates(x):
            moved = x.roll(shift, (2, 3))
            is_better = (moved > best) | (moved.isnan() & ~best.isnan())
            is_better = is_better if is_neighbor is None else is_better & is_neighbor
            best = torch.where(is_better, moved, best)
            winners = torch.where(is_better, here.roll(shift, (2, 3)), winners)
        return winners

    def _candidates(self, x: Tensor) -> Iterator[tuple[Shift, Tensor | None]]:
        """Each shift, and where (B, 1, H, W) what it brings is a neighbour; everywhere when None."""
        yield from ((shift, None) for shift in self.shifts(x.shape[2:]))

    def neighbors(self, x: Tensor) -> Neighbors:
        """Whom every position of x (B, C, H, W) that is computed looks at: itself, and the fixed ones."""
        x = x if self.positional is None else self.positional(x)
        field = self.field(x)
        fixed = select.shifted(field.size, [(0, 0), *self.shifts(field.size)], device=x.device)
        indices = fixed.indices[:, field.queries()].expand(x.shape[0], -1, -1)
        near = [None, *(near for _, near in self._candidates(x))]
        if all(one is None for one in near):
            return Neighbors(indices)
        everywhere = torch.ones_like(x[:, :1], dtype=torch.bool)
        is_neighbor = torch.cat([everywhere if one is None else one for one in near], dim=1)
        return Neighbors(indices, absent=~field.at_queries(is_neighbor.flatten(2).transpose(1, 2)))

    def named(self) -> dict[str, int]:
        """Step, and the side of the encoding's window."""
        return {"step": self.step, "positional_size": 0 if self.positional is None else self.positional.kernel_size[0]}


def down_and_right(size: Sequence[int], step: int) -> list[Shift]:
    """Every so many positions, down the map and to the right, as far as it goes."""
    height, width = size
    return [(distance, 0) for distance in range(step, height, step)] + [
        (0, distance) for distance in range(step, width, step)
    ]
