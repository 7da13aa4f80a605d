# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"
"""Choice among short lists: each program takes a few slots and scores their lists entry by entry.

Scores are float64 sums rounded to float32, as in `reference`; only the choice is written.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from convnn.backends import reference
from convnn.backends.triton._launch import computing_on, launch, tile, tiles
from convnn.backends.triton._scores import bounded, pair_term, score_of_sum
from convnn.backends.triton._tiles import load_rows, span

_SLOTS = 64


def one_of_each(queries: Tensor, keys: Tensor, choices: Tensor, metric: str, unlike: bool) -> Tensor:
    """Return the indices (B, N, K) of the key chosen in each (N, K, M) list; see `convnn.ops.select.one_of_each`."""
    batch, count, channels = queries.shape
    _, K, M = choices.shape
    chosen = torch.empty((batch, count, K), dtype=torch.long, device=keys.device)
    with computing_on(keys):
        launch(
            _one_of_each_kernel,
            (tiles(chosen.numel(), _SLOTS),),
            queries.contiguous(),
            keys.contiguous(),
            reference.scales(queries, metric),
            reference.scales(keys, metric),
            choices.contiguous(),
            chosen,
            chosen.numel(),
            count,
            K,
            keys.shape[1],
            channels,
            M=M,
            METRIC=metric,
            UNLIKE=unlike,
            SLOTS=_SLOTS,
            CHANNELS=tile(channels, 1, 32),
        )
    return chosen


@triton.jit
def _one_of_each_kernel(
    queries: tl.tensor,
    keys: tl.tensor,
    query_scales: tl.tensor,
    key_scales: tl.tensor,
    choices: tl.tensor,
    chosen: tl.tensor,
    slots: tl.tensor,
    count: tl.tensor,
    K: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    M: tl.constexpr,
    METRIC: tl.constexpr,
    UNLIKE: tl.constexpr,
    SLOTS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    """Choose, for a few slots, the first entry of each list with the highest score."""
    slot, is_slot = span(tl.program_id(0).to(tl.int64) * SLOTS, slots, SLOTS)
    query = slot // K
    entries = choices + (query % count * K + slot % K) * M
    query_scale = tl.load(query_scales + query, mask=is_slot, other=0.0)
    best = tl.load(entries, mask=is_slot, other=0)
    highest = tl.full((SLOTS,), -float("inf"), tl.float32)
    for m in range(M):
        choice = tl.load(entries + m, mask=is_slot, other=0)
        key = query // count * length + choice
        total = tl.zeros((SLOTS,), tl.float64)
        for start in range(0, channels, CHANNELS):
            c, is_channel = span(start, channels, CHANNELS)
            q = load_rows(queries, query, is_slot, c, is_channel, channels).to(tl.float64)
            k = load_rows(keys, key, is_slot, c, is_channel, channels).to(tl.float64)
            total += tl.sum(pair_term(q, k, METRIC), axis=1)
        key_scale = tl.load(key_scales + key, mask=is_slot, other=0.0)
        total = score_of_sum(total, query_scale, key_scale, METRIC)
        score = bounded(-total if UNLIKE else total)
        best = tl.where(score > highest, choice, best)
        highest = tl.where(score > highest, score, highest)
    tl.store(chosen + slot, best, mask=is_slot)
