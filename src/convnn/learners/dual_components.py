r"""Kernel PCA as the dual of a difference of convex functions, by losses that are robust or leave rows out."""

from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice, check_not_negative, check_positive
from convnn.learners.base import KernelLearner
from convnn.learners.kernels import Kernelish
from convnn.learners.products import KernelMatrix, Product

LOSSES = ("square", "huber", "epsilon")
NORMS = ("2", "inf")
SOLVERS = ("dca", "lbfgs")


class Loss(NamedTuple):
    r"""A loss of the projections, by the conjugate of what is convolved with the square.

    Attributes:
        name: "square", "huber" or "epsilon".
        radius: kappa of Huber's, epsilon of the insensitive loss.
        norm: "2", of rows, or "inf", entry by entry.
    """

    name: str = "square"
    radius: float = 1.0
    norm: str = "2"

    def conjugate(self, H: Tensor) -> Tensor:
        """Return the conjugate of H (n, s): 0 where it is the indicator of a set in which the steps stay."""
        if self.name != "epsilon":
            return H.new_zeros(())
        return self.radius * (H.norm(dim=1).sum() if self.norm == "2" else H.abs().sum())

    def prox(self, Y: Tensor) -> Tensor:
        """Return the point H that minimises the conjugate plus half the squared distance to Y (n, s)."""
        if self.name == "square":
            return Y
        if self.norm == "inf":
            return (
                Y.clamp(-self.radius, self.radius)
                if self.name == "huber"
                else Y.sign() * (Y.abs() - self.radius).clamp_min(0)
            )
        lengths = Y.norm(dim=1, keepdim=True)
        share = self.radius / torch.where(lengths > 0, lengths, 1)
        return Y * (
            share.clamp_max(1) if self.name == "huber" else torch.where(lengths > 0, (1 - share).clamp_min(0), 0)
        )


class Frame(NamedTuple):
    r"""What follows from G H: the directions in feature space, and their value.

    Attributes:
        value: :math:`\pi(H) = \operatorname{tr} (H^T G H)^{1/2}`.
        inverse_root: :math:`(H^T G H)^{-1/2}`, of the eigenvalues above rounding.
        slope: :math:`\nabla \pi(H) = G H (H^T G H)^{-1/2}`, the projections (n, s) on the directions.
        rank: eigenvalues above rounding.
    """

    value: Tensor
    inverse_root: Tensor
    slope: Tensor
    rank: int

    @classmethod
    def of(cls, H: Tensor, GH: Tensor) -> "Frame":
        """Return the frame of H (n, s) and G H (n, s)."""
        S = H.T @ GH
        values, vectors = torch.linalg.eigh((S + S.T) / 2)
        is_kept = values > values.abs().max() * len(values) * torch.finfo(values.dtype).eps
        roots = torch.where(is_kept, values, 0).sqrt()
        inverse = vectors * torch.where(is_kept, 1 / torch.where(is_kept, roots, 1), 0) @ vectors.T
        return cls(roots.sum(), inverse, GH @ inverse, int(is_kept.sum()))


def dual_objective(H: Tensor, frame: Frame, loss: Loss) -> Tensor:
    r"""Return :math:`J(H) = \frac12 |H|^2 + \Psi^*(H) - \pi(H)`."""
    return H.square().sum() / 2 + loss.conjugate(H) - frame.value


class Centered(NamedTuple):
    """A kernel matrix G (n, n) whose points have mean 0 in feature space, as `KernelCenterer` makes it, or as it is.

    Attributes:
        G: the kernel matrix.
        mean: (n, 1) its row means, None to leave it.
    """

    G: KernelMatrix
    mean: Tensor | None

    @classmethod
    def of(cls, G: KernelMatrix, center: bool) -> "Centered":
        """Return the matrix, centred or not."""
        count = G.shape[0]
        return cls(G, G @ G.X.new_full((count, 1), 1 / count) if center else None)

    def __matmul__(self, v: Tensor) -> Tensor:
        if self.mean is None:
            return self.G @ v
        image = self.G @ (v - v.mean(0))
        return image - image.mean(0)

    def cross(self, K: KernelMatrix, v: Tensor) -> Tensor:
        """Return the product with the kernel matrix (m, n) of other points with these."""
        if self.mean is None:
            return K @ v
        v = v - v.mean(0)
        return K @ v - self.mean.T @ v


class DualKernelPCA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, KernelLearner):
    r"""Kernel PCA by its dual, with losses that resist outliers or leave rows out.

    With the kernel matrix G (n, n) of centred points it minimises

    .. math:: J(H) = \tfrac12 |H|_F^2 + \Psi^*(H) - \operatorname{tr} (H^T G H)^{1/2}

    over H (n, s). DCA repeats :math:`Y = G H (H^T G H)^{-1/2}`, H = prox(Y), and J never increases; with the square
    loss this is orthogonal iteration. New points are projected by :math:`k(x, X) H (H^T G H)^{-1/2}`, turned so that
    columns are ordered as in PCA. With the square loss J is :math:`-\frac12 \sum_j \lambda_j` at the optimum and the
    scores are those of `sklearn.decomposition.KernelPCA`, which is better for that: it is here for comparison.

    Args:
        n_components: s, from 1 to n.
        kernel: see `KernelLearner`; for outliers take "linear": with a Gaussian kernel there is nothing to gain.
        gamma: see `KernelLearner`.
        loss: "square"; "huber", which grows linearly, so that outliers count less; or "epsilon", which is 0 for rows
            of small projections, so that these are left out of H.
        radius: kappa of "huber", positive, or epsilon, at least 0.
        norm: "2" for lengths of rows, "inf" for single entries.
        center: whether to centre points in feature space.
        solver: "dca", or "lbfgs" for the square loss.
        max_iter: the most steps.
        tol: change of J at which it stops.
        init: H (n, s) to begin with; None is normally distributed.
        product: how to multiply by kernel matrices; None is `Chunked()`.
        device: where to compute; None is the processor.
        random_state: of the first H.
        verbose: whether to print J at each step.

    Attributes:
        dual_coef_: H (n, s).
        eigenvalues_: (s,) of :math:`(H^T G H)^{1/2}`, descending; with the square loss those of G.
        support_: rows of H that are not 0.
        loss_curve_: J at the start and after each step.
        n_iter_: steps taken.

    Raises:
        InputError: in `fit`, a setting is out of range, or a precomputed kernel is not square.

    Warns:
        ConvergenceWarning: J still changes by more than `tol`, or H has a rank of less than s.

    Reference:
        Tonin, Lambert, Patrinos and Suykens, "Extending kernel PCA through dualization: sparsity, robustness and fast
        algorithms", arXiv 2306.05815. The published code stops by another loss, and does not project in `transform`.
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        kernel: Kernelish = "rbf",
        gamma: float | None = None,
        loss: str = "square",
        radius: float = 1.0,
        norm: str = "2",
        center: bool = True,
        solver: str = "dca",
        max_iter: int = 1000,
        tol: float = 1e-6,
        init: Any = None,
        product: Product | None = None,
        device: str | None = None,
        random_state: Any = None,
        verbose: bool | int = False,
    ) -> None:
        self.n_components = n_components
        self.kernel = kernel
        self.gamma = gamma
        self.loss = loss
        self.radius = radius
        self.norm = norm
        self.center = center
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.init = init
        self.product = product
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> "DualKernelPCA":
        """Find the components of points (n, d), or of a precomputed kernel (n, n); y has no effect."""
        points = self._check_points(X, reset=True)
        self._check_settings(points.shape[0])
        self._set_kernel(points.shape[1])
        self._points = points
        self._G = Centered.of(self._gram(points).kept(), self.center)
        loss = Loss(self.loss, self.radius, self.norm)
        H = self._first(points)
        self.loss_curve_: list[float] = []
        self.n_iter_ = 0
        H = self._descend(H, loss) if self.solver == "dca" else self._minimize(H, loss)
        self._G = Centered(self._G.G if self._is_precomputed else self._matrix(points, points), self._G.mean)
        self._finish(H)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the projections (m, s) of points (m, d), or of their precomputed kernel (m, n) with those of `fit`."""
        points = self._check_points(X, reset=False)
        fitted, frame = self._points.to(points), self._directions.to(points)
        return self._G.cross(self._cross(points, fitted), frame).cpu().numpy()

    @property
    def _n_features_out(self) -> int:
        return self.n_components

    def _first(self, points: Tensor) -> Tensor:
        shape = (points.shape[0], self.n_components)
        if self.init is None:
            return self._tensor(self._draws().standard_normal(shape)).to(points)
        H = self._tensor(np.asarray(self.init)).to(points)
        if tuple(H.shape) != shape or not bool(H.isfinite().all()):
            raise InputError(f"init of shape {tuple(H.shape)} must be {shape}, and finite")
        return H

    def _descend(self, H: Tensor, loss: Loss) -> Tensor:
        """Return H after steps of DCA."""
        frame = Frame.of(H, self._G @ H)
        self._note(dual_objective(H, frame, loss))
        change = np.inf
        while self.n_iter_ < self.max_iter and not change <= self.tol:
            H = loss.prox(frame.slope)
            frame = Frame.of(H, self._G @ H)
            self._note(dual_objective(H, frame, loss))
            change = abs(self.loss_curve_[-1] - self.loss_curve_[-2])
            self.n_iter_ += 1
        if not change <= self.tol:
            self._warn_unconverged(self.n_iter_, change)
        return H

    def _minimize(self, H: Tensor, loss: Loss) -> Tensor:
        """Return H after steps of L-BFGS."""

        def value_and_slope(flat: np.ndarray) -> tuple[float, np.ndarray]:
            at = torch.from_numpy(flat).view(H.shape).to(H)
            frame = Frame.of(at, self._G @ at)
            return dual_objective(at, frame, loss).item(), (at - frame.slope).double().cpu().numpy().ravel()

        first = H.double().cpu().numpy().ravel()
        options = {"maxiter": self.max_iter, "ftol": self.tol, "gtol": 0.0, "maxfun": 20 * self.max_iter}
        keep = lambda intermediate_result: self._note(intermediate_result.fun)  # noqa: E731 (scipy reads its argument)
        self._note(value_and_slope(first)[0])
        found = minimize(value_and_slope, first, jac=True, method="L-BFGS-B", callback=keep, options=options)
        self.n_iter_ = found.nit
        if found.nit >= self.max_iter:
            self._warn_unconverged(found.nit, self.loss_curve_[-2] - self.loss_curve_[-1])
        return torch.from_numpy(found.x).view(H.shape).to(H)

    def _note(self, value: Any) -> None:
        self.loss_curve_.append(float(value))
        self._report(f"step {len(self.loss_curve_) - 1}: J = {self.loss_curve_[-1]:.9g}")

    def _finish(self, H: Tensor) -> None:
        """Set what is known of the components."""
        frame = Frame.of(H, self._G @ H)
        if frame.rank < self.n_components:
            self._warn(f"found rank {frame.rank} of n_components={self.n_components}; the other components are 0")
        left, _, turned = torch.linalg.svd(H, full_matrices=False)
        signs = left.gather(0, left.abs().argmax(0, keepdim=True)).sign()  # as sklearn's svd_flip
        self._directions = H @ frame.inverse_root @ (turned.T * signs)
        self.dual_coef_ = H.cpu().numpy()
        self.support_ = H.any(1).nonzero().flatten().cpu().numpy()
        squares = torch.linalg.eigvalsh(H.T @ (self._G @ H)).flip(0)
        self.eigenvalues_ = squares.clamp_min(0).sqrt().cpu().numpy()

    def _check_settings(self, rows: int) -> None:
        check_at_least("n_components", self.n_components, 1)
        if self.n_components > rows:
            raise InputError(f"n_components={self.n_components} must be at most the number of rows, {rows}")
        check_choice("loss", self.loss, LOSSES)
        check_choice("norm", self.norm, NORMS)
        check_choice("solver", self.solver, SOLVERS)
        if self.solver == "lbfgs" and self.loss != "square":
            raise InputError(f"solver='lbfgs' needs loss='square', which is smooth; loss={self.loss!r} needs 'dca'")
        if self.loss == "huber":
            check_positive("radius", self.radius)
        elif self.loss == "epsilon":
            check_not_negative("radius", self.radius)
        check_at_least("max_iter", self.max_iter, 1)
        check_not_negative("tol", self.tol)
