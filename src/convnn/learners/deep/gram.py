"""What flows through a deep kernel machine: inner products of points with each other, instead of their features."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from convnn.errors import InputError, UnsupportedError, check_at_least


class Gram(NamedTuple):
    r"""Inner products of features that are never there: of inducing points, and of points with those.

    Inducing points stand for the data; a point's features are a sum :math:`w = K_{ti} K_{ii}^{-1}` of theirs, and what
    no such sum explains. Points may be pixels, of which each has its own inner product with each inducing point.

    Attributes:
        ii: (P, P) inner products of the inducing points, symmetric and positive definite.
        ti: (B, ..., P) inner products of points, or pixels, with the inducing points.
        t: (B, ...) inner product of each point with itself.
        cost: () how far the learned Gram matrices so far are from those of kernels: to be subtracted from the
            logarithm of the likelihood of all data.
    """

    ii: Tensor
    ti: Tensor
    t: Tensor
    cost: Tensor

    def weights(self, root: Tensor) -> Tensor:
        """Return the shares w (B, ..., P) of inducing points in points, by the Cholesky factor of `ii`."""
        flat = self.ti.reshape(-1, self.ti.shape[-1])
        return torch.cholesky_solve(flat.T, root).T.reshape(self.ti.shape)

    def moved(self, weights: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return `ti` and `t` where the inducing points have another Gram matrix.

        .. math:: w G \quad \text{and} \quad t - w \cdot k + w G w^T

        with the inner products k of the point: what the inducing points do not explain stays as it was.
        """
        ti = weights @ covariance
        return ti, self.t + ((ti - self.ti) * weights).sum(-1)


class GramModule(nn.Module):
    """A module of Gram triples that knows the number of inducing points that come in.

    Attributes:
        inducing: P.
    """

    inducing: int

    def __init__(self, inducing: int) -> None:
        super().__init__()
        check_at_least("inducing", inducing, 1)
        self.inducing = inducing

    def extra_repr(self) -> str:
        """Return the number of inducing points."""
        return f"inducing={self.inducing}"

    def check(self, gram: Gram) -> None:
        """Check that as many inducing points come in.

        Raises:
            InputError: it is another number.
        """
        if gram.ii.shape[0] != self.inducing:
            count, name = gram.ii.shape[0], type(self).__name__
            raise InputError(f"inducing={self.inducing} of {name} must be {count}, as many as come in")


def factor(matrix: Tensor, name: str) -> Tensor:
    """Return the lower Cholesky factor of a Gram matrix (P, P).

    Raises:
        UnsupportedError: the matrix is not positive definite; the message has its name.
    """
    root, info = torch.linalg.cholesky_ex(matrix)
    if info or not root.isfinite().all():
        raise UnsupportedError(f"{name} is not positive definite in {matrix.dtype}; give the kernels a larger jitter")
    return root


def divergence(root: Tensor, prior: Tensor) -> Tensor:
    r"""Return the Kullback-Leibler divergence of :math:`N(0, G)` from :math:`N(0, K)`.

    .. math:: \tfrac{1}{2} \left( \operatorname{tr}(K^{-1} G) - \log\det G + \log\det K - P \right)

    Args:
        root: (P, P) Cholesky factor of G.
        prior: (P, P) Cholesky factor of K.
    """
    energy = torch.linalg.solve_triangular(prior, root, upper=False).square().sum()
    return (energy - root.shape[0]) / 2 + (prior.diagonal().log() - root.diagonal().log()).sum()
