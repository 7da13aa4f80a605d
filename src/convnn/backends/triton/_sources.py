"""The transpose of a gather, without atomics: who reads each row, found by one stable sort."""

from typing import NamedTuple

import torch
from torch import Tensor


class Sources(NamedTuple):
    """For every row (b, t) the pairs (b, n, k) that read it, in ascending order.

    Attributes:
        pairs: (B * N * K,) flat pairs, those of one row together.
        starts: (parts * B * T + 1,) where the pairs of each row start; of the first part of the slots first.
    """

    pairs: Tensor
    starts: Tensor


def find_sources(indices: Tensor, length: int, slots: int) -> Sources:
    """The sources of B lists of `length` rows under indices (B, N, K), for `slots` of the K slots at a time."""
    batch, _, K = indices.shape
    parts = -(-K // slots)
    total = parts * batch * length
    first_row = torch.arange(batch, device=indices.device)[:, None, None] * length
    part = torch.arange(K, device=indices.device) // slots * (batch * length)
    targets = (indices + first_row + part).flatten()
    if total < 2**31:
        targets = targets.int()  # half the passes of a radix sort
    targets, pairs = targets.sort(stable=True)
    rows = torch.arange(total + 1, device=indices.device, dtype=targets.dtype)
    return Sources(pairs, torch.searchsorted(targets, rows))
