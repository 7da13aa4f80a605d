import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process.kernels import RBF
from sklearn.kernel_approximation import RBFSampler
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import normalize
from sklearn.svm import SVC

from convnn.errors import InputError
from convnn.learners import NNGP, ArcCosine, MultiLayerRandomFeatures, STKRegressor, nngp_kernel
from small_graphs import features

X, Y = features(9, 4).numpy(), features(6, 4, seed=2).numpy()
ROOT_2 = 2**0.5


def _name(activation) -> str:
    return getattr(activation, "__name__", activation)


def test_of_one_layer_fourier_is_scikit_learns_sampler() -> None:
    theirs = RBFSampler(gamma=0.32, n_components=7, random_state=0).fit(X)
    ours = MultiLayerRandomFeatures((7,), "fourier", sigma_w=0.8).fit(X)
    assert ours.biases_[0].max() <= 2 * np.pi
    ours.weights_, ours.biases_ = [theirs.random_weights_.T / 0.8], [theirs.random_offset_]
    assert np.allclose(ours.transform(Y), theirs.transform(Y), atol=1e-14)
    assert np.allclose(ours.kernel_(X, Y), RBF(1 / 0.8)(X, Y))


def test_features_are_the_formula_in_loops() -> None:
    ours = MultiLayerRandomFeatures((5, 3), ("relu", "sin"), 1.3, 0.4, random_state=0).fit(X)
    (W1, W2), (b1, b2) = ours.weights_, ours.biases_
    for x, found in zip(Y, ours.transform(Y), strict=True):
        hidden = [max(0, 1.3 * sum(W1[t] * x) + 0.4 * b1[t]) for t in range(5)]
        last = [np.sin(1.3 * sum(W2[t] * hidden) / 5**0.5 + 0.4 * b2[t]) / 3**0.5 for t in range(3)]
        assert np.allclose(found, last)


@pytest.mark.parametrize("activation", ["relu", "step", "sign", "erf", "cos", "sin", "fourier", torch.tanh], ids=_name)
def test_the_kernel_is_the_mean_over_units(activation) -> None:
    ours = MultiLayerRandomFeatures((100_000,), activation, 0.7, 0.3, random_state=0).fit(X[:4])
    found = ours.transform(X[:4])
    assert np.abs(found @ found.T - ours.kernel_(X[:4])).max() < 0.015


def test_so_it_is_of_several_layers() -> None:
    ours = MultiLayerRandomFeatures((3000, 3000), ("cos", "relu"), 1.2, 0.5, random_state=0).fit(X)
    found = ours.transform(X)
    expected = ours.kernel_(X)
    assert np.linalg.norm(found @ found.T - expected) < 0.05 * np.linalg.norm(expected)


@pytest.mark.long
@pytest.mark.parametrize("activation", ["relu", "step", "erf"])
def test_the_error_falls_as_one_over_the_root_of_the_width(activation: str) -> None:
    points = normalize(np.random.default_rng(0).standard_normal((80, 6)))
    expected, widths = NNGP(activation, 2)(points), (32, 64, 128, 256, 512)
    errors = [[_error(points, expected, width, activation, seed) for seed in range(20)] for width in widths]
    slope = np.polyfit(np.log(widths), np.log(np.mean(errors, 1)), 1)[0]
    assert -0.6 < slope < -0.4


def _error(points: np.ndarray, expected: np.ndarray, width: int, activation: str, seed: int) -> float:
    found = MultiLayerRandomFeatures((width, width), activation, random_state=seed).fit_transform(points)
    return float(np.linalg.norm(found @ found.T - expected))


def test_relu_with_weights_of_root_2_keeps_lengths_and_of_one_layer_is_arc_cosine() -> None:
    assert np.allclose(NNGP(sigma_w=ROOT_2)(X, Y), ArcCosine()(X, Y))
    deep = NNGP(layers=5, sigma_w=ROOT_2)
    assert np.allclose(deep.diagonal(torch.from_numpy(X)), np.square(X).sum(1))
    assert np.allclose(NNGP(layers=3)(X), deep.set_params(layers=3)(X) / 8)


def test_kernel_is_positive_symmetric_and_has_its_diagonal() -> None:
    kernel = NNGP(("erf", torch.tanh), 2, 1.3, 0.4)
    K = kernel(X)
    assert np.allclose(K, K.T)
    assert np.linalg.eigvalsh(K)[0] > -1e-12
    assert np.allclose(kernel.diagonal(torch.from_numpy(X)), K.diagonal())
    assert clone(kernel).get_params() == kernel.get_params()


def test_function_takes_arrays_and_tensors() -> None:
    expected = NNGP("erf", 2, 1.1, 0.2)(X, Y)
    assert np.array_equal(nngp_kernel(X, Y, "erf", 2, sigma_w=1.1, sigma_b=0.2), expected)
    points = torch.from_numpy(X).requires_grad_()
    found = nngp_kernel(points, torch.from_numpy(Y), "erf", 2, sigma_w=1.1, sigma_b=0.2)
    assert np.array_equal(found.detach(), expected)
    assert np.allclose(nngp_kernel(X), nngp_kernel(X, X))
    assert torch.autograd.gradcheck(nngp_kernel, (points, torch.from_numpy(Y)), fast_mode=True)


def test_a_ridge_on_the_features_goes_to_the_learner_with_the_kernel() -> None:
    kernel, y = NNGP("erf", 2), np.sin(3 * X[:, 0])
    exact = KernelRidge(alpha=0.1, kernel="precomputed").fit(kernel(X), y).predict(kernel(Y, X))
    ours = make_pipeline(
        MultiLayerRandomFeatures((2000, 2000), "erf", random_state=0), Ridge(0.1, fit_intercept=False)
    ).fit(X, y)
    assert np.abs(ours.predict(Y) - exact).max() < 0.1
    labels = y > 0
    machine = SVC(kernel=kernel).fit(X, labels)
    expected = SVC(kernel="precomputed").fit(kernel(X), labels).decision_function(kernel(Y, X))
    assert np.allclose(machine.decision_function(Y), expected)


def test_kernel_is_one_of_our_learners() -> None:
    y = np.sin(3 * X[:, 0])
    ours = STKRegressor(NNGP("erf", 2), beta=0.1, coef=(1,), normalize=False).fit(X, y)
    theirs = KernelRidge(alpha=0.9, kernel="precomputed").fit(NNGP("erf", 2)(X), y)
    assert np.allclose(ours.predict(Y), theirs.predict(NNGP("erf", 2)(Y, X)), atol=1e-6)


def test_learns_digits_and_is_searched() -> None:
    images, labels = load_digits(return_X_y=True)
    images = normalize(images)
    machine = make_pipeline(MultiLayerRandomFeatures((64, 256), random_state=0), RidgeClassifier(1e-3))
    found = GridSearchCV(machine, {"multilayerrandomfeatures__widths": [(2, 2), (64, 256)]}, cv=2).fit(images, labels)
    assert found.best_params_ == {"multilayerrandomfeatures__widths": (64, 256)}
    assert found.best_score_ > 0.85


def test_draws_follow_the_seed_layer_by_layer() -> None:
    ours = MultiLayerRandomFeatures((3, 2), sigma_b=1.0, random_state=5).fit(X)
    random = np.random.RandomState(5)
    for weight, bias, shape in zip(ours.weights_, ours.biases_, [(3, 4), (2, 3)], strict=True):
        assert np.array_equal(weight, random.standard_normal(shape))
        assert np.array_equal(bias, random.standard_normal(shape[0]))
    again = pickle.loads(pickle.dumps(ours))
    assert np.array_equal(again.transform(Y), ours.transform(Y))
    assert list(ours.get_feature_names_out()) == ["multilayerrandomfeatures0", "multilayerrandomfeatures1"]
    assert MultiLayerRandomFeatures((3,)).fit(X).biases_ == [None]


def test_says_what_it_drew(capsys: pytest.CaptureFixture[str]) -> None:
    MultiLayerRandomFeatures((3, 2), verbose=True).fit(X)
    assert capsys.readouterr().out == "[MultiLayerRandomFeatures] drew 18 weights in 2 layers\n"


def test_tensors_stay_tensors_and_gradients_pass() -> None:
    ours = MultiLayerRandomFeatures((4, 3), "erf", random_state=0).fit(torch.from_numpy(X))
    points = torch.from_numpy(Y).requires_grad_()
    assert np.array_equal(ours.transform(points).detach(), ours.transform(Y))
    assert torch.autograd.gradcheck(ours.transform, (points,), fast_mode=True)
    assert ours.transform(points.float()).dtype == torch.float32
    assert ours.transform(points.bfloat16()).dtype == torch.bfloat16
    assert ours.transform(torch.ones(2, 4, dtype=torch.long)).dtype == torch.float64


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"widths": ()}, r"^widths=\(\) must be a sequence"),
        ({"widths": 512}, "^widths=512 must be a sequence"),
        ({"widths": (3, 0)}, "^widths=0 must be an integer of at least 1"),
        ({"activation": "rely"}, "^activation='rely' is not one of .* did you mean 'relu'"),
        ({"activation": ("relu",)}, "^activation=.* must be one for all layers, or 2"),
        ({"sigma_w": 0.0}, "^sigma_w=0.0 must be a positive number"),
        ({"sigma_b": -1.0}, "^sigma_b=-1.0 must be at least 0"),
    ],
    ids=str,
)
def test_settings_out_of_range(setting: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        MultiLayerRandomFeatures(**setting).fit(X)
    if "widths" not in setting:
        with pytest.raises(InputError, match=words):
            NNGP(layers=2, **setting)


def test_bad_points() -> None:
    with pytest.raises(NotFittedError):
        MultiLayerRandomFeatures().transform(X)
    ours = MultiLayerRandomFeatures((2,)).fit(X)
    for wrong in (X[:, :3], torch.from_numpy(X[:, :3])):
        with pytest.raises(ValueError, match="4 features"):
            ours.transform(wrong)
    with pytest.raises(ValueError, match="NaN"):
        ours.transform(np.full((2, 4), np.nan))
    with pytest.raises(InputError, match="layers=0"):
        NNGP(layers=0)
    with pytest.raises(ValueError, match="alpha"):
        make_pipeline(ours, Ridge(-1.0)).fit(X, X[:, 0])
