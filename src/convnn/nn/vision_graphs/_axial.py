"""Fixed positions of the own row and column, around the border."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.nn._field import Field
from convnn.ops import select


def down_and_right(size: Sequence[int], step: int, device: torch.device | None = None) -> Tensor:
    """Every so many positions, down the map and to the right, as far as it goes, (K, 2)."""
    # Tensors, not lists: a list would be part of a compiled graph, which each size of the map would make anew.
    down, right = (step * torch.arange(1, (n - 1) // step + 1, device=device).unsqueeze(1) for n in size)
    return torch.cat([F.pad(down, [0, 1]), F.pad(right, [1, 0])])


def one_step(size: Sequence[int], step: int, device: torch.device | None = None) -> Tensor:
    """One step either way along each axis that is longer, (K, 2)."""
    height, width = size
    down = [(distance, 0) for distance in (step, -step) if step < height]
    right = [(0, distance) for distance in (step, -step) if step < width]
    return torch.tensor(down + right, dtype=torch.long, device=device).reshape(-1, 2)


def itself_and_shifted(field: Field, shifts: Tensor) -> Tensor:
    """Indices (1, N, 1 + K) of the positions of the grid, and of those so far from them: rows down and to the right."""
    shifts = F.pad(shifts, [0, 0, 1, 0])
    return select.shifted(field.size, shifts, device=field.features.device).indices[:, field.queries()]
