"""The transpose of a gather without atomics: one stable sort finds the pairs that read each row."""

from typing import NamedTuple

import torch
from torch import Tensor


class Sources(NamedTuple):
    """The pairs (b, n, k) that read each row (b, t), in ascending order.

    Attributes:
        pairs: (B * N * K,) flat pairs, grouped by row.
        starts: (parts * B * T + 1,) index at which the pairs of each row start, part of the slots by part.
    """

    pairs: Tensor
    starts: Tensor


def find_sources(indices: Tensor, length: int, slots: int) -> Sources:
    """Return the sources of B lists of `length` rows under indices (B, N, K), for `slots` of the K slots at a time.

    Index -1 reads no row: such pairs come last, after the pairs of all rows.
    """
    batch, _, K = indices.shape
    parts = -(-K // slots)
    total = parts * batch * length
    first_row = torch.arange(batch, device=indices.device)[:, None, None] * length
    part = torch.arange(K, device=indices.device) // slots * (batch * length)
    targets = torch.where(indices < 0, total, indices + first_row + part).flatten()
    if total < 2**31:
        targets = targets.int()  # halves the passes of the radix sort
    targets, pairs = targets.sort(stable=True)
    rows = torch.arange(total + 1, device=indices.device, dtype=targets.dtype)
    return Sources(pairs, torch.searchsorted(targets, rows))
