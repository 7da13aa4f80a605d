"""Attention of blocks of queries to blocks of keys: PyTorch's, of a few blocks to copies of the keys they open.

Blocks that open equally many keys are computed together, so that nothing is masked, but few at a time: their weights
then stay in the cache.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_TOGETHER = 2  # blocks of queries


def attend_to_blocks(
    queries: Tensor, keys: Tensor, values: Tensor, is_open: Tensor, query_block: int, key_block: int
) -> Tensor:
    """Return the attention (B, N, E) of queries to the blocks of keys they open; see `convnn.ops.blocks.attend`."""
    blocks = _in_blocks(queries, query_block)
    of_keys, of_values = (_in_blocks(one, key_block) for one in (keys, values))
    out = values.new_full((*blocks.shape[:3], values.shape[2]), torch.nan)  # as of a query without keys
    for group in _groups(is_open, keys.shape[1], key_block):
        q, k, v = blocks[group.image, group.rows], group.copy(of_keys), group.copy(of_values)
        q, k, v = (one.unsqueeze(1) for one in (q, k, v))  # blocks as a batch, with one head
        out[group.image, group.rows] = F.scaled_dot_product_attention(q, k, v).squeeze(1)
    return _in_rows(out, queries.shape[1])


def attend_to_blocks_backward(
    grad: Tensor,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    is_open: Tensor,
    query_block: int,
    key_block: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of queries, keys and values, from the gradient (B, N, E) of their attention."""
    dtype, scale = torch.promote_types(values.dtype, torch.float32), queries.shape[2] ** -0.5
    above, blocks = (_in_blocks(one.to(dtype), query_block) for one in (grad, queries))
    key_blocks, value_blocks = (_in_blocks(one.to(dtype), key_block) for one in (keys, values))
    of_blocks, of_keys, of_values = (torch.zeros_like(one) for one in (blocks, key_blocks, value_blocks))
    for group in _groups(is_open, keys.shape[1], key_block):
        image, rows = group.image, group.rows
        g, q, k, v = above[image, rows], blocks[image, rows] * scale, group.copy(key_blocks), group.copy(value_blocks)
        weights = (q @ k.mT).softmax(-1)
        of_scores = torch._softmax_backward_data(g @ v.mT, weights, -1, dtype)
        of_blocks[image, rows] = of_scores @ k * scale
        group.add(of_keys, of_scores.mT @ q)
        group.add(of_values, weights.mT @ g)
    gradients = _in_rows(of_blocks, queries.shape[1]), *(_in_rows(one, keys.shape[1]) for one in (of_keys, of_values))
    return gradients[0].to(queries.dtype), gradients[1].to(keys.dtype), gradients[2].to(values.dtype)


class _Group(NamedTuple):
    """Blocks of queries that are computed together.

    Attributes:
        image: their image.
        rows: (R,) the blocks.
        opened: (R, m) the blocks of keys that each of them opens, the last of which may be short.
        length: M, the number of their keys.
    """

    image: int
    rows: Tensor
    opened: Tensor
    length: int

    def copy(self, blocks: Tensor) -> Tensor:
        """Return a copy (R, M, C) of the rows that are opened, of blocks (B, J, block, C)."""
        rows = blocks[self.image].index_select(0, self.opened.flatten())
        return rows.unflatten(0, self.opened.shape).flatten(1, 2)[:, : self.length]

    def add(self, blocks: Tensor, rows: Tensor) -> None:
        """Add rows (R, M, C) to those of blocks (B, J, block, C) that are opened."""
        lacking = self.opened.shape[1] * blocks.shape[2] - self.length
        rows = F.pad(rows, (0, 0, 0, lacking)) if lacking else rows
        blocks[self.image].index_add_(0, self.opened.flatten(), rows.reshape(-1, *blocks.shape[2:]))


def _groups(is_open: Tensor, length: int, key_block: int) -> Iterator[_Group]:
    """Yield the blocks of queries that open equally many keys, a few at a time, under a mask (B, Q, J)."""
    sizes = torch.full(is_open.shape[2:], key_block)
    sizes[-1:] -= -length % key_block
    for image, opened in enumerate(is_open):
        counts, order = (opened * sizes).sum(1).sort(stable=True)
        lengths, numbers = (one.tolist() for one in counts.unique_consecutive(return_counts=True))
        for count, rows in zip(lengths, order.split(numbers), strict=True):
            for some in rows.split(_TOGETHER) if count else ():
                yield _Group(image, some, opened[some].nonzero()[:, 1].view(some.shape[0], -1), count)


def _in_blocks(rows: Tensor, block: int) -> Tensor:
    """Return rows (B, N, C) in blocks (B, Q, block, C), the last one filled up with zeros."""
    count = -(-rows.shape[1] // block)
    padded = F.pad(rows, (0, 0, 0, count * block - rows.shape[1]))
    return padded.reshape(rows.shape[0], count, block, rows.shape[2])


def _in_rows(blocks: Tensor, count: int) -> Tensor:
    """Return the rows (B, N, C) of blocks."""
    return blocks.flatten(1, 2)[:, :count].contiguous()
