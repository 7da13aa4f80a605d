"""Tests of distances to affine hulls: ridge regression of scikit-learn, the law of the noise, classes told apart."""

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.kernel_ridge import KernelRidge
from sklearn.utils.estimator_checks import check_estimator

from convnn.errors import InputError, UnsupportedError
from convnn.learners.affine_hull import AffineHullClassifier, Hull, Hulls, KernelAffineHull, optimal_noise


def points(count: int, features: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, features)) * np.linspace(1, 2, features)


def test_shares_are_the_ridge_regression_of_indicators_and_the_ridge_has_its_own_error() -> None:
    Y, y = points(15, 4), points(6, 4, 1) * 2
    hull = Hull(torch.from_numpy(Y), 2)
    values, vectors = np.linalg.eigh(np.cov(Y.T))
    white = vectors[:, [3, 2]] / np.sqrt(values[[3, 2]])
    settings = {"kernel": "rbf", "gamma": 1 / 4}

    def error(ridge: float) -> float:
        found = KernelRidge(alpha=ridge, **settings).fit(Y @ white, Y).predict(Y @ white)
        return float(((Y - found) ** 2).mean())

    size = float((Y**2).mean())
    expected = brentq(lambda e: error(e + 2 * size) - e, 0, size, xtol=1e-15)
    assert hull.error == pytest.approx(expected, abs=1e-12)
    shares = KernelRidge(alpha=expected + 2 * size, **settings).fit(Y @ white, np.eye(15)).predict(y @ white)
    images = shares / shares.sum(1, keepdims=True) @ Y
    np.testing.assert_allclose(hull.images(torch.from_numpy(y)), images, rtol=0, atol=1e-11)
    np.testing.assert_allclose(hull.distances(torch.from_numpy(y)), np.linalg.norm(y - images, axis=1), atol=1e-11)


def test_far_points_have_images_too() -> None:
    hull = Hull(torch.from_numpy(points(12, 3)), 2)
    images = hull.images(torch.from_numpy(points(4, 3, 1)) * 1e3)
    assert images.isfinite().all()
    assert images.norm(dim=1).max() < 100


def test_points_on_a_line_stay_there() -> None:
    line = np.outer(np.linspace(0, 1, 9), [1.0, 2.0, 0.5])
    hull = KernelAffineHull(1).fit(line)
    images = hull.transform(points(5, 3))
    assert np.linalg.matrix_rank(images, tol=1e-10) == 1
    np.testing.assert_allclose(hull.distance(points(5, 3)), np.linalg.norm(points(5, 3) - images, axis=1))
    with pytest.raises(UnsupportedError, match=r"^X varies in 1 directions, fewer than n_components=2$"):
        KernelAffineHull(2).fit(line)


def test_the_nearest_part_counts() -> None:
    Y = np.concatenate([points(10, 3), points(10, 3, 1) + 9])
    ours = AffineHullClassifier(2, subsets=2, random_state=0).fit(np.concatenate([Y, Y - 30]), np.repeat([0, 1], 20))
    parts = KMeans(2, n_init=1, random_state=0).fit_predict(Y)
    each = [Hull(torch.from_numpy(Y[parts == part]), 2) for part in (0, 1)]
    y = torch.from_numpy(points(7, 3, 2) * 5)
    apart = torch.stack([hull.distances(y) for hull in each])
    np.testing.assert_allclose(ours.distance(y.numpy())[:, 0], apart.amin(0), rtol=0, atol=1e-10)
    nearest = Hulls(each).images(y)
    torch.testing.assert_close((y - nearest).norm(dim=1), apart.amin(0))


def test_noise_has_an_atom_and_the_tails_of_laplace() -> None:
    u = torch.linspace(0, 1, 200_001, dtype=torch.double)[1:-1]
    noise = optimal_noise(u, 2.0, 0.1, 3.0)
    assert float((noise == 0).double().mean()) == pytest.approx(0.1, abs=1e-4)
    for t in (0.5, 2.0, 5.0):  # P(|v| > t) = (1 - delta) exp(-t epsilon / d)
        assert float((noise.abs() > t).double().mean()) == pytest.approx(0.9 * np.exp(-t * 2 / 3), abs=1e-4)
    torch.testing.assert_close(noise, -noise.flip(0))


def test_digits_are_told_apart_also_through_noise() -> None:
    X, y = load_digits(return_X_y=True)
    X = X / 16
    clear = AffineHullClassifier(random_state=0).fit(X[:400], y[:400])
    assert clear.score(X[400:900], y[400:900]) > 0.88
    private = clone(clear).set_params(epsilon=4.0, delta=1e-3).fit(X[:400], y[:400])
    assert 0.7 < private.score(X[400:900], y[400:900]) < 0.95
    assert np.abs(np.concatenate(private.points_) - np.concatenate(clear.points_)).mean() > 0.05


@pytest.mark.parametrize(
    "ours", [KernelAffineHull(), pytest.param(AffineHullClassifier(), marks=pytest.mark.long)], ids=str
)
def test_scikit_learn_takes_it(ours: KernelAffineHull | AffineHullClassifier) -> None:
    check_estimator(ours, on_skip=None)


def test_bad_input() -> None:
    X, y = points(12, 3), np.repeat(["a", "b"], 6)
    for settings, message in (
        ({"n_components": 4}, r"n_components=4 must be between 1 and 3, for class .*'a'.* has 6 points of 3 features"),
        ({"n_components": 0}, "n_components=0 must be between 1 and 3"),
        ({"epsilon": 0}, "epsilon=0 must be a positive number"),
        ({"epsilon": 1, "delta": 1}, "delta=1 must be at least 0 and below 1"),
        ({"epsilon": 1, "adjacency": -1}, "adjacency=-1 must be a positive number"),
        ({"subsets": 0}, "subsets=0 must be an integer of at least 1"),
        ({"n_components": 1, "subsets": 4}, r"subsets=4 must be at most 3, for class .*'a'.* has 6 points"),
    ):
        with pytest.raises(InputError, match=f"^{message}"):
            AffineHullClassifier(**settings).fit(X, y)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        KernelAffineHull().fit(np.where(X > 1, np.nan, X))
