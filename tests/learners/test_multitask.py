"""Tests of Gaussian processes of several tasks: integrals of spectra, scikit-learn's process, gaps."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.utils.estimator_checks import check_estimator

from convnn.errors import InputError
from convnn.learners.multitask import Latents, MultitaskGPRegressor, Posterior


def latents(q: int, tasks: int, rank: int, width: int, interactions: bool = True) -> Latents:
    generator = torch.Generator().manual_seed(q + tasks)
    mix = torch.randn(q, tasks, rank, generator=generator, dtype=torch.double)
    mean = torch.rand(q, width, generator=generator, dtype=torch.double)
    deviation = 0.1 + 0.3 * torch.rand(q, width, generator=generator, dtype=torch.double)
    return Latents(mix, mean, deviation, interactions)


def points(count: int, width: int, tasks: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    x = 3 * torch.rand(count, width, generator=generator, dtype=torch.double)
    return x, torch.randint(tasks, (count,), generator=generator)


def test_covariances_are_integrals_of_the_filters() -> None:
    ours, (x, task) = latents(2, 2, 1, 1), points(5, 1, 2)
    w, step = np.linspace(-6, 7, 6001, retstep=True)
    filters = [np.sqrt(norm(float(m), float(s)).pdf(w)) for m, s in zip(ours.mean, ours.deviation, strict=True)]
    mixed = [sum(float(ours.mix[q, t]) * filters[q] for q in range(2)) for t in range(2)]
    found = ours.kernel(x, task, x, task)
    for i, j in product(range(5), repeat=2):
        wave = np.cos(2 * math.pi * w * float(x[i] - x[j]))
        assert found[i, j] == pytest.approx((mixed[task[i]] * mixed[task[j]] * wave).sum() * step, abs=1e-12)


def test_one_latent_function_is_a_kronecker_product() -> None:
    ours, x = latents(1, 3, 2, 2), points(4, 2, 3)[0]
    grid = (x.repeat(3, 1), torch.arange(3).repeat_interleave(4)) * 2
    found = ours.kernel(*grid)
    alone = ours.of_pair(0, 0, x[:, None] - x)
    torch.testing.assert_close(found, torch.kron(ours.mix[0] @ ours.mix[0].T, alone), rtol=0, atol=1e-14)
    torch.testing.assert_close(found, ours._replace(interactions=False).kernel(*grid))


def test_frequency_0_is_the_process_of_scikit_learn() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 9, 1))
    ours = Latents(*(torch.tensor(v, dtype=torch.double) for v in ([[[1.0]]], [[0.0]], [[0.25]])))
    noise, task = torch.tensor([0.3], dtype=torch.double), torch.zeros(9).long()
    found = Posterior.of(ours, noise, torch.from_numpy(x), task, torch.from_numpy(y[:, 0]))
    theirs = GaussianProcessRegressor(RBF(1 / (2 * math.pi * 0.25)) + WhiteKernel(0.3), alpha=0, optimizer=None)
    theirs.fit(x, y[:, 0])
    assert float(found.loss) == pytest.approx(-theirs.log_marginal_likelihood(), rel=1e-12)
    mean, variance = found.at(torch.from_numpy(x[:4] + 0.5), torch.zeros(4).long())
    expected, deviation = theirs.predict(x[:4] + 0.5, return_std=True)
    np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(variance + 0.3, deviation**2, rtol=0, atol=1e-12)  # theirs has the noise


def test_the_loss_is_that_of_the_normal_distribution_and_the_matrix_positive() -> None:
    ours, (x, task) = latents(3, 2, 2, 2), points(8, 2, 2)
    y, noise = torch.linspace(-1, 1, 8).double(), torch.tensor([0.1, 0.2]).double()
    gram = ours.kernel(x, task, x, task)
    assert torch.linalg.eigvalsh(gram).min() > -1e-12
    torch.testing.assert_close(gram, gram.T)
    torch.testing.assert_close(ours.variance(task), gram.diagonal())
    expected = -multivariate_normal(np.zeros(8), gram + noise[task].diag()).logpdf(y)
    assert float(Posterior.of(ours, noise, x, task, y).loss) == pytest.approx(expected, rel=1e-12)
    parameters = [ours.mix, ours.mean, ours.deviation, noise]
    assert torch.autograd.gradcheck(
        lambda *p: Posterior.of(Latents(*p[:3]), p[3], x, task, y).loss,
        [p.requires_grad_() for p in parameters],
        fast_mode=True,
    )


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points and two tasks with interacting latent functions."""
    random = np.random.default_rng(seed)
    x = np.sort(random.uniform(0, 6, 25))
    ours = Latents(*(torch.tensor(v, dtype=torch.double) for v in (
        [[[1.0], [0.6]], [[0.8], [-1.0]]], [[0.5], [0.65]], [[0.12], [0.15]]
    )))  # fmt: skip
    places, task = torch.from_numpy(np.tile(x, 2)[:, None]), torch.arange(2).repeat_interleave(25)
    gram = ours.kernel(places, task, places, task).numpy() + 0.02 * np.eye(50)
    return x[:, None], (np.linalg.cholesky(gram) @ random.normal(size=50)).reshape(2, 25).T


def test_a_task_is_told_by_another_where_it_is_unknown() -> None:
    x, y = drawn(1)
    known = y.copy()
    known[x[:, 0] > 3, 0] = np.nan
    ours = MultitaskGPRegressor(n_restarts=2, max_iter=40, random_state=0).fit(x, known)
    mean, deviation = ours.predict(x, return_std=True)
    lost = np.isnan(known[:, 0])
    assert ((mean - y)[lost, 0] ** 2).mean() < 0.5 * y[lost, 0].var()
    assert (deviation[lost, 0] > deviation[~lost, 0].mean()).all()
    assert np.abs(mean - y)[~lost].mean() < 2 * np.sqrt(ours.noise_.max())
    assert ours.losses_[np.argmin(ours.losses_)] == ours.loss_
    assert ours.latents_.mix.shape == (2, 2, 1)
    shifted = clone(ours).fit(10 * x, 5 * known + 3).predict(10 * x)  # units do not matter
    np.testing.assert_allclose(shifted, 5 * mean + 3, rtol=0, atol=1e-3)


def test_one_task_may_be_a_vector() -> None:
    x, y = drawn(0)
    flat = MultitaskGPRegressor(1, n_restarts=1, max_iter=10, random_state=0).fit(x, y[:, 0])
    column = clone(flat).fit(x, y[:, :1])
    assert flat.predict(x).shape == (25,)
    np.testing.assert_array_equal(flat.predict(x), column.predict(x)[:, 0])


def test_scikit_learn_takes_it() -> None:
    check_estimator(MultitaskGPRegressor(max_iter=2, n_restarts=1), on_skip=None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_latents": 0}, "n_latents=0 must be an integer of at least 1"),
        ({"rank": 3}, "rank=3 must be at most 2, the number of tasks"),
        ({"n_restarts": 0}, "n_restarts=0 must be an integer of at least 1"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        MultitaskGPRegressor(**settings).fit(*drawn(0))


def test_bad_data() -> None:
    x, y = drawn(0)
    y[:, 1] = np.nan
    with pytest.raises(InputError, match=r"^y has no value of task 1; give each task at least one, or leave it out$"):
        MultitaskGPRegressor().fit(x, y)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        MultitaskGPRegressor().fit(np.where(x > 5, np.nan, x), y[:, :1])
