import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge

from convnn.errors import InputError
from convnn.learners import Gaussian, Matrix, STKClassifier, STKRegressor, transformed_ridge
from small_graphs import features

X, NEW = features(40, 3).numpy(), features(9, 3, seed=2).numpy()
Y = features(40, 2, seed=3).numpy()
KNOWN = np.arange(40) % 3 == 1
PART = np.where(KNOWN[:, None], Y, np.nan)
N = KNOWN.sum()
KERNEL = Gaussian(1.0)
SPECTRA = [
    {"spectrum": "polynomial", "coef": (0.3, 0.5, 0.2)},
    {"spectrum": "inverse_laplacian", "eta": 2.0},
    {"spectrum": "top", "n_components": 5},
]


@pytest.mark.parametrize(
    "settings",
    [{"coef": (1.0,)}, {"spectrum": "inverse_laplacian", "eta": 0.0}, {"spectrum": lambda s: s}],
    ids=("polynomial", "inverse_laplacian", "function"),
)
def test_identity_is_kernel_ridge_whatever_is_unlabelled(settings) -> None:
    ours = STKRegressor(KERNEL, normalize=False, beta=0.02, **settings).fit(X, PART)
    ridge = KernelRidge(alpha=N * 0.02, kernel="rbf", gamma=0.5).fit(X[KNOWN], Y[KNOWN])
    assert np.allclose(ours.dual_coef_, ridge.dual_coef_)
    assert np.allclose(ours.predict(NEW), ridge.predict(NEW))


def test_top_is_ridge_regression_on_kernel_pca() -> None:
    G = KERNEL(X)
    values, vectors = np.linalg.eigh(G / 40)
    psi = KERNEL(NEW, X) @ vectors[:, -5:] / (40**0.5 * values[-5:])
    on_sample = 40**0.5 * vectors[:, -5:]
    ridge = Ridge(alpha=N * 0.02, fit_intercept=False).fit(on_sample[KNOWN], Y[KNOWN])
    ours = STKRegressor(KERNEL, normalize=False, beta=0.02, **SPECTRA[2]).fit(X, PART)
    assert np.allclose(ours.predict(NEW), ridge.predict(psi))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("settings", SPECTRA, ids=str)
def test_solvers_agree(settings, normalize: bool) -> None:
    shared = {"normalize": normalize, "beta": 0.02, "tol": 1e-12, "max_iter": 20_000, **settings}
    direct = STKRegressor(KERNEL, solver="direct", **shared).fit(X, PART)
    for solver in ("cg", "richardson"):
        ours = STKRegressor(KERNEL, solver=solver, **shared).fit(X, PART)
        assert np.allclose(ours.dual_coef_, direct.dual_coef_)
        assert np.allclose(ours.theta_, direct.theta_)
        assert np.allclose(ours.predict(NEW), direct.predict(NEW))


@pytest.mark.parametrize("settings", SPECTRA, ids=str)
def test_few_labels_among_many_points_are_solved_at_once(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a graph's kernel has negative eigenvalues, of which conjugate gradients make nothing."""
    ring = np.roll(np.eye(40), 1, 0) + np.roll(np.eye(40), -1, 0)
    shared = {"kernel": Matrix.of_graph(csr_array(ring)), "normalize": False, "beta": 0.05, **settings, "eta": 0.9}
    nodes = np.arange(40.0)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        direct = STKRegressor(solver="direct", **shared).fit(nodes, PART)
        monkeypatch.setattr(transformed_ridge, "DIRECT", N)
        ours = STKRegressor(**shared).fit(nodes, PART)
    assert ours.n_iter_ == 1
    assert np.allclose(ours.predict(nodes), direct.predict(nodes))


@pytest.mark.parametrize("settings", SPECTRA, ids=str)
def test_values_on_the_sample(settings) -> None:
    """f = G_s[:, L] alpha = G theta, with G_s = N s(A) by an eigendecomposition in NumPy."""
    values, vectors = np.linalg.eigh(KERNEL(X) / 40)
    s = {
        "polynomial": lambda v: 0.3 * v + 0.5 * v**2 + 0.2 * v**3,
        "inverse_laplacian": lambda v: v / (1 - 2 * v),
        "top": lambda v: (v >= v[-5]).astype(float),
    }[settings["spectrum"]]
    G_s = 40 * vectors * s(values) @ vectors.T
    ours = STKRegressor(KERNEL, normalize=False, beta=0.02, **settings).fit(X, PART)
    alpha = np.linalg.solve(G_s[np.ix_(KNOWN, KNOWN)] + N * 0.02 * np.eye(N), Y[KNOWN])
    assert np.allclose(ours.dual_coef_, alpha)
    assert np.allclose(ours.predict(X), G_s[:, KNOWN] @ alpha)


def test_normalised_kernels_have_a_scale_of_their_own() -> None:
    first, second = (STKRegressor(KERNEL, coef=coef).fit(X, PART) for coef in ((0, 1), (0, 7)))
    assert np.allclose(first.predict(NEW), second.predict(NEW))
    assert second.scale_ == pytest.approx(7 * first.scale_)
    by_hand = STKRegressor(KERNEL, coef=(0, 1), beta=1e-3 * first.scale_, normalize=False).fit(X, PART)
    assert np.allclose(by_hand.predict(NEW), first.predict(NEW))


def test_order_of_rows_and_precomputed_kernels_change_nothing() -> None:
    plain = STKRegressor(KERNEL).fit(X, PART)
    order = np.random.default_rng(0).permutation(40)
    assert np.allclose(STKRegressor(KERNEL).fit(X[order], PART[order]).predict(NEW), plain.predict(NEW))
    given = STKRegressor("precomputed").fit(KERNEL(X), PART)
    assert np.allclose(given.predict(KERNEL(NEW, X)), plain.predict(NEW))


def test_unlabelled_points_help_new_ones() -> None:
    digits = load_digits()
    pixels, labels = digits.data[:600] / 16, digits.target[:600].copy()
    labels[40:300] = -1
    shared = {"gamma": 0.5, "beta": 1e-4}
    plain = STKClassifier(coef=(1.0,), **shared).fit(pixels[:300], labels[:300])
    ours = STKClassifier(coef=(0, 1), **shared).fit(pixels[:300], labels[:300])
    scores = [one.score(pixels[300:], digits.target[300:600]) for one in (plain, ours)]
    assert scores[1] > scores[0] + 0.02


def test_walks_of_several_steps_reach_what_one_does_not() -> None:
    path = csr_array(np.eye(10, k=1) + np.eye(10, k=-1))
    nodes, labels = np.arange(10.0)[:, None], np.array([0, *[-1] * 8, 1])
    few, many = (
        STKClassifier(Matrix.of_graph(path, lazy=True), coef=(0,) * (power - 1) + (1,)).fit(nodes, labels)
        for power in (1, 8)
    )
    assert (np.abs(few.decision_function(nodes)[2:8]) < 1e-12).all()
    assert (many.predict(nodes) == nodes[:, 0] // 5).all()
    dense = STKClassifier(Matrix(Matrix.of_graph(path, lazy=True).values.toarray()), coef=(0,) * 7 + (1,))
    assert np.allclose(dense.fit(nodes, labels).decision_function(nodes), many.decision_function(nodes))


def test_graphs_are_not_positive_but_lazy_ones_are() -> None:
    ring = np.roll(np.eye(6), 1, 0) + np.roll(np.eye(6), -1, 0)
    nodes, labels = np.arange(6.0)[:, None], np.array([0, 1, -1, -1, -1, -1])
    for solver in ("direct", "cg"):
        with pytest.warns(UserWarning, match="not positive semidefinite"):
            STKClassifier(Matrix.of_graph(ring), solver=solver).fit(nodes, labels)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            STKClassifier(Matrix.of_graph(ring, lazy=True), solver=solver).fit(nodes, labels)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"beta": 0}, "beta=0"),
        ({"spectrum": "inverse_laplacian", "eta": -0.1}, r"eta=-0\.1"),
        ({"spectrum": "inverse_laplacian", "eta": 100}, "eta=100 must be at least 0 and less than"),
        ({"spectrum": "inverse_laplacian", "eta": 100, "solver": "cg"}, "eta=100 must be at least 0 and less than"),
        ({"coef": ()}, r"coef=\(\)"),
        ({"coef": (1, -1)}, r"coef=\(1, -1\)"),
        ({"coef": (0, 0)}, r"coef=\(0, 0\)"),
        ({"spectrum": "top", "n_components": 41}, "n_components=41"),
        ({"spectrum": "topd"}, "spectrum='topd'"),
        ({"spectrum": lambda s: s, "solver": "cg"}, "solver='cg'"),
        ({"solver": "lu"}, "solver='lu'"),
        ({"kernel": "precomputed"}, r"must be \(n, n\)"),
        ({"step": 0}, "step=0"),
        ({"max_iter": 0}, "max_iter=0"),
    ],
)
def test_bad_settings(settings, words: str) -> None:
    with pytest.raises(InputError, match=words):
        STKRegressor(**settings).fit(X, PART)


def test_bad_data() -> None:
    with pytest.raises(InputError, match="no labelled row"):
        STKRegressor().fit(X, np.full(40, np.nan))
    with pytest.raises(InputError, match="no labelled row"):
        STKClassifier().fit(X, np.full(40, -1))
    half = Y.copy()
    half[3, 1] = np.nan
    with pytest.raises(InputError, match="in part NaN"):
        STKRegressor().fit(X, half)


def test_stopping_early_warns() -> None:
    with pytest.warns(ConvergenceWarning, match="stopped after 1 steps"):
        STKRegressor(solver="cg", max_iter=1, tol=1e-10).fit(X, PART)
