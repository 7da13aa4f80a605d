"""Scores of pairs and their gradients, in Triton, against the definition."""

from itertools import product

import pytest
import torch
from torch import Tensor

from convnn.backends import reference, triton
from pairwise import one_in
from triton_kernels import DEVICE, METRICS, TOLERANCES, needs_kernels, neighbors, poisoned, rows  # noqa: F401  fixtures

# The interpreter computes with NumPy, which warns of every NaN and overflow.
pytestmark = [needs_kernels, pytest.mark.filterwarnings("ignore::RuntimeWarning")]


@pytest.mark.parametrize(
    ("size", "channels", "metric"), one_in(8, product([(1, 1), (7, 9), (33, 2)], [1, 3, 65], METRICS)), ids=str
)
def test_similarity(size: tuple[int, int], channels: int, metric: str) -> None:
    count, K = size
    queries, keys = rows(2, count, channels), rows(2, 11, channels, seed=1)
    queries[:, 0], keys[:, 3] = 0, 0
    check_similarity(queries, keys, neighbors(2, count, K, 11), metric)


@pytest.mark.parametrize(("dtype", "metric"), one_in(5, product([torch.float16, torch.bfloat16], METRICS)), ids=str)
def test_similarity_of_other_types_and_strides(dtype: torch.dtype, metric: str) -> None:
    keys = rows(2, 6, 10, dtype=dtype).transpose(1, 2)
    indices = neighbors(2, 4, 5, 10).transpose(1, 2)
    check_similarity(keys[:, ::2], keys, indices, metric)


@pytest.mark.parametrize("metric", one_in(3, METRICS))
def test_similarity_when_all_choose_one(metric: str) -> None:
    queries, keys = rows(1, 20, 3), rows(1, 4, 3, seed=1)
    check_similarity(queries, keys, torch.full((1, 20, 2), 3, device=DEVICE), metric)


def check_similarity(queries: Tensor, keys: Tensor, indices: Tensor, metric: str) -> None:
    scores = triton.similarity(queries, keys, indices, metric)
    torch.testing.assert_close(scores, reference.similarity(queries, keys, indices, metric))
    grad = rows(*indices.shape, seed=2)
    found = triton.similarity_backward(grad, queries, keys, indices, metric)
    expected = reference.similarity_backward(grad, queries, keys, indices, metric)
    torch.testing.assert_close(found, expected, **TOLERANCES[keys.dtype])
    assert all(torch.equal(*pair) for pair in zip(found, triton.similarity_backward(
        grad, queries, keys, indices, metric), strict=True))  # fmt: skip
