"""Which bytes the threads of a GPU read when rows are gathered, and in how many requests (PyTorch-Direct)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice

LINE, WARP = 128, 32
"""Bytes that one request reads, and threads that request together."""

FORMS = ("rows", "shift")
_BLOCK = 256  # threads
_LEAST_ALIGNED = 256  # bytes of a row, in form "rows"


@dataclass(frozen=True)
class GatherPlan:
    """What each thread copies, in order of warps.

    Attributes:
        source_byte: (n,) where the element begins in the table.
        output_byte: (n,) where it goes in the output.
        requests: (W,) different lines that a warp reads with one instruction.
    """

    source_byte: Tensor
    output_byte: Tensor
    requests: Tensor


def gather_plan(
    index: Tensor,
    row_bytes: int,
    itemsize: int,
    base: int = 0,
    form: str = "rows",
    *,
    num_rows: int,
    aligned: bool | None = None,
) -> GatherPlan:
    r"""Plan a gather of rows, each of S = F itemsize bytes, by warps of 32 threads that read lines of 128 bytes.

    - "rows" (the later form, which the kernel here has): a block has x threads for the columns of each of y rows, see
      `thread_block`; thread x of row r copies the columns :math:`x - o, x - o + x_{dim}, \ldots` that exist, where
      :math:`o = (\text{address of the row} \bmod 128) / \text{itemsize}`, so that each warp begins at a line.
    - "shift" (the earlier form): thread t = r F + c copies, of the row b = index[r], byte :math:`c \cdot
      \text{itemsize} + d` modulo S, where :math:`d = (r S - b S) \bmod 128` with the sign of the dividend. It ignores
      where the table begins.

    Args:
        index: (L,) int32 or int64 rows; negative ones count from the end.
        row_bytes: S, a multiple of `itemsize`.
        itemsize: bytes of an element, at least 1.
        base: address of the table, a multiple of `itemsize`; only its remainder by 128 matters.
        form: "rows" or "shift".
        num_rows: N, rows of the table.
        aligned: whether threads are moved to lines; by default as published: by "rows" if S is at least 256, by "shift"
            if S is above 128 and no multiple of it. Without it o = d = 0. A row below 128 bytes cannot be shifted.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Min et al., arXiv 2103.03330, and the code of the same authors for DGL.
    """
    check_choice("form", form, FORMS)
    check_at_least("itemsize", itemsize, 1)
    check_at_least("row_bytes", row_bytes, 1)
    check_at_least("base", base, 0)
    if row_bytes % itemsize or base % itemsize:
        raise InputError(f"row_bytes={row_bytes} and base={base} must be multiples of itemsize={itemsize}")
    rows = wrapped(index, num_rows)
    if aligned is None:
        aligned = row_bytes >= _LEAST_ALIGNED if form == "rows" else row_bytes > LINE and row_bytes % LINE > 0
    if aligned and form == "shift" and row_bytes < LINE:
        raise InputError(f"row_bytes={row_bytes} must be at least {LINE} to be shifted; pass aligned=False")
    make = _by_rows if form == "rows" else _by_shift
    row, column, source, warp = make(rows, row_bytes, itemsize, base, aligned)
    lines = (base + num_rows * row_bytes) // LINE + 1
    different = (warp * lines + (base + source) // LINE).unique()
    _, requests = (different // lines).unique_consecutive(return_counts=True)
    return GatherPlan(source, row * row_bytes + column, requests)


def thread_block(columns: int) -> tuple[int, int]:
    """Return the threads of a block for columns and for rows: 256 in all, of which fewer than 2 F are for columns."""
    check_at_least("columns", columns, 1)
    across = _BLOCK
    while across >= 2 * columns:
        across //= 2
    return across, _BLOCK // across


def lines_of_rows(index: Tensor, row_bytes: int, base: int = 0, *, num_rows: int) -> int:
    """Return the lines that the rows occupy, added up: the fewest requests that read them one by one."""
    first = base + wrapped(index, num_rows) * row_bytes
    return int(((first + row_bytes - 1) // LINE - first // LINE + 1).sum())


def wrapped(index: Tensor, num_rows: int) -> Tensor:
    """Return rows (L,) as int64 from 0 on; negative ones count from the end.

    Raises:
        InputError: the index is no list of int32 or int64, or a row is not there.
    """
    if index.dim() != 1 or index.dtype not in (torch.int32, torch.int64):
        raise InputError(f"index of shape {tuple(index.shape)} and {index.dtype} must be one list of int32 or int64")
    index = index.long()
    if index.numel() and not -num_rows <= int(index.min()) <= int(index.max()) < num_rows:
        bad = index[(index < -num_rows) | (index >= num_rows)]
        raise InputError(f"index has {int(bad[0])}, which is no row of a table of {num_rows}")
    return torch.where(index < 0, index + num_rows, index)


def _by_shift(rows: Tensor, size: int, itemsize: int, base: int, aligned: bool) -> tuple[Tensor, ...]:
    """Return row and byte in the output, byte in the table, and warp of each thread."""
    place = torch.arange(rows.shape[0]).repeat_interleave(size // itemsize)
    column = torch.arange(0, size, itemsize).repeat(rows.shape[0])
    first = rows.repeat_interleave(size // itemsize) * size
    if aligned:
        column = column + torch.fmod(place * size - first, LINE)
        column = torch.where(column < 0, column + size, torch.where(column >= size, column - size, column))
    return place, column, first + column, torch.arange(place.shape[0]) // WARP


def _by_rows(rows: Tensor, size: int, itemsize: int, base: int, aligned: bool) -> tuple[Tensor, ...]:
    """Return the same; a warp here is one instruction of it, as many times as its threads have columns."""
    across, down = thread_block(size // itemsize)
    first = rows * size
    offset = (base + first) % LINE // itemsize if aligned else torch.zeros_like(rows)
    steps = -(-(size // itemsize + int(offset.max())) // across) if rows.numel() else 0
    place, step, thread = torch.meshgrid(
        torch.arange(rows.shape[0]), torch.arange(steps), torch.arange(across), indexing="ij"
    )
    column = (thread + step * across - offset[:, None, None]) * itemsize
    warp = ((place // down * steps + step) * _BLOCK + place % down * across + thread) // WARP
    does = ((column >= 0) & (column < size)).nonzero(as_tuple=True)
    order = warp[does].argsort(stable=True)
    place, column, warp = (each[does][order] for each in (place, column, warp))
    return place, column, first[place] + column, warp
