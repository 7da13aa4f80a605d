r"""Kernel machines that learn a stream row by row, by second-order steps (KONS)."""

from typing import Any

import numpy as np
import torch
from scipy.special import expit
from sklearn.base import RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data
from torch import Tensor

from convnn.errors import InputError, check_at_most, check_choice, check_positive
from convnn.learners.base import FLOATS, KernelLearner, OneHotClassifier
from convnn.learners.kernels import Kernelish
from convnn.learners.newton_steps import LOSSES, OnlineNewton
from convnn.learners.products import Product

AT_ONCE = 256
"""The most rows whose kernel values are there at once."""


class _SketchedKONS(KernelLearner):
    loss: str = "squared"

    def __init__(
        self,
        kernel: Kernelish = "gaussian",
        *,
        gamma: float | None = None,
        C: float = 1.0,
        eta: float | None = None,
        alpha: float = 1.0,
        min_probability: float = 0.1,
        beta: float = 1.0,
        eps: float = 0.5,
        product: Product | None = None,
        device: str | None = None,
        random_state: Any = None,
        verbose: bool | int = False,
    ) -> None:
        self.kernel = kernel
        self.gamma = gamma
        self.C = C
        self.eta = eta
        self.alpha = alpha
        self.min_probability = min_probability
        self.beta = beta
        self.eps = eps
        self.product = product
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _start(self, points: Tensor) -> None:
        """Check the settings, and forget what was learned."""
        if self._is_precomputed:
            raise InputError("kernel='precomputed' knows no further points; take Matrix(K) and row numbers")
        for name in ("C", "alpha", "min_probability", "beta", "eps"):
            check_positive(name, getattr(self, name))
        if self.eta is not None:
            check_positive("eta", self.eta)
        check_choice("loss", self.loss, LOSSES)
        check_at_most("min_probability", self.min_probability, 1)
        if self.eps >= 1:
            raise InputError(f"eps={self.eps!r} must be below 1")
        self._set_kernel(points.shape[1])
        self._random = self._draws()
        eta = 1 / (8 * self.C**2) if self.eta is None else self.eta
        sketch = (self.min_probability, self.beta, self.eps)
        self.newton_ = OnlineNewton(LOSSES[self.loss], self.C, eta, self.alpha, *sketch)
        self.points_ = np.empty((0, points.shape[1]), dtype=points.cpu().numpy().dtype)
        self.progressive_predictions_, self.loss_curve_ = np.empty(0), np.empty(0)

    def _pass(self, points: Tensor, targets: np.ndarray) -> None:
        """Take a step at each row (n, d), (n,)."""
        uniforms, steps = self._random.uniform(size=len(targets)), []
        seen = self._tensor(self.points_)
        first = 0
        while first < len(targets):
            last = min(first + self._rows(len(seen), points.element_size()), len(targets))
            some = points[first:last]
            rows = self._matrix(some, torch.cat([seen, some])).dense().double().cpu().numpy()
            if not np.isfinite(rows).all():
                raise InputError("kernel has values that are not finite; scale X")
            for i, row in enumerate(rows, len(seen)):
                now = first + i - len(seen)
                steps.append(self.newton_.step(row[:i], row[i], targets[now], uniforms[now]))
            seen, first = torch.cat([seen, some]), last
        self.points_ = seen.cpu().numpy()
        found = np.array([(step.prediction, step.loss) for step in steps]).reshape(-1, 2)
        self.progressive_predictions_ = np.append(self.progressive_predictions_, found[:, 0])
        self.loss_curve_ = np.append(self.loss_curve_, found[:, 1])
        self.dictionary_ = self.newton_.kept
        self.dual_coef_ = self.newton_.dual().astype(self.points_.dtype)
        self.n_iter_ = len(self.points_)
        mean = found[:, 1].mean()
        self._report(f"{self.n_iter_} rows, {len(self.dictionary_)} of them kept, mean loss {mean:.3g}")

    def _rows(self, seen: int, bytes_: int) -> int:
        """Return how many rows of kernel values are to be there at once."""
        numbers = self._product().megabytes * 1e6 / bytes_
        return max(min(int(numbers / (seen + AT_ONCE)), AT_ONCE), 1)

    def _outputs(self, X: Any) -> np.ndarray:
        """Return predictions (n,) of points (n, d)."""
        points = self._check_points(X, reset=False)
        bound = self.newton_.bound
        fitted, weights = (self._tensor(one).to(points) for one in (self.points_, self.dual_coef_))
        return (self._matrix(points, fitted) @ weights).clamp(-bound, bound).cpu().numpy()


class SketchedKONSRegressor(RegressorMixin, _SketchedKONS):
    """Regression of a stream, row by row, by second-order steps with a kernel: see `OnlineNewton`.

    `fit` is one pass over the rows in their order, and `partial_fit` goes on from there. Predictions stay between -C
    and C: scale targets to [-1, 1], or raise C, with which eta becomes smaller. All points are kept, but only a sample
    of them in the inverse. `sklearn.kernel_ridge.KernelRidge`, which sees all rows at once, is better on data that are
    no stream.

    Args:
        kernel: see `KernelLearner`; not "precomputed".
        gamma: see `KernelLearner`.
        C: bound on predictions, positive.
        eta: curvature that steps rely on, positive; None is 1 / (8 C^2), that of the squared loss in [-C, C].
        alpha: regularisation, positive; steps of the squared loss overshoot at first where it is below 2 k(x, x).
        min_probability: the least probability with which a row is kept in the inverse, above 0; 1 keeps all of them.
        beta: how many times its leverage a row's probability is, positive.
        eps: by how much leverages may be wrong, above 0 and below 1.
        product: how to multiply by kernel matrices in `predict`; None is `Chunked()`. Rows with which steps are taken
            take its memory at most, too.
        device: where to compute kernel values; None is the processor, where the steps are taken.
        random_state: seed or generator of a number for each row.
        verbose: whether to print how many rows are kept, and the loss.

    Attributes:
        progressive_predictions_: (t,) of each row, before its target was seen.
        loss_curve_: (t,) their losses.
        dictionary_: rows kept in the inverse.
        dual_coef_: (t,) coefficients of the kernel at the points seen.
        points_: (t, d) the points seen.
        n_iter_: t.
        newton_: `OnlineNewton`.

    Raises:
        InputError: in the first `fit` or `partial_fit`, a setting is out of range; a kernel row takes more memory than
            `product` may use.

    Reference:
        Calandriello, Lazaric and Valko, "Second-order kernel online convex optimization with adaptive sketching", arXiv
        1706.04892. There is no public code.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True  # the check of the score sets alpha to 0.01, at which steps are too long
        return tags

    def fit(self, X: Any, y: Any) -> "SketchedKONSRegressor":
        """Learn from rows (n, d) and targets (n,), from nothing."""
        return self._learn(X, y, is_first=True)

    def partial_fit(self, X: Any, y: Any) -> "SketchedKONSRegressor":
        """Learn from further rows (n, d) and targets (n,)."""
        return self._learn(X, y, is_first=not hasattr(self, "newton_"))

    def predict(self, X: Any) -> np.ndarray:
        """Return predictions (n,) of points (n, d)."""
        return self._outputs(X)

    def _learn(self, X: Any, y: Any, is_first: bool) -> "SketchedKONSRegressor":
        points, targets = validate_data(self, X, y, reset=is_first, y_numeric=True, dtype=list(FLOATS))
        tensor = self._tensor(points)
        if is_first:
            self._start(tensor)
        targets = targets.astype(np.float64)
        if (largest := np.abs(targets).max()) > self.C:
            self._warn(f"has C={self.C:g} as bound of predictions, but y reaches {largest:.3g}; scale y, or raise C")
        self._pass(tensor, targets)
        return self


def _is_logistic(estimator: "SketchedKONSClassifier") -> bool:
    return estimator.loss == "logistic"


class SketchedKONSClassifier(OneHotClassifier, _SketchedKONS):
    """Two classes of a stream, as a `SketchedKONSRegressor` of targets -1 and 1; arguments and attributes are its.

    Of more classes, `sklearn.multiclass.OneVsRestClassifier` makes several of it, with `partial_fit` as well.

    Args:
        loss: "logistic", "squared_hinge" or "squared".

    Attributes:
        classes_: the two classes, in order.
    """

    def __init__(
        self,
        kernel: Kernelish = "gaussian",
        *,
        gamma: float | None = None,
        loss: str = "logistic",
        C: float = 1.0,
        eta: float | None = None,
        alpha: float = 1.0,
        min_probability: float = 0.1,
        beta: float = 1.0,
        eps: float = 0.5,
        product: Product | None = None,
        device: str | None = None,
        random_state: Any = None,
        verbose: bool | int = False,
    ) -> None:
        super().__init__(
            kernel,
            gamma=gamma,
            C=C,
            eta=eta,
            alpha=alpha,
            min_probability=min_probability,
            beta=beta,
            eps=eps,
            product=product,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.loss = loss

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def fit(self, X: Any, y: Any) -> "SketchedKONSClassifier":
        """Learn from rows (n, d) and their classes (n,), from nothing."""
        points, labels = self._check_labelled(X, y)
        self._check_two()
        self._start(points)
        self._pass(points, self._signs(labels))
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> "SketchedKONSClassifier":
        """Learn from further rows (n, d) and their classes (n,); the first time needs both classes."""
        is_first = not hasattr(self, "newton_")
        points, labels = validate_data(self, X, y, reset=is_first, dtype=list(FLOATS))
        if is_first:
            if classes is None:
                raise InputError("classes=None must be both classes in the first partial_fit")
            self._check_classes(np.asarray(classes))
            self._check_two()
        signs = self._signs(labels)
        if is_first:
            self._start(self._tensor(points))
        self._pass(self._tensor(points), signs)
        return self

    @available_if(_is_logistic)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, (n, 2), of the logistic loss."""
        second = expit(self._outputs(X))
        return np.stack([1 - second, second], 1)

    def _check_two(self) -> None:
        if len(self.classes_) > 2:
            raise InputError(
                "Only binary classification is supported. The type of the target is multiclass, with"
                f" {len(self.classes_)} classes; take OneVsRestClassifier({type(self).__name__}())"
            )

    def _signs(self, labels: np.ndarray) -> np.ndarray:
        """Return -1 for the first class and 1 for the second."""
        return self._one_hot(labels, np.float64) @ [-1.0, 1.0]

    def _values(self, X: Any) -> np.ndarray:
        found = self._outputs(X)
        return np.stack([np.zeros_like(found), found], 1)
