# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"
"""Block-sparse attention: each program walks the blocks of keys that its block of queries opens.

A softmax is summed as its scores come, so that none of them is written. Gradients walk the same blocks, those of the
keys from the other side: each block of keys walks the blocks of queries that open it, without atomics.
"""

import math
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from convnn.backends.triton._launch import computing_on, launch, precision, sum_dtype, tile, tiles
from convnn.backends.triton._tiles import load_rows, multiply, ragged, softmax_step, span, store_rows, zeros
from convnn.backends.triton._visits import visits_of

_TILE = 2**13  # bytes


class Pairs(NamedTuple):
    """Which keys queries see: those in open blocks, without what a mask or the order takes away.

    Attributes:
        is_open: (B, Q, J) bool, which of the J blocks of keys each of the Q blocks of queries visits.
        query_block: queries of a block.
        key_block: keys of a block.
        mask: (B, N, T) bool, True where a query sees a key in an open block, or None.
        shift: query i sees keys up to i + shift, or None for all.
    """

    is_open: Tensor
    query_block: int
    key_block: int
    mask: Tensor | None = None
    shift: int | None = None

    def seen(self) -> tuple[Any, ...]:
        """Return the arguments that all kernels take: of the blocks, the order and the mask."""
        mask = None if self.mask is None else self.mask.view(torch.int8)
        strides = (0, 0, 0) if mask is None else mask.stride()
        return self.query_block, self.key_block, self.shift, mask, *strides


def attend_to_blocks(
    queries: Tensor, keys: Tensor, values: Tensor, is_open: Tensor, query_block: int, key_block: int
) -> tuple[Tensor, Tensor]:
    """Return attention (B, N, E) and logarithms (B, N); see `reference.attend_to_blocks`."""
    with computing_on(values):
        pairs = Pairs(is_open, query_block, key_block)
        out, logarithms = attend_to_pairs(queries, keys, values, pairs, queries.shape[2] ** -0.5)
        return out, logarithms * math.log(2)


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
    with computing_on(values):
        pairs, scale = Pairs(is_open, query_block, key_block), queries.shape[2] ** -0.5
        return gradients_of_pairs(grad, queries, keys, values, taken, logs / math.log(2), pairs, scale)


def attend_to_pairs(queries: Tensor, keys: Tensor, values: Tensor, pairs: Pairs, scale: float) -> tuple[Tensor, Tensor]:
    """Return the attention (B, N, E), and logarithms (B, N) of the sums of its softmax, to base 2.

    A query that sees nothing gets zeros, and the logarithm minus infinity.
    """
    out = values.new_empty(*queries.shape[:2], values.shape[2])
    logarithms = torch.empty(queries.shape[:2], dtype=sum_dtype(values), device=values.device)
    launch(
        _attend_kernel,
        _programs(queries, values, pairs.is_open.shape[1], pairs.query_block),
        queries.contiguous(),
        keys.contiguous(),
        values.contiguous(),
        *visits_of(pairs.is_open.flatten(0, 1)),
        out,
        logarithms,
        *_sizes(queries, keys, values),
        *pairs.seen(),
        **_constants(queries, values, pairs, scale),
    )
    return out, logarithms


def gradients_of_pairs(
    grad: Tensor,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    means: Tensor,
    logarithms: Tensor,
    pairs: Pairs,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of queries, keys and values, from that of the result of `attend_to_pairs`.

    Each query has the mean (B, N) of the gradients of its weights, and the logarithm of their sum to base 2.
    """
    grad, queries, keys, values = (one.contiguous() for one in (grad, queries, keys, values))
    of_queries, of_keys, of_values = (torch.empty_like(one) for one in (queries, keys, values))
    rest = (logarithms.contiguous(), means.to(logarithms.dtype).contiguous())
    settings = (*_sizes(queries, keys, values), *pairs.seen())
    constants = _constants(queries, values, pairs, scale)
    launch(
        _gradient_of_queries_kernel,
        _programs(queries, values, pairs.is_open.shape[1], pairs.query_block),
        *(grad, queries, keys, values),
        *visits_of(pairs.is_open.flatten(0, 1)),
        *rest,
        of_queries,
        *settings,
        **constants,
    )
    launch(
        _gradient_of_keys_kernel,
        _programs(queries, values, pairs.is_open.shape[2], pairs.key_block),
        *(grad, queries, keys, values),
        *visits_of(pairs.is_open.mT.flatten(0, 1)),
        *rest,
        of_keys,
        of_values,
        *settings,
        **constants,
    )
    return of_queries, of_keys, of_values


def _programs(queries: Tensor, values: Tensor, blocks: int, block: int) -> tuple[int]:
    """Return how many programs share the tiles of all blocks."""
    return (queries.shape[0] * blocks * tiles(block, tile(block, 16, _rows_of_a_tile(queries, values))),)


def _sizes(queries: Tensor, keys: Tensor, values: Tensor) -> tuple[int, ...]:
    """Return the sizes that all kernels take."""
    return queries.shape[1], keys.shape[1], queries.shape[2], values.shape[2]


def _constants(queries: Tensor, values: Tensor, pairs: Pairs, scale: float) -> dict[str, Any]:
    """Return the constants that all kernels take."""
    rows = _rows_of_a_tile(queries, values)
    return {
        "SCALE": scale,
        "QUERIES": tile(pairs.query_block, 16, rows),
        "KEYS": tile(pairs.key_block, 16, rows),
        "CHANNELS": tile(queries.shape[2], 16, 256),
        "VALUES": tile(values.shape[2], 16, 256),
        "PRECISION": precision(values),
    }


def _rows_of_a_tile(queries: Tensor, values: Tensor) -> int:
    """Return the most rows of a tile: fewer of wide heads and of float32, of which a program holds several tiles."""
    width = tile(max(queries.shape[2], values.shape[2]), 64, 256)
    return max(16, _TILE // (width * values.element_size()))


_LOG2_E = tl.constexpr(math.log2(math.e))


@triton.jit
def _tile(count: tl.tensor, block: tl.tensor, ROWS: tl.constexpr) -> tuple[tl.tensor, ...]:
    """Return the block of a program, its image, and the rows of its tile of the block with their mask."""
    parts, blocks = tl.cdiv(block, ROWS), tl.cdiv(count, block)
    visitor = tl.program_id(0) // parts
    row, is_row = _visited(visitor % blocks, tl.program_id(0) % parts * ROWS, count, block, ROWS)
    return visitor, (visitor // blocks).to(tl.int64), row, is_row


@triton.jit
def _visited(
    visited: tl.tensor, first: tl.tensor, count: tl.tensor, block: tl.tensor, ROWS: tl.constexpr
) -> tuple[tl.tensor, ...]:
    """Return the rows of a tile of a visited block, with their mask."""
    place, is_inside = span(first, block, ROWS)
    row = visited * block + place
    return row, is_inside & (row < count)


@triton.jit
def _seen(
    is_pair: tl.tensor,
    query: tl.tensor,
    key: tl.tensor,
    shift: tl.tensor,
    mask: tl.tensor,
    query_stride: tl.tensor,
    key_stride: tl.tensor,
) -> tl.tensor:
    """Return which pairs of a tile, of queries and keys that are broadcast, see each other."""
    seen = is_pair
    if shift is not None:
        seen = seen & (key <= query + shift)
    if mask is not None:
        seen = seen & (tl.load(mask + query.to(tl.int64) * query_stride + key * key_stride, mask=is_pair, other=0) != 0)
    return seen


@triton.jit
def _attend_kernel(
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    blocks: tl.tensor,
    offsets: tl.tensor,
    out: tl.tensor,
    logarithms: tl.tensor,
    count: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    of_values: tl.tensor,
    query_block: tl.tensor,
    key_block: tl.tensor,
    shift: tl.tensor,
    mask: tl.tensor,
    mask_batch_stride: tl.tensor,
    mask_query_stride: tl.tensor,
    mask_key_stride: tl.tensor,
    SCALE: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    CHANNELS: tl.constexpr,
    VALUES: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Attend from a tile of a block of queries to the blocks of keys that it visits."""
    visitor, image, query, is_query = _tile(count, query_block, QUERIES)
    mask_of_image = None if mask is None else mask + image * mask_batch_stride
    row = image * count + query
    c, is_channel = span(0, channels, CHANNELS)
    e, is_value = span(0, of_values, VALUES)
    q = load_rows(queries, row, is_query, c, is_channel, channels)
    highest = zeros((QUERIES,), values) - float("inf")
    mass = zeros((QUERIES,), values)
    total = zeros((QUERIES, VALUES), values)
    first_visit, end = ragged(offsets, visitor)
    for visit in range(first_visit, end):
        block = tl.load(blocks + visit)
        for first in range(0, key_block, KEYS):
            key, is_key = _visited(block, first, length, key_block, KEYS)
            k = load_rows(keys, image * length + key, is_key, c, is_channel, channels)
            v = load_rows(values, image * length + key, is_key, e, is_value, of_values)
            is_pair = is_query[:, None] & is_key[None, :]
            seen = _seen(
                is_pair, query[:, None], key[None, :], shift, mask_of_image, mask_query_stride, mask_key_stride
            )
            scores = multiply(q, tl.trans(k), PRECISION) * (SCALE * _LOG2_E)
            weights, shrink, highest = softmax_step(tl.where(seen, scores, -float("inf")), highest)
            total = multiply(weights.to(v.dtype), v, PRECISION, total * shrink[:, None])
            mass = mass * shrink + tl.sum(weights, axis=1)
    total = total / tl.where(mass == 0.0, 1.0, mass)[:, None]
    store_rows(out, total, row, is_query, e, is_value, of_values)
    tl.store(logarithms + row, highest + tl.log2(mass), mask=is_query)


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
    shift: tl.tensor,
    mask: tl.tensor,
    mask_batch_stride: tl.tensor,
    mask_query_stride: tl.tensor,
    mask_key_stride: tl.tensor,
    SCALE: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    CHANNELS: tl.constexpr,
    VALUES: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Write the gradient of a tile of queries: visit the blocks of keys that it opens."""
    visitor, image, query, is_query = _tile(count, query_block, QUERIES)
    mask_of_image = None if mask is None else mask + image * mask_batch_stride
    row = image * count + query
    c, is_channel = span(0, channels, CHANNELS)
    e, is_value = span(0, of_values, VALUES)
    q = load_rows(queries, row, is_query, c, is_channel, channels)
    g = load_rows(grad, row, is_query, e, is_value, of_values)
    logarithm = tl.load(logarithms + row, mask=is_query, other=0.0)
    mean = tl.load(means + row, mask=is_query, other=0.0)
    total = zeros((QUERIES, CHANNELS), values)
    first_visit, end = ragged(offsets, visitor)
    for visit in range(first_visit, end):
        block = tl.load(blocks + visit)
        for first in range(0, key_block, KEYS):
            key, is_key = _visited(block, first, length, key_block, KEYS)
            k = load_rows(keys, image * length + key, is_key, c, is_channel, channels)
            v = load_rows(values, image * length + key, is_key, e, is_value, of_values)
            is_pair = is_query[:, None] & is_key[None, :]
            seen = _seen(
                is_pair, query[:, None], key[None, :], shift, mask_of_image, mask_query_stride, mask_key_stride
            )
            scores = multiply(q, tl.trans(k), PRECISION) * (SCALE * _LOG2_E)
            weights = tl.where(seen, tl.exp2(scores - logarithm[:, None]), 0.0)
            of_weights = multiply(g, tl.trans(v), PRECISION)
            of_scores = weights * (of_weights - mean[:, None])
            total = multiply(of_scores.to(k.dtype), k, PRECISION, total)
    store_rows(gradient, total * SCALE, row, is_query, c, is_channel, channels)


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
    shift: tl.tensor,
    mask: tl.tensor,
    mask_batch_stride: tl.tensor,
    mask_query_stride: tl.tensor,
    mask_key_stride: tl.tensor,
    SCALE: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    CHANNELS: tl.constexpr,
    VALUES: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Write the gradients of a tile of keys and of their values: visit the blocks of queries that open their block."""
    visitor, image, key, is_key = _tile(length, key_block, KEYS)
    mask_of_image = None if mask is None else mask + image * mask_batch_stride
    key_row = image * length + key
    c, is_channel = span(0, channels, CHANNELS)
    e, is_value = span(0, of_values, VALUES)
    k = load_rows(keys, key_row, is_key, c, is_channel, channels)
    v = load_rows(values, key_row, is_key, e, is_value, of_values)
    of_k = zeros((KEYS, CHANNELS), values)
    of_v = zeros((KEYS, VALUES), values)
    first_visit, end = ragged(offsets, visitor)
    for visit in range(first_visit, end):
        block = tl.load(blocks + visit)
        for first in range(0, query_block, QUERIES):
            query, is_query = _visited(block, first, count, query_block, QUERIES)
            row = image * count + query
            q = load_rows(queries, row, is_query, c, is_channel, channels)
            g = load_rows(grad, row, is_query, e, is_value, of_values)
            logarithm = tl.load(logarithms + row, mask=is_query, other=0.0)
            mean = tl.load(means + row, mask=is_query, other=0.0)
            is_pair = is_key[:, None] & is_query[None, :]
            seen = _seen(
                is_pair, query[None, :], key[:, None], shift, mask_of_image, mask_query_stride, mask_key_stride
            )
            scores = multiply(k, tl.trans(q), PRECISION) * (SCALE * _LOG2_E)
            weights = tl.where(seen, tl.exp2(scores - logarithm[None, :]), 0.0)
            of_v = multiply(weights.to(g.dtype), g, PRECISION, of_v)
            of_weights = multiply(v, tl.trans(g), PRECISION)
            of_scores = weights * (of_weights - mean[None, :])
            of_k = multiply(of_scores.to(q.dtype), q, PRECISION, of_k)
    store_rows(gradient_of_keys, of_k * SCALE, key_row, is_key, c, is_channel, channels)
    store_rows(gradient_of_values, of_v, key_row, is_key, e, is_value, of_values)
