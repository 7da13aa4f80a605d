# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"
"""Block-sparse attention: each program walks the blocks of keys that its block of queries opens.

A softmax is summed as its scores come, so that none of them is written.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from convnn.backends import reference
from convnn.backends.triton._launch import computing_on, launch, precision, tile, tiles
from convnn.backends.triton._visits import visits_of


def attend_to_blocks(
    queries: Tensor, keys: Tensor, values: Tensor, is_open: Tensor, query_block: int, key_block: int
) -> Tensor:
    """Return the attention (B, N, E) of queries to the blocks of keys they open; see `convnn.ops.blocks.attend`."""
    batch, count, channels = queries.shape
    of_values = values.shape[2]
    out = torch.empty((batch, count, of_values), dtype=values.dtype, device=values.device)
    rows, columns = tile(query_block, 16, 64), tile(key_block, 16, 64)
    with computing_on(values):
        visits = visits_of(is_open.flatten(0, 1))
        launch(
            _attend_kernel,
            (batch * is_open.shape[1] * tiles(query_block, rows),),
            queries.contiguous(),
            keys.contiguous(),
            values.contiguous(),
            *visits,
            out,
            count,
            keys.shape[1],
            channels,
            of_values,
            query_block,
            key_block,
            channels**-0.5,
            QUERIES=rows,
            KEYS=columns,
            CHANNELS=tile(channels, 16, 256),
            VALUES=tile(of_values, 16, 256),
            PRECISION=precision(values),
        )
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
    return reference.attend_to_blocks_backward(grad, queries, keys, values, is_open, query_block, key_block)


@triton.jit
def _attend_kernel(
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    blocks: tl.tensor,
    offsets: tl.tensor,
    out: tl.tensor,
    count: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    of_values: tl.tensor,
    query_block: tl.tensor,
    key_block: tl.tensor,
    scale: tl.tensor,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    CHANNELS: tl.constexpr,
    VALUES: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Attend from a tile of a block of queries to the blocks of keys that it visits."""
    parts = tl.cdiv(query_block, QUERIES)
    visitor = tl.program_id(0) // parts
    of_queries = tl.cdiv(count, query_block)
    image = (visitor // of_queries).to(tl.int64)
    row = tl.program_id(0) % parts * QUERIES + tl.arange(0, QUERIES)
    query = visitor % of_queries * query_block + row
    is_query = (row < query_block) & (query < count)
    c, e = tl.arange(0, CHANNELS), tl.arange(0, VALUES)
    is_channel, is_value = c < channels, e < of_values
    q_at = (image * count + query)[:, None] * channels + c[None, :]
    q = tl.load(queries + q_at, mask=is_query[:, None] & is_channel[None, :], other=0.0)

    highest = tl.full((QUERIES,), -float("inf"), tl.float32)
    mass = tl.zeros((QUERIES,), tl.float32)
    total = tl.zeros((QUERIES, VALUES), tl.float32)
    for visit in range(tl.load(offsets + visitor), tl.load(offsets + visitor + 1)):
        start = tl.load(blocks + visit) * key_block
        for first in range(0, key_block, KEYS):
            column = first + tl.arange(0, KEYS)
            key = start + column
            is_key = (column < key_block) & (key < length)
            k_rows = image * length + key
            k_at = k_rows[None, :] * channels + c[:, None]
            k = tl.load(keys + k_at, mask=is_channel[:, None] & is_key[None, :], other=0.0)
            scores = tl.dot(q, k, input_precision=PRECISION) * scale
            scores = tl.where(is_key[None, :], scores, -float("inf"))
            higher = tl.maximum(highest, tl.max(scores, axis=1))
            zero = tl.where(higher == -float("inf"), 0.0, higher)  # minus infinity has no difference from itself
            weights = tl.exp(scores - zero[:, None])
            shrink = tl.exp(highest - zero)
            v_at = k_rows[:, None] * of_values + e[None, :]
            v = tl.load(values + v_at, mask=is_key[:, None] & is_value[None, :], other=0.0)
            total = tl.dot(weights.to(v.dtype), v, total * shrink[:, None], input_precision=PRECISION)
            mass = mass * shrink + tl.sum(weights, axis=1)
            highest = higher
    y_at = (image * count + query)[:, None] * of_values + e[None, :]
    y = (total / mass[:, None]).to(out.dtype.element_ty)
    tl.store(out + y_at, y, mask=is_query[:, None] & is_value[None, :])
