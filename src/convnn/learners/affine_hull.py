"""Distances to the affine hull of a class, of which a kernel machine chooses the point."""

import math
from typing import Any

import numpy as np
import torch
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.cluster import KMeans
from torch import Tensor

from convnn.errors import InputError, UnsupportedError, check_at_least, check_positive
from convnn.learners.base import Learner, OneHotClassifier

USUAL = 20  # directions, if the points have so many
NEAR = 1e-15  # relative change of the error at which its iteration ends; that takes 10 to 20 rounds


class Hull:
    r"""A set of points and a smooth map of the space into its affine hull.

    .. math:: A(y) = \sum_i h_i(y) \, y_i \Big/ \sum_i h_i(y), \quad h(y) = (K + \lambda I)^{-1} k(X, P y)

    where X = Y P are the coordinates of the points in their n leading principal directions, the kernel is
    :math:`\exp(-\tfrac{1}{2n} (x - x')^T \Theta (x - x'))` with the inverse covariance of X, and :math:`\lambda` is the
    mean squared error e of the kernel ridge regression of Y with it, plus :math:`2 |Y|^2 / (p N)`: e is a fixed point.

    Args:
        points: Y (N, p), of at least two.
        width: n, at most the rank of the centred points; None is that rank, but at most 20.
        name: of the set, in messages.

    Attributes:
        points: Y.
        directions: P (n, p).
        precision: the diagonal (n,) of Theta.
        error: e.
        ridge: lambda.

    Raises:
        InputError: n is not between 1 and min(p, N - 1).
        UnsupportedError: the centred points have a smaller rank.
    """

    def __init__(self, points: Tensor, width: int | None, name: str = "X") -> None:
        count, features = points.shape
        most = min(features, count - 1)
        if width is not None and not 1 <= width <= most:
            raise InputError(
                f"n_components={width} must be between 1 and {most},"
                f" for {name} has {count} points of {features} features"
            )
        values, vectors = torch.linalg.eigh(torch.cov(points.T).reshape(features, features))
        rank = int((values > values[-1] * features * torch.finfo(values.dtype).eps).sum())
        width = min(rank, most, USUAL) if width is None else width
        values, self.directions = values.flip(0)[:width], vectors.flip(1)[:, :width].T
        if rank < max(width, 1):
            raise UnsupportedError(f"{name} varies in {rank} directions, fewer than n_components={max(width, 1)}")
        self.points, self.precision = points, 1 / values
        self._scaled = self._coordinates(points)
        gram = torch.exp(-torch.cdist(self._scaled, self._scaled, compute_mode="donot_use_mm_for_euclid_dist").square())
        size = points.square().sum().item() / points.numel()
        self.error = self._fixed_point(gram, size)
        self.ridge = self.error + 2 * size
        self._root = torch.linalg.cholesky(gram + self.ridge * torch.eye(count).to(gram))

    def images(self, y: Tensor) -> Tensor:
        """Return the point of the hull (M, p) of each point (M, p)."""
        squares = torch.cdist(self._scaled, self._coordinates(y), compute_mode="donot_use_mm_for_euclid_dist").square()
        near = torch.exp(squares.amin(0) - squares)  # of a far point all values would vanish; their ratios matter
        shares = torch.cholesky_solve(near, self._root)
        return (shares / shares.sum(0)).T @ self.points

    def distances(self, y: Tensor) -> Tensor:
        """Return the Euclidean distance (M,) of each point (M, p) from its image."""
        return (y - self.images(y)).norm(dim=1)

    def _coordinates(self, y: Tensor) -> Tensor:
        """Return coordinates (M, n) between which the kernel is exp(-|x - x'|^2)."""
        return y @ self.directions.T * (self.precision / (2 * len(self.precision))).sqrt()

    def _fixed_point(self, gram: Tensor, size: float) -> float:
        """Return the error of the ridge regression whose ridge has that error in it."""
        values, vectors = torch.linalg.eigh(gram)
        energy = (vectors.T @ self.points).square().sum(1) / self.points.numel()
        before, error = math.inf, size / 2
        while abs(error - before) > NEAR * error:
            ridge = error + 2 * size
            before, error = error, float((energy * (ridge / (values + ridge)).square()).sum())
        return error


class Hulls:
    """The nearest of several hulls: the wide form, in which each part of a large set has its own."""

    def __init__(self, parts: list[Hull]) -> None:
        self.parts = parts

    def images(self, y: Tensor) -> Tensor:
        """Return the image (M, p) of each point in the hull to which it is nearest."""
        images = torch.stack([part.images(y) for part in self.parts])
        nearest = (images - y).norm(dim=2).argmin(0)
        return images[nearest, torch.arange(len(y), device=y.device)]

    def distances(self, y: Tensor) -> Tensor:
        """Return the distance (M,) to the nearest hull."""
        return torch.stack([part.distances(y) for part in self.parts]).amin(0)


def optimal_noise(uniform: Tensor, epsilon: float, delta: float = 0.0, adjacency: float = 1.0) -> Tensor:
    r"""Return noise that hides which of two adjacent values was there, of uniform random numbers.

    It is Laplace noise of scale :math:`d / \epsilon` but for a share :math:`\delta` that is 0, and makes each value
    :math:`(\epsilon, \delta)`-differentially private; p values of one person spend up to :math:`p \epsilon` together.

    Args:
        uniform: numbers of any shape, above 0 and below 1.
        epsilon: the larger, the less noise; positive.
        delta: share of values without noise, at least 0 and below 1.
        adjacency: d, how much adjacent values differ at most; positive.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Kumar, Rossbory, Moser and Freudenthaler, "An optimal (epsilon, delta)-differentially private learning of
        distributed deep fuzzy models", Information Sciences 546, 2021.
    """
    check_positive("epsilon", epsilon)
    check_positive("adjacency", adjacency)
    if not 0 <= delta < 1:
        raise InputError(f"delta={delta} must be at least 0 and below 1")
    scale = adjacency / epsilon
    low, high = (2 * uniform / (1 - delta)).log(), (2 * (1 - uniform) / (1 - delta)).log()
    noise = torch.where(uniform < (1 - delta) / 2, scale * low, -scale * high)
    return noise.masked_fill((uniform >= (1 - delta) / 2) & (uniform <= (1 + delta) / 2), 0)


class KernelAffineHull(OneToOneFeatureMixin, TransformerMixin, Learner):
    """Project points smoothly onto the affine hull of a set: see `Hull`.

    It is not invariant to the scale of the features: bring them to 0 to 1, or -1 to 1, first.

    Args:
        n_components: n, principal directions in which points are compared; None is all there are, but at most 20.
        device: where to compute, such as "cuda"; None is the processor.

    Attributes:
        hull_: `Hull`.

    Raises:
        InputError: in `fit`, n_components is not between 1 and min(p, N - 1).
        UnsupportedError: in `fit`, the points vary in fewer directions.

    Reference:
        Kumar, Moser and Fischer, "On mixup training of kernel affine hull machines", arXiv 2304.01300.
    """

    hull_: Hull

    def __init__(self, n_components: int | None = None, *, device: str | None = None) -> None:
        self.n_components = n_components
        self.device = device

    def fit(self, X: Any, y: Any = None) -> "KernelAffineHull":
        """Take points (N, p) as the set; y is ignored."""
        points = self._check_points(X, reset=True, ensure_min_samples=2)
        self.hull_ = Hull(points.double(), self.n_components)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the image (M, p) of each point (M, p)."""
        points = self._check_points(X, reset=False)
        return self.hull_.images(points.double()).to(points).cpu().numpy()

    def distance(self, X: Any) -> np.ndarray:
        """Return the distance (M,) of each point (M, p) from its image."""
        points = self._check_points(X, reset=False)
        return self.hull_.distances(points.double()).to(points).cpu().numpy()


class AffineHullClassifier(OneHotClassifier):
    """The class whose affine hull is nearest, of points that noise may have made private.

    With `epsilon`, all that is kept of the data is differentially private: noise is added to each value, and hulls are
    those of images of the noisy points in their own hull, or, without `fabricate`, of the noisy points.

    Args:
        n_components: n, principal directions in which points are compared; None is all there are, but at most 20.
        subsets: parts of each class, by k-means, each with a hull of its own; for classes of more than about 1000.
        epsilon: of each value, positive; None adds no noise.
        delta: share of values without noise.
        adjacency: how much values may differ, in the units of the features.
        fabricate: whether images stand for the noisy points.
        device: where to compute, such as "cuda"; None is the processor.
        random_state: seed or generator of noise and k-means.

    Attributes:
        hulls_: for each class, `Hulls`.
        points_: for each class, the points (N_c, p) of its hulls.

    Raises:
        InputError: in `fit`, an argument is out of range, or a class has too few points.
        UnsupportedError: in `fit`, a class varies in fewer than `n_components` directions.

    Reference:
        Kumar, Moser and Fischer, arXiv 2304.01300. There is no public code, and the text of the fabrication is not:
        images of the noisy points are the simplest smoothing after the noise.
    """

    hulls_: list[Hulls]
    points_: list[np.ndarray]

    def __init__(
        self,
        n_components: int | None = None,
        *,
        subsets: int = 1,
        epsilon: float | None = None,
        delta: float = 0.0,
        adjacency: float = 1.0,
        fabricate: bool = True,
        device: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.subsets = subsets
        self.epsilon = epsilon
        self.delta = delta
        self.adjacency = adjacency
        self.fabricate = fabricate
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> "AffineHullClassifier":
        """Make hulls of points (N, p) with labels (N,)."""
        points, labels = self._check_labelled(X, y)
        check_at_least("subsets", self.subsets, 1)
        draws, self.hulls_, self.points_ = self._draws(), [], []
        for label in self.classes_:
            own, name = points[torch.from_numpy(labels == label)].double(), f"class {label!r}"
            if self.epsilon is not None:
                uniform = self._tensor(draws.uniform(np.finfo(float).tiny, 1, own.shape))
                own = own + optimal_noise(uniform, self.epsilon, self.delta, self.adjacency)
                own = self._hulls(own, name, draws).images(own) if self.fabricate else own
            self.hulls_.append(self._hulls(own, name, draws))
            self.points_.append(own.cpu().numpy())
        return self

    def distance(self, X: Any) -> np.ndarray:
        """Return the distance (M, classes) of each point (M, p) from the hulls of each class."""
        points = self._check_points(X, reset=False).double()
        return torch.stack([hulls.distances(points) for hulls in self.hulls_], 1).cpu().numpy()

    def _values(self, X: Any) -> np.ndarray:
        return -self.distance(X)

    def _hulls(self, points: Tensor, name: str, draws: np.random.RandomState) -> Hulls:
        if self.subsets == 1:
            return Hulls([Hull(points, self.n_components, name)])
        if self.subsets * ((self.n_components or 1) + 1) > len(points):
            most = len(points) // ((self.n_components or 1) + 1)
            raise InputError(f"subsets={self.subsets} must be at most {most}, for {name} has {len(points)} points")
        seed = int(draws.randint(2**31))
        parts = KMeans(self.subsets, n_init=1, random_state=seed).fit_predict(points.cpu().numpy())
        split = [points[torch.from_numpy(parts == part)] for part in range(self.subsets)]
        return Hulls([Hull(part, self.n_components, f"a subset of {name}") for part in split])
