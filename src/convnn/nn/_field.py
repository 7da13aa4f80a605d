"""A feature map laid out as a list of positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.nn._grid import Axis, Grid

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By the number of axes of a batch of maps."""


@dataclass(frozen=True)
class Field:
    """The positions of a padded map, in raster order; some of them choose neighbours.

    Attributes:
        features: (B, T, C), one row for each position.
        axes: the axes of the padded map, so that T is the product of their sizes.
        is_zero_padded: whether the padding is zeros.
    """

    features: Tensor
    axes: tuple[Axis, ...]
    is_zero_padded: bool = True

    @classmethod
    def of(cls, x: Tensor, grid: Grid) -> "Field":
        """Lay out a map (B, C, *S)."""
        axes = grid.axes(x.shape[2:])
        return cls(grid.pad(x).flatten(2).transpose(1, 2), axes, grid.padding_mode == "zeros")

    @classmethod
    def of_tokens(cls, rows: Tensor) -> "Field":
        """Lay out tokens (B, T, C) as a map with one axis, on which every position chooses."""
        return cls(rows, (Axis(rows.shape[1]),))

    def all_choose(self) -> "Field":
        """Return the same positions, every one of which chooses."""
        return Field(self.features, tuple(Axis(a.real, a.before, a.after) for a in self.axes), self.is_zero_padded)

    @property
    def size(self) -> tuple[int, ...]:
        """Extent of the padded map along each axis."""
        return tuple(axis.size for axis in self.axes)

    @property
    def real_size(self) -> tuple[int, ...]:
        """Extent of the map without its padding."""
        return tuple(axis.real for axis in self.axes)

    @property
    def is_padded(self) -> bool:
        """Whether there is any padding."""
        return self.size != self.real_size

    def is_real(self) -> Tensor:
        """Return which positions are not padding, (T,) bool."""
        places = self.places(torch.arange(prod(self.size), device=self.features.device))
        sides = torch.tensor(self.real_size, device=places.device)
        return ((places >= 0) & (places < sides)).all(-1)

    def queries(self) -> Tensor:
        """Return the indices (N,) of the positions that choose, in raster order."""
        return self._at_queries(torch.arange(prod(self.size), device=self.features.device), 0)

    def positions(self, axes: Sequence[Tensor]) -> Tensor:
        """Return the indices of a grid on the padded map, in raster order, from its places along each axis."""
        indices = torch.zeros((), dtype=torch.long, device=self.features.device)
        for n, places in zip(self.size, axes, strict=True):
            indices = indices.unsqueeze(-1) * n + places
        return indices.flatten()

    def at_queries(self, rows: Tensor) -> Tensor:
        """Select the rows (B, T, C) of the positions that choose, (B, N, C)."""
        return self._at_queries(rows, 1)

    def _at_queries(self, rows: Tensor, dim: int) -> Tensor:
        """Select the positions that choose along the axis of the T positions."""
        if all(axis.count == axis.size for axis in self.axes):
            return rows
        steps = [slice(a.first, a.first + a.stride * (a.count - 1) + 1, a.stride) for a in self.axes]
        return rows.unflatten(dim, self.size)[(slice(None),) * dim + (*steps,)].flatten(dim, dim + len(steps) - 1)

    def at_real(self, rows: Tensor) -> Tensor:
        """Select the rows (B, T, C) that are not padding."""
        if not self.is_padded:
            return rows
        rows = rows.unflatten(1, self.size)
        for i, axis in enumerate(self.axes, start=1):
            rows = rows.narrow(i, axis.before, axis.real)
        return rows.flatten(1, -2)

    def padded(self, rows: Tensor) -> Tensor:
        """Return rows of the real positions with zeros at all others, (B, T, C)."""
        if not self.is_padded:
            return rows
        margins = [side for axis in reversed(self.axes) for side in (axis.before, axis.after)]
        return F.pad(rows.unflatten(1, self.real_size), [0, 0, *margins]).flatten(1, -2)

    def coordinates(self, dtype: torch.dtype) -> Tensor:
        """Return the place of every position, (T, axes), x before y before z: -1 to 1 along the longest padded side.

        The other sides have the same unit, so that the nearest place is the nearest pixel on maps that are not square.
        A single pixel has the coordinate -1, the first of `linspace`.
        """
        grid = self.grid().to(torch.promote_types(dtype, torch.float32))
        longest = max(self.size)
        return (grid / (longest - 1) if longest > 1 else grid - 1).to(dtype)

    def grid(self) -> Tensor:
        """Return twice the distance of every position from the centre in pixels, (T, axes), x first: whole numbers."""
        device = self.features.device
        axes = [torch.arange(1 - n, n, 2, device=device) for n in self.size]
        return torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1).reshape(-1, len(axes))

    def with_coordinates(self) -> Tensor:
        """Return features and coordinates of every position, (B, T, C + axes)."""
        coordinates = self.coordinates(self.features.dtype)
        return torch.cat([self.features, coordinates.expand(self.features.shape[0], -1, -1)], dim=-1)

    def to_map(self, rows: Tensor) -> Tensor:
        """Arrange rows (B, N, C) of the positions that choose as a map (B, C, *S')."""
        return rows.transpose(1, 2).unflatten(2, tuple(axis.count for axis in self.axes))

    def places(self, indices: Tensor) -> Tensor:
        """Return row, column, ... of positions on the unpadded map, (*indices.shape, axes); padding lies outside."""
        places = []
        for i, axis in enumerate(self.axes):
            places.append(indices // prod(self.size[i + 1 :]) % axis.size - axis.before)
        return torch.stack(places, dim=-1)


def like(x: Tensor, out: Tensor) -> Tensor:
    """Return an output in the memory format of the input, as `torch.nn.Conv2d` does."""
    channels_last = CHANNELS_LAST.get(x.dim())
    if channels_last and not x.is_contiguous() and x.is_contiguous(memory_format=channels_last):
        return out.contiguous(memory_format=channels_last)
    return out.contiguous()
