"""What passes between the three steps."""

from typing import NamedTuple

import torch
from torch import Tensor

METRICS = ("cosine", "euclidean")


class Neighbors(NamedTuple):
    """Who the K neighbours of every query are and how much each of them counts.

    Attributes:
        indices: (B, N, K) int64, positions 0 .. T-1 of the neighbours of N queries, in the order of the kernel's slots.
        scores: (B, N, K) how much each neighbour counts, or None where all count alike.
    """

    indices: Tensor
    scores: Tensor | None = None

    @property
    def K(self) -> int:
        """Neighbours per query."""
        return self.indices.shape[-1]

    def in_raster_order(self) -> "Neighbors":
        """The same neighbours, lowest index first: the kernel's slots then mean places, as a convolution's do."""
        indices, order = self.indices.sort(dim=-1)
        scores = None if self.scores is None else torch.gather(self.scores, -1, order)
        return Neighbors(indices, scores)
