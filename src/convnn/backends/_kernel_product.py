"""The definition of the product of a kernel matrix with vectors, in plain PyTorch; see `convnn.learners.Chunked`."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def kernel_product(X: Tensor, Y: Tensor, v: Tensor, name: str, numbers: Sequence[float]) -> Tensor:
    r"""Return K(X, Y) v, (n, c).

    Args:
        X, Y: (n, d) and (m, d) points.
        v: (m, c).
        name: a kernel of `KERNELS`.
        numbers: its hyperparameters, in the order of the class in `convnn.learners` that bears the name.
    """
    return kernel_matrix(X, Y, name, numbers) @ v


def kernel_matrix(X: Tensor, Y: Tensor, name: str, numbers: Sequence[float]) -> Tensor:
    """Return K(X, Y), (n, m), of the same arguments."""
    return KERNELS[name](X, Y, *numbers)


def _gaussian(X: Tensor, Y: Tensor, bandwidth: float) -> Tensor:
    return torch.exp(_distances(X, Y).square() * (-0.5 / bandwidth**2))


def _laplace(X: Tensor, Y: Tensor, bandwidth: float) -> Tensor:
    return torch.exp(_distances(X, Y) * (-1 / bandwidth))


def _polynomial(X: Tensor, Y: Tensor, degree: float, scale: float, offset: float) -> Tensor:
    return (scale * (X @ Y.T) + offset) ** int(degree)


def _arc_cosine(X: Tensor, Y: Tensor, order: float) -> Tensor:
    lengths = X.norm(dim=1)[:, None] * Y.norm(dim=1)
    cosine = torch.where(lengths > 0, X @ Y.T / lengths, 0).clamp(-1, 1)
    rest, sine = math.pi - cosine.acos(), (1 - cosine.square()).sqrt()
    terms = (rest, sine + rest * cosine, 3 * sine * cosine + rest * (1 + 2 * cosine.square()))
    return lengths ** int(order) * terms[int(order)] / math.pi


def _distances(X: Tensor, Y: Tensor) -> Tensor:
    return torch.cdist(X, Y, compute_mode="donot_use_mm_for_euclid_dist")


KERNELS: dict[str, Callable[..., Tensor]] = {
    "gaussian": _gaussian,
    "laplace": _laplace,
    "polynomial": _polynomial,
    "arc_cosine": _arc_cosine,
}
"""Kernels by name: of points (n, d) and (m, d), and hyperparameters, (n, m)."""
