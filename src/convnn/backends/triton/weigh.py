# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"
"""Scores of the chosen pairs and their gradients in float32, without a copy of the chosen keys.

The gradient of the keys is summed key by key over `find_sources`; a backward pass also stores (B, N, K) numbers.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from convnn.backends.triton._launch import computing_on, launch, tile, tiles
from convnn.backends.triton._sources import find_sources
from convnn.backends.triton._tiles import load_rows, neighbors_of, ragged, span, store_rows

_PAIRS, _QUERIES, _SOURCES = 64, 32, 16


def similarity(queries: Tensor, keys: Tensor, indices: Tensor, metric: str) -> Tensor:
    """Return scores (B, N, K) of the chosen pairs; see `convnn.ops.weigh.similarity`."""
    with computing_on(keys):
        return _similarity(queries.contiguous(), keys.contiguous(), indices.contiguous(), metric, clamped=True)


def similarity_backward(
    grad: Tensor, queries: Tensor, keys: Tensor, indices: Tensor, metric: str
) -> tuple[Tensor, Tensor]:
    """Return the gradients of queries and keys, from the gradient (B, N, K) of their scores."""
    with computing_on(keys):
        grad, indices = grad.contiguous(), indices.contiguous()
        queries, keys = queries.contiguous(), keys.contiguous()
        scores = _similarity(queries, keys, indices, metric, clamped=False)
        lengths = _lengths(queries), _lengths(keys)
        grad_queries = _gradient_of_queries(grad, queries, keys, indices, scores, *lengths, metric)
        return grad_queries, _gradient_of_keys(grad, queries, keys, indices, scores, *lengths, metric)


def _similarity(queries: Tensor, keys: Tensor, indices: Tensor, metric: str, *, clamped: bool) -> Tensor:
    """Return scores (B, N, K) of contiguous tensors; unless clamped, rounding may leave a cosine beyond 1."""
    scores = torch.empty(indices.shape, device=keys.device, dtype=torch.float32)
    launch(
        _similarity_kernel,
        (tiles(indices.numel(), _PAIRS),),
        queries,
        keys,
        _lengths(queries),
        _lengths(keys),
        indices,
        scores,
        indices.numel(),
        *indices.shape[1:],
        *keys.shape[1:],
        METRIC=metric,
        CLAMPED=clamped,
        PAIRS=_PAIRS,
        CHANNELS=tile(keys.shape[2], 1, 64),
    )
    return scores


def _gradient_of_queries(
    grad: Tensor,
    queries: Tensor,
    keys: Tensor,
    indices: Tensor,
    scores: Tensor,
    query_lengths: Tensor,
    key_lengths: Tensor,
    metric: str,
) -> Tensor:
    batch, count, channels = queries.shape
    gradient = torch.empty_like(queries)
    block = tile(channels, 1, 64)
    launch(
        _gradient_of_queries_kernel,
        (tiles(batch * count, _QUERIES), tiles(channels, block)),
        grad,
        queries,
        keys,
        indices,
        scores,
        query_lengths,
        key_lengths,
        gradient,
        batch * count,
        *indices.shape[1:],
        *keys.shape[1:],
        METRIC=metric,
        QUERIES=_QUERIES,
        CHANNELS=block,
    )
    return gradient


def _gradient_of_keys(
    grad: Tensor,
    queries: Tensor,
    keys: Tensor,
    indices: Tensor,
    scores: Tensor,
    query_lengths: Tensor,
    key_lengths: Tensor,
    metric: str,
) -> Tensor:
    batch, length, channels = keys.shape
    gradient = torch.empty_like(keys)
    sources = find_sources(indices, length, indices.shape[2])
    block = tile(channels, 1, 128)
    launch(
        _gradient_of_keys_kernel,
        (batch * length, tiles(channels, block)),
        grad,
        queries,
        keys,
        sources.pairs,
        sources.starts,
        scores,
        query_lengths,
        key_lengths,
        gradient,
        indices.shape[2],
        channels,
        num_warps=1 if block <= 64 else 2,
        METRIC=metric,
        SOURCES=_SOURCES,
        CHANNELS=block,
    )
    return gradient


def _lengths(rows: Tensor) -> Tensor:
    """Return float32 lengths (B, T) of the rows, infinite for zero rows, so that their quotient is zero."""
    norms = torch.linalg.vector_norm(rows, dim=-1, dtype=torch.float32)
    return norms.masked_fill(norms <= 1e-12, torch.inf)


@triton.jit
def _similarity_kernel(
    queries: tl.tensor,
    keys: tl.tensor,
    query_lengths: tl.tensor,
    key_lengths: tl.tensor,
    indices: tl.tensor,
    scores: tl.tensor,
    pairs: tl.tensor,
    count: tl.tensor,
    K: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    METRIC: tl.constexpr,
    CLAMPED: tl.constexpr,
    PAIRS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    """Score a tile of pairs, channel block by channel block."""
    pair, is_pair = span(tl.program_id(0).to(tl.int64) * PAIRS, pairs, PAIRS)
    query = pair // K
    key, is_key = neighbors_of(indices, pair, is_pair, query // count * length)
    if METRIC == "cosine":
        query_length = tl.load(query_lengths + query, mask=is_pair, other=1.0)[:, None]
        key_length = tl.load(key_lengths + key, mask=is_key, other=1.0)[:, None]
    total = tl.zeros((PAIRS,), tl.float32)
    for start in range(0, channels, CHANNELS):
        c, is_channel = span(start, channels, CHANNELS)
        q = load_rows(queries, query, is_pair, c, is_channel, channels).to(tl.float32)
        k = load_rows(keys, key, is_key, c, is_channel, channels).to(tl.float32)
        if METRIC == "cosine":
            total += tl.sum((q / query_length) * (k / key_length), axis=1)
        elif METRIC == "matmul":
            total += tl.sum(q * k, axis=1)
        else:
            total -= tl.sum((q - k) * (q - k), axis=1)
    if METRIC == "cosine" and CLAMPED:
        total = tl.where(total > 1.0, 1.0, tl.where(total < -1.0, -1.0, total))
    tl.store(scores + pair, total, mask=is_pair)


@triton.jit
def _pair_gradient(
    grad: tl.tensor,
    score: tl.tensor,
    own: tl.tensor,
    own_length: tl.tensor,
    other: tl.tensor,
    other_length: tl.tensor,
    METRIC: tl.constexpr,
) -> tl.tensor:
    """Return the gradient of the vector `own` of a pair; for a cosine, the other's direction less its projection."""
    if METRIC == "matmul":
        return grad * other
    if METRIC == "cosine":
        passed = tl.where(tl.abs(score) <= 1.0, grad, 0.0)  # a clamped score passes no gradient
        return passed * (other / other_length - score * (own / own_length)) / own_length
    return 2.0 * grad * (other - own)


@triton.jit
def _gradient_of_queries_kernel(
    grad: tl.tensor,
    queries: tl.tensor,
    keys: tl.tensor,
    indices: tl.tensor,
    scores: tl.tensor,
    query_lengths: tl.tensor,
    key_lengths: tl.tensor,
    gradient: tl.tensor,
    rows: tl.tensor,
    count: tl.tensor,
    K: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    METRIC: tl.constexpr,
    QUERIES: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    """Sum the gradients of a tile of queries over their K keys."""
    query, is_query = span(tl.program_id(0).to(tl.int64) * QUERIES, rows, QUERIES)
    c, is_channel = span(tl.program_id(1) * CHANNELS, channels, CHANNELS)
    q = load_rows(queries, query, is_query, c, is_channel, channels).to(tl.float32)
    q_length = tl.load(query_lengths + query, mask=is_query, other=1.0)[:, None]
    total = tl.zeros((QUERIES, CHANNELS), tl.float32)
    for slot in range(K):
        pair = query * K + slot
        key, is_key = neighbors_of(indices, pair, is_query, query // count * length)
        k = load_rows(keys, key, is_key, c, is_channel, channels).to(tl.float32)
        k_length = tl.load(key_lengths + key, mask=is_key, other=1.0)[:, None]
        g = tl.load(grad + pair, mask=is_query, other=0.0).to(tl.float32)[:, None]
        s = tl.load(scores + pair, mask=is_query, other=0.0)[:, None]
        total += _pair_gradient(g, s, q, q_length, k, k_length, METRIC)
    store_rows(gradient, total, query, is_query, c, is_channel, channels)


@triton.jit
def _gradient_of_keys_kernel(
    grad: tl.tensor,
    queries: tl.tensor,
    keys: tl.tensor,
    source_pairs: tl.tensor,
    source_starts: tl.tensor,
    scores: tl.tensor,
    query_lengths: tl.tensor,
    key_lengths: tl.tensor,
    gradient: tl.tensor,
    K: tl.tensor,
    channels: tl.tensor,
    METRIC: tl.constexpr,
    SOURCES: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    """Sum the gradient of one key over the queries that chose it, tile by tile: every query may have chosen it."""
    key = tl.program_id(0).to(tl.int64)
    c, is_channel = span(tl.program_id(1) * CHANNELS, channels, CHANNELS)
    k = tl.load(keys + key * channels + c, mask=is_channel, other=0.0).to(tl.float32)[None, :]
    k_length = tl.load(key_lengths + key)
    first_source, end = ragged(source_starts, key)
    total = tl.zeros((CHANNELS,), tl.float32)
    for start in range(first_source, end, SOURCES):
        source, is_source = span(start, end, SOURCES)
        pair = tl.load(source_pairs + source, mask=is_source, other=0)
        query = pair // K
        q = load_rows(queries, query, is_source, c, is_channel, channels).to(tl.float32)
        q_length = tl.load(query_lengths + query, mask=is_source, other=1.0)[:, None]
        g = tl.load(grad + pair, mask=is_source, other=0.0).to(tl.float32)[:, None]
        s = tl.load(scores + pair, mask=is_source, other=0.0)[:, None]
        one = _pair_gradient(g, s, k, k_length, q, q_length, METRIC)
        total += tl.sum(tl.where(is_source[:, None], one, 0.0), axis=0)
    tl.store(gradient + key * channels + c, total.to(gradient.dtype.element_ty), mask=is_channel)
