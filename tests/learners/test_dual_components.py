import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.decomposition import KernelPCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import KernelCenterer, StandardScaler

from convnn.errors import InputError
from convnn.learners import Chunked, DualKernelPCA, Gaussian, Linear
from convnn.learners.dual_components import Frame, Loss, dual_objective
from small_graphs import features

X = StandardScaler().fit_transform(load_iris().data)
TRAIN, TEST = X[::2], X[1::2]
KERNEL = Gaussian(5**0.5)


def _fit(points: np.ndarray = TRAIN, **settings) -> DualKernelPCA:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return DualKernelPCA(**{"kernel": KERNEL, "random_state": 0, "tol": 1e-13, **settings}).fit(points)


@pytest.mark.parametrize("solver", ["dca", "lbfgs"])
@pytest.mark.parametrize("product", [None, Chunked(0.01)])
def test_square_loss_is_kernel_pca(solver: str, product) -> None:
    ours = _fit(n_components=3, solver=solver, product=product, tol=0, max_iter=400)
    theirs = KernelPCA(3, kernel="rbf", gamma=0.1).fit(TRAIN)
    assert np.allclose(ours.transform(TRAIN), theirs.transform(TRAIN), atol=1e-5)
    assert np.allclose(ours.transform(TEST), theirs.transform(TEST), atol=1e-5)
    assert np.allclose(ours.eigenvalues_, theirs.eigenvalues_)
    assert ours.loss_curve_[-1] == pytest.approx(-theirs.eigenvalues_.sum() / 2)


@pytest.mark.parametrize("center", [True, False])
def test_precomputed_kernels(center: bool) -> None:
    plain = _fit(n_components=2, center=center)
    given = _fit(KERNEL(TRAIN), n_components=2, center=center, kernel="precomputed")
    assert np.allclose(plain.transform(TEST), given.transform(KERNEL(TEST, TRAIN)))
    if center:
        centerer = KernelCenterer().fit(KERNEL(TRAIN))
        by_hand = _fit(centerer.transform(KERNEL(TRAIN)), n_components=2, center=False, kernel="precomputed")
        assert np.allclose(by_hand.transform(centerer.transform(KERNEL(TEST, TRAIN))), plain.transform(TEST))


@pytest.mark.parametrize(
    "loss",
    [
        Loss(),
        *(Loss(name, radius, norm) for name in ("huber", "epsilon") for radius in (0.2,) for norm in ("2", "inf")),
    ],
)
def test_objective_never_rises(loss: Loss) -> None:
    ours = _fit(n_components=2, loss=loss.name, radius=loss.radius, norm=loss.norm, tol=1e-10)
    assert (np.diff(ours.loss_curve_) < 1e-10).all()
    assert ours.n_iter_ == len(ours.loss_curve_) - 1 > 2


@pytest.mark.parametrize("name", ["huber", "epsilon"])
@pytest.mark.parametrize("norm", ["2", "inf"])
def test_prox_minimises(name: str, norm: str) -> None:
    loss, Y = Loss(name, 0.7, norm), features(6, 3)
    H = loss.prox(Y)

    def cost(H: torch.Tensor) -> float:
        lengths = H.norm(dim=1) if norm == "2" else H.abs()
        if name == "huber":
            return torch.inf if (lengths > 0.7 + 1e-12).any() else (H - Y).square().sum().item() / 2
        return (0.7 * lengths.sum() + (H - Y).square().sum() / 2).item()

    for seed in range(20):
        assert cost(H) <= cost(
            loss.prox(H + 0.05 * features(6, 3, seed=seed)) if name == "huber" else H + 0.05 * features(6, 3, seed=seed)
        )
    assert loss.prox(torch.zeros(2, 3)).tolist() == [[0.0] * 3] * 2


def test_slope_is_the_gradient() -> None:
    G, H = torch.from_numpy(KERNEL(TRAIN[:12])), features(12, 3).requires_grad_()
    frame = Frame.of(H, G @ H)
    (slope,) = torch.autograd.grad(dual_objective(H, frame, Loss()), H)
    assert torch.allclose(slope, H - frame.slope)


@pytest.mark.parametrize(("loss", "radius"), [("huber", 1e6), ("epsilon", 0.0)])
def test_limits_are_the_square_loss(loss: str, radius: float) -> None:
    ours, square = (_fit(n_components=2, **settings) for settings in ({"loss": loss, "radius": radius}, {}))
    assert np.allclose(ours.transform(TEST), square.transform(TEST))


def test_insensitive_loss_leaves_rows_out() -> None:
    counts, captured = [], []
    for radius in (0.0, 0.3, 0.5, 0.7):
        ours = _fit(X, n_components=3, loss="epsilon", radius=radius, tol=1e-9)
        counts.append(len(ours.support_))
        captured.append(np.square(ours.transform(X)).sum())
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0] == 150
    assert captured == sorted(captured, reverse=True)


def test_everything_within_the_radius_is_zero() -> None:
    with pytest.warns(ConvergenceWarning, match="rank 0"):
        ours = DualKernelPCA(2, loss="epsilon", radius=100, random_state=0).fit(TRAIN)
    assert not ours.dual_coef_.any()
    assert not ours.transform(TEST).any()
    assert not len(ours.support_)


def test_rank_below_the_components() -> None:
    line = np.outer(np.arange(6.0), [1, 2])
    with pytest.warns(ConvergenceWarning, match="rank 1"):
        ours = DualKernelPCA(2, kernel=Linear(), random_state=0).fit(line)
    assert np.allclose(np.abs(ours.transform(line)[:, 0]), np.abs(np.arange(6) - 2.5) * 5**0.5)


def test_huber_resists_outliers() -> None:
    random = np.random.default_rng(0)
    dirty = TRAIN.copy()
    dirty[:7] = 10 * random.standard_normal((7, 4))
    _, _, clean = np.linalg.svd(TRAIN, full_matrices=False)
    angles = []
    for settings in ({}, {"loss": "huber", "radius": 0.1}):
        ours = _fit(dirty, n_components=2, kernel=Linear(), center=False, tol=1e-9, **settings)
        frame = np.linalg.qr(dirty.T @ ours.dual_coef_)[0]
        angles.append(np.linalg.norm(clean[:2] @ frame))
    assert angles[1] > angles[0] + 0.1


def test_lbfgs_is_near_the_optimum_in_ten_steps() -> None:
    exact = -np.linalg.eigvalsh(KERNEL(X))[-5:].sum() / 2
    ours = _fit(X, n_components=5, center=False, solver="lbfgs", max_iter=10)
    assert ours.loss_curve_[-1] == pytest.approx(exact, rel=1e-2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_components": 0}, "n_components=0"),
        ({"n_components": 76}, "n_components=76 must be at most"),
        ({"loss": "huber", "radius": 0}, "radius=0"),
        ({"loss": "epsilon", "radius": -1}, "radius=-1"),
        ({"loss": "hinge"}, "loss='hinge'"),
        ({"norm": "1"}, "norm='1'"),
        ({"loss": "huber", "solver": "lbfgs"}, "solver='lbfgs'"),
        ({"solver": "eig"}, "solver='eig'"),
        ({"kernel": "precomputed"}, r"must be \(n, n\)"),
        ({"init": np.ones((3, 2))}, "init of shape"),
        ({"max_iter": 0}, "max_iter=0"),
        ({"tol": -1}, "tol=-1"),
    ],
)
def test_bad_settings(settings, words: str) -> None:
    with pytest.raises(InputError, match=words):
        DualKernelPCA(**settings).fit(TRAIN)


def test_stopping_early_warns() -> None:
    with pytest.warns(ConvergenceWarning, match="stopped after 2 steps"):
        DualKernelPCA(2, max_iter=2, tol=0, random_state=0).fit(TRAIN)
