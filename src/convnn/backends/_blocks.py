"""The definition of attention between blocks of queries and blocks of keys, in plain PyTorch."""

import torch
from torch import Tensor

from convnn.backends._precision import full_precision


def attend_to_blocks(
    queries: Tensor, keys: Tensor, values: Tensor, is_open: Tensor, query_block: int, key_block: int
) -> tuple[Tensor, Tensor]:
    """Return the attention (B, N, E) of queries to the blocks of keys they open; see `convnn.ops.blocks.attend`.

    Also the logarithms (B, N) of the sums of its softmax.
    """
    dtype = torch.promote_types(values.dtype, torch.float32)
    with full_precision(values):
        scores = queries.to(dtype) * queries.shape[2] ** -0.5 @ keys.to(dtype).mT
        pairs = _open_pairs(is_open, queries, keys, query_block, key_block)
        scores = scores.masked_fill(~pairs, -torch.inf)
        return (scores.softmax(-1) @ values.to(dtype)).to(values.dtype), scores.logsumexp(-1)


def attend_to_blocks_backward(
    grad: Tensor,
    taken: Tensor,
    logs: Tensor,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    is_open: Tensor,
    query_block: int,
    key_block: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of queries, keys and values.

    Args:
        grad: (B, N, E) gradient of the attention.
        taken: (B, N) its inner products with the attention, less the gradients of the logarithms.
        logs: (B, N) from the forward pass.
        queries, keys, values, is_open, query_block, key_block: its arguments.
    """
    pairs = _open_pairs(is_open, queries, keys, query_block, key_block)
    dtype, scale = torch.promote_types(values.dtype, torch.float32), queries.shape[2] ** -0.5
    with full_precision(values):
        g, z, logs, q, k, v = (one.to(dtype) for one in (grad, taken, logs, queries, keys, values))
        scores = (q * scale @ k.mT - logs.unsqueeze(2)).masked_fill(~pairs, -torch.inf)
        weights = scores.exp()
        of_scores = weights * (g @ v.mT - z.unsqueeze(2)) * scale
        gradients = of_scores @ k, of_scores.mT @ q, weights.mT @ g
    return gradients[0].to(queries.dtype), gradients[1].to(keys.dtype), gradients[2].to(values.dtype)


def _open_pairs(is_open: Tensor, queries: Tensor, keys: Tensor, query_block: int, key_block: int) -> Tensor:
    """Return which keys each query opens, (B, N, T), from the blocks that its block opens."""
    rows = torch.arange(queries.shape[1], device=keys.device) // query_block
    columns = torch.arange(keys.shape[1], device=keys.device) // key_block
    return is_open[:, rows][:, :, columns]
