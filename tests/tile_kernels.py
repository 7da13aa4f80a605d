"""Kernels that apply the words of `backends/triton/_tiles.py` one by one, to be compared with published numbers."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from convnn.backends.triton._tiles import load_rows, multiply, softmax_step, span, store_rows, task_block, zeros


def order(rows: int, columns: int, height: int) -> Tensor:
    """Return the blocks (rows * columns, 2) in the order of their tasks, of which two programs compute every other."""
    blocks = torch.full((rows * columns, 2), -1)
    _order_kernel[(2,)](blocks, rows, columns, SUPER=height)
    return blocks


def tile_operations(x: Tensor, valid: int) -> dict[str, Tensor]:
    """Return what each operation makes of a tile (R, C), of which `valid` columns count for the highest of a row."""
    R, C = x.shape
    shapes = {
        "right_fill": (R, C), "row_max": (R, 1), "sub_row_vector_per_row": (R, C), "tril": (R, C), "row_sum": (R, 1),
        "row_prod": (R, 1), "col_max": (1, C), "col_sum": (1, C), "mma_ABt": (R, R), "mma_AtB": (C, C),
    }  # fmt: skip
    outs = {name: torch.full(shape, torch.nan, dtype=x.dtype) for name, shape in shapes.items()}
    _operations_kernel[(1,)](x, *outs.values(), valid, ROWS=R, COLUMNS=C)
    return {name: out.flatten() if 1 in out.shape else out for name, out in outs.items()}


def running_sums(scores: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Return highest scores and sums of weights (J, N) after each of J blocks of keys, of scores (N, T) to base 2."""
    (count, length), blocks = scores.shape, -(-scores.shape[1] // block)
    outs = [torch.full((blocks, count), torch.nan, dtype=scores.dtype) for _ in range(2)]
    _running_kernel[(triton.cdiv(count, 16),)](scores, *outs, count, length, ROWS=16, BLOCK=block)
    return outs[0], outs[1]


@triton.jit
def _order_kernel(blocks, rows, columns, SUPER: tl.constexpr):
    for task in range(tl.program_id(0), rows * columns, tl.num_programs(0)):
        row, column = task_block(task, rows, columns, SUPER)
        tl.store(blocks + 2 * task, row)
        tl.store(blocks + 2 * task + 1, column)


@triton.jit
def _times(a, b):
    return a * b


@triton.jit
def _operations_kernel(
    x, filled, row_max, less, lower, row_sum, row_prod, col_max, col_sum, by_rows, by_columns, valid,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    row, is_row = span(0, ROWS, ROWS)
    column, is_column = span(0, COLUMNS, COLUMNS)
    tile = load_rows(x, row, is_row, column, is_column, COLUMNS)
    cut = tl.where((column < valid)[None, :], tile, -float("inf"))
    store_rows(filled, cut, row, is_row, column, is_column, COLUMNS)
    tl.store(row_max + row, tl.max(cut, axis=1))
    store_rows(less, tile - tl.max(tile, axis=1)[:, None], row, is_row, column, is_column, COLUMNS)
    is_lower = column[None, :] <= row[:, None]
    store_rows(lower, tl.where(is_lower, tile, 0.0), row, is_row, column, is_column, COLUMNS)
    tl.store(row_sum + row, tl.sum(tile, axis=1))
    tl.store(row_prod + row, tl.reduce(tile, 1, _times))
    tl.store(col_max + column, tl.max(tile, axis=0))
    tl.store(col_sum + column, tl.sum(tile, axis=0))
    store_rows(by_rows, multiply(tile, tl.trans(tile), "ieee"), row, is_row, row, is_row, ROWS)
    product = multiply(tl.trans(tile), tile, "ieee")
    store_rows(by_columns, product, column, is_column, column, is_column, COLUMNS)


@triton.jit
def _running_kernel(scores, maxima, norms, count, length, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    row, is_row = span(tl.program_id(0) * ROWS, count, ROWS)
    highest = zeros((ROWS,), scores) - float("inf")
    mass = zeros((ROWS,), scores)
    for block in range(tl.cdiv(length, BLOCK)):
        column, is_column = span(block * BLOCK, length, BLOCK)
        tile = load_rows(scores, row, is_row, column, is_column, length)
        weights, shrink, highest = softmax_step(tl.where(is_column[None, :], tile, -float("inf")), highest)
        mass = mass * shrink + tl.sum(weights, axis=1)
        tl.store(maxima + block * count + row, highest, mask=is_row)
        tl.store(norms + block * count + row, mass, mask=is_row)
