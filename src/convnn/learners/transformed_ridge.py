r"""Ridge regression with a kernel whose spectrum is transformed, as estimated from points with and without labels."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_array, check_consistent_length, column_or_1d
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice, check_not_negative, check_positive
from convnn.learners.base import KernelLearner, OneHotClassifier, Self
from convnn.learners.kernels import GramKernel, Kernelish
from convnn.learners.products import KernelMatrix, Product
from convnn.learners.solvers import largest_eigenvalue, leading_eigenpairs_of_map
from convnn.ops.iterative import Map, Solution, conjugate_gradients, richardson
from convnn.ops.ridge import kernel_ridge

SPECTRA = ("polynomial", "inverse_laplacian", "top")
SOLVERS = ("auto", "direct", "cg", "richardson")
DIRECT = 1500
"""Points up to which "auto" decomposes their kernel matrix, and labelled ones up to which it solves at once."""
COLUMNS = 256
"""Columns of the transformed kernel that are computed at once."""


class Ratio:
    r"""The map r(A), of :math:`s(\lambda) = \lambda\, r(\lambda)`: the transformed kernel matrix is :math:`G\, r(A)`.

    Args:
        G: (N, N) kernel matrix; A is G / N.
        spectrum: "polynomial", "inverse_laplacian", "top", or a function s of eigenvalues.
        coef: of the polynomial, from the first power on.
        eta: of the inverse Laplacian; None is 0.99 / lambda_1.
        n_components: eigenpairs of "top".
        decompose: whether to find all eigenpairs of A, which the other maps do without.

    Raises:
        InputError: eta is out of range.
    """

    def __init__(
        self,
        G: KernelMatrix,
        spectrum: str | Callable[[Tensor], Tensor],
        coef: Any = (),
        eta: float | None = None,
        n_components: int = 1,
        *,
        decompose: bool = False,
    ) -> None:
        self.G, self.spectrum = G, spectrum
        self.eta = 0.0 if eta is None else eta
        self.coef = [float(one) for one in coef]
        self.values: Tensor | None = None
        if decompose:
            self.values, self.vectors = torch.linalg.eigh(G.dense() / G.shape[0])
            self.smallest, self.top = self.values[0].item(), self.values[-1].item()
        elif spectrum == "inverse_laplacian":
            self.top = largest_eigenvalue(self.A, G.X, tol=1e-10)
        if spectrum == "inverse_laplacian":
            self.eta = 0.99 / self.top if eta is None else eta
            if not 0 <= self.eta * self.top < 1:
                raise InputError(f"eta={eta} must be at least 0 and less than 1 / lambda_1 = {1 / self.top:.6g}")
        if spectrum == "top":
            self.leading = self._leading(n_components)
        self.factors = None if self.values is None else self._of_values(self.values)

    def A(self, v: Tensor) -> Tensor:
        """Return A v = G v / N, (N, c)."""
        return (self.G @ v) / self.G.shape[0]

    def __call__(self, v: Tensor) -> Tensor:
        """Return r(A) v, (N, c)."""
        if self.factors is not None:
            return self.vectors @ (self.factors[:, None] * (self.vectors.T @ v))
        if self.spectrum == "top":
            values, vectors = self.leading
            return vectors @ ((vectors.T @ v) / values[:, None])
        if self.spectrum == "polynomial":
            found = self.coef[-1] * v
            for coefficient in reversed(self.coef[:-1]):
                found = self.A(found) + coefficient * v
            return found
        eta = self.eta
        return conjugate_gradients(lambda u: u - eta * self.A(u), v, tol=1e-10, max_iter=1000).x

    def _of_values(self, values: Tensor) -> Tensor:
        """Return r of eigenvalues (N,), ascending."""
        if self.spectrum == "polynomial":
            found = torch.zeros_like(values)
            for coefficient in reversed(self.coef):
                found = found * values + coefficient
            return found
        if self.spectrum == "inverse_laplacian":
            return 1 / (1 - self.eta * values)
        is_kept = values.abs() > len(values) * torch.finfo(values.dtype).eps * values.abs().max()
        if isinstance(self.spectrum, str):
            is_kept &= torch.arange(len(values), device=values.device) >= len(values) - len(self.leading[0])
            return torch.where(is_kept, 1 / values, 0)
        transformed = torch.as_tensor(self.spectrum(values)).to(values)
        return torch.where(is_kept, transformed / torch.where(is_kept, values, 1), 0)

    def _leading(self, count: int) -> tuple[Tensor, Tensor]:
        if self.values is not None:
            return self.values[-count:], self.vectors[:, -count:]
        return leading_eigenpairs_of_map(self.A, self.G.X, count)


class _TransformedRidge(KernelLearner):
    def __init__(
        self,
        kernel: Kernelish = "rbf",
        *,
        gamma: float | None = None,
        spectrum: str | Callable[[Tensor], Tensor] = "polynomial",
        coef: Any = (0.0, 1.0),
        eta: float | None = None,
        n_components: int = 20,
        beta: float = 1e-3,
        normalize: bool = True,
        solver: str = "auto",
        step: float | None = None,
        max_iter: int = 1000,
        tol: float = 1e-5,
        product: Product | None = None,
        device: str | None = None,
        verbose: bool | int = False,
    ) -> None:
        self.kernel = kernel
        self.gamma = gamma
        self.spectrum = spectrum
        self.coef = coef
        self.eta = eta
        self.n_components = n_components
        self.beta = beta
        self.normalize = normalize
        self.solver = solver
        self.step = step
        self.max_iter = max_iter
        self.tol = tol
        self.product = product
        self.device = device
        self.verbose = verbose

    def _fit(self: Self, X: Tensor, Y: Tensor, labelled: np.ndarray) -> Self:
        """Learn from points (N, d) and targets (n, c) of those labelled (N,)."""
        self._check_settings(X.shape[0])
        if not labelled.any():
            raise InputError("y has no labelled row; at least one must be known")
        self._set_kernel(X.shape[1])
        self._points, rows = X, torch.from_numpy(labelled.nonzero()[0]).to(X.device)
        is_direct = (
            self.solver == "direct" or (self.solver == "auto" and X.shape[0] <= DIRECT) or callable(self.spectrum)
        )
        G = self._gram(X)
        G = G if is_direct else G.kept()
        ratio = Ratio(G, self.spectrum, self.coef, self.eta, self.n_components, decompose=is_direct)
        self._check_spectrum(ratio)
        self.eta_ = ratio.eta
        self.scale_ = self._mean_diagonal(G, ratio, rows) if self.normalize else 1.0
        ridge = rows.shape[0] * self.beta * self.scale_
        if is_direct or (self.solver == "auto" and rows.shape[0] <= DIRECT):
            found = Solution(kernel_ridge(self._columns(G, ratio, rows, rows), Y, ridge), 1, 0.0, True)
        elif self.solver == "richardson" and self.spectrum == "inverse_laplacian":
            return self._finish(rows, *self._inverse_laplacian(G, ratio, rows, Y, ridge))
        else:
            found = self._solve(lambda a: self._labelled(G, ratio, rows, a) + ridge * a, Y)
        return self._finish(rows, found, ratio(_spread(found.x, rows, X.shape[0])))

    def _solve(self, apply: Map, Y: Tensor) -> Solution:
        """Solve for the coefficients of the labelled points, the transformed kernel not divided by its scale."""
        if self.solver != "richardson":
            return conjugate_gradients(apply, Y, tol=self.tol, max_iter=self.max_iter)
        step = 1 / largest_eigenvalue(apply, Y) if self.step is None else self.step
        return richardson(apply, Y, step, tol=self.tol, max_iter=self.max_iter)

    def _inverse_laplacian(
        self, G: KernelMatrix, ratio: Ratio, rows: Tensor, Y: Tensor, ridge: float
    ) -> tuple[Solution, Tensor]:
        """Solve for theta itself: the rows of G theta that are labelled, plus the ridge times (I - eta A) theta."""

        def apply(theta: Tensor) -> Tensor:
            image = ratio.A(theta)
            return ridge * (theta - ratio.eta * image) + _spread(G.shape[0] * image[rows], rows, G.shape[0])

        step = 1 / (G.shape[0] * ratio.top + ridge) if self.step is None else self.step
        b = _spread(Y, rows, G.shape[0])
        found = richardson(apply, b, step, tol=self.tol, max_iter=self.max_iter)
        alpha = (found.x - ratio.eta * ratio.A(found.x))[rows]
        return found._replace(x=alpha), found.x

    def _finish(self: Self, rows: Tensor, found: Solution, theta: Tensor) -> Self:
        self.n_iter_ = found.n_iter
        self._report(f"{found.n_iter} steps, {found.residual:.1e} left")
        if not found.converged:
            self._warn_unconverged(found.n_iter, found.residual)
        self._theta = theta
        self.labelled_ = rows.cpu().numpy()
        self.dual_coef_ = (found.x * self.scale_).cpu().numpy()
        self.theta_ = theta.cpu().numpy()
        return self

    def _columns(self, G: KernelMatrix, ratio: Ratio, rows: Tensor, columns: Tensor) -> Tensor:
        """Return entries (n, m) of the transformed kernel matrix."""
        chosen = torch.eye(len(columns)).to(G.X)
        parts = [self._labelled(G, ratio, rows, part, columns) for part in chosen.split(COLUMNS, 1)]
        return torch.cat(parts, 1)

    def _labelled(
        self, G: KernelMatrix, ratio: Ratio, rows: Tensor, alpha: Tensor, columns: Tensor | None = None
    ) -> Tensor:
        """Return rows (n, c) of the transformed kernel matrix times coefficients (m, c) of its columns."""
        at = rows if columns is None else columns
        return G[rows] @ ratio(_spread(alpha, at, G.shape[0]))

    def _mean_diagonal(self, G: KernelMatrix, ratio: Ratio, rows: Tensor) -> float:
        total = 0.0
        for part in rows.split(COLUMNS):
            total += self._columns(G, ratio, part, part).diagonal().sum().item()
        if not total > 0:
            raise InputError(
                "kernel has a transformed diagonal of 0 or less at the labelled points; set normalize=False"
            )
        return total / len(rows)

    def _check_spectrum(self, ratio: Ratio) -> None:
        """Warn of kernels that are not positive semidefinite, as those of graphs need not be."""
        if ratio.values is not None:
            smallest = ratio.smallest
        elif self._is_precomputed or not isinstance(self.kernel_, GramKernel):
            try:
                smallest = -leading_eigenpairs_of_map(lambda v: -ratio.A(v), ratio.G.X, 1)[0].item()
            except ArpackNoConvergence:
                return
        else:
            return
        if smallest < -1e-6:
            warnings.warn(
                f"the kernel is not positive semidefinite: over N it has the eigenvalue {smallest:.2g}; odd powers"
                " and the inverse Laplacian may fail, a lazy graph does not",
                UserWarning,
                stacklevel=4,
            )

    def _outputs(self, X: Any) -> np.ndarray:
        points = self._check_points(X, reset=False)
        return (self._cross(points, self._points.to(points)) @ self._theta.to(points)).cpu().numpy()

    def _check_settings(self, count: int) -> None:
        if not callable(self.spectrum):
            check_choice("spectrum", self.spectrum, SPECTRA)
        check_choice("solver", self.solver, SOLVERS)
        if self.solver in ("cg", "richardson") and callable(self.spectrum):
            raise InputError(f"solver={self.solver!r} cannot apply a function of eigenvalues; take 'direct'")
        coef = np.asarray(self.coef, dtype=float)
        if self.spectrum == "polynomial" and (
            coef.ndim != 1 or not coef.size or not (coef >= 0).all() or not coef.any()
        ):
            raise InputError(f"coef={self.coef!r} must be numbers of at least 0, not all 0")
        check_positive("beta", self.beta)
        check_at_least("n_components", self.n_components, 1)
        if self.spectrum == "top" and self.n_components > count:
            raise InputError(f"n_components={self.n_components} must be at most the number of points, {count}")
        if self.step is not None:
            check_positive("step", self.step)
        check_at_least("max_iter", self.max_iter, 1)
        check_not_negative("tol", self.tol)


class STKRegressor(MultiOutputMixin, RegressorMixin, _TransformedRidge):
    r"""Kernel ridge regression with a transformed spectrum, which points without labels help to estimate (STKR).

    With the kernel matrix G of all N points, n of them labelled, and A = G / N, the kernel is replaced by that with
    :math:`G_s = N s(A)`, of an increasing :math:`s(\lambda) = \lambda r(\lambda)`:

    .. math:: \alpha = (c^{-1} G_s[L, L] + n \beta I)^{-1} y, \qquad f(x) = \sum_i k(x, x_i)\, \theta_i, \quad
        \theta = c^{-1} r(A) E \alpha

    where E puts the coefficients of the labelled rows L among zeros, and c is the mean of the diagonal of
    :math:`G_s[L, L]`, or 1. A power of the kernel reaches as many steps over the points as over a graph, and new points
    cost as much as before. With s the identity it is `sklearn.kernel_ridge.KernelRidge(alpha=n * beta)`, which is
    better for that.

    Args:
        kernel: see `KernelLearner`; of a graph, `Matrix.of_graph`, of which points are all nodes by number.
        gamma: see `KernelLearner`.
        spectrum: "polynomial", :math:`\sum_p \pi_p \lambda^p`; "inverse_laplacian",
            :math:`\lambda / (1 - \eta \lambda)`; "top", 1 for the d largest eigenvalues and 0 for the others, which is
            ridge regression on kernel PCA; or a function s of a tensor of eigenvalues.
        coef: :math:`\pi_1, \pi_2, ...`, at least 0, not all 0.
        eta: in :math:`[0, 1 / \lambda_1)`, of the largest eigenvalue of A; None is :math:`0.99 / \lambda_1`.
        n_components: d, at most N.
        beta: ridge, positive.
        normalize: whether to divide the kernel by c, so that beta means the same for every spectrum.
        solver: "direct", by all eigenvalues; "cg", conjugate gradients by products alone; "richardson", steps of
            constant length, as published; "auto" is "direct" up to 1,500 points, else the matrix of the labelled ones
            by products alone and a dense solve, up to 1,500 of these, which need no positive kernel, and then "cg".
        step: of "richardson"; None is that of the largest eigenvalue.
        max_iter: the most steps.
        tol: of the residual, as a share of y.
        product: how to multiply by kernel matrices; None is `Chunked()`.
        device: where to compute; None is the processor.
        verbose: whether to print what the solver did.

    Attributes:
        theta_: (N, c) coefficients of all points.
        dual_coef_: (n, c) alpha.
        labelled_: (n,) rows with labels.
        scale_: c.
        eta_: eta that was used.
        n_iter_: steps taken, 1 of a dense solve.

    Raises:
        InputError: in `fit`, a setting is out of range, no row is labelled, or a precomputed kernel is not square.

    Warns:
        ConvergenceWarning: the solver has not converged.
        UserWarning: the kernel is not positive semidefinite.

    Reference:
        Zhai, Pukdee, Jin, Balcan and Ravikumar, "Spectrally transformed kernel regression", arXiv 2402.00645.
    """

    def fit(self, X: Any, y: Any) -> "STKRegressor":
        """Learn from points (N, d) and targets (N,) or (N, c), NaN in rows without labels."""
        points = self._check_points(X, reset=True)
        if y is None:
            raise InputError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        targets = check_array(y, ensure_2d=False, dtype=np.float64, ensure_all_finite="allow-nan", input_name="y")
        check_consistent_length(points, targets)
        self._is_single = targets.ndim == 1
        targets = targets.reshape(points.shape[0], -1)
        unknown = np.isnan(targets)
        if (unknown.any(1) != unknown.all(1)).any():
            raise InputError("y has rows in part NaN; a row must be known or NaN as a whole")
        labelled = ~unknown.all(1)
        return self._fit(points, self._tensor(targets[labelled]).to(points), labelled)

    def predict(self, X: Any) -> np.ndarray:
        """Return f at points (m, d), or of their precomputed kernel (m, N) with those of `fit`."""
        found = self._outputs(X)
        return found[:, 0] if self._is_single else found


class STKClassifier(OneHotClassifier, _TransformedRidge):
    """The class of the largest output of an `STKRegressor` of one-hot targets; arguments and attributes are its.

    Attributes:
        classes_: the classes, in order.
    """

    def fit(self, X: Any, y: Any) -> "STKClassifier":
        """Learn from points (N, d) and classes (N,), -1 in rows without labels."""
        points = self._check_points(X, reset=True)
        if y is None:
            raise InputError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        labels = column_or_1d(y, warn=True)
        check_array(labels, ensure_2d=False, dtype=None, input_name="y")
        check_consistent_length(points, labels)
        labelled = np.asarray(labels != -1)
        if not labelled.any():
            raise InputError("y has no labelled row; at least one must be known")
        self._check_classes(labels[labelled])
        targets = self._tensor(self._one_hot(labels[labelled], np.dtype(np.float64))).to(points)
        return self._fit(points, targets, labelled)

    def _values(self, X: Any) -> np.ndarray:
        return self._outputs(X)


def _spread(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """Return values (n, c) at their rows among zeros (N, c)."""
    return values.new_zeros(count, values.shape[1]).index_copy(0, rows, values)
