r"""Inverse convolution of embeddings: a point is moved away from what resembles it, so that points spread out."""

import math
from typing import Any

import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least
from convnn.ops import aggregate, select, weigh


def inverse_convolution(
    x: Tensor, bank: Tensor, r: float, *, K: int | None = None, center: bool | None = None, normalize: bool = True
) -> Tensor:
    r"""Subtract from each point its neighbours in a bank, weighed by their similarity.

    .. math:: y_i = x_i - \frac{r}{K} \sum_{j \in N(i)} (s_{ij} - \mu) R_j, \qquad s_{ij} = \langle x_i, R_j \rangle

    where N(i) are the K points of the bank R with the largest :math:`s_{ij}`, and :math:`\mu` is the mean of all
    :math:`s_{ij}`, of points and bank alike. The bank may be the points themselves, which are then their own
    neighbours. Gradients reach points and bank, but not the choice of neighbours. Of equal similarities, up to float32,
    the first of the bank is chosen.

    Args:
        x: (N, C) points.
        bank: (M, C) points that neighbours are chosen from.
        r: rate; a negative one moves points towards their neighbours.
        K: number of neighbours, at most M; None is all of them, at a cost of C^2 for a point instead of M C.
        center: subtract :math:`\mu`; None is where all are neighbours, as published.
        normalize: scale the result to length 1; what has been moved to 0 stays there.

    Returns:
        (N, C), in the type of x.

    Raises:
        InputError: shapes do not agree, the bank is empty, a number is not finite, or K is out of range.

    Reference:
        Wang et al., "InvGC: Robust Cross-Modal Retrieval by Inverse Graph Convolution", arXiv 2310.13276.

    Example:
        >>> x = F.normalize(torch.randn(5, 3), dim=1)
        >>> torch.allclose(inverse_convolution(x, x, 0.5, K=1, normalize=False), x / 2)
        True
    """
    _check("x", x)
    _check("bank", bank)
    if bank.shape[1] != x.shape[1] or bank.dtype != x.dtype:
        raise InputError(
            f"bank of shape {tuple(bank.shape)} and {bank.dtype} must be (M, {x.shape[1]}) and {x.dtype}, as x is"
        )
    if not bank.shape[0]:
        raise InputError(f"bank of shape {tuple(bank.shape)} must have at least one point")
    if not math.isfinite(r):
        raise InputError(f"r={r!r} must be a finite number")
    count = bank.shape[0] if K is None else K
    check_at_least("K", count, 1)
    if count > bank.shape[0]:
        raise InputError(f"K={K} must be at most {bank.shape[0]}, the number of points of the bank")
    if K is None:
        collected, unweighted = x @ (bank.T @ bank), bank.sum(0)
    else:
        neighbors = select.nearest(x[None], bank[None], K, metric="matmul")
        weighed = weigh.similarity(neighbors, x[None], bank[None], metric="matmul")
        collected, unweighted = (aggregate.weighted_sum(bank[None], these)[0] for these in (weighed, neighbors))
    if K is None if center is None else center:
        collected = collected - (x.mean(0) @ bank.mean(0)) * unweighted
    moved = x - r / count * collected
    return F.normalize(moved, dim=1) if normalize else moved


def _check(name: str, points: Tensor) -> None:
    if points.dim() != 2 or not points.is_floating_point():
        raise InputError(f"{name} of shape {tuple(points.shape)} and {points.dtype} must be floating and (N, C)")
    if not torch.isfinite(points).all():
        raise InputError(f"{name} must be finite")


def share_of(bank: Tensor, rate: float) -> int:
    """Return the number of neighbours that is a share of a bank, rounded down.

    Raises:
        InputError: the rate is not above 0 and at most 1, or the bank so small that it has no neighbour.
    """
    if not 0 < rate <= 1:
        raise InputError(f"rate={rate!r} must be above 0 and at most 1")
    count = math.floor(round(rate * bank.shape[0], 9))  # 0.29 * 100 is below 29
    if not count:
        raise InputError(
            f"rate={rate!r} of {bank.shape[0]} points of the bank is no neighbour; give K=1 or a higher rate"
        )
    return count


class InvGC(TransformerMixin, BaseEstimator):
    """`inverse_convolution` as a transformer of scikit-learn, of tensors or arrays.

    Args:
        r: rate.
        K: number of neighbours; None is all of them, unless `rate` is given.
        rate: their share of the bank, rounded down, instead of K.
        center: subtract the mean similarity; None is where all are neighbours.
        normalize: scale results to length 1.

    Attributes:
        bank_: (M, C) the points that `fit` was given.

    Example:
        >>> points = torch.randn(100, 8)
        >>> InvGC(0.5, rate=0.1).fit(points).transform(points[:3]).shape
        torch.Size([3, 8])
    """

    def __init__(
        self,
        r: float,
        *,
        K: int | None = None,
        rate: float | None = None,
        center: bool | None = None,
        normalize: bool = True,
    ) -> None:
        self.r = r
        self.K = K
        self.rate = rate
        self.center = center
        self.normalize = normalize

    def fit(self, X: Any, y: None = None) -> "InvGC":
        """Keep the bank (M, C)."""
        self.bank_ = torch.as_tensor(X)
        return self

    def transform(self, X: Any) -> Any:
        """Return points (N, C) moved away from the bank, a tensor for a tensor and otherwise an array.

        Raises:
            InputError: both K and rate are given, or as `inverse_convolution` and `share_of` say.
        """
        check_is_fitted(self)
        if self.K is not None and self.rate is not None:
            raise InputError(
                f"K={self.K} and rate={self.rate} both say how many neighbours there are; give one of them"
            )
        K = self.K if self.rate is None else share_of(self.bank_, self.rate)
        x = torch.as_tensor(X)
        moved = inverse_convolution(x, self.bank_, self.r, K=K, center=self.center, normalize=self.normalize)
        return moved if isinstance(X, Tensor) else moved.numpy()


class InvGCRetrieval(TransformerMixin, BaseEstimator):
    r"""The gallery of a search, moved away from a bank of its own kind and from a bank of queries.

    With a and b the gallery moved away from either bank by `inverse_convolution`, both from where it was, the result is
    :math:`(a + b) / 2` scaled to length 1. Queries stay as they are, and are compared with the result.

    Args:
        r_gallery: rate of the bank of the gallery's kind.
        r_query: rate of the bank of queries.
        K, rate, center: as in `InvGC`, of each bank.

    Reference:
        Wang et al., "InvGC: Robust Cross-Modal Retrieval by Inverse Graph Convolution", arXiv 2310.13276.

    Example:
        >>> gallery, queries = torch.randn(50, 8), torch.randn(40, 8)
        >>> moved = InvGCRetrieval(0.5, 0.5, K=3).fit(gallery, queries).transform(gallery[:10])
        >>> (queries[:4] @ moved.T).shape
        torch.Size([4, 10])
    """

    def __init__(
        self,
        r_gallery: float,
        r_query: float,
        *,
        K: int | None = None,
        rate: float | None = None,
        center: bool | None = None,
    ) -> None:
        self.r_gallery = r_gallery
        self.r_query = r_query
        self.K = K
        self.rate = rate
        self.center = center

    def fit(self, X: Any, y: Any) -> "InvGCRetrieval":
        """Keep the bank of the gallery's kind (M, C) and the bank of queries (M', C)."""
        banks = ((self.r_gallery, X), (self.r_query, y))
        self.movers_ = [InvGC(r, K=self.K, rate=self.rate, center=self.center).fit(bank) for r, bank in banks]
        return self

    def transform(self, X: Any) -> Any:
        """Return the gallery (N, C), moved; a tensor for a tensor and otherwise an array."""
        check_is_fitted(self)
        x = torch.as_tensor(X)
        both = [mover.transform(x) for mover in self.movers_]
        moved = F.normalize(sum(both) / 2, dim=1)
        return moved if isinstance(X, Tensor) else moved.numpy()
