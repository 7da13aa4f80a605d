"""Attention of blocks of queries to blocks of keys: PyTorch's attention of each block to a copy of the keys it opens.

Of one image at a time; blocks that open fewer keys than others are filled up with masked ones.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.backends.reference import attention_gradients


def attend_to_blocks(
    queries: Tensor, keys: Tensor, values: Tensor, is_open: Tensor, query_block: int, key_block: int
) -> Tensor:
    """Return the attention (B, N, E) of queries to the blocks of keys they open; see `convnn.ops.blocks.attend`."""
    out = values.new_empty(*queries.shape[:2], values.shape[2])
    for image, opened in enumerate(is_open if out.numel() else ()):
        copied = _copied(opened, keys.shape[1], key_block)
        mask = None if copied.is_there.all() else copied.is_there[:, None, None]
        rows = (_in_blocks(queries[image], query_block), keys[image, copied.keys], values[image, copied.keys])
        of_blocks, of_keys, of_values = (one.unsqueeze(1) for one in rows)  # blocks as a batch, with one head
        attended = F.scaled_dot_product_attention(of_blocks, of_keys, of_values, attn_mask=mask)
        out[image] = attended.flatten(0, 2)[: queries.shape[1]]
    return out


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
    inputs = (queries, keys, values)
    gradients = [torch.zeros_like(one, dtype=dtype) for one in inputs]
    for image, opened in enumerate(is_open if grad.numel() else ()):
        copied = _copied(opened, keys.shape[1], key_block)
        g, q = (_in_blocks(one[image].to(dtype), query_block) for one in (grad, queries))
        k, v = (one[image].to(dtype)[copied.keys] for one in (keys, values))
        of_blocks, *of_copies = attention_gradients(g, q, k, v, copied.is_there.unsqueeze(1))
        gradients[0][image] = of_blocks.flatten(0, 1)[: queries.shape[1]]
        for total, of_copy in zip(gradients[1:], of_copies, strict=True):
            total[image].index_add_(0, copied.keys.flatten(), of_copy.flatten(0, 1))
    of_queries, of_keys, of_values = (one.to(like.dtype) for one, like in zip(gradients, inputs, strict=True))
    return of_queries, of_keys, of_values


class _Copied(NamedTuple):
    """The keys (Q, M) that each block of queries opens, and whether they are there or fill up."""

    keys: Tensor
    is_there: Tensor


def _copied(opened: Tensor, length: int, key_block: int) -> _Copied:
    """Return the keys of the blocks that are opened (Q, J)."""
    counts = opened.sum(1, keepdim=True)
    blocks = opened.byte().argsort(dim=1, descending=True, stable=True)[:, : int(counts.max())]
    keys = (blocks.unsqueeze(2) * key_block + torch.arange(key_block)).flatten(1)
    is_there = (torch.arange(blocks.shape[1]) < counts).repeat_interleave(key_block, 1) & (keys < length)
    return _Copied(keys.clamp_max(length - 1), is_there)


def _in_blocks(rows: Tensor, block: int) -> Tensor:
    """Return rows (N, C) in blocks (Q, block, C), filled up with zeros."""
    return F.pad(rows, (0, 0, 0, -len(rows) % block)).unflatten(0, (-1, block))
