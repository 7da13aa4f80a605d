"""Attention of blocks of queries to blocks of keys by the compiled core."""

from torch import Tensor

from convnn.backends.cpu._core import core, dense, run


def attend_to_blocks(
    queries: Tensor, keys: Tensor, values: Tensor, is_open: Tensor, query_block: int, key_block: int
) -> tuple[Tensor, Tensor]:
    """Return attention (B, N, E) and logarithms (B, N); see `reference.attend_to_blocks`."""
    inputs = dense(queries, keys, values)
    out, logs = inputs[0].new_empty(*queries.shape[:2], values.shape[2]), inputs[0].new_empty(queries.shape[:2])
    if logs.numel():
        run(core.attend_to_blocks, *inputs, is_open.contiguous(), query_block, key_block, out, logs)
    return out.to(values.dtype), logs


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
    """Return the gradients of queries, keys and values; see `reference.attend_to_blocks_backward`."""
    inputs = (queries, keys, values)
    rows = dense(grad, taken, logs, *inputs)
    found = [one.new_zeros(one.shape) for one in rows[3:]]
    if logs.numel():
        run(core.attend_to_blocks_backward, *rows, is_open.contiguous(), query_block, key_block, *found)
    of_queries, of_keys, of_values = (one.to(like.dtype) for one, like in zip(found, inputs, strict=True))
    return of_queries, of_keys, of_values
