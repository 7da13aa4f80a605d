"""Rows by index: against PyTorch's own indexing, values and gradients."""

import pytest
import torch

from convnn.ops.rows import take_rows


@pytest.mark.parametrize("shape", [(5,), (2, 3), (0,), (4, 1, 2)])
def test_rows_are_those_of_indexing(shape: tuple[int, ...]) -> None:
    x = torch.randn(4, 3, 2, dtype=torch.double, requires_grad=True)
    indices = torch.randint(4, shape, generator=torch.Generator().manual_seed(0))
    found, wanted = take_rows(x, indices), x[indices]
    assert torch.equal(found, wanted)
    upstream = torch.randn_like(wanted)
    ours, theirs = (torch.autograd.grad(y, x, upstream)[0] for y in (found, wanted))
    torch.testing.assert_close(ours, theirs)


def test_the_gradient_is_the_same_in_every_run() -> None:
    x = torch.randn(7, 16, requires_grad=True)
    indices, upstream = torch.randint(7, (40_000,)), torch.randn(40_000, 16)
    first, *others = (torch.autograd.grad(take_rows(x, indices), x, upstream)[0] for _ in range(5))
    assert all(torch.equal(one, first) for one in others)
