"""What layers over positions of the own row and column have in common."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import check_at_least
from convnn.nn._field import Field
from convnn.nn._grid import Grid, Sides
from convnn.nn.vision_graphs._layer import MaxRelative
from convnn.ops import Neighbors, aggregate, select


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

    def shifts(self, size: Sequence[int], device: torch.device | None = None) -> Tensor:
        """Distances (K, 2) of the neighbours on a map of some height and width: rows down and columns to the right."""
        raise NotImplementedError

    def relative_max(self, field: Field, own: Tensor) -> Tensor:
        """The most that a neighbour has more than each position that is computed, (B, N, C)."""
        return aggregate.maximum(field.features, self._neighbors(field), own, backend=self.backend)

    def _neighbors(self, field: Field) -> Neighbors:
        """Whom the positions of the grid look at: themselves, and the fixed ones that are close enough."""
        batch, device = field.features.shape[0], field.features.device
        shifts = F.pad(self.shifts(field.size, device), [0, 0, 1, 0])
        fixed = select.shifted(field.size, shifts, device=device).indices[:, field.queries()]
        return Neighbors(fixed.expand(batch, -1, -1), absent=self.is_far(field, fixed[0]))

    def is_far(self, field: Field, fixed: Tensor) -> Tensor | None:
        """Which of fixed ones (N, K) are not close enough, (B, N, K) bool; None where all are."""
        return None

    def named(self) -> dict[str, int]:
        """Step."""
        return {"step": self.step}


def down_and_right(size: Sequence[int], step: int, device: torch.device | None = None) -> Tensor:
    """Every so many positions, down the map and to the right, as far as it goes, (K, 2)."""
    # Tensors, not lists: a list would be part of a compiled graph, which each size of the map would make anew.
    down, right = (step * torch.arange(1, (n - 1) // step + 1, device=device).unsqueeze(1) for n in size)
    return torch.cat([F.pad(down, [0, 1]), F.pad(right, [1, 0])])
