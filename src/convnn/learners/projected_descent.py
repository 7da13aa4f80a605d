r"""Preconditioned, projected stochastic gradients for kernel machines whose centres are not the data (EigenPro 3)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_array, validate_data
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice, check_not_negative
from convnn.learners.base import FLOATS, KernelLearner, OneHotClassifier, Self, place
from convnn.learners.kernels import Kernelish
from convnn.learners.products import KernelMatrix, Product
from convnn.learners.solvers import Preconditioner, leading_eigenpairs

POWER = 0.95
"""The exponent of the projection's preconditioner."""
CHECKED = 1000
"""Centres at which the error of a projection is measured, every `CHECK_EVERY` steps."""
CHECK_EVERY = 5


class ExactProjection:
    """Coefficients of a function in the span of the centres, by the pseudoinverse of their kernel matrix."""

    def __init__(self, K: KernelMatrix) -> None:
        self.inverse = torch.linalg.pinv(K.dense(), hermitian=True)

    def __call__(self, h: Tensor) -> Tensor:
        """Return theta (p, c) with k(Z, Z) theta = h (p, c)."""
        return self.inverse @ h


class InexactProjection:
    """The same, by preconditioned steps over chunks of the centres in random order.

    Args:
        K: k(Z, Z) of the centres (p, d).
        ids: (m,) the centres whose kernel matrix is the preconditioner's.
        shuffle: function that returns a permutation (p,), called for every epoch.
        epochs: the most epochs.
        tol: the mean squared error at the first 1,000 centres at which it stops.
    """

    def __init__(
        self, K: KernelMatrix, ids: Tensor, shuffle: Callable[[], Tensor], epochs: int = 2, tol: float = 1e-6
    ) -> None:
        self.K, self.ids, self.shuffle, self.epochs, self.tol = K.kept(), ids, shuffle, epochs, tol
        self.points = K.X[ids]
        count = ids.shape[0]
        at_points = replace(K, X=self.points, Y=self.points)
        values, vectors = leading_eigenpairs(at_points.dense() / count, max(min(count - 1, 1000), 1))
        is_cheap = values.clamp_min(torch.finfo(values.dtype).tiny) ** -POWER < count
        last = min(max(int(is_cheap.sum()) - 1, 5), values.shape[0])  # the eigenvalue that the others fall to
        largest = at_points.diagonal().max().item()
        self.preconditioner = Preconditioner.of(values[:last], vectors[:, :last], largest, POWER)
        wanted = largest / self.preconditioner.top + 1
        self.batch_size = min(int(wanted), K.shape[0])
        b = self.batch_size
        rate = b / (2 * largest) if b < wanted else 0.99 * b / (largest + (b - 1) * self.preconditioner.top)
        self.step = rate / b

    def __call__(self, h: Tensor) -> Tensor:
        """Return theta (p, c) with k(Z, Z) theta near h (p, c)."""
        theta = torch.zeros_like(h)
        for _ in range(self.epochs):
            for number, chunk in enumerate(self.shuffle().split(self.batch_size)):
                slope = self.K[chunk] @ theta - h[chunk]
                at_points = replace(self.K, X=self.points, Y=self.K.X[chunk], values=None)
                correction = self.preconditioner.correct(at_points @ slope)
                theta[chunk] -= self.step * slope
                theta[self.ids] += self.step * correction
                is_last = number == self.K.shape[0] // self.batch_size
                if (number % CHECK_EVERY == 0 or is_last) and self._error(theta, h) < self.tol:
                    break
            if self._error(theta, h) <= self.tol:
                break
        return theta

    def _error(self, theta: Tensor, h: Tensor) -> float:
        return (self.K[:CHECKED] @ theta - h[:CHECKED]).square().mean().item()


class ProjectedDescent:
    r"""Steps of the coefficients alpha of :math:`f(x) = \sum_i \alpha_i k(x, z_i)` on batches of data.

    A batch's gradient, preconditioned on the subsample S, is a function outside the span of the centres,

    .. math:: h = k(Z, X) r - k(Z, S) E D E^T k(S, X) r, \qquad r = k(X, Z) \alpha - Y,

    which is projected on it: :math:`\alpha \leftarrow \alpha - \theta / (2 \beta)` with k(Z, Z) theta = h.

    Args:
        matrix: function of two sets of points that returns their kernel matrix.
        centers: Z (p, d).
        sample: S (s, d).
        preconditioner: E and D, of the sample.
        project: from h to theta.
        outputs: columns c of the targets.
    """

    def __init__(
        self,
        matrix: Callable[[Tensor, Tensor], KernelMatrix],
        centers: Tensor,
        sample: Tensor,
        preconditioner: Preconditioner,
        project: Callable[[Tensor], Tensor],
        outputs: int,
    ) -> None:
        self.matrix, self.centers, self.sample = matrix, centers, sample
        self.preconditioner, self.project = preconditioner, project
        self.from_sample = matrix(centers, sample).kept()
        self.alpha = centers.new_zeros(centers.shape[0], outputs)
        self.batch_size = int(min(preconditioner.largest / preconditioner.top, 1 << 40))

    def step(self, X: Tensor, Y: Tensor) -> float:
        """Take a step on a batch (b, d), (b, c), and return the mean squared error before."""
        K = self.matrix(X, self.centers).kept()
        residual = K @ self.alpha - Y
        self.alpha = self.alpha - self.project(self.gradient(X, K, residual)) / (2 * self.preconditioner.largest)
        return residual.square().mean().item()

    def gradient(self, X: Tensor, K: KernelMatrix, residual: Tensor) -> Tensor:
        """Return h (p, c), the preconditioned gradient at the centres."""
        correction = self.preconditioner.correct(self.matrix(self.sample, X) @ residual)
        return K.T @ residual - self.from_sample @ correction


def data_preconditioner(K: KernelMatrix, n_components: int | None) -> Preconditioner:
    """Return the preconditioner of a sample by its kernel matrix (s, s), of q components or of as many as it has.

    Raises:
        InputError: the matrix has a rank of less than q + 1, so that the batch would have no end.
    """
    count = K.shape[0]
    q = min(500, count // 2) if n_components is None else n_components
    values, vectors = leading_eigenpairs(K.dense() / count, q + 1)
    rank = int((values > count * torch.finfo(values.dtype).eps * values[0]).sum())
    if rank == 0:
        raise InputError("kernel is 0 at all rows of the sample")
    if rank <= q and n_components is not None:
        raise InputError(
            f"n_components={n_components} must be at most {rank - 1}: the kernel matrix of the n_nystrom={count} rows"
            f" has rank {rank}"
        )
    q = min(q, rank - 1)
    largest = K.diagonal().max().item()
    return Preconditioner.of(values[: q + 1], vectors[:, : q + 1], largest)


class _EigenPro(KernelLearner):
    def __init__(
        self,
        kernel: Kernelish = "laplace",
        *,
        gamma: float | None = None,
        n_centers: int = 1000,
        centers: Any = None,
        n_nystrom: int | None = None,
        n_components: int | None = None,
        max_epochs: int = 10,
        projection: str = "inexact",
        projection_epochs: int = 2,
        tol: float = 1e-6,
        product: Product | None = None,
        device: str | None = None,
        random_state: Any = None,
        verbose: bool | int = False,
    ) -> None:
        self.kernel = kernel
        self.gamma = gamma
        self.n_centers = n_centers
        self.centers = centers
        self.n_nystrom = n_nystrom
        self.n_components = n_components
        self.max_epochs = max_epochs
        self.projection = projection
        self.projection_epochs = projection_epochs
        self.tol = tol
        self.product = product
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _fit(self: Self, X: Tensor, Y: Tensor) -> Self:
        """Run all epochs on points (n, d) and targets (n, c)."""
        self._prepare(X, Y.shape[1])
        self.loss_curve_: list[float] = []
        for epoch in range(self.max_epochs):
            self._pass(X, Y)
            self._report(f"epoch {epoch + 1}: mean squared error {self.loss_curve_[-1]:.3g}")
        return self

    def _prepare(self, X: Tensor, outputs: int) -> None:
        self._check_settings(X)
        self._set_kernel(X.shape[1])
        self._random = self._draws()
        Z = self._chosen_centers(X)
        sample = X[self._draw(X.shape[0])[: self.n_nystrom or 5000]]
        preconditioner = data_preconditioner(self._matrix(sample, sample), self.n_components)
        project = self._projection(self._matrix(Z, Z))
        self._descent = ProjectedDescent(self._matrix, Z, sample, preconditioner, project, outputs)
        self.batch_size_ = self._descent.batch_size
        self.centers_ = Z.cpu().numpy()
        self.n_iter_ = 0

    def _pass(self, X: Tensor, Y: Tensor) -> None:
        """Take the steps of one pass over points (n, d) and targets (n, c)."""
        errors = []
        for x, y in zip(X.split(self.batch_size_), Y.split(self.batch_size_), strict=True):
            errors.append(self._descent.step(x, y) * x.shape[0])
            self.n_iter_ += 1
        self.loss_curve_ = [*self.loss_curve_, sum(errors) / X.shape[0]]
        self.dual_coef_ = self._descent.alpha.cpu().numpy()

    def _outputs(self, X: Any) -> np.ndarray:
        points = self._check_points(X, reset=False)
        descent = self._descent
        return (self._matrix(points, descent.centers.to(points)) @ descent.alpha.to(points)).cpu().numpy()

    def _draw(self, count: int) -> Tensor:
        return torch.from_numpy(self._random.permutation(count)).to(place(self.device))

    def _chosen_centers(self, X: Tensor) -> Tensor:
        if self.centers is None:
            return X[self._draw(X.shape[0])[: self.n_centers].sort().values]
        Z = self._tensor(check_array(self.centers, dtype=list(FLOATS), input_name="centers")).to(X)
        if Z.shape[1] != X.shape[1]:
            raise InputError(f"centers of shape {tuple(Z.shape)} must be (p, {X.shape[1]}), as wide as the data")
        return Z

    def _projection(self, K: KernelMatrix) -> Callable[[Tensor], Tensor]:
        if self.projection == "exact":
            return ExactProjection(K)
        count = K.shape[0]
        ids = self._draw(count)[: 2000 if count < 100_000 else 10_000]
        return InexactProjection(K, ids, _Shuffle(self._random, count, self.device), self.projection_epochs, self.tol)

    def _check_settings(self, X: Tensor) -> None:
        if self._is_precomputed:
            raise InputError(
                "kernel='precomputed' knows no centres apart from the data; take Matrix(K) and row numbers"
            )
        check_choice("projection", self.projection, ("exact", "inexact"))
        check_not_negative("tol", self.tol)
        for name in ("n_centers", "max_epochs", "projection_epochs"):
            check_at_least(name, getattr(self, name), 1)
        rows = X.shape[0]
        if self.n_nystrom is not None:
            check_at_least("n_nystrom", self.n_nystrom, 2)
            if self.n_nystrom > rows:
                raise InputError(f"n_nystrom={self.n_nystrom} must be at most the number of rows, {rows}")
        if self.n_components is not None:
            check_at_least("n_components", self.n_components, 1)
            sample = min(self.n_nystrom or 5000, rows)
            if self.n_components >= sample:
                raise InputError(f"n_components={self.n_components} must be less than the n_nystrom={sample} rows")


class _Shuffle:
    """Permutations (p,) of a generator; an object, which can be pickled."""

    def __init__(self, random: np.random.RandomState, count: int, device: str | None) -> None:
        self.random, self.count, self.device = random, count, device

    def __call__(self) -> Tensor:
        return torch.from_numpy(self.random.permutation(self.count)).to(place(self.device))


class EigenProRegressor(MultiOutputMixin, RegressorMixin, _EigenPro):
    r"""Least squares with a kernel machine whose centres are apart from the data (EigenPro 3).

    .. math:: f(x) = \sum_{i=1}^p \alpha_i k(x, z_i), \qquad \min_\alpha \sum_i |f(x_i) - y_i|^2

    by stochastic gradients in the space of functions, projected on the span of the centres. Gradients are
    preconditioned by q eigenpairs of the kernel on a sample of s rows, which allows larger batches; projections by
    those on a sample of the centres. Data and centres scale apart: a step costs b p kernel values, and nothing larger
    than `product` allows is stored. No ridge: stopping early is the only regularisation. Of little data,
    `sklearn.kernel_ridge.KernelRidge` is quicker. Targets of size below 0.001 need a smaller `tol`, which is absolute.

    Args:
        kernel: see `KernelLearner`; not "precomputed".
        gamma: see `KernelLearner`.
        n_centers: p, centres drawn from the data, all of them if there are fewer.
        centers: (p, d) centres Z instead.
        n_nystrom: s, rows of the data's preconditioner, at most n; None is 5,000, or n.
        n_components: q, from 1 to s - 1; None is 500 or s / 2, or less, where the kernel matrix has a lower rank.
        max_epochs: passes over the data.
        projection: "inexact", or "exact", by the inverse of the centres' kernel matrix, for up to some thousands.
        projection_epochs: the most passes over the centres in a projection.
        tol: mean squared error at which a projection stops.
        product: how to multiply by kernel matrices; None is `Chunked()`.
        device: where to compute; None is the processor.
        random_state: of, in this order, the centres, the rows, the centres of the preconditioner, and an order of the
            centres for each pass of a projection.
        verbose: whether to print the error of each epoch.

    Attributes:
        centers_: (p, d) Z.
        dual_coef_: (p, c) alpha.
        batch_size_: the data are cut into batches of this size, in their order.
        loss_curve_: mean squared error of each epoch, of each batch before its step.
        n_iter_: steps taken.

    Raises:
        InputError: in `fit`, a setting is out of range, or the kernel matrix of the rows has a rank of at most q.

    Reference:
        Abedsoltan, Belkin and Pandit, "Toward large kernel models", arXiv 2302.02605. The published code begins each
        projection with a residual of the one before; here it begins with that of 0.
    """

    def fit(self, X: Any, y: Any) -> "EigenProRegressor":
        """Learn from points (n, d) and targets (n,) or (n, c)."""
        points, targets = self._check_data(X, y, reset=True)
        return self._fit(points, targets)

    def partial_fit(self, X: Any, y: Any) -> "EigenProRegressor":
        """Take one pass over a batch; the first one gives rows and centres, too."""
        is_first = not hasattr(self, "_descent")
        points, targets = self._check_data(X, y, reset=is_first)
        if is_first:
            self._prepare(points, targets.shape[1])
            self.loss_curve_ = []
        self._pass(points, targets)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return f at points (n, d), of the shape of the targets."""
        found = self._outputs(X)
        return found[:, 0] if self._is_single else found

    def _check_data(self, X: Any, y: Any, *, reset: bool) -> tuple[Tensor, Tensor]:
        settings = {
            "multi_output": True,
            "y_numeric": True,
            "dtype": list(FLOATS),
            "ensure_min_samples": 2 if reset else 1,
        }
        points, targets = validate_data(self, X, y, reset=reset, **settings)
        self._is_single = targets.ndim == 1
        targets = targets.reshape(points.shape[0], -1).astype(points.dtype)
        return self._tensor(points), self._tensor(targets)


class EigenProClassifier(OneHotClassifier, _EigenPro):
    """The class of the largest output of an `EigenProRegressor` of one-hot targets; arguments and attributes are its.

    Attributes:
        classes_: the classes, in order.
    """

    def fit(self, X: Any, y: Any) -> "EigenProClassifier":
        """Learn from points (n, d) and their classes (n,)."""
        points, labels = self._check_labelled(X, y)
        return self._fit(points, self._tensor(self._one_hot(labels, np.float64)).to(points))

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> "EigenProClassifier":
        """Take one pass over a batch; the first one needs all classes, and gives rows and centres, too."""
        is_first = not hasattr(self, "_descent")
        points, labels = validate_data(self, X, y, reset=is_first, dtype=list(FLOATS))
        if is_first:
            if classes is None:
                raise InputError("classes=None must be all classes in the first partial_fit")
            self._check_classes(np.asarray(classes))
        targets = self._tensor(self._one_hot(labels, points.dtype))
        if is_first:
            self._prepare(self._tensor(points), targets.shape[1])
            self.loss_curve_ = []
        self._pass(self._tensor(points), targets)
        return self

    def _values(self, X: Any) -> np.ndarray:
        return self._outputs(X)
