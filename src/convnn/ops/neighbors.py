"""What passes between the three steps."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

METRICS = ("cosine", "euclidean", "matmul")


class Neighbors(NamedTuple):
    """Who the K neighbours of every query are and how much each of them counts.

    Attributes:
        indices: (B, N, K) int64, positions 0 .. T-1 of the neighbours of N queries, in the order of the kernel's slots.
        scores: (B, N, K) how much each neighbour counts, or None where all count alike.
        absent: (B, N, K) bool, slots of a fixed list that nobody fills: they never count, and their index repeats one
            of the list, so that nothing else is read. None where there are none.
    """

    indices: Tensor
    scores: Tensor | None = None
    absent: Tensor | None = None

    @property
    def K(self) -> int:
        """Neighbours per query."""
        return self.indices.shape[-1]

    def for_each_of(self, batch: int) -> "Neighbors":
        """One list for everybody, (1, N, K), as the same list for each of a batch, (batch, N, K); a view."""
        return self._each(lambda one: one.expand(batch, -1, -1))

    def in_raster_order(self) -> "Neighbors":
        """The same neighbours, lowest index first: the kernel's slots then mean places, as a convolution's do."""
        order = self.indices.argsort(dim=-1, stable=True)
        return self._each(lambda one: torch.gather(one, -1, order))

    def every(self, step: int) -> "Neighbors":
        """Of neighbours best first those of rank 0, step, 2 * step, ...: as far apart as a dilated convolution's."""
        return self._each(lambda one: one[..., ::step])

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Neighbors":
        scores = None if self.scores is None else change(self.scores)
        absent = None if self.absent is None else change(self.absent)
        return Neighbors(change(self.indices), scores, absent)
