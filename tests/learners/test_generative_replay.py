"""Replayed tasks: divergences of PyTorch, KernelRidge, who replays, what is remembered, scikit-learn's own checks."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.kernel_ridge import KernelRidge
from sklearn.utils.estimator_checks import check_estimator
from torch.distributions import Normal, kl_divergence

from convnn.errors import InputError
from convnn.learners import Chunked, Gaussian, Linear
from convnn.learners.generative_replay import ConditionalVAE, GenerativeKernelContinual, ReplayedMachine
from convnn.ops.ridge import kernel_ridge
from small_graphs import features


@pytest.fixture
def generator() -> ConditionalVAE:
    torch.manual_seed(0)
    return ConditionalVAE(6, 3, 5, 4).double()


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32), y


def tasks(X: np.ndarray, y: np.ndarray, count: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(X[y // 2 == task], y[y // 2 == task]) for task in range(count)]


def test_loss_is_made_of_known_parts(generator: ConditionalVAE) -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    x, y, noise = features(8, 6), torch.tensor([0, 1, 1, 3, 0, 3, 1, 2]), features(8, 3, seed=2)
    found = generator.loss(x, y, noise, 0.7, 0.4, 0.2)
    mean, logvar = generator.encode(x)
    here = Normal(mean, (logvar / 2).exp())
    there = Normal(generator.prior_mean[y], (generator.prior_logvar[y] / 2).exp())
    kl = kl_divergence(here, there).sum(1).mean()
    guess = generator.decode(mean + here.stddev * noise, y)
    reconstruction = -Normal(guess, 1.0).log_prob(x).sum(1).mean() - 3 * np.log(2 * np.pi)
    contrast = losses.SupConLoss(temperature=0.2)(mean, y)
    for ours, theirs in zip(found[1:], (reconstruction, kl, contrast), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    expected = reconstruction + 0.7 * kl + 0.4 * contrast
    torch.testing.assert_close(found.loss, expected, rtol=0, atol=1e-12)
    weights = list(generator.parameters())
    assert sum(each.numel() for each in weights) == 6 * 5 + 5 + 2 * 5 * 3 + 6 + (3 + 4) * 5 + 5 + 5 * 6 + 6 + 2 * 4 * 3
    for one, other in zip(*(torch.autograd.grad(loss, weights) for loss in (found.loss, expected)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("kernel", "settings"), [(Linear(), {"kernel": "linear"}), (Gaussian(1.0), {"kernel": "rbf"})])
@pytest.mark.parametrize("each", [1, 4])
def test_machines_are_kernel_ridge_regression(generator: ConditionalVAE, kernel, settings: dict, each: int) -> None:
    classes, noise, x = torch.tensor([3, 1]), features(2 * each, 3), features(7, 6, seed=3)
    ours = ReplayedMachine(generator, kernel, classes, noise, 0.1, Chunked())
    y = np.repeat([3, 1], each)
    drawn = [generator.prior_mean[c] + (generator.prior_logvar[c] / 2).exp() * e for c, e in zip(y, noise, strict=True)]
    samples = generator.decode(torch.stack(drawn), torch.from_numpy(y)).detach()
    torch.testing.assert_close(ours.samples, samples)
    anchors, means = (generator.encode(points)[0].detach().numpy() for points in (samples, x))
    theirs = KernelRidge(alpha=0.1, gamma=0.5, **settings).fit(anchors, (y[:, None] == [3, 1]).astype(float))
    np.testing.assert_allclose(ours.alpha, theirs.dual_coef_, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(ours(x), theirs.predict(means), rtol=1e-9, atol=1e-11)


def test_the_generator_before_replays_earlier_classes_and_has_no_gradient(digits, monkeypatch) -> None:
    first, second, _ = tasks(*digits)
    ours = GenerativeKernelContinual(classes=10, steps=3, replay=5, random_state=0).fit_task(*first)
    before, calls, sample = ours.generator_, [], ConditionalVAE.sample

    def record(self: ConditionalVAE, y: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        calls.append((self is before, torch.is_grad_enabled(), set(y.tolist()) <= {0, 1}, len(y)))
        return sample(self, y, noise)

    kept = [weight.clone() for weight in before.parameters()]
    monkeypatch.setattr(ConditionalVAE, "sample", record)
    ours.fit_task(*second)
    assert calls == 3 * [(True, False, True, 5)]
    assert all(torch.equal(*pair) for pair in zip(kept, before.parameters(), strict=True))
    assert ours.generator_ is not before


def test_replay_remembers_what_is_forgotten_without(digits) -> None:
    X, y = digits
    found = {}
    for replay in (16, 0):
        ours = GenerativeKernelContinual(classes=10, steps=60, replay=replay, random_state=0)
        for task in tasks(X[:900], y[:900]):
            ours.fit_task(*task)
        new, labels = X[900:][y[900:] < 6], y[900:][y[900:] < 6]
        is_first = labels < 2
        of_all, of_first = ours.predict(new) == labels, ours.predict(new[is_first], 0) == labels[is_first]
        found[replay] = of_all.mean(), of_first.mean()
    assert found[16][0] > found[0][0] + 0.1
    assert found[16][1] > 0.9


def test_tasks_have_classes_of_their_own_and_predictions_repeat(digits) -> None:
    X, y = digits
    names = np.array(list("abcdefghij"))
    ours, again = (
        GenerativeKernelContinual(classes=list(names), steps=5, random_state=1, kernel=Gaussian(2.0)) for _ in range(2)
    )
    for one in (ours, again):
        for points, labels in tasks(X[:200], y[:200])[::-1]:
            one.fit_task(points, names[labels])
    assert [task.tolist() for task in ours.tasks_] == [["e", "f"], ["c", "d"], ["a", "b"]]
    assert ours.classes_.tolist() == list("efcdab")
    assert set(ours.predict(X, 1)) <= {"c", "d"}
    assert ours.decision_function(X[:3]).shape == (3, 6)
    values = ours.decision_function(X[:9], 2)
    assert values.dtype == np.float32
    assert np.array_equal(ours.predict(X[:9], 2), np.where(values > 0, "b", "a"))
    for other in (again, pickle.loads(pickle.dumps(ours))):
        assert np.array_equal(ours.decision_function(X), other.decision_function(X))
    assert len(ours.loss_curve_) == ours.n_iter_ == 15


def test_samples_are_of_their_class(digits) -> None:
    X, y = digits
    ours = GenerativeKernelContinual(random_state=0).fit(X[:600][y[:600] < 3], y[:600][y[:600] < 3])
    labels = np.repeat([0, 1, 2], 40)
    drawn = ours.sample(labels, random_state=0)
    np.testing.assert_array_equal(ours.sample(labels, random_state=np.random.RandomState(0)), drawn)
    assert ours.sample(labels[0]).shape == drawn[:1].shape
    assert drawn.shape == (120, 64)
    assert np.mean(ours.predict(drawn) == labels) > 0.95
    centers = ours.generator_.prior_mean.detach().numpy()
    nearest = np.linalg.norm(ours.embed(drawn)[:, None] - centers, axis=2).argmin(1)
    assert np.mean(nearest == labels) > 0.95
    with pytest.raises(InputError, match="y has 3, which was not learned"):
        ours.sample([0, 3])


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_obeys_scikit_learn() -> None:
    """Of one task it is a classifier as any other."""
    check_estimator(GenerativeKernelContinual(kernel="rbf", steps=20), on_skip=None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latent_dim": 0}, "latent_dim=0 must be an integer of at least 1"),
        ({"per_class": 0}, "per_class=0 must be an integer of at least 1"),
        ({"replay": -1}, "replay=-1 must be an integer of at least 0"),
        ({"ridge": 0}, "ridge=0 must be a positive number"),
        ({"ridge": -1, "kernel": "rbf"}, "ridge=-1 must be at least 0"),
        ({"beta": -1}, "beta=-1 must be at least 0"),
        ({"contrast": None}, "contrast=None must be at least 0"),
        ({"temperature": 0}, "temperature=0 must be a positive number"),
        ({"lr": 0}, "lr=0 must be a positive number"),
        ({"kernel": "precomputed"}, "kernel='precomputed' must be a kernel of points"),
        ({"classes": None}, "classes=None must be all classes of all tasks, or their number, in fit_task"),
        ({"classes": 2}, r"y has 2, which is not one of the classes \[0, 1\]"),
        ({"classes": 0}, "classes=0 must be an integer of at least 1"),
        ({"product": 3}, "product=3 must be None, or a product"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        GenerativeKernelContinual(**{"classes": 3} | settings).fit_task(features(6, 2).numpy(), [0, 1, 2] * 2)


def test_bad_tasks_change_nothing() -> None:
    X, y = features(6, 2).numpy(), np.array([0, 1] * 3)
    ours = GenerativeKernelContinual(classes=4, steps=2, random_state=0).fit_task(X, y)
    before = ours.decision_function(X)
    for points, labels, message in (
        (X, y + 1, "y has 1, a class of an earlier task; classes of a task must be new"),
        (X, y + 3, r"y has 4, which is not one of the classes \[0, 1, 2, 3\]"),
        (X * 1e30, y + 2, "X makes the loss (nan|inf) in step 0; bring its features to between 0 and 1"),
        (X[:, :1], y + 2, "X has 1 features, but GenerativeKernelContinual is expecting 2"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            ours.fit_task(points, labels)
        assert np.array_equal(ours.decision_function(X), before)
    for task in (1, -1, "0"):
        with pytest.raises(InputError, match=f"^task={task!r} must be a number from 0 to 0, of a task learned"):
            ours.predict(X, task)
    with pytest.raises(NotFittedError):
        clone(ours).predict(X)
    assert clone(ours).fit_task(X[:1], [3]).predict(X, 0).tolist() == [3] * 6


def test_a_singular_matrix_is_named() -> None:
    with pytest.raises(InputError, match=r"^ridge=0 leaves a singular kernel matrix; take a larger one$"):
        kernel_ridge(torch.ones(3, 3), torch.ones(3, 1), 0)
