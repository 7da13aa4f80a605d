"""The neighbours that one step hands to the next."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

METRICS = ("cosine", "euclidean", "matmul")


class Neighbors(NamedTuple):
    """The K neighbours of every query and their weights.

    Attributes:
        indices: (B, N, K) int64, positions 0 .. T-1 of the neighbours of N queries, in the order of the kernel's slots.
        scores: (B, N, K) weight of each neighbour, or None where all weigh the same.
        absent: (B, N, K) bool, True for empty slots of a fixed list: they never count, and their index repeats another
            of the list, so that nothing else is read. None where no slot is empty.
    """

    indices: Tensor
    scores: Tensor | None = None
    absent: Tensor | None = None

    @property
    def K(self) -> int:
        """Number of neighbours per query."""
        return self.indices.shape[-1]

    def for_each_of(self, batch: int) -> "Neighbors":
        """Return the list (1, N, K) expanded to a whole batch, (batch, N, K), as a view."""
        return self._map(lambda tensor: tensor.expand(batch, -1, -1))

    def in_raster_order(self) -> "Neighbors":
        """Return the same neighbours, lowest index first, so that slots are places, as in a convolution's kernel."""
        order = self.indices.argsort(dim=-1, stable=True)
        return self._map(lambda tensor: torch.gather(tensor, -1, order))

    def every(self, step: int) -> "Neighbors":
        """Return the neighbours of rank 0, step, 2 * step, ..., best first: the dilation of a neighbour list."""
        return self._map(lambda tensor: tensor[..., ::step])

    def _map(self, function: Callable[[Tensor], Tensor]) -> "Neighbors":
        scores = None if self.scores is None else function(self.scores)
        absent = None if self.absent is None else function(self.absent)
        return Neighbors(function(self.indices), scores, absent)
