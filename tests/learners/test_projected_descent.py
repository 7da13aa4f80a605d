import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.kernel_ridge import KernelRidge

from convnn.errors import InputError
from convnn.learners import Chunked, EigenProClassifier, EigenProRegressor, Gaussian, Laplace, Linear, Matrix
from convnn.learners.products import KernelMatrix
from convnn.learners.projected_descent import ExactProjection, InexactProjection
from small_graphs import features

X, Y = features(60, 3).numpy(), features(60, 2, seed=2).numpy()


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    return X / 16, y


def test_centres_at_the_data_solve_the_system() -> None:
    kernel = Laplace(1.5)
    ours = EigenProRegressor(kernel, centers=X, projection="exact", n_components=20, max_epochs=800, random_state=0)
    exact = np.linalg.solve(kernel(X), Y)
    assert np.allclose(ours.fit(X, Y).dual_coef_, exact, atol=1e-8)
    ridge = KernelRidge(alpha=1e-12, kernel="precomputed").fit(kernel(X), Y)
    assert np.allclose(ours.predict(X), ridge.predict(kernel(X)), atol=1e-6)


def test_other_centres_find_least_squares() -> None:
    kernel, centers = Gaussian(2.0), features(12, 3, seed=3).numpy()
    ours = EigenProRegressor(
        kernel, centers=centers, projection="exact", n_components=10, max_epochs=1000, random_state=0
    )
    exact = np.linalg.lstsq(kernel(X, centers), Y)[0]
    ours.fit(X, Y)
    error, least = (np.square(kernel(X, centers) @ alpha - Y).mean() for alpha in (ours.dual_coef_, exact))
    assert error < 1.01 * least


def test_step_without_components_is_projected_descent() -> None:
    X = np.ones((2, 1))  # of rank 1, which leaves nothing to precondition
    kernel, y = Laplace(), np.array([1.0, 3.0])
    ours = EigenProRegressor(kernel, centers=[[0.5], [2.0]], projection="exact", max_epochs=1, random_state=0).fit(X, y)
    Z = np.array([[0.5], [2.0]])
    alpha = np.zeros(2)
    for x, target in zip(X, y, strict=True):
        row = kernel(x[None], Z)[0]
        alpha -= np.linalg.solve(kernel(Z), row * (row @ alpha - target)) / 2
    assert ours.batch_size_ == 1
    assert np.allclose(ours.dual_coef_[:, 0], alpha)


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_inexact_projection_approaches_the_exact_one(count: int) -> None:
    Z = features(count, 3, seed=4)
    K, h = KernelMatrix(Laplace(1.0), Z, Z), features(count, 2, seed=5)
    generator = torch.Generator().manual_seed(0)
    inexact = InexactProjection(K, torch.arange(count), lambda: torch.randperm(count, generator=generator), 300, 1e-12)
    assert torch.allclose(inexact(h), ExactProjection(K)(h), atol=1e-4)


def test_tolerance_of_the_projection_is_absolute() -> None:
    Z = features(30, 3, seed=4)
    K, h = KernelMatrix(Laplace(1.0), Z, Z), features(30, 1, seed=5)
    orders = []

    def shuffle() -> torch.Tensor:
        orders.append(0)
        return torch.arange(30)

    InexactProjection(K, torch.arange(30), shuffle, 50)(1e-6 * h)
    assert len(orders) == 1
    InexactProjection(K, torch.arange(30), shuffle, 50)(h)
    assert len(orders) > 2


def test_blocks_and_seeds_give_the_same_machine() -> None:
    settings = {"n_centers": 20, "max_epochs": 2, "random_state": 3}
    first = EigenProRegressor(**settings).fit(X, Y)
    assert np.array_equal(first.dual_coef_, EigenProRegressor(**settings).fit(X, Y).dual_coef_)
    small = EigenProRegressor(product=Chunked(0.03), **settings).fit(
        X, Y
    )  # less than any of its matrices but the samples'
    assert np.allclose(first.dual_coef_, small.dual_coef_)
    other = EigenProRegressor(**settings | {"random_state": 4}).fit(X, Y)
    assert not np.array_equal(first.centers_, other.centers_)
    assert len(first.loss_curve_) == 2
    assert first.loss_curve_[1] < first.loss_curve_[0]


def test_more_data_help_at_as_many_centres(digits) -> None:
    X, y = digits
    scores = []
    for rows in (100, 400):
        settings = {"centers": X[:100], "n_components": min(60, rows // 2), "max_epochs": 10, "random_state": 0}
        ours = EigenProClassifier(Laplace(5.0), **settings).fit(X[:rows], y[:rows])
        scores.append(ours.score(X[1397:], y[1397:]))
    assert scores[0] > 0.8
    assert scores[1] > scores[0]


def test_batches_of_a_stream(digits) -> None:
    X, y = digits
    ours = EigenProClassifier(Laplace(5.0), n_centers=100, n_components=40, random_state=0)
    for rows in np.split(np.arange(1200), 6):
        ours.partial_fit(X[rows], y[rows], classes=np.arange(10))
    assert ours.score(X[1397:], y[1397:]) > 0.8
    assert len(ours.loss_curve_) == 6
    with pytest.raises(InputError, match="not one of the classes"):
        ours.partial_fit(X[:2], [0, 10])


def test_nodes_of_a_graph_are_points() -> None:
    K = Laplace()(X)
    nodes = np.arange(60.0)[:, None]
    settings = {"n_centers": 20, "max_epochs": 2, "random_state": 3}
    ours = EigenProRegressor(Matrix(K), **settings).fit(nodes, Y)
    assert np.allclose(ours.predict(nodes), EigenProRegressor(Laplace(), **settings).fit(X, Y).predict(X))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_components": 60}, "n_components=60 must be less than"),
        ({"n_components": 0}, "n_components=0"),
        ({"n_nystrom": 61}, "n_nystrom=61 must be at most"),
        ({"n_nystrom": 10, "n_components": 10}, "n_components=10"),
        ({"n_centers": 0}, "n_centers=0"),
        ({"centers": np.ones((4, 2))}, r"centers of shape \(4, 2\)"),
        ({"centers": [[np.nan] * 3]}, "NaN"),
        ({"kernel": Linear(), "n_components": 5}, "n_components=5 must be at most 2"),
        ({"kernel": "precomputed"}, "Matrix"),
        ({"projection": "none"}, "projection='none'"),
        ({"max_epochs": 0}, "max_epochs=0"),
        ({"projection_epochs": 0}, "projection_epochs=0"),
        ({"tol": -1}, "tol=-1"),
        ({"gamma": -1}, "gamma=-1"),
    ],
)
def test_bad_settings(settings, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        EigenProRegressor(**settings).fit(X, Y)


def test_bad_data() -> None:
    with pytest.raises(ValueError, match="NaN"):
        EigenProRegressor().fit(X * np.nan, Y)
    with pytest.raises(InputError, match="one class"):
        EigenProClassifier().fit(X, np.zeros(60))
    with pytest.raises(InputError, match="classes=None"):
        EigenProClassifier().partial_fit(X, np.arange(60) % 2)
    with pytest.raises(InputError, match="kernel is 0"):
        EigenProRegressor(Linear()).fit(np.zeros((5, 2)), np.ones(5))
