# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"
"""The neighbour with the largest value in each channel: each program takes a tile of rows and channels, slot by slot.

Values are compared in float32, as in `reference`; only the slots are written.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from convnn.backends.triton._launch import computing_on, launch, tile, tiles
from convnn.backends.triton._tiles import load_rows, neighbors_of, span, store_rows, weighted

_ROWS = 16


def largest(
    values: Tensor, indices: Tensor, scores: Tensor | None, absent: Tensor | None, centers: Tensor | None
) -> Tensor:
    """Return the slots (B, N, C) of the neighbours with the largest values; see `convnn.ops.aggregate.maximum`."""
    batch, count, K = indices.shape
    length, channels = values.shape[1:]
    slots = torch.empty((batch, count, channels), dtype=torch.long, device=values.device)
    block = tile(channels, 1, 64)
    with computing_on(values):
        launch(
            _largest_kernel,
            (tiles(batch * count, _ROWS), tiles(channels, block)),
            values.contiguous(),
            indices.contiguous(),
            None if scores is None else scores.contiguous(),
            None if absent is None else absent.to(torch.int8).contiguous(),
            # Without scores, centers would not change the order.
            None if centers is None or scores is None else centers.contiguous(),
            slots,
            batch * count,
            count,
            K,
            length,
            channels,
            ROWS=_ROWS,
            CHANNELS=block,
        )
    return slots


@triton.jit
def _largest_kernel(
    values: tl.tensor,
    indices: tl.tensor,
    scores: tl.tensor,
    absent: tl.tensor,
    centers: tl.tensor,
    slots: tl.tensor,
    rows: tl.tensor,
    count: tl.tensor,
    K: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    """Find the largest values of a tile of rows and channels: of equal values the first wins, and NaN is largest."""
    row, is_row = span(tl.program_id(0).to(tl.int64) * ROWS, rows, ROWS)
    c, is_channel = span(tl.program_id(1) * CHANNELS, channels, CHANNELS)
    chosen = tl.zeros((ROWS, CHANNELS), tl.int64)
    best = tl.full((ROWS, CHANNELS), -float("inf"), tl.float32)
    for slot in range(K):
        pair = row * K + slot
        source, is_source = neighbors_of(indices, pair, is_row, row // count * length)
        brought = load_rows(values, source, is_source, c, is_channel, channels).to(tl.float32)
        if centers is not None:
            brought -= load_rows(centers, row, is_row, c, is_channel, channels).to(tl.float32)
        brought = weighted(brought, scores, pair, is_row)
        is_better = (brought > best) | ((brought != brought) & (best == best))
        if absent is not None:
            is_better = is_better & (tl.load(absent + pair, mask=is_row, other=1) == 0)[:, None]
        chosen = tl.where(is_better, slot, chosen)
        best = tl.where(is_better, brought, best)
    store_rows(slots, chosen, row, is_row, c, is_channel, channels)
