r"""Newton steps on a stream in the space of a kernel, whose inverse is kept on a sample of the rows."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import expit


class Loss(NamedTuple):
    """A loss of a prediction and a target, and its derivative by the prediction."""

    value: Callable[[float, float], float]
    slope: Callable[[float, float], float]


def _square(p: float, y: float) -> float:
    return (p - y) ** 2


def _square_slope(p: float, y: float) -> float:
    return 2 * (p - y)


def _logistic(p: float, y: float) -> float:
    return float(np.logaddexp(0, -y * p))


def _logistic_slope(p: float, y: float) -> float:
    return float(-y * expit(-y * p))


def _hinge(p: float, y: float) -> float:
    return max(0.0, 1 - y * p) ** 2


def _hinge_slope(p: float, y: float) -> float:
    return -2 * y * max(0.0, 1 - y * p)


LOSSES = {
    "squared": Loss(_square, _square_slope),
    "logistic": Loss(_logistic, _logistic_slope),
    "squared_hinge": Loss(_hinge, _hinge_slope),
}
"""Losses by name; those of classes have targets -1 and 1."""


class Step(NamedTuple):
    """What happened at one row.

    Attributes:
        prediction: before the target was seen.
        unprojected: the same, before it was brought into [-C, C].
        slope: derivative of the loss.
        loss: of the prediction.
        leverage: an estimate of how much the row adds to those that are kept.
        probability: with which it is kept.
        sampled: whether it was drawn.
    """

    prediction: float
    unprojected: float
    slope: float
    loss: float
    leverage: float
    probability: float
    sampled: bool


class GrowingFactor:
    r"""The Cholesky factor L of :math:`S K S + \alpha I`, which grows by a row at a time.

    Args:
        ridge: alpha.

    Attributes:
        scales: (D,) the diagonal of S.
        lower: (D, D) L.
    """

    def __init__(self, ridge: float) -> None:
        self.ridge, self.scales, self.lower = ridge, np.empty(0), np.empty((0, 0))

    def whiten(self, values: np.ndarray) -> np.ndarray:
        """Return :math:`L^{-1} S k` of a point's kernel values (D,) with those of the matrix."""
        return self._solve(self.scales * values, "N")

    def unwhiten(self, values: np.ndarray) -> np.ndarray:
        """Return :math:`S L^{-T} v` of a vector (D,)."""
        return self.scales * self._solve(values, "T")

    def append(self, scale: float, white: np.ndarray, own: float) -> float:
        """Add a point whitened as (D,) with k(x, x) = own, and return the last entry of L."""
        last = math.sqrt(self.ridge + scale**2 * max(own - white @ white, 0.0))
        self.lower = np.pad(self.lower, (0, 1))
        self.lower[-1] = [*(scale * white), last]
        self.scales = np.append(self.scales, scale)
        return last

    def _solve(self, values: np.ndarray, side: str) -> np.ndarray:
        if not len(values):
            return values
        found: np.ndarray = solve_triangular(self.lower, values, lower=True, trans=side, check_finite=False)
        return found


class OnlineNewton:
    r"""Online Newton steps in the space of a kernel, by coefficients of all points seen.

    With :math:`f_t = \langle u_t, \phi_t \rangle` the prediction is :math:`\hat y_t = f_t - h(f_t)`, where
    :math:`h(z) = \mathrm{sign}(z) \max(|z| - C, 0)` projects it on [-C, C]; with the derivative g of the loss there,

    .. math:: w_t = u_t - \frac{h(f_t)}{\nu_t} A_{t-1}^{-1} \phi_t, \quad
        A_t = A_{t-1} + z_t \eta g_t^2 \phi_t \phi_t^T, \quad u_{t+1} = w_t - A_t^{-1} g_t \phi_t,

    from :math:`A_0 = \alpha I`, :math:`u_1 = 0`, with :math:`\nu_t = \phi_t^T A_{t-1}^{-1} \phi_t`. A row is kept in A,
    :math:`z_t = 1`, with probability :math:`p_t = \max(\min(\beta \tau_t, 1), \gamma)`, where :math:`\tau_t =
    (1 + \epsilon) q / (1 + q)` is its leverage among the kept ones, weighted by 1 / p. A step takes the kernel with the
    t points seen, and D^2 more of the D kept.

    Args:
        loss: `Loss`.
        bound: C.
        eta: curvature, :math:`\eta`.
        alpha: regularisation.
        least: :math:`\gamma`, the least probability; 1 keeps every row.
        beta: how many times its leverage a row's probability is.
        eps: by how much leverages may be wrong.

    Attributes:
        coef: c (t,) coefficients of all points, :math:`u = A^{-1} \sum_s c_s \phi_s`.
        kept: the rows in A.
    """

    def __init__(
        self, loss: Loss, bound: float, eta: float, alpha: float, least: float, beta: float, eps: float
    ) -> None:
        self.loss, self.bound, self.eta, self.alpha = loss, bound, eta, alpha
        self.least, self.beta, self.eps = least, beta, eps
        self.coef, self.kept = np.empty(0), np.empty(0, dtype=np.int64)
        self.inverse = GrowingFactor(alpha)
        self.sketch = self.inverse if least == 1 else GrowingFactor(alpha)  # weighted, for leverages
        self._along = np.empty(0)  # L^-1 S k(D, points) c

    def step(self, row: np.ndarray, own: float, y: float, uniform: float) -> Step:
        """Predict a point, see its target, and take the step.

        Args:
            row: (t,) its kernel with the points seen before.
            own: its kernel with itself.
            y: its target.
            uniform: number in [0, 1) that draws whether it is kept.
        """
        near = row[self.kept]
        white = self.inverse.whiten(near)
        free = max(own - white @ white, np.finfo(float).eps * own) / self.alpha  # nu
        raw = float(row @ self.coef - self._along @ white) / self.alpha
        prediction = min(max(raw, -self.bound), self.bound)
        over = raw - prediction  # h
        slope = self.loss.slope(prediction, y)
        scale = math.sqrt(self.eta) * slope
        weighted = white if self.sketch is self.inverse else self.sketch.whiten(near)
        gain = scale**2 * max(own - weighted @ weighted, 0.0) / self.alpha
        leverage = (1 + self.eps) * gain / (1 + gain)
        probability = max(min(self.beta * leverage, 1.0), self.least)
        is_sampled = uniform < probability
        coef = is_sampled * scale**2 * prediction - slope - (over / free if over else 0.0)
        self._along = self._along + coef * white
        if is_sampled and scale:
            at_own = row @ self.coef + own * coef
            last = self.inverse.append(scale, white, own)
            self._along = np.append(self._along, scale * (at_own - white @ self._along) / last)
            if self.sketch is not self.inverse:
                self.sketch.append(scale / math.sqrt(probability), weighted, own)
            self.kept = np.append(self.kept, len(self.coef))
        self.coef = np.append(self.coef, coef)
        loss = self.loss.value(prediction, y)
        return Step(prediction, raw, slope, loss, leverage, probability, is_sampled)

    def dual(self) -> np.ndarray:
        r"""Return coefficients (t,) of the function :math:`f(x) = \sum_s a_s k(x_s, x)` that it is now."""
        found = self.coef.copy()
        found[self.kept] -= self.inverse.unwhiten(self._along)
        return found / self.alpha
