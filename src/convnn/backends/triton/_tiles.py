# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"
"""The words in which all kernels are written: tiles of rows that are loaded by index, multiplied, reduced and stored.

A tile is a block of numbers in registers. Its sides are powers of two, and at least 16 where tiles are multiplied. A
matrix in memory is a pointer and the distance between its rows; masks say which rows and columns of a tile exist.
Scores and the best of them are in `_scores`.

Reference:
    Spector et al., "ThunderKittens: Simple, Fast, and Adorable AI Kernels", arXiv 2410.20399. Its warps, rings of
    stages and layouts are the compiler's business here: `num_warps`, `num_stages` and the types of tiles.
"""

import triton
import triton.language as tl

SUPER_ROWS = 12
"""Rows of blocks that tasks finish together, so that what their columns read is still in the cache."""


@triton.jit
def task_block(task: tl.tensor, rows: tl.tensor, columns: tl.tensor, SUPER: tl.constexpr) -> tuple[tl.tensor, ...]:
    """Return row and column of the block of a task: in groups of SUPER rows, column by column, from top to bottom.

    Over all tasks below `rows * columns`, each block comes once; the last group may have fewer rows.
    """
    first = task // (SUPER * columns) * SUPER
    height = min(SUPER, rows - first)
    inside = task - first * columns
    return first + inside % height, inside // height


@triton.jit
def span(start: tl.tensor, end: tl.tensor, SIZE: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    """Return SIZE places from `start` on, and which of them lie before `end`."""
    place = start + tl.arange(0, SIZE)
    return place, place < end


@triton.jit
def ragged(offsets: tl.tensor, at: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """Return where list `at` of many lists, stored one after the other, begins and ends."""
    return tl.load(offsets + at), tl.load(offsets + at + 1)


@triton.jit
def neighbors_of(
    indices: tl.tensor, pair: tl.tensor, is_pair: tl.tensor, first: tl.tensor
) -> tuple[tl.tensor, tl.tensor]:
    """Return the rows that pairs read, numbered from the `first` of their image, and which pairs do: -1 is none."""
    index = tl.load(indices + pair, mask=is_pair, other=-1)
    return first + index, index >= 0


@triton.jit
def load_rows(
    rows: tl.tensor,
    row: tl.tensor,
    is_row: tl.tensor,
    column: tl.tensor,
    is_column: tl.tensor,
    row_stride: tl.tensor,
    column_stride: tl.tensor = 1,
) -> tl.tensor:
    """Load the tile (R, C) of these rows and columns of a matrix, in any order; what does not exist is zero."""
    at = row[:, None] * row_stride + (column * column_stride)[None, :]
    return tl.load(rows + at, mask=is_row[:, None] & is_column[None, :], other=0.0)


@triton.jit
def store_rows(
    rows: tl.tensor,
    tile: tl.tensor,
    row: tl.tensor,
    is_row: tl.tensor,
    column: tl.tensor,
    is_column: tl.tensor,
    row_stride: tl.tensor,
) -> None:
    """Store a tile (R, C) to these rows and columns of a matrix, in its type."""
    at = row[:, None] * row_stride + column[None, :]
    tl.store(rows + at, tile.to(rows.dtype.element_ty), mask=is_row[:, None] & is_column[None, :])


@triton.jit
def weighted(tile: tl.tensor, factors: tl.tensor, at: tl.tensor, is_row: tl.tensor) -> tl.tensor:
    """Multiply the rows of a tile by factors in memory, or by nothing if these are None, in the type of the tile."""
    if factors is not None:
        tile = tile * tl.load(factors + at, mask=is_row, other=0.0).to(tile.dtype)[:, None]
    return tile


@triton.jit
def wide(tile: tl.tensor) -> tl.tensor:
    """Convert to float32, the type of sums; float64, which only the interpreter gets, stays."""
    return tile if tile.dtype == tl.float64 else tile.to(tl.float32)


@triton.jit
def zeros(shape: tl.constexpr, rows: tl.tensor) -> tl.tensor:
    """Return zeros of this shape, to sum products of numbers that the pointer `rows` leads to."""
    return tl.zeros(shape, tl.float64 if rows.dtype.element_ty == tl.float64 else tl.float32)


@triton.jit
def multiply(a: tl.tensor, b: tl.tensor, PRECISION: tl.constexpr, total: tl.tensor = None) -> tl.tensor:
    """Return the product of tiles (R, S) and (S, C), added to `total` if that is given."""
    wide_type: tl.constexpr = tl.float64 if a.dtype == tl.float64 else tl.float32
    return tl.dot(a, b, total, input_precision=PRECISION, out_dtype=wide_type)


@triton.jit
def softmax_step(scores: tl.tensor, highest: tl.tensor) -> tuple[tl.tensor, ...]:
    """Return the weights of a tile of scores, by what to shrink sums so far, and the highest score with this tile.

    With m the highest score of a row so far, and m' with this tile:

        weights = 2 ** (scores - m'),   shrink = 2 ** (m - m')

    Scores are logarithms to base 2, which GPUs raise in one instruction. A score of minus infinity has the weight 0,
    also while all are, when m' has no difference from itself.

    Args:
        scores: (R, C).
        highest: (R,), minus infinity before the first tile.
    """
    higher = tl.maximum(highest, tl.max(scores, axis=1))
    level = tl.where(higher == -float("inf"), 0.0, higher)
    return tl.exp2(scores - level[:, None]), tl.exp2(highest - level), higher
