"""Attention under masks and in order, in Triton, against the definition and PyTorch's own."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.backends import reference, triton
from convnn.errors import InputError, UnsupportedError
from pairwise import one_in
from triton_kernels import DEVICE, TOLERANCES, needs_kernels, poisoned, rows  # noqa: F401  fixtures

# The interpreter computes with NumPy, which warns of every NaN and overflow.
pytestmark = [needs_kernels, pytest.mark.filterwarnings("ignore::RuntimeWarning")]

EXACT = torch.float64 if triton.INTERPRETS else torch.float32
TOLERANCE = {"rtol": 1e-12, "atol": 1e-12} if triton.INTERPRETS else TOLERANCES[torch.float32]


def check_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float) -> Tensor:
    """Compare with the definition, forward and every gradient, and return the output."""
    grad = rows(*q.shape[:2], v.shape[2], seed=7, dtype=q.dtype)
    found = triton.attend(q, k, v, mask, causal, scale, block=16)
    leaves = [one.clone().requires_grad_() for one in (q, k, v)]
    expected = reference.attend(*leaves, mask, causal, scale)
    expected[0].backward(grad)
    torch.testing.assert_close(found, (expected[0].detach(), expected[1].detach()), **TOLERANCE)
    gradients = triton.attend_backward(grad, q, k, v, *found, mask, causal, scale, block=16)
    torch.testing.assert_close(gradients, tuple(leaf.grad for leaf in leaves), **TOLERANCE)
    return found[0]


def some_seen(count: int, length: int) -> Tensor:
    """Return a mask of two images in which query 1 sees nothing, and in one of them a whole block sees nothing."""
    mask = torch.rand(2, count, length, generator=torch.Generator().manual_seed(5)) < 0.5
    mask[:, 1] = False
    mask[1, 16:32] = False
    return mask.to(DEVICE)


@pytest.mark.parametrize(
    ("count", "length", "widths", "masked", "causal"),
    one_in(2, [
        (20, 37, (8, 5), True, False), (37, 17, (3, 3), False, True), (7, 33, (17, 8), True, True),
        (1, 1, (1, 1), False, False), (18, 40, (4, 8), False, True),
    ]),
)  # fmt: skip
def test_attend(count: int, length: int, widths: tuple[int, int], masked: bool, causal: bool) -> None:
    q, k = rows(2, count, widths[0], dtype=EXACT), rows(2, length, widths[0], seed=1, dtype=EXACT)
    v = rows(2, length, widths[1], seed=2, dtype=EXACT)
    mask = some_seen(count, length) if masked else None
    out = check_attention(q, k, v, mask, causal, 0.3)
    if masked:
        assert out[:, 1].eq(0).all()
    if causal and count > length:  # the first queries come before the first key
        assert out[:, : count - length].eq(0).all()
        assert out[:, count - length :].ne(0).all()


def test_attend_is_that_of_pytorch() -> None:
    q, k, v = rows(2, 17, 8, dtype=EXACT), rows(2, 35, 8, seed=1, dtype=EXACT), rows(2, 35, 8, seed=2, dtype=EXACT)
    torch.testing.assert_close(triton.attend(q, k, v)[0], F.scaled_dot_product_attention(q, k, v), **TOLERANCE)
    q = k
    torch.testing.assert_close(
        triton.attend(q, k, v, causal=True, block=32)[0],
        F.scaled_dot_product_attention(q, k, v, is_causal=True),
        **TOLERANCE,
    )


def test_a_mask_of_all_images_is_read_in_place() -> None:
    q, mask = rows(2, 18, 4), some_seen(18, 18)[0]
    for out, one in zip(triton.attend(q, q, q, mask, block=16)[0], q, strict=True):
        alone = triton.attend(one[None], one[None], one[None], mask[None], block=16)[0][0]
        assert out.equal(alone)


def test_bad_input() -> None:
    x = rows(2, 5, 4)
    for block in (8, 48, 16.0):
        with pytest.raises(InputError, match=f"block={block!r} must be a power of two of at least 16"):
            triton.attend(x, x, x, block=block)
    with pytest.raises(InputError, match="queries and keys must share their width"):
        triton.attend(x, x[:, :, :3], x)
    with pytest.raises(InputError, match="use one type"):
        triton.attend(x, x.half(), x)
    with pytest.raises(InputError, match=r"all three must be \(B, T, C\)"):
        triton.attend(x[0], x, x)
    with pytest.raises(InputError, match=r"mask of shape \(2, 4\) does not expand to \(B, N, T\) = \(2, 5, 5\)"):
        triton.attend(x, x, x, torch.ones(2, 4, device=DEVICE).bool())
    with pytest.raises(InputError, match="it must be bool"):
        triton.attend(x, x, x, torch.ones(5, 5, device=DEVICE))
    wide = rows(1, 2, 257)
    with pytest.raises(UnsupportedError, match="heads must have at most 256 channels, not 257"):
        triton.attend(wide, wide, wide)
    with pytest.raises(UnsupportedError, match="dtype must be one of"):
        triton.attend(x.int(), x.int(), x.int())
