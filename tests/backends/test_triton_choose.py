"""The choice among short lists, in Triton, against the definition, bit for bit."""

from itertools import product

import pytest
import torch

from convnn.backends import reference, triton
from pairwise import one_in
from triton_kernels import DTYPES, METRICS, needs_kernels, neighbors, poisoned, rows  # noqa: F401  fixtures

# The interpreter computes with NumPy, which warns of every NaN and overflow.
pytestmark = [needs_kernels, pytest.mark.filterwarnings("ignore::RuntimeWarning")]


@pytest.mark.parametrize(
    ("size", "unlike", "metric"),
    one_in(5, product([(1, 1, 1, 1), (7, 9, 4, 3), (33, 5, 3, 40), (64, 2, 7, 33)], [False, True], METRICS)),
    ids=str,
)
def test_one_of_each(size: tuple[int, int, int, int], unlike: bool, metric: str) -> None:
    count, K, M, channels = size
    queries, keys = rows(2, count, channels), rows(2, 30, channels, seed=1)
    keys[:, 10:20] = keys[:, :10]  # ties
    keys[:, 25] = 0
    keys[:, 26] = float("nan")
    choices = neighbors(count, K, M, 30)
    chosen = triton.one_of_each(queries, keys, choices, metric, unlike)
    expected = reference.one_of_each(queries, keys, choices, metric, unlike)
    torch.testing.assert_close(chosen, expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", triton.DTYPES)
def test_one_of_each_of_other_types_and_strides(dtype: torch.dtype) -> None:
    queries, keys = rows(2, 5, 9, dtype=dtype).mT, rows(2, 5, 20, seed=1, dtype=dtype).mT
    choices = neighbors(9, 4, 3, 20)
    chosen = triton.one_of_each(queries, keys, choices, "cosine", True)
    torch.testing.assert_close(chosen, reference.one_of_each(queries, keys, choices, "cosine", True), rtol=0, atol=0)
