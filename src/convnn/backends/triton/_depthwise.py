# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"
"""Depthwise kernels: every channel of the values makes C_out / C outputs. No intermediate result is stored."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from convnn.backends.triton._launch import launch, sum_of_parts, tile, tiles
from convnn.backends.triton._sources import find_sources
from convnn.backends.triton._tiles import load_rows, neighbors_of, ragged, span, store_rows, weighted, wide, zeros

_ROWS, _PAIRS, _SOURCES = 32, 64, 16
_PARTS = 64  # parts of the sum over all rows; constant, because it decides the rounding


def convolve(values: Tensor, indices: Tensor, scores: Tensor | None, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the outputs (B, N, C_out)."""
    rows, outputs = indices.shape[0] * indices.shape[1], weight.shape[0]
    out = torch.empty((*indices.shape[:2], outputs), device=values.device, dtype=values.dtype)
    block = tile(outputs, 1, 64)
    launch(
        _convolve_kernel,
        (tiles(rows, _ROWS), tiles(outputs, block)),
        values,
        indices,
        scores,
        _by_slot(weight),
        bias,
        out,
        rows,
        *indices.shape[1:],
        *values.shape[1:],
        outputs,
        ROWS=_ROWS,
        OUTPUTS=block,
    )
    return out


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
    if grad_values is not None:
        _fill_values(grad, indices, scores, weight, grad_values)
    if grad_scores is not None:
        outputs = weight.shape[0]
        launch(
            _scores_kernel,
            (tiles(indices.numel(), _PAIRS),),
            grad,
            values,
            indices,
            _by_slot(weight),
            grad_scores,
            indices.numel(),
            *indices.shape[1:],
            *values.shape[1:],
            outputs,
            PAIRS=_PAIRS,
            OUTPUTS=tile(outputs, 1, 64),
        )


def gradient_of_weight(grad: Tensor, values: Tensor, indices: Tensor, scores: Tensor | None, weight: Tensor) -> Tensor:
    """Return the float32 gradient (C_out, 1, K): sums over all rows, in a fixed number of parts."""
    rows, outputs, K = grad.shape[0] * grad.shape[1], weight.shape[0], weight.shape[2]
    block = tile(outputs, 1, 64)
    parts = max(min(_PARTS, tiles(rows, _ROWS)), 1)

    def fill(partial: Tensor) -> None:
        launch(
            _weight_kernel,
            (parts, tiles(outputs, block), K),
            grad,
            values,
            indices,
            scores,
            partial,
            rows,
            *indices.shape[1:],
            *values.shape[1:],
            outputs,
            tiles(tiles(rows, _ROWS), parts) * _ROWS,
            ROWS=_ROWS,
            OUTPUTS=block,
        )

    return sum_of_parts(parts, (K, outputs), values, fill).t().unsqueeze(1).contiguous()


def _fill_values(grad: Tensor, indices: Tensor, scores: Tensor | None, weight: Tensor, grad_values: Tensor) -> None:
    batch, length, channels = grad_values.shape
    K = indices.shape[2]
    sources = find_sources(indices, length, K)
    block = tile(channels, 1, 128)
    launch(
        _values_kernel,
        (batch * length, tiles(channels, block)),
        grad,
        sources.pairs,
        sources.starts,
        scores,
        _by_slot(weight),
        grad_values,
        K,
        channels,
        num_warps=1 if block <= 64 else 2,
        EACH=weight.shape[0] // channels,
        SOURCES=_SOURCES,
        CHANNELS=block,
    )


def _by_slot(weight: Tensor) -> Tensor:
    """Return a weight (C_out, 1, K) as contiguous (K, C_out)."""
    return weight.squeeze(1).t().contiguous()


@triton.jit
def _convolve_kernel(
    values: tl.tensor,
    indices: tl.tensor,
    scores: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    count: tl.tensor,
    K: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    outputs: tl.tensor,
    ROWS: tl.constexpr,
    OUTPUTS: tl.constexpr,
) -> None:
    """Compute a tile of rows by a tile of outputs."""
    row, is_row = span(tl.program_id(0).to(tl.int64) * ROWS, rows, ROWS)
    o, is_output = span(tl.program_id(1) * OUTPUTS, outputs, OUTPUTS)
    c = o // (outputs // channels)
    total = zeros((ROWS, OUTPUTS), values)
    for slot in range(K):
        source, is_source = neighbors_of(indices, row * K + slot, is_row, row // count * length)
        v = wide(load_rows(values, source, is_source, c, is_output, channels))
        w = wide(tl.load(weight + slot * outputs + o, mask=is_output, other=0.0))
        total += weighted(v, scores, row * K + slot, is_row) * w[None, :]
    if bias is not None:
        total += wide(tl.load(bias + o, mask=is_output, other=0.0))[None, :]
    store_rows(out, total, row, is_row, o, is_output, outputs)


@triton.jit
def _values_kernel(
    grad: tl.tensor,
    source_pairs: tl.tensor,
    source_starts: tl.tensor,
    scores: tl.tensor,
    weight: tl.tensor,
    grad_values: tl.tensor,
    K: tl.tensor,
    channels: tl.tensor,
    EACH: tl.constexpr,
    SOURCES: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    """Sum one row over the pairs that read it, tile by tile: it may be a neighbour of every query."""
    target = tl.program_id(0).to(tl.int64)
    c, is_channel = span(tl.program_id(1) * CHANNELS, channels, CHANNELS)
    first_source, end = ragged(source_starts, target)
    total = zeros((CHANNELS,), grad)
    for start in range(first_source, end, SOURCES):
        source, is_source = span(start, end, SOURCES)
        pair = tl.load(source_pairs + source, mask=is_source, other=0)
        gradient = zeros((SOURCES, CHANNELS), grad)
        for i in range(EACH):
            o = c * EACH + i
            g = wide(load_rows(grad, pair // K, is_source, o, is_channel, channels * EACH))
            w = wide(load_rows(weight, pair % K, is_source, o, is_channel, channels * EACH))
            gradient += g * w
        total += tl.sum(weighted(gradient, scores, pair, is_source), axis=0)
    tl.store(grad_values + target * channels + c, total.to(grad_values.dtype.element_ty), mask=is_channel)


@triton.jit
def _scores_kernel(
    grad: tl.tensor,
    values: tl.tensor,
    indices: tl.tensor,
    weight: tl.tensor,
    grad_scores: tl.tensor,
    pairs: tl.tensor,
    count: tl.tensor,
    K: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    outputs: tl.tensor,
    PAIRS: tl.constexpr,
    OUTPUTS: tl.constexpr,
) -> None:
    """Compute a tile of pairs, output block by output block."""
    pair, is_pair = span(tl.program_id(0).to(tl.int64) * PAIRS, pairs, PAIRS)
    row, slot = pair // K, pair % K
    source, is_source = neighbors_of(indices, pair, is_pair, row // count * length)
    total = zeros((PAIRS,), values)
    for start in range(0, outputs, OUTPUTS):
        o, is_output = span(start, outputs, OUTPUTS)
        g = wide(load_rows(grad, row, is_pair, o, is_output, outputs))
        w = wide(load_rows(weight, slot, is_pair, o, is_output, outputs))
        v = wide(load_rows(values, source, is_source, o // (outputs // channels), is_output, channels))
        total += tl.sum(g * w * v, axis=1)
    tl.store(grad_scores + pair, total.to(grad_scores.dtype.element_ty), mask=is_pair)


@triton.jit
def _weight_kernel(
    grad: tl.tensor,
    values: tl.tensor,
    indices: tl.tensor,
    scores: tl.tensor,
    partial: tl.tensor,
    rows: tl.tensor,
    count: tl.tensor,
    K: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    outputs: tl.tensor,
    rows_per_part: tl.tensor,
    ROWS: tl.constexpr,
    OUTPUTS: tl.constexpr,
) -> None:
    """Sum one part of the rows, for a tile of outputs and one slot."""
    part, slot = tl.program_id(0).to(tl.int64), tl.program_id(2)
    o, is_output = span(tl.program_id(1) * OUTPUTS, outputs, OUTPUTS)
    c = o // (outputs // channels)
    total = zeros((OUTPUTS,), values)
    for start in range(0, rows_per_part, ROWS):
        row, is_row = span(part * rows_per_part + start, rows, ROWS)
        source, is_source = neighbors_of(indices, row * K + slot, is_row, row // count * length)
        v = wide(load_rows(values, source, is_source, c, is_output, channels))
        g = wide(load_rows(grad, row, is_row, o, is_output, outputs))
        total += tl.sum(g * weighted(v, scores, row * K + slot, is_row), axis=0)
    tl.store(partial + (part * tl.num_programs(2) + slot) * outputs + o, total, mask=is_output)
