"""How alike two rows are, as the logits of a contrastive loss: by cosine, by distance, by an arc-cosine kernel."""

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_fraction, check_positive


class Score(Protocol):
    """Function from queries (..., N, d) and keys (..., M, d) to logits (..., N, M); larger is closer."""

    @property
    def metric(self) -> str:
        """The metric of `convnn.ops.select.nearest` that puts keys in the order of this score."""

    def __call__(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return the logits."""


@dataclass(frozen=True)
class Cosine:
    r"""The cosine over a temperature, :math:`\cos(q, k) / T`; a row of zeros scores 0 with everything.

    Attributes:
        temperature: T, above 0.
    """

    temperature: float = 0.5
    metric: ClassVar[str] = "cosine"

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)

    def __call__(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return (..., N, M)."""
        return F.normalize(queries, dim=-1) @ F.normalize(keys, dim=-1).mT / self.temperature


@dataclass(frozen=True)
class Distance:
    r"""Minus a power of the distance over a temperature, :math:`-\lVert q - k \rVert_p^\gamma / T`.

    The exponential of it is a kernel: Gaussian for a gamma of 2, Laplacian for 1. Where two rows are equal, powers
    below 1 have no gradient.

    Attributes:
        temperature: T, above 0.
        gamma: the power, above 0.
        p: the norm, at least 1; infinity is the largest difference.
    """

    temperature: float = 0.1
    gamma: float = 2.0
    p: float = 2.0
    metric: ClassVar[str] = "euclidean"

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)
        check_positive("gamma", self.gamma)
        if not self.p >= 1:
            raise InputError(f"p={self.p!r} must be at least 1, for a norm")

    def __call__(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return (..., N, M)."""
        if self.gamma == self.p == 2:  # no root, and a product of matrices does the work
            of_queries, of_keys = (rows.square().sum(-1, keepdim=True) for rows in (queries, keys))
            return (2 * (queries @ keys.mT) - of_queries - of_keys.mT) / self.temperature
        distances = torch.cdist(queries, keys, p=self.p, compute_mode="donot_use_mm_for_euclid_dist")
        return -self._power(distances) / self.temperature

    def _power(self, distances: Tensor) -> Tensor:
        if self.gamma >= 1:
            return distances.pow(self.gamma)
        is_equal = distances == 0  # where the slope is infinite
        return distances.masked_fill(is_equal, 1).pow(self.gamma).masked_fill(is_equal, 0)


@dataclass(frozen=True)
class Mixture:
    r"""The logarithm of a mean of two kernels, :math:`\log(\lambda e^{a(q, k)} + (1 - \lambda) e^{b(q, k)})`.

    Attributes:
        first: a.
        second: b.
        weight: lambda, in [0, 1].
    """

    first: Score
    second: Score
    weight: float = 0.5

    def __post_init__(self) -> None:
        check_fraction("weight", self.weight)

    @property
    def metric(self) -> str:
        """The metric of the first."""
        return self.first.metric

    def __call__(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return (..., N, M)."""
        first, second = (math.log(share) if share else -math.inf for share in (self.weight, 1 - self.weight))
        return torch.logaddexp(self.first(queries, keys) + first, self.second(queries, keys) + second)


@dataclass(frozen=True)
class ArcCosine:
    r"""The logarithm of an arc-cosine kernel of the angle :math:`\theta = \arccos(T \, q \cdot k + 1 - T + s)`.

    .. math:: k_1 = \pi - \theta, \quad k_2 = \sin \theta + (\pi - \theta) \cos \theta, \quad
        k_3 = 3 \sin \theta \cos \theta + (\pi - \theta)(1 + 2 \cos^2 \theta)

    Beyond -1 and 1 the cosine is cut off, without gradient.

    Attributes:
        order: 1, 2 or 3.
        temperature: T, above 0.
        shift: s; the published code adds 1e-6.
    """

    order: int = 1
    temperature: float = 1.0
    shift: float = 0.0
    metric: ClassVar[str] = "matmul"

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3):
            raise InputError(f"order={self.order!r} must be 1, 2 or 3")
        check_positive("temperature", self.temperature)

    def __call__(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return (..., N, M)."""
        cosine = self.temperature * (queries @ keys.mT) + 1 - self.temperature + self.shift
        limits = torch.finfo(cosine.dtype)
        cosine = cosine.clamp(limits.eps - 1, 1 - limits.eps)  # the slope at the ends is infinite
        angle = cosine.acos()
        rest = torch.pi - angle
        if self.order == 1:
            kernel = rest
        elif self.order == 2:
            kernel = angle.sin() + rest * cosine
        else:
            kernel = 3 * angle.sin() * cosine + rest * (1 + 2 * cosine.square())
        return kernel.clamp_min(limits.tiny).log()
