"""The gather of rows in Triton: bit for bit those of PyTorch, whatever the type, width and address."""

import pytest
import torch

from convnn.backends import triton

RUNS = not triton.unavailable_reasons()
DEVICE = "cpu" if triton.INTERPRETS or not torch.cuda.is_available() else "cuda"
pytestmark = pytest.mark.skipif(not RUNS, reason="; ".join(triton.unavailable_reasons()))


@pytest.mark.parametrize("dtype", [torch.int8, torch.bfloat16, torch.float32, torch.float64, torch.complex128])
@pytest.mark.parametrize("columns", [1, 33, 200])
def test_rows_are_those_of_the_table(dtype: torch.dtype, columns: int) -> None:
    bits = torch.randint(-128, 128, (12 * columns * dtype.itemsize,), dtype=torch.int8)
    table = bits.view(dtype).view(12, columns).to(DEVICE)  # NaN of any kind included
    index = torch.tensor([3, 0, 11, 3, 7], device=DEVICE)
    for rows in (table, table[1:]):  # which begins elsewhere in a line
        index = index.clamp_max(rows.shape[0] - 1)
        out = torch.full((5, columns + 1), 1, device=DEVICE).to(dtype)[:, :columns].contiguous()
        assert triton.gather_rows(rows, index, out) is out
        assert out.view(torch.int8).equal(rows[index].view(torch.int8))


def test_more_dimensions_and_no_rows() -> None:
    table = torch.randn(4, 3, 2, device=DEVICE)
    out = torch.zeros(2, 3, 2, device=DEVICE)
    triton.gather_rows(table, torch.tensor([2, 2], device=DEVICE), out)
    assert out.equal(table[[2, 2]])
    none = torch.zeros(0, 3, 2, device=DEVICE)
    assert triton.gather_rows(table, torch.zeros(0, dtype=torch.long, device=DEVICE), none).shape == (0, 3, 2)
