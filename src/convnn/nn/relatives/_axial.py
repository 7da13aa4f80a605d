"""What layers over positions of the own row and column have in common."""

from collections.abc import Sequence

import torch
from torch import Tensor

from convnn.errors import check_at_least
from convnn.nn._field import Field
from convnn.nn._grid import Grid, Sides
from convnn.nn.relatives._layer import MaxRelative
from convnn.ops import Neighbors, aggregate, select

Shift = tuple[int, int]
"""Rows down and columns to the right, as `torch.roll` takes them."""


class Axial(MaxRelative):
    r"""Max-relative graph convolution over fixed positions of the own row and column, around the border.

    .. math:: y_i = W_1 x'_i + W_2 \max \left( 0, \max_{j \in N(i)} (x'_j - x'_i) \right) + b, \qquad
        x' = x + P * x

    with P a depthwise convolution, the conditional positional encoding. Nothing is searched. Who the
    neighbours :math:`N(i)` are is what its kinds differ in.

    Attributes:
        step: distance of the neighbours in positions.
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
        super().__init__(in_channels, out_channels, grid, positional_size, groups, bias, backend, device, dtype)
        self.step = step

    def shifts(self, size: Sequence[int]) -> list[Shift]:
        """Distances of the neighbours on a map of some height and width."""
        raise NotImplementedError

    def relative_max(self, field: Field, own: Tensor) -> Tensor:
        """The most that a neighbour has more than each position that is computed, (B, N, C)."""
        return aggregate.maximum(field.features, self._neighbors(field), own, backend=self.backend)

    def _neighbors(self, field: Field) -> Neighbors:
        """Whom the positions of the grid look at: themselves, and the fixed ones that are close enough."""
        batch, shifts = field.features.shape[0], [(0, 0), *self.shifts(field.size)]
        fixed = select.shifted(field.size, shifts, device=field.features.device).indices[:, field.queries()]
        is_far = self.is_far(field, shifts)
        return Neighbors(fixed.expand(batch, -1, -1), absent=None if is_far is None else field.at_queries(is_far))

    def is_far(self, field: Field, shifts: Sequence[Shift]) -> Tensor | None:
        """Which of them are not close enough, (B, T, K) bool; None where all are."""
        return None

    def named(self) -> dict[str, int]:
        """Step."""
        return {"step": self.step}


def down_and_right(size: Sequence[int], step: int) -> list[Shift]:
    """Every so many positions, down the map and to the right, as far as it goes."""
    height, width = size
    return [(distance, 0) for distance in range(step, height, step)] + [
        (0, distance) for distance in range(step, width, step)
    ]
