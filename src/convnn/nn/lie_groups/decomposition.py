"""Matrices of GL+(2, R) and SL(2, R) as products of a symmetric positive definite one and a rotation."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice

GROUPS = ("gl2", "sl2")
"""Linear maps of the plane that keep its orientation, and those among them that keep areas."""
ROTATIONS = ("equidistant", "uniform")


class Polar(NamedTuple):
    """Factors g = p r of matrices (..., 2, 2).

    Attributes:
        log_p: the logarithm of p, a symmetric matrix; traceless for matrices of determinant 1.
        p: symmetric and positive definite.
        r: a rotation.
    """

    log_p: Tensor
    p: Tensor
    r: Tensor


def polar(g: Tensor) -> Polar:
    r"""Factor matrices of positive determinant.

    .. math:: g g^T = V \operatorname{diag}(e) V^T, \quad \log p = \tfrac12 V \operatorname{diag}(\log e) V^T, \quad
        r = V \operatorname{diag}(e^{-1/2}) V^T g

    The gradient of V is not defined where the eigenvalues e are equal, as for rotations.

    Args:
        g: (..., 2, 2).
    """
    e, v = torch.linalg.eigh(g @ g.mT)
    log_p, p, inverse = ((v * scale.unsqueeze(-2)) @ v.mT for scale in (0.5 * e.log(), e.sqrt(), e.rsqrt()))
    return Polar(log_p, p, inverse @ g)


def angle(r: Tensor, *, centered: bool = True) -> Tensor:
    """Return the angles of rotations (..., 2, 2): in (-pi, pi], or in [0, 2 pi), which jumps at the identity."""
    sine = torch.where(r[..., 1, 0].abs() < 1e-6, torch.zeros_like(r[..., 1, 0]), r[..., 1, 0])
    theta = torch.atan2(sine, r[..., 0, 0])
    return theta if centered else theta % (2 * math.pi)


def determinant(g: Tensor) -> Tensor:
    """Return the determinants of matrices (..., 2, 2), of half types too."""
    return g[..., 0, 0] * g[..., 1, 1] - g[..., 0, 1] * g[..., 1, 0]


def rotation(theta: Tensor) -> Tensor:
    """Return the rotations (..., 2, 2) by angles."""
    cosine, sine = theta.cos(), theta.sin()
    return torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2)


def basis(group: str, metric_alpha: float = 1.0, *, like: Tensor) -> Tensor:
    r"""Return the basis of the group's algebra, (4, 2, 2) or (3, 2, 2), in the order of the coordinates.

    All have :math:`\alpha \operatorname{tr} E^T E = 1`.

    Raises:
        InputError: the group is unknown, or `metric_alpha` is not positive.
    """
    check_group(group, metric_alpha)
    o = 1 / math.sqrt(2 * metric_alpha)
    s = 1 / math.sqrt(metric_alpha)
    turn, mixed = [[0.0, -o], [o, 0.0]], [[0.0, o], [o, 0.0]]
    if group == "gl2":
        elements = [[[s, 0.0], [0.0, 0.0]], mixed, [[0.0, 0.0], [0.0, s]], turn]
    else:
        elements = [mixed, turn, [[o, 0.0], [0.0, -o]]]
    return like.new_tensor(elements)


def symmetric_basis(group: str, metric_alpha: float = 1.0, *, like: Tensor) -> Tensor:
    """Return the symmetric elements of the basis, (3, 2, 2) or (2, 2, 2); for "sl2" the diagonal one comes first."""
    elements = basis(group, metric_alpha, like=like)
    return elements[:3] if group == "gl2" else elements[[2, 0]]


def coordinates(g: Tensor, group: str, metric_alpha: float = 1.0, *, centered: bool = True) -> Tensor:
    r"""Return the coordinates :math:`\xi^{-1}(g)` of matrices: of :math:`\log p` in the basis, and the angle of r.

    Args:
        g: (..., 2, 2), of positive determinant; of determinant 1 for "sl2".
        group: "gl2", with coordinates of E_1, E_2, E_3 and the angle, or "sl2": off the diagonal, the angle, on it.
        metric_alpha: scale of the metric, which scales all coordinates but the angle.
        centered: angles in (-pi, pi], smooth at the identity; otherwise in [0, 2 pi), as published.

    Returns:
        (..., 4) or (..., 3).

    Raises:
        InputError: the group is unknown, or `metric_alpha` is not positive.

    Reference:
        Mironenco and Forré, "Lie Group Decompositions for Equivariant Neural Networks", arXiv 2310.11366.
    """
    check_group(group, metric_alpha)
    factors = polar(g)
    theta = angle(factors.r, centered=centered)
    on, off = math.sqrt(metric_alpha), math.sqrt(2 * metric_alpha)
    log_p = factors.log_p
    if group == "gl2":
        return torch.stack([on * log_p[..., 0, 0], off * log_p[..., 0, 1], on * log_p[..., 1, 1], theta], -1)
    return torch.stack([off * log_p[..., 0, 1], theta, off * log_p[..., 0, 0]], -1)


def element(coordinates: Tensor, group: str, metric_alpha: float = 1.0) -> Tensor:
    """Return the matrices (..., 2, 2) with given coordinates, exp(log p) times the rotation.

    Raises:
        InputError: the group is unknown, or `metric_alpha` is not positive.
    """
    elements = basis(group, metric_alpha, like=coordinates)
    turn = 3 if group == "gl2" else 1
    others = [i for i in range(len(elements)) if i != turn]
    log_p = torch.einsum("...i,ijk->...jk", coordinates[..., others], elements[others])
    return torch.linalg.matrix_exp(log_p) @ rotation(coordinates[..., turn])


class Samples(NamedTuple):
    """Elements of a group, with their inverses.

    Attributes:
        g: (N, 2, 2).
        inverse: (N, 2, 2).
    """

    g: Tensor
    inverse: Tensor


def from_tangent(v: Tensor, theta: Tensor, group: str, metric_alpha: float = 1.0) -> Samples:
    r"""Return :math:`A = S^{1/2} R(\theta)` and its inverse, with :math:`S = \exp(\sum_i v_i E_i)`.

    Args:
        v: (N, 3) for "gl2", (N, 2) for "sl2", coordinates in `symmetric_basis`.
        theta: (N,) angles.
        group: "gl2" or "sl2".
        metric_alpha: scale of the metric.
    """
    half = 0.5 * torch.einsum("ni,ijk->njk", v, symmetric_basis(group, metric_alpha, like=v))
    turn = rotation(theta)
    return Samples(torch.linalg.matrix_exp(half) @ turn, turn.mT @ torch.linalg.matrix_exp(-half))


def draw(
    number: int,
    group: str,
    metric_alpha: float = 1.0,
    *,
    bounds: float = 0.1,
    rotations: str = "equidistant",
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Samples:
    """Draw elements of a group.

    Args:
        number: N, how many.
        group: "gl2" or "sl2".
        metric_alpha: scale of the metric.
        bounds: variance of the coordinates of S; 0: rotations alone.
        rotations: "equidistant" angles from -pi to pi, both included, or "uniform" ones, Haar's measure.
        device: device of the elements.
        dtype: data type of the elements.

    Raises:
        InputError: an argument is out of range.
    """
    check_at_least("number", number, 1)
    check_group(group, metric_alpha)
    check_choice("rotations", rotations, ROTATIONS)
    if not bounds >= 0:
        raise InputError(f"bounds={bounds} must not be negative; it is a variance")
    v = bounds**0.5 * torch.randn(number, 3 if group == "gl2" else 2, device=device, dtype=dtype)
    if rotations == "equidistant":
        theta = torch.linspace(-math.pi, math.pi, number, device=device, dtype=dtype)
    else:
        theta = math.pi * (2 * torch.rand(number, device=device, dtype=dtype) - 1)
    return from_tangent(v, theta, group, metric_alpha)


def check_group(group: str, metric_alpha: float) -> None:
    """Refuse an unknown group and a metric that is not positive.

    Raises:
        InputError: one of them is refused.
    """
    check_choice("group", group, GROUPS)
    if not metric_alpha > 0:
        raise InputError(f"metric_alpha={metric_alpha} must be positive")
