"""The neighbour with the largest value, in Triton, against the definition, bit for bit."""

import pytest
import torch
from torch import Tensor

from convnn.backends import reference, triton
from pairwise import sweep
from triton_kernels import DEVICE, DTYPES, needs_kernels, neighbors, poisoned, rows  # noqa: F401  fixtures

# The interpreter computes with NumPy, which warns of every NaN and overflow.
pytestmark = [needs_kernels, pytest.mark.filterwarnings("ignore::RuntimeWarning")]


@sweep(
    size=[(1, 1, 1), (7, 9, 3), (17, 5, 65), (0, 2, 3)], scored=[False, True], centered=[False, True],
    absent=[False, True],
)  # fmt: skip
def test_largest(size: tuple[int, int, int], scored: bool, centered: bool, absent: bool) -> None:
    count, K, channels = size
    values, indices = rows(2, 30, channels), neighbors(2, count, K, 30)
    values[:, 10:20] = values[:, :10]  # ties
    scores = rows(2, count, K, seed=2) if scored else None
    centers = rows(2, count, channels, seed=3) if centered else None
    check_largest(values, indices, scores, absent_ones(indices) if absent else None, centers)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf"), 0.0, -0.0], ids=str)
def test_largest_of_odd_rows(odd: float) -> None:
    values, indices = rows(1, 9, 5), neighbors(1, 40, 4, 9)
    values[:, ::2] = odd
    values[:, 1, 2] = float("nan")
    check_largest(values, indices, rows(1, 40, 4, seed=2), absent_ones(indices), rows(1, 40, 5, seed=3))
    check_largest(values, indices, None, absent_ones(indices), None)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_largest_of_other_types_and_strides(dtype: torch.dtype) -> None:
    values, centers = rows(2, 6, 10, dtype=dtype).mT, rows(2, 6, 9, seed=1, dtype=dtype).mT
    indices = neighbors(2, 4, 9, 10).mT
    check_largest(values, indices, rows(2, 4, 9, seed=2).mT, absent_ones(indices), centers)
    check_largest(values[:1].expand(2, 10, 6), indices, None, None, None)


def absent_ones(indices: Tensor) -> Tensor:
    """Return a mask with half of the neighbours absent, never the first."""
    absent = torch.rand(indices.shape, generator=torch.Generator().manual_seed(4)) < 0.5
    absent[..., :1] = False
    return absent.to(DEVICE)


def check_largest(*arguments: Tensor | None) -> None:
    torch.testing.assert_close(triton.largest(*arguments), reference.largest(*arguments), rtol=0, atol=0)
