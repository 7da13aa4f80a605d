"""Which blocks of keys each block of queries visits: a ragged list that a kernel walks from offset to offset."""

from typing import NamedTuple

import torch
from torch import Tensor


class Visits(NamedTuple):
    """The visits of all blocks of queries, one after the other.

    Attributes:
        blocks: (V,) int32, the block of keys of each visit.
        offsets: (Q + 1,) int64, at which the visits of each of the Q blocks of queries start.
    """

    blocks: Tensor
    offsets: Tensor


def visits_of(is_open: Tensor) -> Visits:
    """Return the visits under a mask (Q, J): blocks of queries by blocks of keys."""
    visitors, blocks = is_open.nonzero().unbind(1)
    return Visits(blocks.int(), offsets_of(visitors, len(is_open)))


def offsets_of(visitors: Tensor, count: int) -> Tensor:
    """Return where the visits of each of `count` blocks of queries start, given the visitors in ascending order."""
    return torch.searchsorted(visitors, torch.arange(count + 1, device=visitors.device))
