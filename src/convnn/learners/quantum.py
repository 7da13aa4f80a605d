"""Kernels of quantum states, simulated, and support vectors whose kernel is aligned with the labels."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.svm import SVC
from torch import Tensor

from convnn.errors import InputError, UnsupportedError, check_at_least, check_positive
from convnn.learners.base import OneHotClassifier, place
from convnn.learners.kernels import Gaussian, Kernel

MOST_QUBITS = 14  # a state of each point has 2^n amplitudes


class CovariantQuantum(Kernel):
    r"""The overlap of two quantum states that rotations of a common state make of two points.

    .. math:: k(x, y) = |\langle \Phi(x), \Phi(y) \rangle|^2, \quad
        \Phi(x) = \prod_q e^{i x_{2q} X_q} e^{i x_{2q+1} Z_q} \prod_{(i, j)} CZ_{ij} \prod_q R_y(\theta_q)
        |0 \dots 0\rangle

    Points have two angles for each of n qubits, in radians, and are elements of SU(2)^n; a rotation of both points by
    the same element changes nothing. The common state is what can be learned: with all angles
    :math:`\theta = \pi/2` it is the graph state of the edges, and the points of one coset of its stabiliser have the
    same state. The simulation is exact: of m points it takes time and memory in proportion to m 2^n.

    Args:
        qubits: n, 1 to 14.
        edges: pairs of different qubits; an edge that is there twice cancels. None is a chain.
        theta: angles (n,), or one of all qubits, in radians; a tensor may require gradients.

    Raises:
        InputError: a qubit of an edge is not there, there are fewer than one, or theta is neither one angle nor n; in
            `block`, points do not have 2 n features.
        UnsupportedError: there are more than 14 qubits.

    Reference:
        Glick et al., "Covariant quantum kernels for data with group structure", arXiv 2105.03406.
    """

    def __init__(
        self, qubits: int, edges: Sequence[tuple[int, int]] | None = None, theta: float | Sequence[float] | Tensor = 0.1
    ) -> None:
        self.qubits = qubits
        self.edges = edges
        self.theta = theta
        self.__post_init__()

    def __post_init__(self) -> None:
        check_at_least("qubits", self.qubits, 1)
        if self.qubits > MOST_QUBITS:
            raise UnsupportedError(
                f"qubits={self.qubits} is more than {MOST_QUBITS}; a state would have 2^{self.qubits} amplitudes"
            )
        for i, j in self.edges or ():
            if i == j or not (0 <= i < self.qubits and 0 <= j < self.qubits):
                raise InputError(f"edge {(i, j)} must join two different qubits of 0 to {self.qubits - 1}")
        shape = tuple(torch.as_tensor(self.theta).shape)
        if shape not in ((), (1,), (self.qubits,)):
            raise InputError(f"theta of shape {shape} must be one angle, or one for each of {self.qubits} qubits")

    def block(self, X: Tensor, Y: Tensor) -> Tensor:
        """Return the kernel (n, m) of points (n, 2 qubits) and (m, 2 qubits)."""
        return (self.states(X).conj() @ self.states(Y).T).abs().square()

    def diagonal(self, X: Tensor) -> Tensor:
        """Return ones (n,)."""
        return X.new_ones(len(X))

    def states(self, X: Tensor) -> Tensor:
        """Return the amplitudes (m, 2^n) of points (m, 2 n); qubit 0 is the lowest bit of their number."""
        if X.ndim != 2 or X.shape[1] != 2 * self.qubits:
            raise InputError(f"X of shape {tuple(X.shape)} must have {2 * self.qubits} columns, two for each qubit")
        state = self._common(X).expand(len(X), -1)
        for q in range(self.qubits):
            tilt, phase = X[:, 2 * q, None], X[:, 2 * q + 1, None]
            state = state * torch.polar(torch.ones_like(phase), phase * (1 - 2 * self._bit(q, X)))
            state = tilt.cos() * state + 1j * tilt.sin() * state[:, self._numbers(X) ^ (1 << q)]
        return state

    def _common(self, like: Tensor) -> Tensor:
        """Return the amplitudes (2^n,) of the state that is rotated."""
        theta = torch.as_tensor(self.theta, device=like.device).to(like.dtype).expand(self.qubits)
        state = like.new_ones(2**self.qubits)
        for q in range(self.qubits):
            one = self._bit(q, like)
            state = state * torch.where(one > 0, (theta[q] / 2).sin(), (theta[q] / 2).cos())
        edges = pairwise(range(self.qubits)) if self.edges is None else self.edges
        for i, j in edges:
            state = state * (1 - 2 * self._bit(i, like) * self._bit(j, like))
        return state

    def _numbers(self, like: Tensor) -> Tensor:
        return torch.arange(2**self.qubits, device=like.device)

    def _bit(self, q: int, like: Tensor) -> Tensor:
        """Return bit q of the number of each amplitude, (2^n,)."""
        return (self._numbers(like) >> q & 1).to(like.dtype)


def alignment(K: Tensor, dual: Tensor) -> Tensor:
    r"""Return the objective of a support vector machine, :math:`\sum_i |a_i| - \frac{1}{2} a^T K a`.

    At the coefficients that maximise it, its gradient in the kernel is that of the maximum. It is not the cosine of two
    kernels, `convnn.tangent.alignment`.

    Args:
        K: (n, n) kernel matrix of the training points.
        dual: (n,) or (n, c) coefficients with the signs of their labels, of one or several machines, which are added.
    """
    return dual.abs().sum() - (dual * (K @ dual)).sum() / 2


class AlignedClassifier(OneHotClassifier):
    """A support vector machine of each class, whose kernel is first aligned with the labels.

    The parameter of the kernel goes down the gradient of `alignment`, while the machines are fitted anew at each step:
    of all kernels within reach, that with the largest margins is sought.

    Args:
        kernel: a `Kernel` that is differentiable in its parameter.
        parameter: the name of the parameter, a number or several.
        C: bound of the coefficients of the machines, positive.
        steps: of the descent; 0 leaves the kernel as it is.
        lr: length of a step, of a gradient whose length is cut off at 1; positive.
        tol: of the machines.
        device: where to compute the kernel, such as "cuda"; None is the processor.
        verbose: whether to print the objective of each step.

    Attributes:
        kernel_: the aligned kernel.
        losses_: the objective before each step, and after the last.
        n_iter_: steps taken.
        dual_coef_: (n, c) coefficients of the training points, in the machine of each class; of two classes, of one.

    Raises:
        InputError: in `fit`, an argument is out of range, or the kernel has no such parameter.

    Reference:
        Glick et al., arXiv 2105.03406, section "Quantum kernel alignment"; by exact gradients instead of SPSA.
    """

    kernel_: Kernel
    losses_: list[float]
    n_iter_: int
    dual_coef_: np.ndarray

    def __init__(
        self,
        kernel: Kernel | None = None,
        parameter: str = "bandwidth",
        *,
        C: float = 1.0,
        steps: int = 20,
        lr: float = 0.1,
        tol: float = 1e-3,
        device: str | None = None,
        verbose: bool = False,
    ) -> None:
        self.kernel = kernel
        self.parameter = parameter
        self.C = C
        self.steps = steps
        self.lr = lr
        self.tol = tol
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> "AlignedClassifier":
        """Align the kernel with labels y (n,) of points X (n, d), and fit the machines."""
        points, labels = self._check_labelled(X, y)
        value = self._check_settings()
        signs = 2 * self._one_hot(labels, np.float64) - 1
        signs = signs[:, 1:] if len(self.classes_) == 2 else signs
        self.losses_ = []
        for step in range(self.steps + 1):
            is_last = step == self.steps
            K = self.kernel_.set_params(**{self.parameter: value}).block(points, points)
            self._fit_machines(K.detach().cpu().numpy(), signs)
            loss = alignment(K, self._tensor(self.dual_coef_).to(K.dtype))
            self.losses_.append(loss.item())
            self._report(f"step {step}: objective {loss.item():.4f}")
            if not is_last:
                slope = torch.autograd.grad(loss, value)[0]
                value = (value.detach() - self.lr * slope / slope.norm().clamp_min(1)).requires_grad_()
        self.n_iter_ = self.steps
        self.kernel_.set_params(**{self.parameter: _plain(value)})
        self._points = points
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the value of each class (m, c), or, of two classes, that of the second (m,)."""
        points = self._check_points(X, reset=False)
        with torch.no_grad():
            K = self.kernel_.block(points, self._points).cpu().numpy()
        values = K @ self.dual_coef_ + self.intercept_
        return values[:, 0] if len(self.classes_) == 2 else values

    def _values(self, X: Any) -> np.ndarray:
        values = self.decision_function(X)
        return np.stack([-values, values], 1) if values.ndim == 1 else values

    def _check_settings(self) -> Tensor:
        """Return the value of the parameter, with a gradient, after checks."""
        check_positive("C", self.C)
        check_positive("lr", self.lr)
        check_at_least("steps", self.steps, 0)
        self.kernel_ = clone(Gaussian() if self.kernel is None else self.kernel)
        if self.parameter not in self.kernel_.get_params():
            raise InputError(f"parameter={self.parameter!r} is not one of {self.kernel_}")
        value = torch.as_tensor(getattr(self.kernel_, self.parameter), dtype=torch.float64)
        return value.detach().to(place(self.device)).requires_grad_()

    def _fit_machines(self, K: np.ndarray, signs: np.ndarray) -> None:
        """Set coefficients and intercepts of the machine of each column of signs."""
        self.dual_coef_, self.intercept_ = np.zeros(signs.shape), np.zeros(signs.shape[1])
        for c, column in enumerate(signs.T):
            machine = SVC(C=self.C, kernel="precomputed", tol=self.tol).fit(K, column)
            self.dual_coef_[machine.support_, c] = machine.dual_coef_[0]
            self.intercept_[c] = machine.intercept_[0]


def _plain(value: Tensor) -> float | Tensor:
    """Return a parameter without gradient, a single one as a number."""
    return value.item() if value.ndim == 0 else value.detach()
