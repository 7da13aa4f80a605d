# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"
"""Block-sparse attention: each program walks the blocks of keys that its block of queries opens.

A softmax is summed as its scores come, so that none of them is written. Gradients walk the same blocks, those of the
keys from the other side: each block of keys walks the blocks of queries that open it, without atomics.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from convnn.backends.triton._launch import computing_on, launch, precision, tile, tiles
from convnn.backends.triton._visits import visits_of

_TILE = 2**13  # bytes


def attend_to_blocks(
    queries: Tensor, keys: Tensor, values: Tensor, is_open: Tensor, query_block: int, key_block: int
) -> Tensor:
    """Return the attention (B, N, E) of queries to the blocks of keys they open; see `convnn.ops.blocks.attend`."""
    out = torch.empty((*queries.shape[:2], values.shape[2]), dtype=values.dtype, device=values.device)
    rows = _rows_of_a_tile(queries, values)
    with computing_on(values):
        launch(
            _attend_kernel,
            (queries.shape[0] * is_open.shape[1] * tiles(query_block, tile(query_block, 16, rows)),),
            queries.contiguous(),
            keys.contiguous(),
            values.contiguous(),
            *visits_of(is_open.flatten(0, 1)),
            out,
            *_sizes(queries, keys, values, query_block, key_block),
            **_tiles(queries, values, query_block, key_block),
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
    batch = queries.shape[0]
    rows = _rows_of_a_tile(queries, values)
    with computing_on(values):
        grad, queries, keys, values = (one.contiguous() for one in (grad, queries, keys, values))
        of_queries, of_keys, of_values = (torch.empty_like(one) for one in (queries, keys, values))
        logarithms, means = (torch.empty(queries.shape[:2], device=grad.device) for _ in range(2))
        sizes = _sizes(queries, keys, values, query_block, key_block)
        constants = _tiles(queries, values, query_block, key_block)
        launch(
            _gradient_of_queries_kernel,
            (batch * is_open.shape[1] * tiles(query_block, tile(query_block, 16, rows)),),
            grad,
            queries,
            keys,
            values,
            *visits_of(is_open.flatten(0, 1)),
            logarithms,
            means,
            of_queries,
            *sizes,
            **constants,
        )
        launch(
            _gradient_of_keys_kernel,
            (batch * is_open.shape[2] * tiles(key_block, tile(key_block, 16, rows)),),
            grad,
            queries,
            keys,
            values,
            *visits_of(is_open.mT.flatten(0, 1)),
            logarithms,
            means,
            of_keys,
            of_values,
            *sizes,
            **constants,
        )
    return of_queries, of_keys, of_values


def _sizes(queries: Tensor, keys: Tensor, values: Tensor, query_block: int, key_block: int) -> tuple[float, ...]:
    """Return the sizes that all kernels take, and the scale of the scores."""
    channels = queries.shape[2]
    return queries.shape[1], keys.shape[1], channels, values.shape[2], query_block, key_block, channels**-0.5


def _tiles(queries: Tensor, values: Tensor, query_block: int, key_block: int) -> dict[str, Any]:
    """Return the constants that all kernels take."""
    rows = _rows_of_a_tile(queries, values)
    return {
        "QUERIES": tile(query_block, 16, rows),
        "KEYS": tile(key_block, 16, rows),
        "CHANNELS": tile(queries.shape[2], 16, 256),
        "VALUES": tile(values.shape[2], 16, 256),
        "PRECISION": precision(values),
    }


def _rows_of_a_tile(queries: Tensor, values: Tensor) -> int:
    """Return the most rows of a tile: fewer of wide heads and of float32, of which a program holds several tiles."""
    width = tile(max(queries.shape[2], values.shape[2]), 64, 256)
    return max(16, _TILE // (width * values.element_size()))


@triton.jit
def _tile(count: tl.tensor, block: tl.tensor, ROWS: tl.constexpr) -> tuple[tl.tensor, ...]:
    """Return the block of a program, its image, and the rows of its tile of the block with their mask."""
    parts, blocks = tl.cdiv(block, ROWS), tl.cdiv(count, block)
    visitor = tl.program_id(0) // parts
    place = tl.program_id(0) % parts * ROWS + tl.arange(0, ROWS)
    row = visitor % blocks * block + place
    return visitor, (visitor // blocks).to(tl.int64), row, (place < block) & (row < count)


@triton.jit
def _visited(
    visited: tl.tensor, first: tl.tensor, count: tl.tensor, block: tl.tensor, ROWS: tl.constexpr
) -> tuple[tl.tensor, ...]:
    """Return the rows of a tile of a visited block, with their mask."""
    place = first + tl.arange(0, ROWS)
    row = visited * block + place
    return row, (place < block) & (row < count)


@triton.jit
def _load(rows: tl.tensor, row: tl.tensor, is_row: tl.tensor, channels: tl.tensor, CHANNELS: tl.constexpr) -> tl.tensor:
    """Load rows (ROWS, CHANNELS), zero outside."""
    c = tl.arange(0, CHANNELS)
    mask = is_row[:, None] & (c < channels)[None, :]
    return tl.load(rows + row[:, None] * channels + c[None, :], mask=mask, other=0.0)


@triton.jit
def _store(
    rows: tl.tensor, row: tl.tensor, is_row: tl.tensor, channels: tl.tensor, tile: tl.tensor, CHANNELS: tl.constexpr
) -> None:
    """Store a tile (ROWS, CHANNELS) in the type of the rows."""
    c = tl.arange(0, CHANNELS)
    mask = is_row[:, None] & (c < channels)[None, :]
    tl.store(rows + row[:, None] * channels + c[None, :], tile.to(rows.dtype.element_ty), mask=mask)


@triton.jit
def _weights(
    q: tl.tensor, k: tl.tensor, is_key: tl.tensor, scale: tl.tensor, highest: tl.tensor, PRECISION: tl.constexpr
) -> tuple[tl.tensor, ...]:
    """Return the weights of a tile of keys, by what to shrink sums so far, and the highest scores with this tile.

    Weights are relative to the highest score; minus infinity has no difference from itself.
    """
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
    scores = tl.where(is_key[None, :], scores, -float("inf"))
    higher = tl.maximum(highest, tl.max(scores, axis=1))
    zero = tl.where(higher == -float("inf"), 0.0, higher)
    return tl.exp(scores - zero[:, None]), tl.exp(highest - zero), higher


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
    visitor, image, query, is_query = _tile(count, query_block, QUERIES)
    q = _load(queries, image * count + query, is_query, channels, CHANNELS)
    highest = tl.full((QUERIES,), -float("inf"), tl.float32)
    mass = tl.zeros((QUERIES,), tl.float32)
    total = tl.zeros((QUERIES, VALUES), tl.float32)
    for visit in range(tl.load(offsets + visitor), tl.load(offsets + visitor + 1)):
        block = tl.load(blocks + visit)
        for first in range(0, key_block, KEYS):
            key, is_key = _visited(block, first, length, key_block, KEYS)
            k = _load(keys, image * length + key, is_key, channels, CHANNELS)
            weights, shrink, highest = _weights(q, k, is_key, scale, highest, PRECISION)
            v = _load(values, image * length + key, is_key, of_values, VALUES)
            total = tl.dot(weights.to(v.dtype), v, total * shrink[:, None], input_precision=PRECISION)
            mass = mass * shrink + tl.sum(weights, axis=1)
    _store(out, image * count + query, is_query, of_values, total / mass[:, None], VALUES)


@triton.jit
def _gradient_of_queries_kernel(
    grad: tl.tensor,
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    blocks: tl.tensor,
    offsets: tl.tensor,
    logarithms: tl.tensor,
    means: tl.tensor,
    gradient: tl.tensor,
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
    """Write the gradient of a tile of queries, and for the keys the logarithms of its sums and the mean gradients.

    The first walk finds the sum of a softmax and the mean of the gradients of its weights, the second the gradient.
    """
    visitor, image, query, is_query = _tile(count, query_block, QUERIES)
    row = image * count + query
    q = _load(queries, row, is_query, channels, CHANNELS)
    g = _load(grad, row, is_query, of_values, VALUES)
    start, end = tl.load(offsets + visitor), tl.load(offsets + visitor + 1)
    highest = tl.full((QUERIES,), -float("inf"), tl.float32)
    mass = tl.zeros((QUERIES,), tl.float32)
    mean = tl.zeros((QUERIES,), tl.float32)
    for visit in range(start, end):
        block = tl.load(blocks + visit)
        for first in range(0, key_block, KEYS):
            key, is_key = _visited(block, first, length, key_block, KEYS)
            k = _load(keys, image * length + key, is_key, channels, CHANNELS)
            weights, shrink, highest = _weights(q, k, is_key, scale, highest, PRECISION)
            v = _load(values, image * length + key, is_key, of_values, VALUES)
            of_weights = tl.dot(g, tl.trans(v), input_precision=PRECISION)
            mass = mass * shrink + tl.sum(weights, axis=1)
            mean = mean * shrink + tl.sum(weights * of_weights, axis=1)
    mean, logarithm = mean / mass, tl.log(mass) + highest
    total = tl.zeros((QUERIES, CHANNELS), tl.float32)
    for visit in range(start, end):
        block = tl.load(blocks + visit)
        for first in range(0, key_block, KEYS):
            key, is_key = _visited(block, first, length, key_block, KEYS)
            k = _load(keys, image * length + key, is_key, channels, CHANNELS)
            v = _load(values, image * length + key, is_key, of_values, VALUES)
            scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
            weights = tl.where(is_key[None, :], tl.exp(scores - logarithm[:, None]), 0.0)
            of_weights = tl.dot(g, tl.trans(v), input_precision=PRECISION)
            of_scores = weights * (of_weights - mean[:, None])
            total = tl.dot(of_scores.to(k.dtype), k, total, input_precision=PRECISION)
    _store(gradient, row, is_query, channels, total * scale, CHANNELS)
    tl.store(logarithms + row, logarithm, mask=is_query)
    tl.store(means + row, mean, mask=is_query)


@triton.jit
def _gradient_of_keys_kernel(
    grad: tl.tensor,
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    blocks: tl.tensor,
    offsets: tl.tensor,
    logarithms: tl.tensor,
    means: tl.tensor,
    gradient_of_keys: tl.tensor,
    gradient_of_values: tl.tensor,
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
    """Write the gradients of a tile of keys and of their values: visit the blocks of queries that open their block."""
    visitor, image, key, is_key = _tile(length, key_block, KEYS)
    k = _load(keys, image * length + key, is_key, channels, CHANNELS)
    v = _load(values, image * length + key, is_key, of_values, VALUES)
    of_k = tl.zeros((KEYS, CHANNELS), tl.float32)
    of_v = tl.zeros((KEYS, VALUES), tl.float32)
    for visit in range(tl.load(offsets + visitor), tl.load(offsets + visitor + 1)):
        block = tl.load(blocks + visit)
        for first in range(0, query_block, QUERIES):
            query, is_query = _visited(block, first, count, query_block, QUERIES)
            row = image * count + query
            q = _load(queries, row, is_query, channels, CHANNELS)
            g = _load(grad, row, is_query, of_values, VALUES)
            logarithm = tl.load(logarithms + row, mask=is_query, other=0.0)
            mean = tl.load(means + row, mask=is_query, other=0.0)
            scores = tl.dot(k, tl.trans(q), input_precision=PRECISION) * scale
            weights = tl.where(is_query[None, :], tl.exp(scores - logarithm[None, :]), 0.0)
            of_v = tl.dot(weights.to(g.dtype), g, of_v, input_precision=PRECISION)
            of_weights = tl.dot(v, tl.trans(g), input_precision=PRECISION)
            of_scores = weights * (of_weights - mean[None, :])
            of_k = tl.dot(of_scores.to(q.dtype), q, of_k, input_precision=PRECISION)
    _store(gradient_of_keys, image * length + key, is_key, channels, of_k * scale, CHANNELS)
    _store(gradient_of_values, image * length + key, is_key, of_values, of_v, VALUES)
