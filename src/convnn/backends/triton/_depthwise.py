# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"
"""Depthwise kernels: every channel of the values makes C_out / C outputs. No intermediate result is stored."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from convnn.backends.triton._launch import launch, sum_of_parts, tile, tiles
from convnn.backends.triton._sources import find_sources

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
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    o = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    is_row, is_output = row < rows, o < outputs
    mask = is_row[:, None] & is_output[None, :]
    c = o // (outputs // channels)
    total = tl.zeros((ROWS, OUTPUTS), tl.float32)
    for slot in range(K):
        pair = row * K + slot
        source = row // count * length + tl.load(indices + pair, mask=is_row, other=0)
        v = tl.load(values + source[:, None] * channels + c[None, :], mask=mask, other=0.0).to(tl.float32)
        if scores is not None:
            v *= tl.load(scores + pair, mask=is_row, other=0.0).to(tl.float32)[:, None]
        total += v * tl.load(weight + slot * outputs + o, mask=is_output, other=0.0).to(tl.float32)[None, :]
    if bias is not None:
        total += tl.load(bias + o, mask=is_output, other=0.0).to(tl.float32)[None, :]
    tl.store(out + row[:, None] * outputs + o[None, :], total.to(out.dtype.element_ty), mask=mask)


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
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = c < channels
    end = tl.load(source_starts + target + 1)
    total = tl.zeros((CHANNELS,), tl.float32)
    for start in range(tl.load(source_starts + target), end, SOURCES):
        source = start + tl.arange(0, SOURCES)
        is_source = source < end
        pair = tl.load(source_pairs + source, mask=is_source, other=0)
        mask = is_source[:, None] & is_channel[None, :]
        gradient = tl.zeros((SOURCES, CHANNELS), tl.float32)
        for i in range(EACH):
            o = c * EACH + i
            g = tl.load(grad + (pair // K)[:, None] * channels * EACH + o[None, :], mask=mask, other=0.0)
            w = tl.load(weight + (pair % K)[:, None] * channels * EACH + o[None, :], mask=mask, other=0.0)
            gradient += g.to(tl.float32) * w.to(tl.float32)
        if scores is not None:
            gradient *= tl.load(scores + pair, mask=is_source, other=0.0).to(tl.float32)[:, None]
        total += tl.sum(gradient, axis=0)
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
    pair = tl.program_id(0).to(tl.int64) * PAIRS + tl.arange(0, PAIRS)
    is_pair = pair < pairs
    row, slot = pair // K, pair % K
    source = row // count * length + tl.load(indices + pair, mask=is_pair, other=0)
    total = tl.zeros((PAIRS,), tl.float32)
    for start in range(0, outputs, OUTPUTS):
        o = start + tl.arange(0, OUTPUTS)
        mask = is_pair[:, None] & (o < outputs)[None, :]
        c = o // (outputs // channels)
        g = tl.load(grad + row[:, None] * outputs + o[None, :], mask=mask, other=0.0).to(tl.float32)
        w = tl.load(weight + slot[:, None] * outputs + o[None, :], mask=mask, other=0.0).to(tl.float32)
        v = tl.load(values + source[:, None] * channels + c[None, :], mask=mask, other=0.0).to(tl.float32)
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
    o = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    is_output = o < outputs
    c = o // (outputs // channels)
    total = tl.zeros((OUTPUTS,), tl.float32)
    for start in range(0, rows_per_part, ROWS):
        row = part * rows_per_part + start + tl.arange(0, ROWS)
        is_row = row < rows
        mask = is_row[:, None] & is_output[None, :]
        source = row // count * length + tl.load(indices + row * K + slot, mask=is_row, other=0)
        v = tl.load(values + source[:, None] * channels + c[None, :], mask=mask, other=0.0).to(tl.float32)
        if scores is not None:
            v *= tl.load(scores + row * K + slot, mask=is_row, other=0.0).to(tl.float32)[:, None]
        g = tl.load(grad + row[:, None] * outputs + o[None, :], mask=mask, other=0.0).to(tl.float32)
        total += tl.sum(g * v, axis=0)
    tl.store(partial + (part * tl.num_programs(2) + slot) * outputs + o, total, mask=is_output)
