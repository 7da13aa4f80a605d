"""Comparison of results: by the published rules, and by a tolerance that the float64 definition sets."""

from typing import NamedTuple

import torch
from torch import Tensor

from convnn.errors import check_at_least, check_choice

SEED = 42
"""The published seed of trials."""
_TIMES = 8
"""How many times the definition's own error a candidate may have; an honest sum in another order has less."""


class Difference(NamedTuple):
    """The largest and the mean difference of two results, in float64; NaN if any is."""

    largest: float
    mean: float


def trial_seeds(trials: int, seed: int = SEED) -> list[int]:
    """Return the seeds of the trials of a check, as published.

    Raises:
        InputError: there is no trial.
    """
    check_at_least("trials", trials, 1)
    generator = torch.Generator().manual_seed(seed)
    return [int(torch.randint(0, 2**32 - 1, (1,), generator=generator)) for _ in range(trials)]


def difference(reference: Tensor, candidate: Tensor) -> Difference:
    """Return how far a result is from the definition's, of the same shape."""
    apart = (reference.double() - candidate.double()).abs()
    return Difference(float(apart.max()), float(apart.mean())) if apart.numel() else Difference(0.0, 0.0)


def is_close(reference: Tensor, candidate: Tensor, tolerance: float, *, scaled_by: str = "candidate") -> bool:
    r"""Return whether two results agree by the published rules, in which NaN never does.

    .. math:: |r - c| \le \text{tol} + \text{tol} \cdot |c|

    for outputs; gradients have :math:`|r|` on the right.

    Args:
        reference: r.
        candidate: c, of the same shape.
        tolerance: tol, absolute and relative.
        scaled_by: "candidate" or "reference".

    Raises:
        InputError: `scaled_by` is neither.
    """
    check_choice("scaled_by", scaled_by, ("candidate", "reference"))
    scale = (candidate if scaled_by == "candidate" else reference).abs()
    return bool(((reference - candidate).abs() <= tolerance + tolerance * scale).all())


class Expected(NamedTuple):
    """A result of the definition, and how far a candidate's may be from it.

    Attributes:
        exact: the result from inputs in float64; whole numbers stay as they are.
        dtype: type that a candidate must return.
        tolerance: the largest difference.
    """

    exact: Tensor
    dtype: torch.dtype
    tolerance: float


def expected(exact: Tensor, rounded: Tensor, nearby: Tensor | None = None) -> Expected:
    r"""Return what a candidate must compute, from the definition in float64 and in the type of the task.

    .. math:: \text{tol} = 8 \max \left( \max |r - r_{64}|,\; \max |r'_{64} - r_{64}|,\;
        \tfrac{\epsilon}{2} \max |r_{64}| \right)

    with the rounding :math:`\epsilon` of the type, over the finite entries: scaled by the result, so that outputs of
    1e-7 are held to 1e-13. Whole numbers and truth values must be equal.

    Args:
        exact: :math:`r_{64}`.
        rounded: r, in the type of the task.
        nearby: :math:`r'_{64}`, for inputs that are half a rounding away: no kernel can be expected to tell them apart.
            Without it, one honest kernel in some hundred was refused where terms cancel.
    """
    if not rounded.is_floating_point():
        return Expected(exact, rounded.dtype, 0.0)
    exact = torch.where(rounded.isfinite(), exact, rounded.to(exact.dtype))  # beyond its range, the type decides
    others = [rounded.double()] if nearby is None else [rounded.double(), nearby.double()]
    errors = [_largest(other - exact.double()) for other in others]
    rounding = torch.finfo(rounded.dtype).eps / 2
    return Expected(exact, rounded.dtype, _TIMES * max(*errors, rounding * _largest(exact)))


def _largest(x: Tensor) -> float:
    """Return the largest size of the finite entries."""
    finite = x[x.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def far(wanted: Expected, found: Tensor) -> float | None:
    """Return the largest difference of a result that is too far from what is expected, or None.

    Infinite and NaN entries must be where the definition has them, which counts as an infinite difference otherwise.
    """
    if not found.is_floating_point():
        apart = (wanted.exact != found).double()
        return float(apart.max()) if bool(apart.any()) else None
    exact, found = wanted.exact.double(), found.detach().double()
    is_finite = exact.isfinite()
    same = (exact == found) | (exact.isnan() & found.isnan())
    if not bool((same | is_finite).all()) or not bool(found[is_finite].isfinite().all()):
        return float("inf")
    apart = (exact - found)[is_finite].abs()
    largest = float(apart.max()) if apart.numel() else 0.0
    return largest if largest > wanted.tolerance else None


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors hold the same bits, in the same shape and type."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    bits = (x.detach().contiguous().reshape(-1).view(torch.uint8) for x in (one, other))
    return torch.equal(*bits)
