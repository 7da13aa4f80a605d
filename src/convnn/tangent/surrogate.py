"""A linear model on the rows of a tangent kernel, which says from which training samples a prediction comes."""

import typing
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau
from sklearn.base import ClassifierMixin
from sklearn.linear_model import SGDClassifier
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted
from torch import Tensor, nn

from convnn.errors import InputError, check_choice, check_positive
from convnn.learners.base import Learner
from convnn.tangent.kernel import PROJECTED, tangent_kernel
from convnn.tangent.projection import Projection

KERNELS = (*PROJECTED, "precomputed")


class TangentSurrogate(ClassifierMixin, Learner):
    r"""A classifier that stands for a network: logistic regressions on the cosines of tangent kernels.

    .. math:: z_c(x) = \sum_i W_{ci} \, K(x, x_i) + b_c, \quad p_c = \sigma(z_c) \Big/ \sum_{c'} \sigma(z_{c'})

    The training samples are the neighbours, the kernel weighs them, and the sum aggregates: `attribute` returns its
    terms. Each class has its own regression with balanced classes, by stochastic gradients of scikit-learn.

    Args:
        model: the network, of which the kernel is taken as it is; None for a precomputed kernel.
        kernel: "trace", which does not change when outputs are rotated, "sum_of_logits", which is cheaper by the number
            of outputs, or "precomputed", of cosines (N, N) in `fit` and (M, N) afterwards.
        projection: None is the exact kernel; a `Projection`, a number of columns, or a matrix (P, k).
        alpha: strength of the L2 penalty, positive.
        max_iter: the most passes over the samples.
        random_state: of the stochastic gradients.
        chunk, megabytes: as in `tangent_kernel`.

    Attributes:
        classes_: the classes, in order.
        coef_: W (C, N), or (1, N) of two classes, of which it is for the second.
        intercept_: b (C,), or (1,).

    Raises:
        InputError: in `fit`, an argument is unknown or out of range, samples and labels do not fit, or as
            `tangent_kernel`.
        NotFittedError: before `fit`.

    Reference:
        Engel et al., "Faithful and efficient explanations for neural networks via neural tangent kernel surrogate
        models", arXiv 2305.14585.

    Example:
        >>> x, y = torch.randn(8, 3), [0, 0, 0, 0, 1, 1, 1, 1]
        >>> surrogate = TangentSurrogate(nn.Linear(3, 2)).fit(x, y)
        >>> surrogate.attribute(x[:2]).shape
        (2, 1, 8)
    """

    classes_: np.ndarray
    coef_: np.ndarray
    intercept_: np.ndarray

    def __init__(
        self,
        model: nn.Module | None = None,
        kernel: str = "trace",
        *,
        projection: Projection | Tensor | int | None = None,
        alpha: float = 1e-2,
        max_iter: int = 1000,
        random_state: Any = 0,
        chunk: int = 1,
        megabytes: float = 256.0,
    ) -> None:
        self.model = model
        self.kernel = kernel
        self.projection = projection
        self.alpha = alpha
        self.max_iter = max_iter
        self.random_state = random_state
        self.chunk = chunk
        self.megabytes = megabytes

    def fit(self, X: Any, y: Any) -> "TangentSurrogate":
        """Learn from samples (N, ...) and their classes (N,)."""
        samples = self._samples(X)
        y = check_array(np.asarray(y), ensure_2d=False, dtype=None)
        check_consistent_length(samples, y)
        check_classification_targets(y)
        check_choice("kernel", self.kernel, KERNELS)
        check_positive("alpha", self.alpha)
        if self.kernel == "precomputed" and (self.model is not None or self.projection is not None):
            raise InputError("kernel='precomputed' needs neither model nor projection; leave them out")
        if self.kernel != "precomputed" and not isinstance(self.model, nn.Module):
            raise InputError(f"model={self.model!r} must be a torch.nn.Module, unless kernel='precomputed'")
        if self.kernel == "precomputed" and samples.shape != (len(samples), len(samples)):
            raise InputError(f"X of shape {tuple(samples.shape)} must be (N, N), the kernel of all pairs of samples")
        self.samples_ = samples
        self.linear_ = SGDClassifier(
            loss="log_loss",
            alpha=self.alpha,
            class_weight="balanced",
            max_iter=self.max_iter,
            random_state=self.random_state,
        ).fit(self._block(samples, None), y)
        self.classes_, self.coef_, self.intercept_ = (
            self.linear_.classes_,
            self.linear_.coef_,
            self.linear_.intercept_,
        )
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return z of samples, (M, C), or (M,) of two classes."""
        check_is_fitted(self)
        decision: np.ndarray = self.linear_.decision_function(self._new(X))
        return decision

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities (M, C)."""
        check_is_fitted(self)
        probabilities: np.ndarray = self.linear_.predict_proba(self._new(X))
        return probabilities

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each sample, (M,)."""
        z = self.decision_function(X)
        return self.classes_[(z > 0).astype(int) if z.ndim == 1 else z.argmax(1)]

    def attribute(self, X: Any) -> np.ndarray:
        r"""Return what each training sample adds to z, :math:`A_{ci}(x) = W_{ci} K(x, x_i) + b_c / N`.

        Returns:
            (M, C, N), or (M, 1, N) of two classes, whose sum over the last axis is z.
        """
        check_is_fitted(self)
        attributed: np.ndarray = self.coef_ * self._new(X)[:, None] + (self.intercept_ / self.coef_.shape[1])[:, None]
        return attributed

    def _samples(self, X: Any) -> Tensor:
        """Return samples as a tensor where the model is, in its type."""
        if self.kernel == "precomputed":
            return torch.from_numpy(check_array(X, dtype=[np.float64, np.float32]))
        x = torch.from_numpy(check_array(X, allow_nd=True, ensure_2d=False)) if not isinstance(X, Tensor) else X
        like = next(self.model.parameters(), None) if isinstance(self.model, nn.Module) else None
        return x if like is None else x.to(like)

    def _new(self, X: Any) -> np.ndarray:
        samples = self._samples(X)
        if self.kernel == "precomputed" and samples.shape[1] != len(self.samples_):
            raise InputError(
                f"X of shape {tuple(samples.shape)} must have {len(self.samples_)} columns, one for each sample of fit"
            )
        return self._block(samples, self.samples_)

    def _block(self, x: Tensor, y: Tensor | None) -> np.ndarray:
        """Return the cosines of the kernel of samples with others."""
        if self.kernel == "precomputed":
            return x.numpy()
        settings: dict[str, Any] = {"chunk": self.chunk, "megabytes": self.megabytes, "normalize": True}
        kind = self.kernel
        if self.projection is not None:
            settings |= {"projection": self.projection, "of": self.kernel}
            kind = "projected"
        model = typing.cast("nn.Module", self.model)
        cosines: np.ndarray = tangent_kernel(model, x, y, kind, **settings).cpu().double().numpy()
        return cosines


def faithfulness(surrogate: Any, network: Any, labels: Any) -> float:
    """Return how alike two models rank samples by the probability of their true class: Kendall's tau, -1 to 1.

    Samples to which either gives exactly 0 or 1 are left out, since those would be ties; nan where fewer than two are
    left.

    Args:
        surrogate: (M, C) probabilities.
        network: (M, C) probabilities of the network, its softmax.
        labels: (M,) true classes as columns, 0 to C - 1.

    Raises:
        InputError: the shapes do not agree, or a label is no column.

    Reference:
        Engel et al., arXiv 2305.14585.
    """
    first, second, columns = (np.asarray(one) for one in (surrogate, network, labels))
    if first.ndim != 2 or first.shape != second.shape or columns.shape != first.shape[:1]:
        raise InputError(
            f"surrogate of shape {first.shape}, network of shape {second.shape} and labels of shape {columns.shape}"
            " must be (M, C), (M, C) and (M,)"
        )
    if columns.size and not 0 <= columns.min() <= columns.max() < first.shape[1]:
        raise InputError(f"labels from {columns.min()} to {columns.max()} must be columns, 0 to {first.shape[1] - 1}")
    pairs = np.stack([one[np.arange(len(columns)), columns] for one in (first, second)])
    pairs = pairs[:, ((pairs > 0) & (pairs < 1)).all(0)]
    return float(kendalltau(*pairs).statistic) if pairs.shape[1] > 1 else float("nan")
