"""Fixed positions in the row and column of each position, wrapped around the border."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.nn._field import Field
from convnn.ops import select


def down_and_right(size: Sequence[int], step: int, device: torch.device | None = None) -> Tensor:
    """Return the distances of every `step`-th position, down the map and to the right, (K, 2)."""
    # Tensors, not lists: a compiled graph would contain a list, and be compiled again for each size of the map.
    down, right = (step * torch.arange(1, (n - 1) // step + 1, device=device).unsqueeze(1) for n in size)
    return torch.cat([F.pad(down, [0, 1]), F.pad(right, [1, 0])])


def one_step(size: Sequence[int], step: int, device: torch.device | None = None) -> Tensor:
    """Return one step in either direction along each axis that is longer, (K, 2)."""
    height, width = size
    down = [(distance, 0) for distance in (step, -step) if step < height]
    right = [(0, distance) for distance in (step, -step) if step < width]
    return torch.tensor(down + right, dtype=torch.long, device=device).reshape(-1, 2)


def itself_and_shifted(field: Field, shifts: Tensor) -> Tensor:
    """Return the indices (1, N, 1 + K) of the positions of the grid and of those at each shift from them."""
    shifts = F.pad(shifts, [0, 0, 1, 0])
    return select.shifted(field.size, shifts, device=field.features.device).indices[:, field.queries()]
