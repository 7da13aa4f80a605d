# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"
"""Neighbour search: scores of a tile of queries with a tile of keys, merged at once into each query's K best so far.

Scores are float64 inside the kernel and rounded to float32, as in `reference`. Data-centre GPUs multiply float64
matrices on tensor cores, as fast as plain float32; on other GPUs the search is slower but gives the same result. No
(N, T) matrix is written: the extra memory is one number per query and one per key.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from convnn.backends import reference
from convnn.backends.triton._launch import computing_on, launch, tile, tiles

_QUERIES, _KEYS, _CHANNELS = 32, 32, 16  # larger tiles take more registers, so fewer programs run at a time
_NARROW = 8  # up to here a matrix product would mostly multiply the padding of its tile

_LOWEST = tl.constexpr(-(2**63))
_HIGHEST = tl.constexpr(2**63 - 1)
_LAST_INDEX = tl.constexpr(2**31 - 1)
_WORST = tl.constexpr(torch.finfo(torch.float32).min)


def nearest(
    queries: Tensor, keys: Tensor, K: int, metric: str, positions: Tensor | None, candidates: Tensor | None
) -> Tensor:
    """Return the indices (B, N, K) of the keys closest to each query; see `convnn.ops.select.nearest`."""
    batch, count, channels = queries.shape
    chosen = torch.empty((batch, count, K), dtype=torch.long, device=keys.device)
    with computing_on(keys):
        queries, keys = queries.float(), keys.float()  # Triton 3.6 cannot multiply half types as float64
        launch(
            _nearest_kernel,
            (batch * tiles(count, _QUERIES),),
            queries,
            keys,
            reference.scales(queries, metric),
            reference.scales(keys, metric),
            None if positions is None else positions.contiguous(),
            None if candidates is None else candidates.contiguous(),
            chosen,
            count,
            keys.shape[1],
            keys.shape[1] if candidates is None else candidates.shape[0],
            channels,
            *queries.stride(),
            *keys.stride(),
            K=K,
            METRIC=metric,
            NARROW=channels <= _NARROW or metric == "euclidean",  # distances are not a matrix product
            QUERIES=_QUERIES,
            KEYS=_KEYS,
            CHANNELS=_CHANNELS,
            SLOTS=tile(K, 2, 64),
        )
    return chosen


@triton.jit
def _nearest_kernel(
    queries: tl.tensor,
    keys: tl.tensor,
    query_scales: tl.tensor,
    key_scales: tl.tensor,
    positions: tl.tensor,
    candidates: tl.tensor,
    chosen: tl.tensor,
    count: tl.tensor,
    length: tl.tensor,
    eligible: tl.tensor,
    channels: tl.tensor,
    query_batch_stride: tl.tensor,
    query_stride: tl.tensor,
    query_channel_stride: tl.tensor,
    key_batch_stride: tl.tensor,
    key_stride: tl.tensor,
    key_channel_stride: tl.tensor,
    K: tl.constexpr,
    METRIC: tl.constexpr,
    NARROW: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    CHANNELS: tl.constexpr,
    SLOTS: tl.constexpr,
) -> None:
    """Search the neighbours of a tile of queries of one image: stream all keys and keep the best."""
    blocks = tl.cdiv(count, QUERIES)
    image = (tl.program_id(0) // blocks).to(tl.int64)
    query = (tl.program_id(0) % blocks) * QUERIES + tl.arange(0, QUERIES)
    is_query = query < count
    query_rows = queries + image * query_batch_stride + query.to(tl.int64) * query_stride
    query_scale = tl.load(query_scales + image * count + query, mask=is_query, other=0.0)
    FIRST: tl.constexpr = 0 if positions is None else 1
    itself = query if positions is None else tl.load(positions + query, mask=is_query, other=0)

    slot = tl.arange(0, SLOTS)
    empty = tl.where(slot < K - FIRST, slot.to(tl.int64) + (_LOWEST + 1), _HIGHEST)
    best = tl.broadcast_to(empty[None, :], (QUERIES, SLOTS))
    for start in range(0, eligible, KEYS):
        column = start + tl.arange(0, KEYS)
        is_key = column < eligible
        key = column.to(tl.int64) if candidates is None else tl.load(candidates + column, mask=is_key, other=0)
        key_rows = keys + image * key_batch_stride + key * key_stride
        sums = _sums(
            query_rows, is_query, query_channel_stride, key_rows, is_key, key_channel_stride,
            channels, METRIC, NARROW, QUERIES, KEYS, CHANNELS,
        )  # fmt: skip
        key_scale = tl.load(key_scales + image * length + key, mask=is_key, other=0.0)
        scores = bounded(score_of_sum(sums, query_scale[:, None], key_scale[None, :], METRIC))
        if positions is not None:
            scores = tl.where(key[None, :] == itself[:, None], -float("inf"), scores)
        ranks = tl.where(is_key[None, :], _ranks(scores, column[None, :]), _LOWEST)
        best = _keep_best(best, ranks)

    best = tl.where(best == _HIGHEST, _LOWEST, best)
    out = chosen + (image * count + query) * K
    if positions is not None:
        tl.store(out, itself, mask=is_query)
    for place in range(FIRST, K):
        first = tl.max(best, axis=1)
        best = tl.where(best == first[:, None], _LOWEST, best)
        column = -(first & 0xFFFFFFFF) + _LAST_INDEX
        if candidates is not None:
            column = tl.load(candidates + column, mask=is_query, other=0)
        tl.store(out + place, column, mask=is_query)


@triton.jit
def _sums(
    query_rows: tl.tensor,
    is_query: tl.tensor,
    query_stride: tl.tensor,
    key_rows: tl.tensor,
    is_key: tl.tensor,
    key_stride: tl.tensor,
    channels: tl.tensor,
    METRIC: tl.constexpr,
    NARROW: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> tl.tensor:
    """Return float64 inner products or squared distances (QUERIES, KEYS), summed in the same order in every tile."""
    total = tl.zeros((QUERIES, KEYS), tl.float64)
    if NARROW:
        for c in range(channels):
            q = tl.load(query_rows + c * query_stride, mask=is_query, other=0.0).to(tl.float64)
            k = tl.load(key_rows + c * key_stride, mask=is_key, other=0.0).to(tl.float64)
            total += pair_term(q[:, None], k[None, :], METRIC)
    else:
        for start in range(0, channels, CHANNELS):
            c = (start + tl.arange(0, CHANNELS)).to(tl.int64)
            q_mask = is_query[:, None] & (c < channels)[None, :]
            k_mask = (c < channels)[:, None] & is_key[None, :]
            q = tl.load(query_rows[:, None] + (c * query_stride)[None, :], mask=q_mask, other=0.0)
            k = tl.load(key_rows[None, :] + (c * key_stride)[:, None], mask=k_mask, other=0.0)
            total = tl.dot(q.to(tl.float64), k.to(tl.float64), total, out_dtype=tl.float64)
    return total


@triton.jit
def pair_term(q: tl.tensor, k: tl.tensor, METRIC: tl.constexpr) -> tl.tensor:
    """Return the term of one channel; for distances by differences, because products cancel far from the origin."""
    return (q - k) * (q - k) if METRIC == "euclidean" else q * k


@triton.jit
def score_of_sum(sums: tl.tensor, query_scale: tl.tensor, key_scale: tl.tensor, METRIC: tl.constexpr) -> tl.tensor:
    """Return float64 scores as `reference` defines them: larger is closer, orthogonal and zero rows score exactly 0."""
    if METRIC == "euclidean":
        scores = -sums
    else:
        cosines = sums * query_scale * key_scale
        is_orthogonal = tl.abs(cosines) <= 1e-12
        if METRIC == "matmul":
            scores = tl.where(is_orthogonal, 0.0, sums)
        else:
            scores = tl.where(cosines > 1.0, 1.0, tl.where(cosines < -1.0, -1.0, cosines))
            scores = tl.where(is_orthogonal | (query_scale == 0.0) | (key_scale == 0.0), 0.0, scores)
    return scores


@triton.jit
def bounded(exact: tl.tensor) -> tl.tensor:
    """Round to float32; NaN and positive overflow become the lowest number, negative overflow ranks just above."""
    scores = exact.to(tl.float32)
    lowest = tl.where(scores < _WORST / 2, _WORST / 2, scores)
    return tl.where(scores <= -_WORST, lowest, _WORST)


@triton.jit
def _ranks(scores: tl.tensor, column: tl.tensor) -> tl.tensor:
    """Return distinct whole numbers in the order of choice: by score, then by lowest index.

    The bits of a float32 sort as its value does, in reverse for negative numbers; they fill the high half, and the
    index counted backwards the low half.
    """
    bits = tl.where(scores == 0.0, 0.0, scores).to(tl.int32, bitcast=True)  # -0 equals 0
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ordered.to(tl.int64) << 32) + (-column + _LAST_INDEX).to(tl.int64)


@triton.jit
def _keep_best(best: tl.tensor, ranks: tl.tensor) -> tl.tensor:
    """Replace the worst of the list by the best of the tile while it is better: rarely needed late in a map."""
    candidate = tl.max(ranks, axis=1)
    threshold = tl.min(best, axis=1)
    while tl.max((candidate > threshold).to(tl.int32), axis=0) > 0:
        replaced = (best == threshold[:, None]) & (candidate > threshold)[:, None]
        best = tl.where(replaced, candidate[:, None], best)
        ranks = tl.where(ranks == candidate[:, None], _LOWEST, ranks)
        candidate = tl.max(ranks, axis=1)
        threshold = tl.min(best, axis=1)
    return best
