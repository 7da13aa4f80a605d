"""A field that is a constant and a sum of weighted Gaussians, and its values."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from convnn.errors import InputError

PACKED = {1 + dims + dims**2: dims for dims in (2, 3)}
"""Numbers of a packed component, and the number of its dimensions."""


@dataclass(frozen=True)
class Mixture:
    r"""Fields v, one for each image and channel, that are mixtures of Gaussians.

    .. math:: v(x) = c + \sum_n w_n \, \mathcal{N}(x; \mu_n, \Sigma_n)

    The density is normalised, so that a weight is the integral of its component; it may be negative.

    Attributes:
        weight: w (B, C, N).
        mean: :math:`\mu` (B, C, N, D) in 2 or 3 dimensions.
        cov: :math:`\Sigma` (B, C, N, D, D), symmetric and positive definite, which is checked where it is inverted.
        constant: c (B, C), or one number for all.

    Raises:
        InputError: shapes do not agree.

    Example:
        >>> mixture = Mixture(torch.ones(1, 1, 2), torch.zeros(1, 1, 2, 3), torch.eye(3).expand(1, 1, 2, 3, 3))
        >>> mixture.dims, mixture.constant, mixture.packed.shape
        (3, tensor([[0.]]), torch.Size([1, 1, 2, 13]))
    """

    weight: Tensor
    mean: Tensor
    cov: Tensor
    constant: Tensor = field(default_factory=lambda: torch.zeros(()))

    def __post_init__(self) -> None:
        weight, mean, cov = self.weight, self.mean, self.cov
        if weight.dim() != 3 or not weight.is_floating_point() or 0 in weight.shape:
            raise InputError(f"weight of shape {tuple(weight.shape)} and {weight.dtype} must be floating and (B, C, N)")
        if mean.dim() != 4 or mean.shape[:3] != weight.shape or mean.shape[3] not in PACKED.values():
            raise InputError(f"mean of shape {tuple(mean.shape)} must be {tuple(weight.shape)} with 2 or 3 coordinates")
        wanted = (*mean.shape, mean.shape[3])
        if cov.shape != wanted:
            raise InputError(f"cov of shape {tuple(cov.shape)} must be {wanted}, a matrix for each mean")
        constant = self.constant.to(weight)
        if constant.dim() and constant.shape != weight.shape[:2]:
            raise InputError(f"constant of shape {tuple(constant.shape)} must be {tuple(weight.shape[:2])} or a number")
        object.__setattr__(self, "constant", constant.expand(weight.shape[:2]))

    @classmethod
    def from_packed(cls, packed: Tensor, constant: Tensor | None = None) -> "Mixture":
        """Make mixtures of one tensor (B, C, N, 1 + D + D^2): weight, mean and the rows of the covariance.

        Raises:
            InputError: the last axis has neither 7 numbers, for two dimensions, nor 13, for three.
        """
        if packed.dim() != 4 or packed.shape[3] not in PACKED:
            raise InputError(
                f"packed of shape {tuple(packed.shape)} must be (B, C, N, 7) in 2 dimensions or (B, C, N, 13) in 3"
            )
        dims = PACKED[packed.shape[3]]
        weight, mean, cov = packed.split([1, dims, dims**2], -1)
        constant = packed.new_zeros(()) if constant is None else constant
        return cls(weight.squeeze(-1), mean, cov.unflatten(-1, (dims, dims)), constant)

    @property
    def packed(self) -> Tensor:
        """Weights, means and covariances in one tensor (B, C, N, 1 + D + D^2), without the constant."""
        return torch.cat([self.weight.unsqueeze(-1), self.mean, self.cov.flatten(-2)], -1)

    @property
    def dims(self) -> int:
        """D, the number of dimensions."""
        return self.mean.shape[-1]

    def take(self, index: Tensor) -> "Mixture":
        """Return the components (B, C, K) by their numbers, with the same constant."""
        of_mean = index.unsqueeze(-1).expand(*index.shape, self.dims)
        of_cov = of_mean.unsqueeze(-1).expand(*of_mean.shape, self.dims)
        parts = (self.weight.gather(2, index), self.mean.gather(2, of_mean), self.cov.gather(2, of_cov))
        return Mixture(*parts, self.constant)


def whiten(cov: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return :math:`L^{-1}`, where :math:`\Sigma = L L^\top`, and :math:`\log |L|` of covariances (..., D, D).

    Raises:
        InputError: a covariance is not positive definite.
    """
    root, failed = torch.linalg.cholesky_ex(cov)
    if failed.any():
        first = failed.nonzero()[0].tolist()
        raise InputError(f"cov{first} = {cov[tuple(first)].tolist()} must be symmetric and positive definite")
    unit = torch.eye(cov.shape[-1], dtype=cov.dtype, device=cov.device)
    inverse = torch.linalg.solve_triangular(root, unit.expand_as(root), upper=False)
    return inverse, root.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def log_density(points: Tensor, mean: Tensor, cov: Tensor) -> Tensor:
    """Return the logarithms (B, C, M, N) of normal densities (B, C, N, ...) at points (B, C, M, D)."""
    inverse, log_volume = whiten(cov)
    offset = points.unsqueeze(2) - mean.unsqueeze(3)
    distance = (offset @ inverse.mT).square().sum(-1).mT
    return -0.5 * distance - (log_volume + mean.shape[-1] / 2 * math.log(2 * math.pi)).unsqueeze(2)


def evaluate(mixture: Mixture, points: Tensor) -> Tensor:
    """Return the values of the fields at points.

    Args:
        mixture: the fields.
        points: (M, D), the same for all fields, or (B, C, M, D).

    Returns:
        (B, C, M).

    Raises:
        InputError: the points have another shape, or a covariance is not positive definite.

    Example:
        >>> one = Mixture(torch.tensor([[[2.0]]]), torch.zeros(1, 1, 1, 2), torch.eye(2).expand(1, 1, 1, 2, 2))
        >>> evaluate(one, torch.tensor([[0.0, 0.0], [3.0, 0.0]]))  # 1 / pi in the middle
        tensor([[[0.3183, 0.0035]]])
    """
    batch, channels = mixture.weight.shape[:2]
    own = (batch, channels) if points.dim() == 4 else ()
    if points.dim() not in (2, 4) or points.shape[:-2] != own or points.shape[-1] != mixture.dims:
        raise InputError(
            f"points of shape {tuple(points.shape)} must be (M, {mixture.dims}) or ({batch}, {channels}, M,"
            f" {mixture.dims})"
        )
    density = log_density(points.expand(batch, channels, -1, -1), mixture.mean, mixture.cov).exp()
    return (density @ mixture.weight.unsqueeze(-1)).squeeze(-1) + mixture.constant.unsqueeze(-1)
