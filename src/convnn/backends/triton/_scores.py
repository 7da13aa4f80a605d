# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"
"""Scores of a tile of queries with a tile of keys, as `reference` defines them, and the K best of each query so far.

Scores are float64 inside a kernel and rounded to float32. Data-centre GPUs multiply float64 matrices on tensor cores,
as fast as plain float32; on other GPUs a search is slower but gives the same result.
"""

import torch
import triton
import triton.language as tl

from convnn.backends.triton._tiles import load_rows, span

QUERIES, KEYS, CHANNELS = 32, 32, 16  # larger tiles take more registers, so fewer programs run at a time
MAX_SLOTS = 64  # neighbours that are kept in registers; more of them are found in several passes

LOWEST = tl.constexpr(-(2**63))
HIGHEST = tl.constexpr(2**63 - 1)
_LAST_INDEX = tl.constexpr(2**31 - 1)
_WORST = tl.constexpr(torch.finfo(torch.float32).min)
_SLOTS = tl.constexpr(MAX_SLOTS)


def is_narrow(channels: int, metric: str) -> bool:
    """Return whether sums are taken channel by channel, not by matrix products.

    Distances are no products, and of few channels a product would mostly multiply the padding of its tile.
    """
    return channels <= 8 or metric == "euclidean"


@triton.jit
def tile_scores(
    queries: tl.tensor,
    query: tl.tensor,
    query_scale: tl.tensor,
    is_query: tl.tensor,
    query_stride: tl.tensor,
    query_channel_stride: tl.tensor,
    keys: tl.tensor,
    key: tl.tensor,
    key_scale: tl.tensor,
    is_key: tl.tensor,
    key_stride: tl.tensor,
    key_channel_stride: tl.tensor,
    channels: tl.tensor,
    METRIC: tl.constexpr,
    NARROW: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> tl.tensor:
    """Return float32 scores (QUERIES, KEYS) of rows of two matrices, summed in the same order in every tile."""
    total = tl.zeros((QUERIES, KEYS), tl.float64)
    if NARROW:
        for c in range(channels):
            q = tl.load(queries + query * query_stride + c * query_channel_stride, mask=is_query, other=0.0)
            k = tl.load(keys + key * key_stride + c * key_channel_stride, mask=is_key, other=0.0)
            total += pair_term(q.to(tl.float64)[:, None], k.to(tl.float64)[None, :], METRIC)
    else:
        for start in range(0, channels, CHANNELS):
            column, is_channel = span(start, channels, CHANNELS)
            c = column.to(tl.int64)
            q = load_rows(queries, query, is_query, c, is_channel, query_stride, query_channel_stride)
            k = load_rows(keys, c, is_channel, key, is_key, key_channel_stride, key_stride)
            total = tl.dot(q.to(tl.float64), k.to(tl.float64), total, out_dtype=tl.float64)
    return bounded(score_of_sum(total, query_scale[:, None], key_scale[None, :], METRIC))


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
def ranks_of(scores: tl.tensor, index: tl.tensor) -> tl.tensor:
    """Return distinct whole numbers in the order of choice: by score, then by lowest index.

    The bits of a float32 sort as its value does, in reverse for negative numbers; they fill the high half, and the
    index counted backwards the low half.
    """
    bits = tl.where(scores == 0.0, 0.0, scores).to(tl.int32, bitcast=True)  # -0 equals 0
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ordered.to(tl.int64) << 32) + (-index + _LAST_INDEX).to(tl.int64)


@triton.jit
def ranks_to_choose(scores: tl.tensor, index: tl.tensor, may_choose: tl.tensor, bound: tl.tensor) -> tl.tensor:
    """Return the ranks of what a query may choose, and the lowest elsewhere; of those below `bound`, if it is given."""
    ranks = tl.where(may_choose, ranks_of(scores, index[None, :]), LOWEST)
    if bound is not None:
        ranks = tl.where(ranks < bound[:, None], ranks, LOWEST)
    return ranks


@triton.jit
def load_if_given(numbers: tl.tensor, at: tl.tensor, is_there: tl.tensor, other: tl.constexpr) -> tl.tensor:
    """Load numbers, or return None if there are none."""
    return None if numbers is None else tl.load(numbers + at, mask=is_there, other=other)


@triton.jit
def index_of(rank: tl.tensor) -> tl.tensor:
    """Return the index of a rank, or -1 for that of an empty slot."""
    return tl.where(rank <= LOWEST + _SLOTS, -1, -(rank & 0xFFFFFFFF) + _LAST_INDEX)


@triton.jit
def no_best(QUERIES: tl.constexpr, SLOTS: tl.constexpr, K: tl.constexpr) -> tl.tensor:
    """Return lists (QUERIES, SLOTS) of K empty slots, each with a rank of its own; the other slots are never filled."""
    slot = tl.arange(0, SLOTS)
    empty = tl.where(slot < K, slot.to(tl.int64) + (LOWEST + 1), HIGHEST)
    return tl.broadcast_to(empty[None, :], (QUERIES, SLOTS))


@triton.jit
def keep_best(best: tl.tensor, ranks: tl.tensor) -> tl.tensor:
    """Replace the worst of the list by the best of the tile while it is better: rarely needed late in a map."""
    candidate = tl.max(ranks, axis=1)
    threshold = tl.min(best, axis=1)
    while tl.max((candidate > threshold).to(tl.int32), axis=0) > 0:
        replaced = (best == threshold[:, None]) & (candidate > threshold)[:, None]
        best = tl.where(replaced, candidate[:, None], best)
        ranks = tl.where(ranks == candidate[:, None], LOWEST, ranks)
        candidate = tl.max(ranks, axis=1)
        threshold = tl.min(best, axis=1)
    return best


@triton.jit
def write_best(
    best: tl.tensor,
    out: tl.tensor,
    bounds: tl.tensor,
    query: tl.tensor,
    is_query: tl.tensor,
    candidates: tl.tensor,
    K: tl.constexpr,
) -> None:
    """Write the indices of K ranks, best first, to `out`, and the last rank to `bounds`: a next pass begins below it.

    Args:
        best: (QUERIES, SLOTS) the list of each query.
        out: (QUERIES,) pointers to the first slot of each query.
        bounds: pointer to the bounds of all queries, or None.
        query: (QUERIES,) the places of the queries in the bounds.
        is_query: (QUERIES,) mask of rows.
        candidates: pointer to the keys that the indices number, or None if they are keys.
        K: number of slots.
    """
    best = tl.where(best == HIGHEST, LOWEST, best)
    for place in range(K):
        rank = tl.max(best, axis=1)
        best = tl.where(best == rank[:, None], LOWEST, best)
        index = index_of(rank)
        if candidates is not None:
            index = tl.load(candidates + index, mask=is_query, other=0)
        tl.store(out + place, index, mask=is_query)
        if bounds is not None:
            tl.store(bounds + query, rank, mask=is_query)
