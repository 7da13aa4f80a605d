"""Linear attention with decay, in Triton, against the definition and its other forms."""

import pytest
import torch

from convnn.backends import reference, triton
from convnn.errors import InputError
from pairwise import one_in
from triton_kernels import DEVICE, TOLERANCES, needs_kernels, poisoned, rows  # noqa: F401  fixtures

pytestmark = needs_kernels

EXACT = torch.float64 if triton.INTERPRETS else torch.float32
TOLERANCE = {"rtol": 1e-12, "atol": 1e-12} if triton.INTERPRETS else TOLERANCES[torch.float32]


@pytest.mark.parametrize(
    ("length", "widths", "chunk"), one_in(2, [(33, (4, 5), 16), (16, (17, 3), 16), (50, (3, 66), 32), (1, (1, 1), 16)])
)
def test_attend_linearly(length: int, widths: tuple[int, int], chunk: int) -> None:
    q, k = (rows(3, length, widths[0], seed=seed, dtype=EXACT) for seed in (0, 1))
    v, slopes = rows(3, length, widths[1], seed=2, dtype=EXACT), torch.tensor([0.0, 0.1, 2.0]).to(DEVICE, EXACT)
    found = triton.attend_linearly(q, k, v, slopes, chunk=chunk)
    leaves = [one.clone().requires_grad_() for one in (q, k, v)]
    out, state = reference.attend_linearly(*leaves, slopes)
    torch.testing.assert_close(found, (out.detach(), state.detach()), **TOLERANCE)
    grad = rows(*v.shape, seed=3, dtype=EXACT)
    out.backward(grad)
    gradients = triton.attend_linearly_backward(grad, q, k, v, slopes, chunk=chunk)
    torch.testing.assert_close(gradients, tuple(leaf.grad for leaf in leaves), **TOLERANCE)


def test_without_decay_it_is_a_cumulative_sum() -> None:
    q, k, v = (rows(1, 20, 4, seed=seed, dtype=EXACT) for seed in (0, 1, 2))
    sums = (k[..., :, None] * v[..., None, :]).cumsum(1)
    expected = (q[..., None, :] @ sums).squeeze(2)
    out, state = triton.attend_linearly(q, k, v, torch.zeros(1).to(DEVICE, EXACT), chunk=16)
    torch.testing.assert_close(out, expected, **TOLERANCE)
    torch.testing.assert_close(state, sums[:, -1], **TOLERANCE)


def test_bad_input() -> None:
    x, slopes = rows(2, 5, 4), torch.ones(2, device=DEVICE)
    with pytest.raises(InputError, match="block=24 must be a power of two"):
        triton.attend_linearly(x, x, x, slopes, chunk=24)
    with pytest.raises(InputError, match="there are 3 queries and 5 keys"):
        triton.attend_linearly(x[:, :3], x, x, slopes)
    for wrong in (slopes[:1], -slopes):
        with pytest.raises(InputError, match="must be 2 numbers of at least 0"):
            triton.attend_linearly(x, x, x, wrong)
