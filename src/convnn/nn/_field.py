"""A feature map laid out as a list of positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Field:
    """The positions of a zero-padded map, in raster order.

    Attributes:
        features: (B, T, C), one row a position.
        size: extent of the padded map along each axis, so that T is their product.
        padding: zeros added on every side.
    """

    features: Tensor
    size: tuple[int, ...]
    padding: int

    @classmethod
    def of(cls, x: Tensor, padding: int = 0) -> "Field":
        """Lay out a map (B, C, *S)."""
        padded = F.pad(x, [padding, padding] * (x.dim() - 2)) if padding else x
        return cls(padded.flatten(2).transpose(1, 2), tuple(padded.shape[2:]), padding)

    @property
    def inner_size(self) -> tuple[int, ...]:
        """Extent of the map without its padding."""
        return tuple(n - 2 * self.padding for n in self.size)

    def inner(self) -> Tensor:
        """Indices (N,) of the real positions, in raster order."""
        device = self.features.device
        return self.positions([torch.arange(self.padding, n - self.padding, device=device) for n in self.size])

    def positions(self, axes: Sequence[Tensor]) -> Tensor:
        """Indices of a grid on the padded map, in raster order, from its places along each axis."""
        indices = torch.zeros((), dtype=torch.long, device=self.features.device)
        for n, places in zip(self.size, axes, strict=True):
            indices = indices.unsqueeze(-1) * n + places
        return indices.flatten()

    def at_inner(self, rows: Tensor) -> Tensor:
        """Of rows (B, T, C) those at the real positions, (B, N, C)."""
        if not self.padding:
            return rows
        rows = rows.unflatten(1, self.size)
        for axis, n in enumerate(self.inner_size, start=1):
            rows = rows.narrow(axis, self.padding, n)
        return rows.flatten(1, -2)

    def padded(self, rows: Tensor) -> Tensor:
        """Rows (B, N, C) of the real positions with zeros at all others, (B, T, C)."""
        if not self.padding:
            return rows
        margins = [0, 0, *[self.padding] * (2 * len(self.size))]
        return F.pad(rows.unflatten(1, self.inner_size), margins).flatten(1, -2)

    def coordinates(self, dtype: torch.dtype) -> Tensor:
        """Place of every position, (T, axes), x before y before z: -1 to 1 along the longest side of the padded map.

        The other sides have the same unit, so that the nearest place is the nearest pixel on maps that are not square.
        A single pixel stands at -1, where `linspace` begins.
        """
        grid = self.grid().to(torch.promote_types(dtype, torch.float32))
        longest = max(self.size)
        return (grid / (longest - 1) if longest > 1 else grid - 1).to(dtype)

    def grid(self) -> Tensor:
        """Twice the distance of every position from the centre in pixels, (T, axes), x first: whole numbers."""
        device = self.features.device
        axes = [torch.arange(1 - n, n, 2, device=device) for n in self.size]
        return torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1).reshape(-1, len(axes))

    def with_coordinates(self) -> Tensor:
        """Features and coordinates of every position, (B, T, C + axes)."""
        coordinates = self.coordinates(self.features.dtype)
        return torch.cat([self.features, coordinates.expand(self.features.shape[0], -1, -1)], dim=-1)

    def to_map(self, rows: Tensor) -> Tensor:
        """Rows (B, N, C) of the real positions as a map (B, C, *S)."""
        return rows.transpose(1, 2).unflatten(2, self.inner_size)

    def places(self, indices: Tensor) -> Tensor:
        """Row, column, ... of positions on the map without padding, (*indices.shape, axes); padding lies outside."""
        places = []
        for i, n in enumerate(self.size):
            places.append(indices // prod(self.size[i + 1 :]) % n - self.padding)
        return torch.stack(places, dim=-1)
