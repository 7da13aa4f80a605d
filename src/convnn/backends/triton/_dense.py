# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"
"""Dense kernels, from all channels of all neighbours to all outputs: matrix products that gather their rows as they go.

No copy of the neighbourhoods is kept; `_dense_spread` computes the gradients of values and scores.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from convnn.backends.triton._dense_spread import spread
from convnn.backends.triton._launch import launch, multiprocessors, precision, sum_of_parts, tile, tiles
from convnn.backends.triton._tiles import (
    SUPER_ROWS,
    load_rows,
    multiply,
    neighbors_of,
    span,
    store_rows,
    task_block,
    weighted,
    wide,
    zeros,
)

__all__ = ["convolve", "gradient_of_weight", "spread"]

PERSISTENT = False
"""Whether as many programs as run at a time take one block after the other. Compiled for sm_90, the loop costs 40
registers, so that half as many programs run at a time; which is faster, `python -m benchmarks.gpu` measures."""
_PROGRAMS = 256  # fills a large GPU; constant, because the split of a sum decides its rounding


def convolve(values: Tensor, indices: Tensor, scores: Tensor | None, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the outputs (B, N, C_out)."""
    rows, outputs = indices.shape[0] * indices.shape[1], weight.shape[0]
    out = torch.empty((*indices.shape[:2], outputs), device=values.device, dtype=values.dtype)
    block = tile(outputs, 16, 128 if rows * outputs >= _PROGRAMS * 128 * 128 else 64)
    row_block = 128 if block == 128 else 64
    tasks = tiles(rows, row_block) * tiles(outputs, block)
    launch(
        _convolve_kernel,
        (min(tasks, multiprocessors(values)) if PERSISTENT else tasks,),
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
        SUPER=SUPER_ROWS,
        PRECISION=precision(values),
        PERSISTENT=PERSISTENT,
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
    SUPER: tl.constexpr,
    PRECISION: tl.constexpr,
    PERSISTENT: tl.constexpr,
) -> None:
    """Compute a block of rows by outputs, or, persistent, one block after the other."""
    if PERSISTENT:
        tasks = tl.cdiv(rows, ROWS) * tl.cdiv(outputs, OUTPUTS)
        for task in range(tl.program_id(0), tasks, tl.num_programs(0)):
            _convolve_block(
                task, values, indices, scores, weight, bias, out, rows, count, K, length, channels, outputs,
                ROWS, OUTPUTS, CHANNELS, SUPER, PRECISION,
            )  # fmt: skip
    else:
        _convolve_block(
            tl.program_id(0), values, indices, scores, weight, bias, out, rows, count, K, length, channels, outputs,
            ROWS, OUTPUTS, CHANNELS, SUPER, PRECISION,
        )  # fmt: skip


@triton.jit
def _convolve_block(
    task: tl.tensor,
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
    SUPER: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Compute the block of a task: rows are gathered into the left operand, slot by slot of the kernel."""
    row_blocks, o_blocks, c_blocks = tl.cdiv(rows, ROWS), tl.cdiv(outputs, OUTPUTS), tl.cdiv(channels, CHANNELS)
    row_block, o_block = task_block(task, row_blocks, o_blocks, SUPER)
    row, is_row = span(row_block.to(tl.int64) * ROWS, rows, ROWS)
    o, is_output = span(o_block * OUTPUTS, outputs, OUTPUTS)
    first = row // count * length
    total = zeros((ROWS, OUTPUTS), values)
    for step in range(K * c_blocks):
        slot = step // c_blocks
        c, is_channel = span(step % c_blocks * CHANNELS, channels, CHANNELS)
        source, is_source = neighbors_of(indices, row * K + slot, is_row, first)
        v = load_rows(values, source, is_source, c, is_channel, channels)
        v = weighted(v, scores, row * K + slot, is_row)
        w = load_rows(weight, slot * channels + c, is_channel, o, is_output, outputs)
        total = multiply(v, w, PRECISION, total)
    if bias is not None:
        total += wide(tl.load(bias + o, mask=is_output, other=0.0))[None, :]
    store_rows(out, total, row, is_row, o, is_output, outputs)


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
    o, is_output = span(program // c_blocks % o_blocks * OUTPUTS, outputs, OUTPUTS)
    c, is_channel = span(program % c_blocks * CHANNELS, channels, CHANNELS)
    total = zeros((OUTPUTS, CHANNELS), values)
    for start in range(0, rows_per_part, ROWS):
        row, is_row = span(part * rows_per_part + start, rows, ROWS)
        source, is_source = neighbors_of(indices, row * K + slot, is_row, row // count * length)
        v = load_rows(values, source, is_source, c, is_channel, channels)
        v = weighted(v, scores, row * K + slot, is_row)
        g = load_rows(grad, o, is_output, row, is_row, 1, outputs)
        total = multiply(g, v, PRECISION, total)
    store_rows(partial, total, (part * K + slot) * outputs + o, is_output, c, is_channel, channels)
