"""What all learners share: their kernel, their data as tensors, and targets of classes."""

import warnings
from typing import Any, TypeVar

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from convnn.errors import InputError
from convnn.learners.kernels import Kernel, Kernelish, kernel_of
from convnn.learners.products import Chunked, KernelMatrix, Product

FLOATS = (np.float64, np.float32)
"""Types that data may keep; others become float64."""

Self = TypeVar("Self", bound="Learner")


def place(device: str | int | torch.device | None) -> torch.device:
    """Return where to compute; None is the processor, and a number a GPU.

    Raises:
        InputError: it names no device.
    """
    try:
        return torch.device("cpu" if device is None else device)
    except (RuntimeError, TypeError):
        raise InputError(f"device={device!r} must be None, or a device of PyTorch such as 'cpu' or 'cuda:0'") from None


class Learner(BaseEstimator):
    """Base of the learners; its subclasses set the attributes in `__init__`.

    Attributes:
        device: where to compute, such as "cuda"; None is the processor.
        random_state: seed or generator, of those that draw.
        verbose: whether to print progress.
    """

    device: str | None
    random_state: Any
    verbose: bool | int

    def _check_points(self, X: Any, *, reset: bool, **settings: Any) -> Tensor:
        """Return points (n, d) as a tensor, checked as scikit-learn does; `reset` in `fit`."""
        if not reset:
            check_is_fitted(self)
        return self._tensor(validate_data(self, X, reset=reset, **{"dtype": list(FLOATS)} | settings))

    def _tensor(self, array: np.ndarray) -> Tensor:
        """Return an array as a tensor where to compute; of arrays that must not be written, a copy."""
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(place(self.device))

    def _draws(self) -> np.random.RandomState:
        """Return the generator of all random numbers of a `fit`."""
        return check_random_state(self.random_state)

    def _report(self, message: str) -> None:
        if self.verbose:
            print(f"[{type(self).__name__}] {message}", flush=True)

    def _warn_unconverged(self, n_iter: int, residual: float) -> None:
        """Warn that a solver stopped too early."""
        self._warn(f"stopped after {n_iter} steps with {residual:.1e} left; allow more by max_iter, or a larger tol")

    def _warn(self, message: str) -> None:
        """Warn that the result is not what was asked for."""
        warnings.warn(f"{type(self).__name__} {message}", ConvergenceWarning, stacklevel=4)


class KernelLearner(Learner):
    """Base of the learners whose kernel is an argument.

    Attributes:
        kernel: a name, a `Kernel`, or a function; "precomputed" where all points of `fit` are used, of a matrix (n, n)
            in `fit` and (m, n) afterwards.
        gamma: of kernels by name; None is 1 / d.
        product: how to multiply by kernel matrices; None is `Chunked()`.
        kernel_: the kernel of `fit`.
    """

    kernel: Kernelish
    gamma: float | None
    product: Product | None
    kernel_: Kernel

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self._is_precomputed
        return tags

    @property
    def _is_precomputed(self) -> bool:
        return isinstance(self.kernel, str) and self.kernel == "precomputed"

    def _set_kernel(self, width: int) -> None:
        """Set `kernel_` for points of that many features."""
        if not self._is_precomputed:
            self.kernel_ = kernel_of(self.kernel, self.gamma, width)
        elif self.gamma is not None:
            raise InputError(f"gamma={self.gamma!r} must be None for a precomputed kernel")

    def _product(self) -> Product:
        """Return how to multiply by kernel matrices."""
        product = Chunked() if self.product is None else self.product
        if not callable(product):
            raise InputError(f"product={product!r} must be None, or a product such as Chunked() or Hashed()")
        return product

    def _matrix(self, X: Tensor, Y: Tensor) -> KernelMatrix:
        """Return the kernel matrix of points, to be multiplied as `product` says."""
        return KernelMatrix(self.kernel_, X, Y, self._product())

    def _gram(self, X: Tensor) -> KernelMatrix:
        """Return the kernel matrix (n, n) of the points of `fit`; a precomputed one is X itself.

        Raises:
            InputError: the precomputed one is not square.
        """
        if not self._is_precomputed:
            return self._matrix(X, X)
        if X.shape[0] != X.shape[1]:
            raise InputError(f"X of shape {tuple(X.shape)} must be (n, n), the kernel of all pairs of points")
        return KernelMatrix(None, X, X, values=X)

    def _cross(self, X: Tensor, fitted: Tensor) -> KernelMatrix:
        """Return the kernel matrix (m, n) of new points with those of `fit`; a precomputed one is X itself."""
        return KernelMatrix(None, X, fitted, values=X) if self._is_precomputed else self._matrix(X, fitted)


class OneHotClassifier(ClassifierMixin, Learner):
    """Classes as one-hot targets, and the class of the largest value.

    Attributes:
        classes_: the classes, in order.
    """

    classes_: np.ndarray

    def _check_labelled(self, X: Any, y: Any) -> tuple[Tensor, np.ndarray]:
        """Return points (n, d) and their classes (n,) for `fit`, checked as scikit-learn does, and set `classes_`."""
        points, labels = validate_data(self, X, y, dtype=list(FLOATS), ensure_min_samples=2)
        self._check_classes(labels)
        return self._tensor(points), labels

    def _check_classes(self, y: np.ndarray) -> None:
        """Set `classes_` from labels, of at least two classes."""
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise InputError(f"y has one class, {self.classes_.tolist()[0]!r}; a classifier needs at least two classes")

    def _one_hot(self, y: np.ndarray, dtype: Any) -> np.ndarray:
        """Return labels (n,) as rows of zeros with a one, (n, classes)."""
        known = self.classes_.tolist()
        if unknown := set(np.unique(y).tolist()) - set(known):
            raise InputError(f"y has {min(unknown)!r}, which is not one of the classes {known}")
        return (np.asarray(y)[:, None] == self.classes_).astype(dtype)

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the value of each class (n, classes), or, of two classes, that of the second minus the first (n,)."""
        values = self._values(X)
        return values[:, 1] - values[:, 0] if len(self.classes_) == 2 else values

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of the largest value, (n,)."""
        values = self._values(X)  # says first if nothing is fitted
        return self.classes_[values.argmax(1)]

    def _values(self, X: Any) -> np.ndarray:
        """Return the value of each class, (n, classes)."""
        raise NotImplementedError
