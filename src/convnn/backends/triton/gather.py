# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"
"""Rows gathered by a program each, which begins at a line of memory (PyTorch-Direct, arXiv 2103.03330)."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from convnn.backends.triton._launch import computing_on, launch, tile

_LINE = 128  # bytes
_AS_WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def gather_rows(table: Tensor, index: Tensor, out: Tensor) -> Tensor:
    """Copy rows `index` (L,) int64 of a table (N, ...) to `out` (L, ...), bit by bit.

    The table may lie in pinned memory of the host; index and output are on the device.
    """
    kind = _AS_WHOLE[min(table.element_size(), 8)]  # complex128 has two for each element
    source, target = table.flatten(1).view(kind), out.flatten(1).view(kind)
    columns = source.shape[1]
    with computing_on(out):
        launch(
            _gather_kernel,
            (index.shape[0] if columns else 0,),
            source,
            index.contiguous(),
            target,
            columns,
            IN_LINE=_LINE // kind.itemsize,
            ITEM=kind.itemsize,
            COLUMNS=tile(columns + _LINE // kind.itemsize, 32, 1024),
        )
    return out


@triton.jit
def _gather_kernel(
    table: tl.tensor,
    index: tl.tensor,
    out: tl.tensor,
    columns: tl.tensor,
    IN_LINE: tl.constexpr,
    ITEM: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """Copy one row, its columns moved back to where its line begins."""
    row = tl.program_id(0).to(tl.int64)
    source = table + tl.load(index + row) * columns
    offset = (source.to(tl.int64, bitcast=True) // ITEM) % IN_LINE
    for start in range(0, columns + IN_LINE - 1, COLUMNS):
        c = start + tl.arange(0, COLUMNS) - offset
        mask = (c >= 0) & (c < columns)
        tl.store(out + row * columns + c, tl.load(source + c, mask=mask, other=0), mask=mask)
