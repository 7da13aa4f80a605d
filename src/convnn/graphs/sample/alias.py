"""Alias tables, and walks by them: the draws of GraphVite's published code, two numbers each."""

from collections import deque

import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.ops.walks import RandomWalks, Stream


class AliasTable:
    r"""Draws among n things in proportion to their weights, at a cost that does not grow with n.

    Cell i, drawn with probability 1 / n, gives i with probability `shares[i]` and `aliases[i]` otherwise.

    Args:
        weights: (n,) at least 0 and not all 0.

    Attributes:
        shares: (n,) float64.
        aliases: (n,) int64.

    Raises:
        InputError: there is no weight, or weights are negative, not finite or all 0.

    Reference:
        Walker 1977; Vose 1991. Cells below and above 1 are paired in order, as in GraphVite.
    """

    def __init__(self, weights: Tensor) -> None:
        if not weights.numel() or not bool(weights.isfinite().all()) or not (weights.min() >= 0) & (weights.sum() > 0):
            raise InputError(f"weights of shape {tuple(weights.shape)} must be finite, at least 0, and not all 0")
        shares = (weights.double() * weights.shape[0] / weights.double().sum()).tolist()
        aliases = list(range(len(shares)))
        small = deque(i for i, share in enumerate(shares) if share < 1)
        large = deque(i for i, share in enumerate(shares) if share >= 1)
        while small and large:
            low, high = small.popleft(), large.popleft()
            aliases[low] = high
            shares[high] = shares[low] + shares[high] - 1
            (small if shares[high] < 1 else large).append(high)
        for i in (*small, *large):  # what rounding leaves
            shares[i] = 1.0
        self.shares = torch.tensor(shares, dtype=torch.float64)
        self.aliases = torch.tensor(aliases)

    def draw(self, coins: Tensor, cells: Tensor) -> Tensor:
        """Return what numbers in [0, 1) draw: cell floor(n cells), or its alias unless coins are below its share."""
        cell = (cells * self.shares.shape[0]).long()
        return torch.where(coins < self.shares[cell], cell, self.aliases[cell])


def alias_walks(walks: RandomWalks, edges: AliasTable, count: int, length: int, stream: Stream) -> Tensor:
    """Return walks (count, length + 1) that begin with an edge drawn by weight; -1 follows a node without neighbours.

    Each draw takes two numbers, of which the second chooses the cell. A walk that ends draws no more.
    """
    lists, found = walks.lists, torch.full((count, length + 1), -1)
    for walk in found:
        edge = int(edges.draw(*stream.uniform(2)))
        walk[0], walk[1] = lists.query_of_each[edge], lists.indices[edge]
        for step in range(2, length + 1):
            before, at = int(walk[step - 2]), int(walk[step - 1])
            if not lists.lengths[at]:
                break
            place = AliasTable(walks.transition(at, before)).draw(*stream.uniform(2))
            walk[step] = lists.indices[lists.starts[at] + place]
    return found
