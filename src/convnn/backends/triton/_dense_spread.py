# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"
"""Gradients of values and scores of the dense kernel, summed into the values without atomics.

A few slots at a time are multiplied into a buffer of 64 MiB, or of one slot (B, N, C) where that is larger. In addition
there are the float32 sums (B, T, C) and the sources, 8 bytes per pair and per row.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from convnn.backends.triton._launch import launch, sum_dtype, tile, tiles
from convnn.backends.triton._sources import Sources, find_sources
from convnn.backends.triton._tiles import load_rows, neighbors_of, ragged, span, weighted, wide, zeros

_BUFFER = 2**26  # bytes
_PAIRS, _SOURCES = 64, 16


def spread(
    grad: Tensor,
    values: Tensor,
    indices: Tensor,
    scores: Tensor | None,
    weight: Tensor,
    grad_values: Tensor | None,
    grad_scores: Tensor | None,
) -> None:
    """Fill the gradients of values and scores that are not None."""
    batch, length, channels = values.shape
    rows, outputs, K = batch * indices.shape[1], weight.shape[0], indices.shape[2]
    per_slot = max(rows * channels * grad.element_size(), 1)
    slots = min(max(_BUFFER // per_slot, 1), K)
    by_slot = weight.permute(0, 2, 1).reshape(outputs, K * channels)
    sources = total = None
    if grad_values is not None:
        sources = find_sources(indices, length, slots)
        total = torch.empty(values.shape, device=values.device, dtype=sum_dtype(values))
    for first in range(0, K, slots):
        columns = by_slot[:, first * channels : (first + slots) * channels]
        gradients = torch.mm(grad.view(rows, outputs), columns)
        if sources is not None and total is not None:
            _add_to_sources(gradients, sources, scores, total, first, slots, K)
        if grad_scores is not None:
            _fill_scores(gradients, values, indices, grad_scores, first)
    if grad_values is not None and total is not None:
        grad_values.copy_(total)


def _add_to_sources(
    gradients: Tensor, sources: Sources, scores: Tensor | None, total: Tensor, first: int, slots: int, K: int
) -> None:
    """Sum the gradients of each row through these slots into `total` (B, T, C); the first slots overwrite it."""
    batch, length, channels = total.shape
    block = tile(channels, 1, 128)
    launch(
        _add_to_sources_kernel,
        (batch * length, tiles(channels, block)),
        gradients,
        sources.pairs,
        sources.starts[first // slots * batch * length :],
        scores,
        total,
        K,
        first,
        gradients.shape[1],
        channels,
        num_warps=1 if block <= 64 else 2,
        FIRST=first == 0,
        SOURCES=_SOURCES,
        CHANNELS=block,
    )


def _fill_scores(gradients: Tensor, values: Tensor, indices: Tensor, grad_scores: Tensor, first: int) -> None:
    """Fill the gradients of the scores: inner products of the gradient of each neighbour with its value."""
    rows, channels = gradients.shape[0], values.shape[2]
    slots = gradients.shape[1] // channels
    launch(
        _scores_kernel,
        (tiles(rows * slots, _PAIRS),),
        gradients,
        values,
        indices,
        grad_scores,
        rows * slots,
        slots,
        first,
        *indices.shape[1:],
        *values.shape[1:],
        PAIRS=_PAIRS,
        CHANNELS=tile(channels, 1, 64),
    )


@triton.jit
def _add_to_sources_kernel(
    gradients: tl.tensor,
    source_pairs: tl.tensor,
    source_starts: tl.tensor,
    scores: tl.tensor,
    total: tl.tensor,
    K: tl.tensor,
    first: tl.tensor,
    width: tl.tensor,
    channels: tl.tensor,
    FIRST: tl.constexpr,
    SOURCES: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    """Sum one row over the pairs that read it, tile by tile: it may be a neighbour of every query."""
    target = tl.program_id(0).to(tl.int64)
    c, is_channel = span(tl.program_id(1) * CHANNELS, channels, CHANNELS)
    first_source, end = ragged(source_starts, target)
    result = zeros((CHANNELS,), gradients)
    for start in range(first_source, end, SOURCES):
        source, is_source = span(start, end, SOURCES)
        pair = tl.load(source_pairs + source, mask=is_source, other=0)
        at = pair // K * width + (pair % K - first) * channels
        gradient = wide(load_rows(gradients, at, is_source, c, is_channel, 1))
        result += tl.sum(weighted(gradient, scores, pair, is_source), axis=0)
    if not FIRST:
        result += tl.load(total + target * channels + c, mask=is_channel, other=0.0)
    tl.store(total + target * channels + c, result, mask=is_channel)


@triton.jit
def _scores_kernel(
    gradients: tl.tensor,
    values: tl.tensor,
    indices: tl.tensor,
    grad_scores: tl.tensor,
    pairs: tl.tensor,
    slots: tl.tensor,
    first: tl.tensor,
    count: tl.tensor,
    K: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    PAIRS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    """Compute a tile of the pairs of these slots."""
    gradient, is_pair = span(tl.program_id(0).to(tl.int64) * PAIRS, pairs, PAIRS)
    row = gradient // slots
    pair = row * K + first + gradient % slots
    source, is_source = neighbors_of(indices, pair, is_pair, row // count * length)
    total = zeros((PAIRS,), values)
    for start in range(0, channels, CHANNELS):
        c, is_channel = span(start, channels, CHANNELS)
        p = wide(load_rows(gradients, gradient, is_pair, c, is_channel, channels))
        v = wide(load_rows(values, source, is_source, c, is_channel, channels))
        total += tl.sum(p * v, axis=1)
    tl.store(grad_scores + pair, total.to(grad_scores.dtype.element_ty), mask=is_pair)
