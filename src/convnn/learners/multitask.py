"""Gaussian processes of several tasks whose latent functions interact."""

import math
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_array, check_consistent_length
from torch import Tensor

from convnn.errors import InputError, UnsupportedError, check_at_least
from convnn.learners.base import Learner

LEAST_NOISE = 1e-6  # of the variance of the values, without which the matrix may be singular


class Latents(NamedTuple):
    r"""Latent functions, each with a Gaussian spectrum, and how much of them is in each task.

    .. math:: k(x, t; x', t') = \sum_{q, r} (A_q A_r^T)_{t t'} \, k_{q r}(x - x')

    where the latent functions q and r covary by the cross convolution of their filters, the square roots of their
    spectra :math:`N(\mu_q, \sigma_q^2)` and :math:`N(\mu_r, \sigma_r^2)`:

    .. math:: k_{q r}(\tau) = a_{q r} \exp \Big( {-2} \pi^2 \sum_p \tau_p^2 S_p \Big) \cos(2 \pi \, \tau \cdot m),
        \quad S = \frac{2 \sigma_q^2 \sigma_r^2}{\sigma_q^2 + \sigma_r^2}, \quad
        m = \frac{\sigma_q^2 \mu_r + \sigma_r^2 \mu_q}{\sigma_q^2 + \sigma_r^2}

    and a is their Bhattacharyya coefficient, 1 for equal spectra. Without interactions only q = r counts: the linear
    model of coregionalisation, of spectral mixture components.

    Attributes:
        mix: A (Q, T, R) the weights of each task in the R copies of each latent function.
        mean: mu (Q, P) frequencies, in cycles per unit of each feature, at least 0.
        deviation: sigma (Q, P), positive; 1 / (2 pi sigma) is a length scale.
        interactions: whether pairs of different latent functions count.
    """

    mix: Tensor
    mean: Tensor
    deviation: Tensor
    interactions: bool = True

    def kernel(self, x: Tensor, task: Tensor, others: Tensor, task_of_others: Tensor) -> Tensor:
        """Return the covariances (n, m) of tasks (n,) at points (n, P) and tasks (m,) at points (m, P)."""
        offsets = x[:, None] - others
        found = offsets.new_zeros(offsets.shape[:2])
        for q, r in combinations_with_replacement(range(len(self.mix)), 2):
            if q == r or self.interactions:
                shared = self.mix[q] @ self.mix[r].T
                shared = shared if q == r else shared + shared.T
                found = found + shared[task][:, task_of_others] * self.of_pair(q, r, offsets)
        return found

    def variance(self, task: Tensor) -> Tensor:
        """Return the variances (n,) of tasks (n,), which are the same everywhere."""
        place = self.mean.new_zeros(1, self.mean.shape[1])
        tasks = torch.arange(self.mix.shape[1], device=task.device)
        places = place.expand(len(tasks), -1)
        return self.kernel(places, tasks, places, tasks).diagonal()[task]

    def of_pair(self, q: int, r: int, offsets: Tensor) -> Tensor:
        """Return the covariance (n, m) of two latent functions at offsets (n, m, P)."""
        squares, others = self.deviation[q].square(), self.deviation[r].square()
        total = squares + others
        apart = (self.mean[q] - self.mean[r]).square() / total
        overlap = (2 * self.deviation[q] * self.deviation[r] / total).sqrt().prod() * torch.exp(-apart.sum() / 4)
        spread = 2 * squares * others / total
        center = (squares * self.mean[r] + others * self.mean[q]) / total
        envelope = torch.exp(-2 * math.pi**2 * (offsets.square() @ spread))
        return overlap * envelope * torch.cos(2 * math.pi * (offsets @ center))


class Posterior(NamedTuple):
    """A Gaussian process that has seen values y (n,) of tasks (n,) at points (n, P).

    Attributes:
        latents: its covariances.
        x: the points.
        task: the task of each value.
        root: (n, n) lower Cholesky factor of the covariance of the values, with noise.
        coefficients: (n,) that matrix's inverse times y.
        loss: the negative logarithm of the marginal likelihood of y.
    """

    latents: Latents
    x: Tensor
    task: Tensor
    root: Tensor
    coefficients: Tensor
    loss: Tensor

    @classmethod
    def of(cls, latents: Latents, noise: Tensor, x: Tensor, task: Tensor, y: Tensor) -> "Posterior":
        """Condition a process, with a variance of the noise (T,) for each task, on values.

        Raises:
            UnsupportedError: the covariance is not positive definite in float64.
        """
        gram = latents.kernel(x, task, x, task) + noise[task].diag()
        root, info = torch.linalg.cholesky_ex(gram)
        if info:
            raise UnsupportedError("the covariance of the values is not positive definite; give them more noise")
        coefficients = torch.cholesky_solve(y[:, None], root)[:, 0]
        loss = y @ coefficients / 2 + root.diagonal().log().sum() + len(y) / 2 * math.log(2 * math.pi)
        return cls(latents, x, task, root, coefficients, loss)

    def at(self, x: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and variances (m,) of the functions, without noise, of tasks (m,) at points (m, P)."""
        cross = self.latents.kernel(x, task, self.x, self.task)
        left = torch.linalg.solve_triangular(self.root, cross.T, upper=False)
        return cross @ self.coefficients, (self.latents.variance(task) - left.square().sum(0)).clamp_min(0)


class MultitaskGPRegressor(MultiOutputMixin, RegressorMixin, Learner):
    r"""Regression by a Gaussian process of several tasks, whose latent functions covary.

    See `Latents` for the covariance. Values of a task need not be known at all points, and another task may tell them:
    Y has NaN there. The mean of each task is that of its values. Weights, spectra and noise minimise the negative
    logarithm of the marginal likelihood by L-BFGS from random starts, the best of which is kept.

    Args:
        n_latents: Q, latent functions.
        rank: R, independent copies of each, at most as many as there are tasks.
        interactions: whether different latent functions covary; without, it is the linear model of coregionalisation.
        n_restarts: starts.
        max_iter: the most steps of a start.
        tol: change of the loss, a share of the number of values, at which a start ends.
        random_state: seed or generator of the starts.
        device: where to compute, such as "cuda"; None is the processor.
        verbose: whether to print the loss of each start.

    Attributes:
        latents_: `Latents`, of Y as it is given.
        noise_: (T,) variance of the noise of each task.
        loss_: the negative logarithm of the marginal likelihood of Y with that scale taken out.
        losses_: of each start.
        n_iter_: steps of the best start.

    Raises:
        InputError: in `fit`, an argument is out of range, or a task has no value.

    Reference:
        Chen et al., "Multitask Gaussian process with hierarchical latent interactions", arXiv 1808.01132, of which only
        the abstract is public: covariances of latent functions are those of spectral mixtures by cross convolution.
    """

    latents_: Latents
    noise_: np.ndarray
    loss_: float
    losses_: list[float]
    n_iter_: int

    def __init__(
        self,
        n_latents: int = 2,
        rank: int = 1,
        *,
        interactions: bool = True,
        n_restarts: int = 3,
        max_iter: int = 100,
        tol: float = 1e-6,
        random_state: Any = None,
        device: str | None = None,
        verbose: bool = False,
    ) -> None:
        self.n_latents = n_latents
        self.rank = rank
        self.interactions = interactions
        self.n_restarts = n_restarts
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> "MultitaskGPRegressor":
        """Learn from points X (N, P) and values y (N, T), or (N,) of one task, with NaN where they are unknown."""
        x, values = self._check_points(X, reset=True, dtype=np.float64), self._check_values(X, y)
        point, task = (~np.isnan(values)).nonzero()
        known, spread = x[point], np.nanstd(values, 0)
        spread[spread < 1e-12] = 1.0
        self._mean, self._spread = np.nanmean(values, 0), spread
        scaled = self._tensor(((values - self._mean) / spread)[point, task])
        tasks, draws = self._tensor(task), self._draws()
        starts = [self._start(draws, known, values.shape[1]) for _ in range(self.n_restarts)]
        found = [self._descend(start, known, tasks, scaled) for start in starts]
        self.losses_ = [loss for _, loss, _ in found]
        best = int(np.argmin(self.losses_))
        free, self.loss_, self.n_iter_ = found[best]
        latents, noise = self._parameters(free)
        with torch.no_grad():
            self.posterior_ = Posterior.of(latents, noise, known, tasks, scaled)
        scale = self._tensor(spread)
        self.latents_ = latents._replace(mix=latents.mix * scale[:, None])
        self.noise_ = (noise * scale.square()).cpu().numpy()
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return the mean (M, T), or (M,) of a single task, and with `return_std` the standard deviation.

        It is that of the function; an observation has `noise_` besides.
        """
        x = self._check_points(X, reset=False, dtype=np.float64)
        count = len(self._mean)
        task = torch.arange(count, device=x.device).repeat(len(x))
        with torch.no_grad():
            mean, variance = self.posterior_.at(x.repeat_interleave(count, 0), task)
        shape = (len(x), count) if self._has_columns else (len(x),)
        mean = mean.view(-1, count).cpu().numpy() * self._spread + self._mean
        deviation = variance.sqrt().view(-1, count).cpu().numpy() * self._spread
        return (mean.reshape(shape), deviation.reshape(shape)) if return_std else mean.reshape(shape)

    def _check_values(self, X: Any, y: Any) -> np.ndarray:
        """Return the values (N, T) after checks of them and of the settings."""
        if y is None:
            raise InputError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        options = {"ensure_2d": False, "ensure_all_finite": "allow-nan", "input_name": "y"}
        values = check_array(y, dtype=np.float64, estimator=self, **options)
        check_consistent_length(X, values)
        self._has_columns = values.ndim == 2
        values = values.reshape(len(values), -1)
        for name in ("n_latents", "rank", "n_restarts", "max_iter"):
            check_at_least(name, getattr(self, name), 1)
        if self.rank > values.shape[1]:
            raise InputError(f"rank={self.rank} must be at most {values.shape[1]}, the number of tasks")
        if empty := np.isnan(values).all(0).nonzero()[0].tolist():
            raise InputError(f"y has no value of task {empty[0]}; give each task at least one, or leave it out")
        return values

    def _start(self, draws: np.random.RandomState, x: Tensor, tasks: int) -> list[Tensor]:
        """Draw parameters of the descent: weights, and logarithms of spectra, in cycles over the data, and of noise."""
        extent = np.ptp(x.cpu().numpy(), axis=0)
        extent[extent == 0] = 1.0
        width = (self.n_latents, x.shape[1])
        drawn = (
            0.7 * draws.normal(size=(self.n_latents, tasks, self.rank)),
            np.log(draws.uniform(1.2, 6, width) / extent),
            np.log(draws.uniform(0.6, 2.4, width) / extent),
            np.full(tasks, math.log(0.1)),
        )
        return [self._tensor(array).requires_grad_() for array in drawn]

    def _parameters(self, free: list[Tensor]) -> tuple[Latents, Tensor]:
        mix, *logarithms = free
        mean, deviation, noise = (one.exp() for one in logarithms)
        return Latents(mix, mean, deviation, self.interactions), noise + LEAST_NOISE

    def _descend(self, free: list[Tensor], x: Tensor, task: Tensor, y: Tensor) -> tuple[list[Tensor], float, int]:
        """Return the best parameters of a start, their loss, and the steps to them."""
        change = self.tol * len(y)
        optimizer = torch.optim.LBFGS(
            free, max_iter=self.max_iter, tolerance_change=change, line_search_fn="strong_wolfe"
        )
        best = (math.inf, free)

        def loss() -> Tensor:
            nonlocal best
            optimizer.zero_grad()
            latents, noise = self._parameters(free)
            try:
                found = Posterior.of(latents, noise, x, task, y).loss
            except UnsupportedError:  # a step too far, from which the line search returns
                return y.new_tensor(torch.finfo(y.dtype).max ** 0.5)
            found.backward()
            if (value := found.item()) < best[0]:
                best = (value, [one.detach().clone() for one in free])
            return found

        optimizer.step(loss)
        self._report(f"loss {best[0]:.4f}")
        return best[1], best[0], int(optimizer.state[free[0]]["n_iter"])
