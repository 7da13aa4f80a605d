"""What holds for all estimators: scikit-learn's own checks, pickles, names and searches."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import check_estimator

from convnn.errors import InputError
from convnn.learners import (
    DualKernelPCA,
    EigenProClassifier,
    EigenProRegressor,
    Gaussian,
    KernelThinning,
    Laplace,
    MultiLayerRandomFeatures,
    SketchedKONSClassifier,
    SketchedKONSRegressor,
    STKClassifier,
    STKRegressor,
)
from convnn.learners.base import place
from pairwise import only

ESTIMATORS = [EigenProRegressor(), EigenProClassifier(), DualKernelPCA(), STKRegressor(), STKClassifier()]
OTHERS = [KernelThinning(), SketchedKONSRegressor(), SketchedKONSClassifier(), MultiLayerRandomFeatures((16, 8))]
"""Without coefficients, or of a stream; further tests of them are in files of their own."""
USUAL = (EigenProClassifier, DualKernelPCA, STKRegressor, *map(type, OTHERS))
"""One of each kind; scikit-learn's checks of the others, which share their bases, are in the long run."""
EXPECTED = {
    "STKClassifier": {"check_classifiers_classes": "-1 marks rows without a label, as in sklearn.semi_supervised"}
}


def _name(estimator) -> str:
    return type(estimator).__name__


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", only(lambda one: isinstance(one, USUAL), ESTIMATORS + OTHERS), ids=_name)
def test_obeys_scikit_learn(estimator) -> None:
    found = check_estimator(estimator, expected_failed_checks=EXPECTED.get(_name(estimator), {}), on_skip=None)
    assert sum(one["status"] == "passed" for one in found) >= 40


@pytest.fixture(scope="module")
def flowers() -> tuple[np.ndarray, np.ndarray]:
    return load_iris(return_X_y=True)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=_name)
def test_pickle_gives_the_same_results(estimator, flowers) -> None:
    X, y = flowers
    ours = clone(estimator).set_params(kernel=Laplace(2.0))
    if "random_state" in ours.get_params():
        ours.set_params(random_state=0)
    ours.fit(X, y)
    again = pickle.loads(pickle.dumps(ours))
    result = "transform" if isinstance(ours, DualKernelPCA) else "predict"
    assert np.array_equal(getattr(ours, result)(X), getattr(again, result)(X))


def test_hyperparameters_of_kernels_are_searched(flowers) -> None:
    X, y = flowers
    machine = make_pipeline(StandardScaler(), EigenProClassifier(Gaussian(), random_state=0, n_centers=60))
    found = GridSearchCV(machine, {"eigenproclassifier__kernel__bandwidth": [1e-3, 2.0]}, cv=3).fit(X, y)
    assert found.best_params_ == {"eigenproclassifier__kernel__bandwidth": 2.0}
    assert found.best_score_ > 0.9


def test_kernels_are_kernels_of_scikit_learn(flowers) -> None:
    X, y = flowers
    ours, theirs = SVC(kernel=Gaussian(2.0)).fit(X, y), SVC(kernel="rbf", gamma=0.125).fit(X, y)
    assert np.allclose(ours.decision_function(X), theirs.decision_function(X))


def test_names_of_features_are_kept() -> None:
    frame = DualKernelPCA(2, random_state=0).fit(np.eye(5))
    assert list(frame.get_feature_names_out()) == ["dualkernelpca0", "dualkernelpca1"]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=_name)
def test_says_what_it_does(estimator, flowers, capsys) -> None:
    clone(estimator).set_params(verbose=True).fit(*flowers)
    assert f"[{_name(estimator)}]" in capsys.readouterr().out


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=_name)
def test_float32_stays_float32(estimator, flowers) -> None:
    X, y = flowers
    ours = clone(estimator).fit(X.astype(np.float32), y)
    assert ours.dual_coef_.dtype == np.float32


@pytest.mark.parametrize("setting", [{"device": "gpu"}, {"device": 2.5}, {"device": -1}, {"product": 3}], ids=str)
def test_settings_that_are_none_are_named(setting) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(InputError, match=f"{name}={value!r} must be None, or"):
        EigenProRegressor(**setting).fit(np.eye(4), np.arange(4.0))


def test_device_0_is_not_the_processor() -> None:
    assert place(0) != place(None)
