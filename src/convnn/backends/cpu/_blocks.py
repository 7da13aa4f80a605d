"""Attention of blocks of queries to blocks of keys: PyTorch's, of a few blocks to copies of the keys they open.

Blocks that open about as many keys are computed together; those with fewer are filled up with masked ones.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.backends.reference import attention_gradients

_TOGETHER = 8  # blocks of queries


def attend_to_blocks(
    queries: Tensor, keys: Tensor, values: Tensor, is_open: Tensor, query_block: int, key_block: int
) -> Tensor:
    """Return the attention (B, N, E) of queries to the blocks of keys they open; see `convnn.ops.blocks.attend`."""
    blocks = _in_blocks(queries, query_block)
    out = values.new_empty(*blocks.shape[:3], values.shape[2])
    for group in _groups(is_open, keys.shape[1], key_block):
        mask = None if group.is_there.all() else group.is_there[:, None, None]
        q, k, v = blocks[group.image, group.rows], group.copy(keys), group.copy(values)
        q, k, v = (one.unsqueeze(1) for one in (q, k, v))  # blocks as a batch, with one head
        out[group.image, group.rows] = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).squeeze(1)
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
    dtype = torch.promote_types(values.dtype, torch.float32)
    above, blocks = (_in_blocks(one.to(dtype), query_block) for one in (grad, queries))
    of_blocks, of_keys, of_values = (torch.zeros_like(one, dtype=dtype) for one in (blocks, keys, values))
    for group in _groups(is_open, keys.shape[1], key_block):
        image, rows = group.image, group.rows
        k, v = group.copy(keys).to(dtype), group.copy(values).to(dtype)
        gradients = attention_gradients(above[image, rows], blocks[image, rows], k, v, group.is_there.unsqueeze(1))
        of_blocks[image, rows] = gradients[0]
        for total, of_copies in zip((of_keys, of_values), gradients[1:], strict=True):
            total[image].index_add_(0, group.keys.flatten(), of_copies.flatten(0, 1))
    of_queries = _in_rows(of_blocks, queries.shape[1]).to(queries.dtype)
    return of_queries, of_keys.to(keys.dtype), of_values.to(values.dtype)


class _Group(NamedTuple):
    """Blocks of queries that are computed together.

    Attributes:
        image: their image.
        rows: (R,) the blocks.
        keys: (R, M) the keys that each of them opens.
        is_there: (R, M) whether a key is opened, or fills up.
    """

    image: int
    rows: Tensor
    keys: Tensor
    is_there: Tensor

    def copy(self, rows: Tensor) -> Tensor:
        """Return a copy (R, M, C) of those of rows (B, T, C) that are opened."""
        return rows[self.image].index_select(0, self.keys.flatten()).unflatten(0, self.keys.shape)


def _groups(is_open: Tensor, length: int, key_block: int) -> Iterator[_Group]:
    """Yield the blocks of queries, a few at a time, under a mask (B, Q, J)."""
    sizes = torch.full(is_open.shape[2:], key_block)
    sizes[-1:] -= -length % key_block  # the last block may be short
    for image, opened in enumerate(is_open):
        counts = (opened * sizes).sum(1)
        for rows in counts.argsort(stable=True).split(_TOGETHER):
            if not rows.numel():
                continue
            most = int(counts[rows[-1]])
            blocks = opened[rows].byte().argsort(dim=1, descending=True, stable=True)[:, : -(-most // key_block)]
            keys = (blocks.unsqueeze(2) * key_block + torch.arange(key_block)).flatten(1)[:, :most]
            yield _Group(image, rows, keys.clamp_max(length - 1), torch.arange(most) < counts[rows, None])


def _in_blocks(rows: Tensor, block: int) -> Tensor:
    """Return rows (B, N, C) in blocks (B, Q, block, C), the last one filled up with zeros."""
    count = -(-rows.shape[1] // block)
    padded = F.pad(rows, (0, 0, 0, count * block - rows.shape[1]))
    return padded.reshape(rows.shape[0], count, block, rows.shape[2])


def _in_rows(blocks: Tensor, count: int) -> Tensor:
    """Return the rows (B, N, C) of blocks."""
    return blocks.flatten(1, 2)[:, :count].contiguous()
