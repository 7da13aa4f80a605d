# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"
"""Search in lists: blocks of queries open blocks of keys.

Keys lie list by list, and every list begins a block. Queries that open the same lists first share a block, which visits
the lists that any of them opens; a bit for each query says whether it opens them too. Scores and ranks are those of the
exact search.
"""

from typing import NamedTuple

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
from convnn.backends.triton._tiles import ragged, span
from convnn.backends.triton._visits import Visits, offsets_of
from convnn.backends.triton.select import empty_choice, passes


def nearest_in_lists(
    queries: Tensor,
    keys: Tensor,
    K: int,
    metric: str,
    positions: Tensor | None,
    lists: Tensor,
    opened: Tensor,
    num_lists: int,
) -> Tensor:
    """Return the indices (B, N, K) of the closest keys in the lists opened; see `reference.nearest_in_lists`."""
    batch, count, channels = queries.shape
    with computing_on(keys):
        chosen = empty_choice(queries, K, positions)
        order = _order(opened, num_lists)
        packed = _pack(lists, num_lists)
        visits, opens = _visit(opened.gather(1, order.unsqueeze(2).expand(opened.shape)), packed, num_lists)
        queries, keys = queries.float().contiguous(), keys.float().contiguous()  # rows, which are read in any order
        query_scales, key_scales = reference.scales(queries, metric), reference.scales(keys, metric)
        for first, slots, bounds in passes(chosen, positions):
            launch(
                _nearest_in_lists_kernel,
                (batch * tiles(count, QUERIES),),
                queries,
                keys,
                query_scales,
                key_scales,
                None if positions is None else positions.contiguous(),
                order,
                packed.members,
                *visits,
                opens,
                bounds,
                chosen,
                count,
                keys.shape[1],
                packed.members.shape[1],
                channels,
                K,
                first,
                SLOTS=slots,
                METRIC=metric,
                NARROW=is_narrow(channels, metric),
                QUERIES=QUERIES,
                KEYS=KEYS,
                CHANNELS=CHANNELS,
                TILE=tile(slots, 2, MAX_SLOTS),
            )
    return chosen


class _Packed(NamedTuple):
    """Keys list by list.

    Attributes:
        members: (B, M) the key at each place, or -1; a whole number of blocks.
        first: (B, L) the first block of each list.
        blocks: (B, L) the number of its blocks.
    """

    members: Tensor
    first: Tensor
    blocks: Tensor


def _order(opened: Tensor, num_lists: int) -> Tensor:
    """Return the queries (B, N) by their first list, and then by their second."""
    place = opened.new_zeros(opened.shape[:2])
    for chosen in opened[:, :, :2].unbind(2):
        place = place * (num_lists + 1) + chosen + 1
    return place.argsort(dim=1, stable=True)


def _pack(lists: Tensor, num_lists: int) -> _Packed:
    """Return the keys of lists (B, T), without those of list -1."""
    batch, length = lists.shape
    places = (length // KEYS + num_lists) * KEYS  # the most that lists can fill, each with a block begun
    lists, order = torch.where(lists < 0, num_lists, lists).sort(dim=1, stable=True)
    sizes = lists.new_zeros(batch, num_lists + 1).scatter_add_(1, lists, torch.ones_like(lists))
    starts = sizes.cumsum(1) - sizes
    blocks = -(-sizes // KEYS)
    first = blocks.cumsum(1) - blocks
    at = (first * KEYS - starts).gather(1, lists) + torch.arange(length, device=lists.device)
    members = lists.new_full((batch, places + 1), -1)  # and one place for all keys of no list
    members.scatter_(1, at.masked_fill(lists == num_lists, places), order)
    return _Packed(members[:, :places].int().contiguous(), first[:, :num_lists], blocks[:, :num_lists])


def _visit(opened: Tensor, packed: _Packed, num_lists: int) -> tuple[Visits, Tensor]:
    """Return the visits of queries that open lists (B, N, P), and for each one a bit for every query that opens it."""
    batch, count, _ = opened.shape
    of_queries = tiles(count, QUERIES)
    opened = opened.sort(dim=2).values
    is_repeated = torch.zeros_like(opened, dtype=torch.bool)
    is_repeated[:, :, 1:] = opened[:, :, 1:] == opened[:, :, :-1]
    opened = torch.where(is_repeated | (opened < 0), num_lists, opened)
    rank = torch.arange(count, device=opened.device)[:, None]
    bits = (1 << rank % QUERIES).int().expand(opened.shape)  # as many as a whole number has
    opens = torch.zeros(batch, of_queries * (num_lists + 1), dtype=torch.int32, device=opened.device)
    opens.scatter_add_(1, (opened + rank // QUERIES * (num_lists + 1)).flatten(1), bits.flatten(1))
    opens = opens.view(batch, of_queries, num_lists + 1)[:, :, :num_lists]

    image, block, inside = opens.nonzero().unbind(1)
    blocks = packed.blocks[image, inside]
    each = torch.arange(len(blocks), device=opened.device).repeat_interleave(blocks)
    nth = torch.arange(len(each), device=opened.device) - (blocks.cumsum(0) - blocks)[each]
    visited = packed.first[image, inside][each] + nth
    offsets = offsets_of((image * of_queries + block)[each], batch * of_queries)
    return Visits(visited.int(), offsets), opens[image, block, inside][each]


@triton.jit
def _nearest_in_lists_kernel(
    queries: tl.tensor,
    keys: tl.tensor,
    query_scales: tl.tensor,
    key_scales: tl.tensor,
    positions: tl.tensor,
    order: tl.tensor,
    members: tl.tensor,
    blocks: tl.tensor,
    offsets: tl.tensor,
    opens: tl.tensor,
    bounds: tl.tensor,
    chosen: tl.tensor,
    count: tl.tensor,
    length: tl.tensor,
    places: tl.tensor,
    channels: tl.tensor,
    K: tl.tensor,
    first: tl.tensor,
    SLOTS: tl.constexpr,
    METRIC: tl.constexpr,
    NARROW: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    CHANNELS: tl.constexpr,
    TILE: tl.constexpr,
) -> None:
    """Search the neighbours of a block of queries of one image: visit its blocks of keys and keep the best."""
    program = tl.program_id(0)
    of_queries = tl.cdiv(count, QUERIES)
    image = (program // of_queries).to(tl.int64)
    bit = tl.arange(0, QUERIES)
    rank, is_query = span(program % of_queries * QUERIES, count, QUERIES)
    query = tl.load(order + image * count + rank, mask=is_query, other=0)
    at = image * count + query
    query_scale = tl.load(query_scales + at, mask=is_query, other=0.0)
    itself = load_if_given(positions, query, is_query, 0)
    bound = load_if_given(bounds, at, is_query, LOWEST)
    best = no_best(QUERIES, TILE, SLOTS)
    first_visit, end = ragged(offsets, program)
    for visit in range(first_visit, end):
        place = tl.load(blocks + visit) * KEYS + tl.arange(0, KEYS)
        key = tl.load(members + image * places + place)
        is_key = key >= 0
        key_at = image * length + key
        key_scale = tl.load(key_scales + key_at, mask=is_key, other=0.0)
        scores = tile_scores(
            queries, at, query_scale, is_query, channels, 1, keys, key_at, key_scale, is_key, channels, 1,
            channels, METRIC, NARROW, QUERIES, KEYS, CHANNELS,
        )  # fmt: skip
        opens_it = (tl.load(opens + visit) >> bit) & 1
        may_choose = is_key[None, :] & (opens_it == 1)[:, None]
        if itself is not None:
            may_choose = may_choose & (key[None, :] != itself[:, None])
        best = keep_best(best, ranks_to_choose(scores, key, may_choose, bound))
    write_best(best, chosen + at * K + first, bounds, at, is_query, None, SLOTS)
