"""Attention between blocks in the compiled core, for every instruction set of this machine, against the definition."""

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from convnn.backends import cpu, reference
from threads import thread_counts

pytestmark = [
    pytest.mark.skipif(bool(cpu.unavailable_reasons()), reason="the core is not compiled"),
    pytest.mark.usefixtures("core"),
]
TYPES = [(torch.float64, 1e-11), (torch.float32, 1e-4)]

# Queries, keys, widths of keys and of values, and queries and keys of a block.
SIZES = [
    (40, 41, 8, 8, 32, 16), (5, 9, 3, 7, 4, 3), (1, 1, 1, 1, 128, 64), (0, 3, 4, 4, 8, 8), (50, 45, 20, 33, 40, 35),
    (20, 40, 130, 5, 16, 16), (150, 140, 64, 64, 128, 64), (150, 140, 32, 32, 999, 130),
]  # fmt: skip


def rows(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def arguments(size: tuple[int, ...], dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
    """Return queries, keys, values, which blocks are open, at least one each, and their sizes."""
    count, length, channels, of_values, *block = size
    queries, keys = rows(2, channels, count, dtype=dtype).mT, 2 * rows(2, length, channels, seed=1, dtype=dtype)
    values = rows(2, length, of_values, seed=2, dtype=dtype)
    is_open = torch.rand(2, -(-count // block[0]), -(-length // block[1]), generator=torch.Generator().manual_seed(3))
    return queries, keys, values, (is_open < 0.4) | (is_open == is_open.amax(2, keepdim=True)), *block


def every_result(inputs: tuple[Any, ...], backend: ModuleType = cpu) -> list[Tensor]:
    """Return attention, logarithms and the gradients of queries, keys and values."""
    out, logs = backend.attend_to_blocks(*inputs)
    grad = rows(*out.shape, seed=4, dtype=out.dtype)
    taken = (grad * out).sum(2) - rows(*logs.shape, seed=5, dtype=logs.dtype)
    return [out, logs, *backend.attend_to_blocks_backward(grad, taken, logs, *inputs)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), TYPES, ids=str)
def test_it_is_the_definition(size: tuple[int, ...], dtype: torch.dtype, tolerance: float) -> None:
    inputs = arguments(size, dtype)
    for found, expected in zip(every_result(inputs), every_result(inputs, reference), strict=True):
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_scores_may_be_far_from_zero() -> None:
    queries, keys, values, *rest = arguments((40, 41, 8, 8, 32, 16))
    for factor in (60, -60):
        inputs = (queries.abs() + 1, factor * (keys.abs() + 1), values, *rest)
        expected = reference.attend_to_blocks(*(one.double() for one in inputs[:3]), *rest)
        out, logs = cpu.attend_to_blocks(*inputs)
        torch.testing.assert_close(logs.double(), expected[1], rtol=1e-5, atol=0)
        torch.testing.assert_close(out.double(), expected[0], rtol=1e-2, atol=1e-2)


def test_odd_rows() -> None:
    queries, keys, values = rows(1, 8, 3), rows(1, 8, 3, seed=1), rows(1, 8, 3, seed=2)
    keys[:, :2], queries[:, 4] = torch.tensor([float("inf"), -float("inf")])[:, None], float("nan")
    inputs = (queries, keys, values, torch.ones(1, 4, 4, dtype=torch.bool), 2, 2)
    out = cpu.attend_to_blocks(*inputs)[0]
    torch.testing.assert_close(out, reference.attend_to_blocks(*inputs)[0], equal_nan=True)


def test_keys_that_nobody_opens_have_no_gradient() -> None:
    one = rows(1, 8, 3)
    inputs = (one, one, one, torch.tensor([[[True, False]] * 2]), 4, 4)
    for gradient in every_result(inputs)[3:]:
        assert gradient[0, :4].ne(0).all()
        assert gradient[0, 4:].eq(0).all()


def test_queries_without_keys_are_not_numbers_and_disturb_no_others() -> None:
    queries, keys, values, is_open, *block = arguments((9, 9, 3, 3, 3, 3))
    expected = every_result((queries, keys, values, is_open, *block))
    is_open[:, 1] = False
    found = every_result((queries, keys, values, is_open, *block))
    assert found[0][:, 3:6].isnan().all()
    assert found[1][:, 3:6].eq(-torch.inf).all()
    for i in (0, 1, 2):  # what belongs to queries
        assert torch.equal(found[i][:, :3], expected[i][:, :3])
        assert torch.equal(found[i][:, 6:], expected[i][:, 6:])
    assert all(one.isfinite().all() for one in found[2:])


def test_half_types_are_computed_in_float32() -> None:
    inputs = arguments((20, 20, 8, 8, 8, 8), torch.bfloat16)
    out, logs = cpu.attend_to_blocks(*inputs)
    wide = cpu.attend_to_blocks(*(one.float() for one in inputs[:3]), *inputs[3:])
    assert torch.equal(out, wide[0].bfloat16())
    assert torch.equal(logs, wide[1])


def test_bits_do_not_depend_on_threads_or_on_the_rest_of_the_batch() -> None:
    inputs = arguments((150, 140, 33, 20, 40, 35))
    found = [every_result(inputs) for _ in thread_counts(1, 3)]
    assert all(map(torch.equal, *found))
    alone = cpu.attend_to_blocks(*(one[1:] for one in inputs[:4]), *inputs[4:])
    assert torch.equal(alone[0], found[0][0][1:])
