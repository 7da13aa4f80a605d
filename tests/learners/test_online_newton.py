"""Tests of Newton steps on a stream: the same in explicit features with dense inverses, and the estimators."""

import math
import pickle

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel
from sklearn.multiclass import OneVsRestClassifier

from convnn.errors import InputError
from convnn.learners import Chunked, Gaussian, Linear, SketchedKONSClassifier, SketchedKONSRegressor
from convnn.learners.newton_steps import LOSSES, OnlineNewton


def stream(count: int, width: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    X = draw.normal(size=(count, width))
    return X, np.clip(np.sin(X.sum(1)) + 0.1 * draw.normal(size=count), -1, 1)


class Primal:
    """The steps of the paper on features (T, D), with dense inverses."""

    def __init__(self, loss: str, C: float, eta: float, alpha: float, gamma: float, beta: float, eps: float) -> None:
        self.settings = (loss, C, eta, alpha, gamma, beta, eps)

    def run(self, features: np.ndarray, y: np.ndarray, uniforms: np.ndarray) -> list[tuple[float, ...]]:
        loss, C, eta, alpha, gamma, beta, eps = self.settings
        A = alpha * np.eye(features.shape[1])
        weighted, u, found = A.copy(), np.zeros(features.shape[1]), []
        for phi, target, uniform in zip(features, y, uniforms, strict=True):
            raw, reach = u @ phi, np.linalg.solve(A, phi)
            h = math.copysign(max(abs(raw) - C, 0), raw)
            w = u - (h / (phi @ reach) * reach if h else 0)
            p = w @ phi
            slope, value = {
                "squared": (2 * (p - target), (p - target) ** 2),
                "logistic": (-target / (1 + math.exp(target * p)), math.log1p(math.exp(-target * p))),
                "squared_hinge": (-2 * target * max(0, 1 - target * p), max(0, 1 - target * p) ** 2),
            }[loss]
            gain = eta * slope**2 * phi @ np.linalg.solve(weighted, phi)
            leverage = (1 + eps) * gain / (1 + gain)
            probability = max(min(beta * leverage, 1), gamma)
            kept = uniform < probability
            A = A + kept * eta * slope**2 * np.outer(phi, phi)
            weighted = weighted + kept * eta * slope**2 / probability * np.outer(phi, phi)
            u = w - np.linalg.solve(A, slope * phi)
            found.append((p, raw, slope, value, leverage, probability, kept))
        self.u = u
        return found


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("least", [0.15, 1.0], ids="least={}".format)
@pytest.mark.parametrize("bound", [0.3, 1.0], ids="C={}".format)
def test_steps_are_those_in_explicit_features(loss: str, least: float, bound: float) -> None:
    X, y = stream(30)
    y = y if loss == "squared" else np.where(y > 0, 1.0, -1.0)
    K = rbf_kernel(X, gamma=0.7)
    values, vectors = np.linalg.eigh(K)
    features = vectors * np.sqrt(values.clip(0)) @ vectors.T
    settings = (bound, 1.0, 0.5, least, 1.5, 0.4)
    ours, primal = OnlineNewton(LOSSES[loss], *settings), Primal(loss, *settings)
    coins = np.random.default_rng(1).uniform(size=30)
    found = [ours.step(K[t, :t], K[t, t], y[t], coins[t]) for t in range(30)]
    expected = primal.run(features, y, coins)
    np.testing.assert_allclose(np.array(found, dtype=float), np.array(expected), rtol=0, atol=1e-11)
    np.testing.assert_allclose(K @ ours.dual(), features @ primal.u, rtol=0, atol=1e-11)
    kept = [t for t, step in enumerate(expected) if step[6] and abs(step[2]) > 1e-12]
    assert ours.kept.tolist() == kept
    assert (len(kept) < 30) == (least < 1 or (loss == "squared_hinge" and bound == 1))


def test_all_rows_kept_and_a_linear_kernel_are_the_online_newton_step() -> None:
    X, y = stream(50, 3)
    ours = SketchedKONSRegressor("linear", C=0.8, eta=0.3, alpha=0.7, min_probability=1, random_state=0)
    with pytest.warns(ConvergenceWarning, match=r"has C=0.8 as bound of predictions, but y reaches 1; scale y"):
        ours.fit(X, y)
    primal = Primal("squared", 0.8, 0.3, 0.7, 1.0, 1.0, 0.5)
    steps = np.array(primal.run(X, y, np.zeros(50)))
    np.testing.assert_allclose(ours.progressive_predictions_, steps[:, 0], atol=1e-12)
    np.testing.assert_allclose(ours.loss_curve_, steps[:, 3], atol=1e-12)
    others = stream(9, 3, 1)[0]
    np.testing.assert_allclose(ours.predict(others), np.clip(others @ primal.u, -0.8, 0.8), atol=1e-12)
    assert np.array_equal(ours.dictionary_, np.arange(50))
    assert linear_kernel(others, ours.points_) @ ours.dual_coef_ == pytest.approx(others @ primal.u)


@pytest.mark.parametrize("sizes", [(40,), (1,) * 40, (3, 17, 20)], ids=len)
def test_a_stream_may_be_cut_anywhere(sizes: tuple[int, ...]) -> None:
    X, y = stream(40)
    settings = {"alpha": 0.5, "random_state": 0}
    whole = SketchedKONSRegressor(Gaussian(), **settings).fit(X, y)
    ours = SketchedKONSRegressor(Gaussian(), product=Chunked(0.1), **settings)
    for rows in np.split(np.arange(40), np.cumsum(sizes)[:-1]):
        ours = pickle.loads(pickle.dumps(ours.partial_fit(X[rows], y[rows])))
    np.testing.assert_allclose(ours.progressive_predictions_, whole.progressive_predictions_, atol=1e-12)
    np.testing.assert_allclose(ours.predict(X), whole.predict(X), atol=1e-12)
    assert np.array_equal(ours.dictionary_, whole.dictionary_)
    assert ours.n_iter_ == 40
    assert np.array_equal(ours.fit(X, y).progressive_predictions_, whole.fit(X, y).progressive_predictions_)


def test_rows_of_kernel_values_have_a_bound() -> None:
    X, y = stream(60)
    largest = 0

    def kernel(A, B):
        nonlocal largest
        largest = max(largest, len(A) * len(B))
        return Gaussian().block(A, B)

    SketchedKONSRegressor(kernel, product=Chunked(0.01), random_state=0).fit(X, y)
    assert largest <= 0.01e6 / 8
    with pytest.raises(InputError, match=r"^megabytes=0.0001 are less than"):
        SketchedKONSRegressor(product=Chunked(0.0001)).fit(X, y)


def test_rows_that_teach_nothing_are_not_kept() -> None:
    X = np.array([[1.0, 0], [0, 0], [0, 1.0], [1.0, 0]])
    ours = SketchedKONSRegressor(Linear(), min_probability=1, random_state=0).fit(X, np.array([0.5, 0.5, 0, 0.5]))
    assert ours.dictionary_.tolist() == [0, 1, 3]  # the third is predicted exactly
    assert ours.progressive_predictions_[1] == 0
    assert np.isfinite(ours.predict(X)).all()


def test_fewer_rows_are_kept_and_the_stream_is_learned() -> None:
    X, y = stream(300, 1)
    losses, kept = [], []
    for least in (1.0, 0.3, 0.1):
        ours = SketchedKONSRegressor(Gaussian(0.5), alpha=2, min_probability=least, random_state=0).fit(X, y)
        losses.append(ours.loss_curve_.sum())
        kept.append(len(ours.dictionary_))
        assert ours.loss_curve_[-100:].mean() < 0.1 * y.var()
        assert len(ours.dictionary_) <= (ours.loss_curve_ > 0).sum()
    assert kept[0] > 280  # all but those that are predicted exactly, at the bound
    assert 60 < kept[1] < 120
    assert 15 < kept[2] < 60
    assert losses[0] <= losses[1] <= 1.05 * losses[2]


@pytest.mark.parametrize("loss", LOSSES)
def test_classes_have_names_and_sides(loss: str) -> None:
    X, y = stream(120)
    names = np.where(y > 0, "up", "down")
    ours = SketchedKONSClassifier(Gaussian(), loss=loss, alpha=2, random_state=0, verbose=True).fit(X, names)
    assert ours.score(X, names) > 0.85
    assert np.array_equal(ours.predict(X), np.where(ours.decision_function(X) > 0, "up", "down"))
    again = SketchedKONSClassifier(Gaussian(), loss=loss, alpha=2, random_state=0)
    for i in range(0, 120, 30):
        again.partial_fit(X[i : i + 30], names[i : i + 30], classes=["up", "down"] if i == 0 else None)
    np.testing.assert_allclose(again.decision_function(X), ours.decision_function(X), atol=1e-12)
    assert hasattr(ours, "predict_proba") == (loss == "logistic")
    if loss == "logistic":
        chances = ours.predict_proba(X)
        np.testing.assert_allclose(np.log(chances[:, 1] / chances[:, 0]), ours.decision_function(X))


def test_more_classes_are_one_against_the_rest(capsys) -> None:
    X, y = stream(150)
    parts = np.digitize(y, [-0.3, 0.3])
    several = OneVsRestClassifier(SketchedKONSClassifier(Gaussian(), loss="squared_hinge", alpha=4, random_state=0))
    for i in (0, 75):
        several.partial_fit(X[i : i + 75], parts[i : i + 75], classes=[0, 1, 2])
    assert several.score(X, parts) > 0.7
    with pytest.raises(InputError, match=r"^Only binary classification is supported.* 3 classes; take OneVsRest"):
        SketchedKONSClassifier().fit(X, parts)
    SketchedKONSClassifier(verbose=1).fit(X, parts > 1)
    assert "[SketchedKONSClassifier] 150 rows, " in capsys.readouterr().out


def test_float32_stays_float32() -> None:
    X, y = stream(40)
    ours = SketchedKONSRegressor(random_state=0).fit(X.astype(np.float32), y)
    assert ours.dual_coef_.dtype == ours.predict(X.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(ours.predict(X), SketchedKONSRegressor(random_state=0).fit(X, y).predict(X), atol=1e-4)


def test_bad_input() -> None:
    X, y = stream(10)
    for message, settings in (
        ("C=0 must be a positive number", {"C": 0}),
        ("alpha=-1 must be a positive number", {"alpha": -1}),
        ("eta=0 must be a positive number", {"eta": 0}),
        ("beta=0 must be a positive number", {"beta": 0}),
        ("min_probability=0 must be a positive number", {"min_probability": 0}),
        ("min_probability=1.5 must be at most 1", {"min_probability": 1.5}),
        ("eps=1 must be below 1", {"eps": 1}),
        ("kernel='precomputed' knows no further points", {"kernel": "precomputed"}),
    ):
        with pytest.raises(InputError, match=f"^{message}"):
            SketchedKONSRegressor(**settings).fit(X, y)
    with pytest.raises(InputError, match=r"^product='x' must be None, or a product such as"):
        SketchedKONSRegressor(product="x").fit(X, y)
    with pytest.raises(InputError, match=r"^loss='hinge' is not one of squared, logistic, squared_hinge"):
        SketchedKONSClassifier(loss="hinge").fit(X, y > 0)
    with pytest.raises(InputError, match=r"^kernel has values that are not finite"):
        SketchedKONSRegressor("linear").fit(X * 1e200, y)
    with pytest.raises(ValueError, match=r"could not convert string to float"):
        SketchedKONSRegressor().fit(X, ["a"] * 10)
    with pytest.raises(ValueError, match=r"Input y contains NaN"):
        SketchedKONSRegressor().fit(X, np.where(y > 0, np.nan, y))
    with pytest.raises(InputError, match=r"^classes=None must be both classes in the first partial_fit"):
        SketchedKONSClassifier().partial_fit(X, y > 0)
    with pytest.raises(InputError, match=r"^y has .*7.*, which is not one of the classes"):
        SketchedKONSClassifier().partial_fit(X, np.full(10, 7), classes=[0, 1])
