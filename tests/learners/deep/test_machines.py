"""Tests of deep kernel machines as estimators: processes of scikit-learn, composed kernels, what layers learn."""

import math
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.utils.estimator_checks import check_estimator

from convnn.errors import InputError, UnsupportedError
from convnn.learners import DeepKernelMachineClassifier, DeepKernelMachineRegressor, Linear


def product(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    X = random.normal(size=(count, 5))
    return X, X[:, 0] * X[:, 1] + 0.1 * random.normal(size=count)


@pytest.mark.parametrize("columns", [1, 2])
def test_without_layers_it_is_a_gaussian_process(columns: int) -> None:
    (X, y), (others, _) = product(0, 30), product(1, 7)
    Y = np.stack([y, np.sin(X[:, 2])], 1)[:, :columns]
    Y = Y[:, 0] if columns == 1 else Y
    ours = DeepKernelMachineRegressor(0, noise_variance=0.2, jitter=0).fit(X, Y)
    theirs = GaussianProcessRegressor(RBF(math.sqrt(5)), alpha=0.2, optimizer=None).fit(X, Y)
    mean, deviation = ours.predict(others, return_std=True)
    expected, spread = theirs.predict(others, return_std=True)
    np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(deviation**2, spread**2 + 0.2, rtol=0, atol=1e-12)
    assert ours.objectives_[0] == pytest.approx(theirs.log_marginal_likelihood(), rel=1e-12)
    assert ours.n_iter_ == 0
    scaled = clone(ours).set_params(normalize_y=True).fit(X, 3 * Y + 5).predict(others, return_std=True)
    again = clone(theirs).set_params(normalize_y=True).fit(X, 3 * Y + 5).predict(others, return_std=True)
    np.testing.assert_allclose(scaled[0], again[0], rtol=0, atol=1e-12)
    noise = 0.2 * 9 * Y.var(0)
    np.testing.assert_allclose(scaled[1] ** 2, again[1] ** 2 + noise, rtol=0, atol=1e-12)


def test_infinite_layers_compose_their_kernels() -> None:
    (X, y), (others, _) = product(0, 30), product(1, 7)
    all_points = np.concatenate([X, others])
    K = np.exp(np.exp(rbf_kernel(all_points, gamma=0.1) - 1) - 1)
    ours = DeepKernelMachineRegressor(2, dof=math.inf, jitter=0).fit(X, y)
    expected = K[30:, :30] @ np.linalg.solve(K[:30, :30] + 0.1 * np.eye(30), y)
    np.testing.assert_allclose(ours.predict(others), expected, rtol=0, atol=1e-11)


def test_narrow_layers_learn_a_product() -> None:
    (X, y), (others, target) = product(0, 60), product(1, 200)
    errors, objectives = [], []
    for dof in (math.inf, (30.0, 10.0)):
        ours = DeepKernelMachineRegressor(dof=dof, max_iter=40, random_state=0).fit(X, y)
        errors.append(((ours.predict(others) - target) ** 2).mean() ** 0.5)
        objectives.append(ours.objectives_)
    assert errors[1] < 0.9 * errors[0]
    assert objectives[1][0] == pytest.approx(objectives[0][0])  # it starts where nothing is learned
    assert objectives[1][-1] > objectives[1][0] + 5
    few = DeepKernelMachineRegressor(n_inducing=20, max_iter=80, random_state=0).fit(X, y)
    assert ((few.predict(others) - target) ** 2).mean() ** 0.5 < 0.95 * errors[0]
    again = pickle.loads(pickle.dumps(few))
    np.testing.assert_array_equal(again.predict(others), few.predict(others))


@pytest.mark.parametrize("kernel", ["relu", "squared_exponential"])
def test_digits_are_told_apart(kernel: str) -> None:
    X, y = load_digits(return_X_y=True)
    X, names = X / 8 - 1, np.array(list("abcdefghij"))[y]
    ours = DeepKernelMachineClassifier(1, kernel, n_inducing=40, max_iter=60, n_samples=8, random_state=0)
    ours.fit(X[:500], names[:500])
    assert ours.score(X[500:800], names[500:800]) > 0.8
    probabilities = ours.predict_proba(X[500:520])
    np.testing.assert_allclose(probabilities.sum(1), 1)
    np.testing.assert_array_equal(ours.predict(X[500:520]), ours.classes_[probabilities.argmax(1)])
    np.testing.assert_allclose(ours.predict_proba(X[505:506]), probabilities[5:6], rtol=1e-9)  # of each by itself


@pytest.mark.parametrize(
    "ours",
    [
        DeepKernelMachineRegressor(1, max_iter=3),
        pytest.param(DeepKernelMachineRegressor(1, n_inducing=1, max_iter=80, lr=0.2), marks=pytest.mark.long),
        pytest.param(
            DeepKernelMachineClassifier(1, max_iter=30, n_inducing=8, n_samples=4, batch_size=30),
            marks=pytest.mark.long,
        ),
    ],
    ids=["full", "sparse", "classifier"],
)
def test_scikit_learn_takes_it(ours) -> None:
    failed = {"check_regressors_train": "one inducing point is too few"} if ours.n_inducing == 1 else {}
    check_estimator(ours, on_skip=None, expected_failed_checks=failed)


def test_bad_settings(capsys) -> None:
    X, y = product(0, 12)
    for settings, message in (
        ({"n_layers": -1}, "n_layers=-1 must be an integer of at least 0"),
        ({"dof": 0}, "dof=0 must be a positive number"),
        ({"dof": np.ones(1)}, r"dof=array\(\[1\.\]\) must be one number, or one for each of 2 layers"),
        ({"dof": [1.0]}, r"dof=\[1.0\] must be one number, or one for each of 2 layers"),
        ({"kernel": "rbf"}, "kernel='rbf' is not one of squared_exponential, relu, linear"),
        ({"noise_variance": -1}, "noise_variance=-1 must be at least 0"),
        ({"noise_variance": 0, "n_inducing": 3}, "noise_variance=0 must be a positive number"),
        ({"n_inducing": 13}, "n_inducing=13 must be at most 12, the number of points"),
        ({"max_iter": 0}, "max_iter=0 must be an integer of at least 1"),
        ({"jitter": -0.1}, "jitter=-0.1 must be at least 0"),
    ):
        with pytest.raises(InputError, match=f"^{message}"):
            DeepKernelMachineRegressor(**settings).fit(X, y)
    with pytest.raises(InputError, match=r"^n_samples=0 must be an integer"):
        DeepKernelMachineClassifier(n_samples=0).fit(X, y > 0)
    with pytest.raises(
        UnsupportedError, match=r"^the kernel before layer 1 is not .*; give the kernels a larger jitter"
    ):
        DeepKernelMachineRegressor(1, Linear(), jitter=0).fit(X, y)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        DeepKernelMachineRegressor().fit(np.where(X > 1, np.nan, X), y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        DeepKernelMachineRegressor().fit(X, y[:-1])
    DeepKernelMachineRegressor(1, max_iter=1, verbose=True).fit(X, y)
    assert "[DeepKernelMachineRegressor] step 0: objective -" in capsys.readouterr().out
