# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"
"""Neighbour search: scores of a tile of queries with a tile of keys, merged at once into each query's K best so far.

No (N, T) matrix is written: the extra memory is one number per query and one per key. More than `MAX_SLOTS` neighbours
are found in several passes, each among the keys that rank after those of the passes before it.
"""

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from convnn.backends import reference
from convnn.backends.triton._launch import computing_on, launch, tile, tiles
from convnn.backends.triton._scores import (
    CHANNELS,
    KEYS,
    LOWEST,
    MAX_SLOTS,
    QUERIES,
    is_narrow,
    keep_best,
    load_if_given,
    no_best,
    ranks_to_choose,
    tile_scores,
    write_best,
)
from convnn.backends.triton._tiles import span


def nearest(
    queries: Tensor, keys: Tensor, K: int, metric: str, positions: Tensor | None, candidates: Tensor | None
) -> Tensor:
    """Return the indices (B, N, K) of the keys closest to each query; see `convnn.ops.select.nearest`."""
    batch, count, channels = queries.shape
    with computing_on(keys):
        chosen = empty_choice(queries, K, positions)
        queries, keys = queries.float(), keys.float()  # Triton 3.6 cannot multiply half types as float64
        query_scales, key_scales = reference.scales(queries, metric), reference.scales(keys, metric)
        for first, slots, bounds in passes(chosen, positions):
            launch(
                _nearest_kernel,
                (batch * tiles(count, QUERIES),),
                queries,
                keys,
                query_scales,
                key_scales,
                None if positions is None else positions.contiguous(),
                None if candidates is None else candidates.contiguous(),
                bounds,
                chosen,
                count,
                keys.shape[1],
                keys.shape[1] if candidates is None else candidates.shape[0],
                channels,
                K,
                first,
                *queries.stride(),
                *keys.stride(),
                SLOTS=slots,
                METRIC=metric,
                NARROW=is_narrow(channels, metric),
                QUERIES=QUERIES,
                KEYS=KEYS,
                CHANNELS=CHANNELS,
                TILE=tile(slots, 2, MAX_SLOTS),
            )
    return chosen


def empty_choice(queries: Tensor, K: int, positions: Tensor | None) -> Tensor:
    """Return the choice (B, N, K) to be written, whose first slot is the query itself if positions are given."""
    chosen = torch.empty((*queries.shape[:2], K), dtype=torch.long, device=queries.device)
    if positions is not None:
        chosen[:, :, 0] = positions
    return chosen


def passes(chosen: Tensor, positions: Tensor | None) -> Iterator[tuple[int, int, Tensor | None]]:
    """Yield first slot, number of slots and bounds of each pass that fills a choice (B, N, K).

    Bounds (B, N) are the ranks below which a pass chooses, None if there is one pass only; each pass lowers them.
    """
    first, K = int(positions is not None), chosen.shape[2]
    bounds = None
    if K - first > MAX_SLOTS:
        bounds = torch.full(chosen.shape[:2], torch.iinfo(torch.long).max, device=chosen.device)
    for slot in range(first, K, MAX_SLOTS):
        yield slot, min(K - slot, MAX_SLOTS), bounds


@triton.jit
def _nearest_kernel(
    queries: tl.tensor,
    keys: tl.tensor,
    query_scales: tl.tensor,
    key_scales: tl.tensor,
    positions: tl.tensor,
    candidates: tl.tensor,
    bounds: tl.tensor,
    chosen: tl.tensor,
    count: tl.tensor,
    length: tl.tensor,
    eligible: tl.tensor,
    channels: tl.tensor,
    K: tl.tensor,
    first: tl.tensor,
    query_batch_stride: tl.tensor,
    query_stride: tl.tensor,
    query_channel_stride: tl.tensor,
    key_batch_stride: tl.tensor,
    key_stride: tl.tensor,
    key_channel_stride: tl.tensor,
    SLOTS: tl.constexpr,
    METRIC: tl.constexpr,
    NARROW: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    CHANNELS: tl.constexpr,
    TILE: tl.constexpr,
) -> None:
    """Search the neighbours of a tile of queries of one image: stream all keys and keep the best."""
    blocks = tl.cdiv(count, QUERIES)
    image = (tl.program_id(0) // blocks).to(tl.int64)
    query, is_query = span(tl.program_id(0) % blocks * QUERIES, count, QUERIES)
    at = image * count + query
    query_scale = tl.load(query_scales + at, mask=is_query, other=0.0)
    itself = load_if_given(positions, query, is_query, 0)
    bound = load_if_given(bounds, at, is_query, LOWEST)
    best = no_best(QUERIES, TILE, SLOTS)
    for start in range(0, eligible, KEYS):
        column, is_key = span(start, eligible, KEYS)
        key = column.to(tl.int64) if candidates is None else tl.load(candidates + column, mask=is_key, other=0)
        key_scale = tl.load(key_scales + image * length + key, mask=is_key, other=0.0)
        scores = tile_scores(
            queries + image * query_batch_stride, query.to(tl.int64), query_scale, is_query, query_stride,
            query_channel_stride, keys + image * key_batch_stride, key, key_scale, is_key, key_stride,
            key_channel_stride, channels, METRIC, NARROW, QUERIES, KEYS, CHANNELS,
        )  # fmt: skip
        if itself is not None:
            scores = tl.where(key[None, :] == itself[:, None], -float("inf"), scores)
        best = keep_best(best, ranks_to_choose(scores, column, is_key[None, :], bound))
    write_best(best, chosen + at * K + first, bounds, at, is_query, candidates, SLOTS)
