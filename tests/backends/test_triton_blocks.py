"""Attention between blocks, in Triton, against the definition."""

from itertools import product

import pytest
import torch

from convnn.backends import reference, triton
from pairwise import one_in
from triton_kernels import DEVICE, DTYPES, TOLERANCES, needs_kernels, poisoned, rows  # noqa: F401  fixtures

# The interpreter computes with NumPy, which warns of every NaN and overflow.
pytestmark = [needs_kernels, pytest.mark.filterwarnings("ignore::RuntimeWarning")]


# Queries, keys, widths of keys and of values, and queries and keys of a block.
BETWEEN_BLOCKS = [
    (40, 41, 8, 8, 32, 16), (5, 9, 3, 7, 4, 3), (1, 1, 1, 1, 128, 64), (0, 3, 4, 4, 8, 8), (50, 45, 20, 33, 40, 35),
    (20, 40, 130, 5, 16, 16),
]  # fmt: skip


@pytest.mark.parametrize(("size", "dtype"), one_in(3, product(BETWEEN_BLOCKS, triton.DTYPES)), ids=str)
def test_attend_to_blocks(size: tuple[int, ...], dtype: torch.dtype) -> None:
    count, length, channels, of_values, *block = size
    queries, keys = rows(2, channels, count, dtype=dtype).mT, 2 * rows(2, length, channels, seed=1, dtype=dtype)
    values = rows(2, length, of_values, seed=2, dtype=dtype)
    is_open = torch.rand(2, -(-count // block[0]), -(-length // block[1]), generator=torch.Generator().manual_seed(3))
    is_open = (is_open < 0.4) | (is_open == is_open.amax(2, keepdim=True))
    arguments = (queries, keys, values, is_open.to(DEVICE), *block)
    out, logs = reference.attend_to_blocks(*arguments)
    torch.testing.assert_close(triton.attend_to_blocks(*arguments), (out, logs), **TOLERANCES[dtype])
    grad = rows(2, of_values, count, seed=4, dtype=dtype).mT
    backward = (grad, (grad.to(logs.dtype) * out).sum(2) - rows(2, count, seed=5, dtype=logs.dtype), logs, *arguments)
    gradients = triton.attend_to_blocks_backward(*backward)
    torch.testing.assert_close(gradients, reference.attend_to_blocks_backward(*backward), **TOLERANCES[dtype])


def test_keys_that_nobody_opens_have_no_gradient() -> None:
    one = rows(1, 8, 3)
    arguments = (one, one, one, torch.tensor([[[True, False]] * 2], device=DEVICE), 4, 4)
    out, logs = triton.attend_to_blocks(*arguments)
    for gradient in triton.attend_to_blocks_backward(one, (one * out).sum(2), logs, *arguments)[1:]:
        assert gradient[0, :4].ne(0).all()
        assert gradient[0, 4:].eq(0).all()


def test_attend_to_blocks_of_odd_rows() -> None:
    queries, keys, values = rows(1, 8, 3), rows(1, 8, 3, seed=1), rows(1, 8, 3, seed=2)
    keys[:, :2], queries[:, 4] = torch.tensor([float("inf"), -float("inf")])[:, None], float("nan")
    arguments = (queries, keys, values, torch.eye(4, device=DEVICE).bool()[None] | True, 2, 2)
    (expected, _), (found, _) = (one.attend_to_blocks(*arguments) for one in (reference, triton))
    torch.testing.assert_close(found, expected, equal_nan=True, **TOLERANCES[torch.float32])
