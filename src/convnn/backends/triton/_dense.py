# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"
"""Dense kernels, from all channels of all neighbours to all outputs: matrix products that gather their rows as they go.

No copy of the neighbourhoods is kept; `_dense_spread` computes the gradients of values and scores.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from convnn.backends.triton._dense_spread import spread
from convnn.backends.triton._launch import launch, precision, sum_of_parts, tile, tiles

__all__ = ["convolve", "gradient_of_weight", "spread"]

_PROGRAMS = 256  # fills a large GPU; constant, because the split of a sum decides its rounding


def convolve(values: Tensor, indices: Tensor, scores: Tensor | None, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the outputs (B, N, C_out)."""
    rows, outputs = indices.shape[0] * indices.shape[1], weight.shape[0]
    out = torch.empty((*indices.shape[:2], outputs), device=values.device, dtype=values.dtype)
    block = tile(outputs, 16, 128 if rows * outputs >= _PROGRAMS * 128 * 128 else 64)
    row_block = 128 if block == 128 else 64
    launch(
        _convolve_kernel,
        (tiles(rows, row_block) * tiles(outputs, block),),
        values,
        indices,
        scores,
        weight.permute(2, 1, 0).contiguous(),
        bias,
        out,
        rows,
        *indices.shape[1:],
        *values.shape[1:],
        outputs,
        num_warps=8 if block == 128 else 4,
        ROWS=row_block,
        OUTPUTS=block,
        CHANNELS=tile(values.shape[2], 16, 32),
        PRECISION=precision(values),
    )
    return out


def gradient_of_weight(grad: Tensor, values: Tensor, indices: Tensor, scores: Tensor | None, weight: Tensor) -> Tensor:
    """Return the float32 gradient (C_out, C, K): products over all rows, in a fixed number of parts."""
    outputs, channels, K = weight.shape
    rows = grad.shape[0] * grad.shape[1]
    o_block, c_block = tile(outputs, 16, 64), tile(channels, 16, 64)
    row_block, warps = (64, 4) if values.element_size() == 2 else (32, 8)  # float32 tiles are held in registers
    blocks = K * tiles(outputs, o_block) * tiles(channels, c_block)
    parts = max(min(tiles(_PROGRAMS, max(blocks, 1)), tiles(rows, row_block)), 1)

    def fill(partial: Tensor) -> None:
        launch(
            _weight_kernel,
            (blocks, parts),
            grad,
            values,
            indices,
            scores,
            partial,
            rows,
            *indices.shape[1:],
            *values.shape[1:],
            outputs,
            tiles(tiles(rows, row_block), parts) * row_block,
            num_warps=warps,
            ROWS=row_block,
            OUTPUTS=o_block,
            CHANNELS=c_block,
            PRECISION=precision(values),
        )

    return sum_of_parts(parts, (K, outputs, channels), values, fill).permute(1, 2, 0).contiguous()


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
    CHANNELS: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Compute a tile of rows by a tile of outputs; adjacent programs share the rows, which then come from the cache."""
    o_blocks = tl.cdiv(outputs, OUTPUTS)
    row = (tl.program_id(0) // o_blocks).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    o = tl.program_id(0) % o_blocks * OUTPUTS + tl.arange(0, OUTPUTS)
    is_row, is_output = row < rows, o < outputs
    first = row // count * length
    c_blocks = tl.cdiv(channels, CHANNELS)
    total = tl.zeros((ROWS, OUTPUTS), tl.float32)
    for step in range(K * c_blocks):
        slot = step // c_blocks
        c = step % c_blocks * CHANNELS + tl.arange(0, CHANNELS)
        is_channel = c < channels
        source = first + tl.load(indices + row * K + slot, mask=is_row, other=0)
        mask = is_row[:, None] & is_channel[None, :]
        v = tl.load(values + source[:, None] * channels + c[None, :], mask=mask, other=0.0)
        if scores is not None:
            s = tl.load(scores + row * K + slot, mask=is_row, other=0.0).to(v.dtype)
            v = (v * s[:, None]).to(values.dtype.element_ty)
        mask = is_channel[:, None] & is_output[None, :]
        w = tl.load(weight + (slot * channels + c)[:, None] * outputs + o[None, :], mask=mask, other=0.0)
        total = tl.dot(v, w, total, input_precision=PRECISION)
    if bias is not None:
        total += tl.load(bias + o, mask=is_output, other=0.0).to(tl.float32)[None, :]
    mask = is_row[:, None] & is_output[None, :]
    tl.store(out + row[:, None] * outputs + o[None, :], total.to(out.dtype.element_ty), mask=mask)


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
    CHANNELS: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Sum one part of the rows, for a tile of outputs by a tile of the channels of one slot."""
    o_blocks, c_blocks = tl.cdiv(outputs, OUTPUTS), tl.cdiv(channels, CHANNELS)
    program, part = tl.program_id(0), tl.program_id(1).to(tl.int64)
    slot = program // (o_blocks * c_blocks)
    o = program // c_blocks % o_blocks * OUTPUTS + tl.arange(0, OUTPUTS)
    c = program % c_blocks * CHANNELS + tl.arange(0, CHANNELS)
    is_output, is_channel = o < outputs, c < channels
    total = tl.zeros((OUTPUTS, CHANNELS), tl.float32)
    for start in range(0, rows_per_part, ROWS):
        row = part * rows_per_part + start + tl.arange(0, ROWS)
        is_row = row < rows
        source = row // count * length + tl.load(indices + row * K + slot, mask=is_row, other=0)
        mask = is_row[:, None] & is_channel[None, :]
        v = tl.load(values + source[:, None] * channels + c[None, :], mask=mask, other=0.0)
        if scores is not None:
            s = tl.load(scores + row * K + slot, mask=is_row, other=0.0).to(v.dtype)
            v = (v * s[:, None]).to(values.dtype.element_ty)
        mask = is_output[:, None] & is_row[None, :]
        g = tl.load(grad + row[None, :] * outputs + o[:, None], mask=mask, other=0.0)
        total = tl.dot(g, v, total, input_precision=PRECISION)
    at = ((part * K + slot) * outputs + o[:, None]) * channels + c[None, :]
    tl.store(partial + at, total, mask=is_output[:, None] & is_channel[None, :])
