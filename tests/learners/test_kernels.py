import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import pairwise

from convnn.errors import InputError, UnsupportedError
from convnn.learners import AlignedClassifier, DualKernelPCA, EigenProClassifier, STKClassifier
from convnn.learners.kernels import (
    ArcCosine,
    ExponentialPower,
    Function,
    Gaussian,
    Kernel,
    Laplace,
    Linear,
    Polynomial,
    kernel_of,
    squared_distances,
)
from convnn.learners.spectra import Matern
from convnn.ops import select
from small_graphs import features

KERNELS = [
    Linear(),
    Polynomial(2, 0.5, 1.0),
    Polynomial(3, 0.5, 0.0),
    Gaussian(1.5),
    Laplace(0.7),
    ExponentialPower(1.2, 0.8),
    ArcCosine(0),
    ArcCosine(1),
    ArcCosine(2),
    Matern(1.3, 0.2),
    Matern(0.8, 2.7),
]
X, Y = features(7, 3), features(5, 3, seed=2)


@pytest.mark.parametrize(
    ("kernel", "theirs"),
    [
        (Linear(), lambda: pairwise.linear_kernel(X, Y)),
        (Polynomial(3, 0.5, 2.0), lambda: pairwise.polynomial_kernel(X, Y, degree=3, gamma=0.5, coef0=2)),
        (Gaussian(1.5), lambda: pairwise.rbf_kernel(X, Y, gamma=1 / 4.5)),
        (Laplace(0.7), lambda: np.exp(-pairwise.euclidean_distances(X, Y) / 0.7)),
        (ExponentialPower(0.7, 1.0), lambda: np.exp(-pairwise.euclidean_distances(X, Y) / 0.7)),
        (ExponentialPower(1.5, 2.0), lambda: np.exp(-pairwise.euclidean_distances(X, Y, squared=True) / 2.25)),
    ],
    ids=lambda one: type(one).__name__,
)
def test_agrees_with_scikit_learn(kernel: Kernel, theirs) -> None:
    assert np.allclose(kernel.block(X, Y), theirs(), atol=1e-12)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_arc_cosine_is_the_mean_over_random_units(order: int) -> None:
    units = features(400_000, 3, seed=3)
    left, right = ((points @ units.T).clamp_min(0) ** order * (points @ units.T > 0) for points in (X[:3], Y[:2]))
    mean = 2 * (left[:, None] * right).mean(-1)
    assert torch.allclose(ArcCosine(order).block(X[:3], Y[:2]), mean, rtol=0.03)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda one: type(one).__name__)
def test_is_symmetric_positive_and_has_its_diagonal(kernel: Kernel) -> None:
    K = kernel.block(X, X)
    assert torch.allclose(K, K.T)
    assert torch.linalg.eigvalsh(K)[0] > -1e-12 * K.norm()
    assert torch.allclose(kernel.diagonal(X), K.diagonal(), atol=1e-12)
    assert clone(kernel) == kernel


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda one: type(one).__name__)
def test_of_gram_is_the_kernel_of_points(kernel) -> None:
    found = kernel.of_gram(X @ Y.T, X.square().sum(1), Y.square().sum(1))
    assert torch.allclose(found, kernel.block(X, Y))


@pytest.mark.parametrize(
    "kernel", [kernel for kernel in KERNELS if kernel != ArcCosine(0)], ids=lambda one: type(one).__name__
)
def test_gradients(kernel: Kernel) -> None:
    assert torch.autograd.gradcheck(
        kernel.block, (X.clone().requires_grad_(), Y.clone().requires_grad_()), fast_mode=True
    )


@pytest.mark.parametrize(
    "kernel", [Linear(), Polynomial(), Gaussian(2.0), Laplace(), ArcCosine(0)], ids=lambda one: type(one).__name__
)
def test_metric_finds_the_points_of_the_largest_kernel(kernel: Kernel) -> None:
    queries, keys = features(20, 3), features(50, 3, seed=2)
    nearest = select.nearest(queries[None], keys[None], 5, metric=kernel.metric).indices[0]
    assert torch.equal(nearest, kernel.block(queries, keys).topk(5).indices)


@pytest.mark.parametrize(
    "machine",
    [
        EigenProClassifier(Laplace(), n_centers=20, n_components=5, max_epochs=1, random_state=0),
        STKClassifier(Gaussian()),
        DualKernelPCA(2, kernel=ExponentialPower()),
        AlignedClassifier(Gaussian()),
    ],
    ids=lambda one: type(one).__name__,
)
def test_the_kernel_of_a_learner_finds_its_neighbours(machine) -> None:
    queries, keys = features(20, 3), features(50, 3, seed=2)
    kernel = machine.fit(keys.numpy(), keys[:, 0].numpy() > 0).kernel_
    nearest = select.nearest(queries[None], keys[None], 5, metric=kernel.metric).indices[0]
    assert torch.equal(nearest, kernel.block(queries, keys).topk(5).indices)


@pytest.mark.parametrize(
    "kernel", [Polynomial(2), ArcCosine(1), Function(pairwise.rbf_kernel)], ids=lambda one: type(one).__name__
)
def test_some_have_no_metric(kernel: Kernel) -> None:
    with pytest.raises(UnsupportedError, match="ranks points unlike"):
        _ = kernel.metric


def test_whole_numbers_do_not_overflow() -> None:
    X = np.array([[200, 3], [7, 90]])
    for kernel in (Gaussian(50.0), Polynomial(2), ArcCosine()):
        found = kernel(X.astype(np.uint8))
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, kernel(X.astype(np.float64)))


def test_near_points_do_not_suffer_from_cancellation() -> None:
    base = 1e4 + features(6, 4)
    near = base + 1e-9 * features(6, 4, seed=5)
    exact = (base[:, None] - near).square().sum(-1)
    assert torch.allclose(squared_distances(base, near), exact, rtol=1e-10, atol=0)
    assert torch.equal(squared_distances(base, base).diagonal(), torch.zeros(6))
    crowd = 1e8 + 1e-4 * features(50, 4)  # all of them near each other, as seen from 0
    exact = (crowd[:, None] - crowd).square().sum(-1)
    assert torch.allclose(squared_distances(crowd, crowd), exact, rtol=1e-10, atol=0)


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("gaussian", Gaussian(1.0)),
        ("rbf", Gaussian(1.0)),
        ("laplace", Laplace(2.0)),
        ("linear", Linear()),
        ("polynomial", Polynomial(scale=0.5)),
        ("arc_cosine", ArcCosine()),
    ],
)
def test_kernels_by_name(name: str, kernel: Kernel) -> None:
    assert kernel_of(name, 0.5, 9) == kernel
    assert np.allclose(kernel_of("sigmoid", 0.5, 3).block(X, Y), pairwise.sigmoid_kernel(X, Y, gamma=0.5))
    assert kernel_of("rbf", None, 2) == Gaussian(1.0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Gaussian(0.0), "bandwidth=0.0"),
        (lambda: Laplace(-1), "bandwidth=-1"),
        (lambda: Gaussian().set_params(bandwidth=-2), "bandwidth=-2"),
        (lambda: ExponentialPower(1, 2.5), "power=2.5"),
        (lambda: ArcCosine(3), "order=3"),
        (lambda: Polynomial(0), "degree=0"),
        (lambda: Polynomial(offset=-1), "offset=-1"),
        (lambda: Function(lambda X, Y: X).block(X, Y), r"\(7, 3\)"),
        (lambda: kernel_of("gausian", None, 1), "did you mean 'gaussian'"),
        (lambda: kernel_of(Linear(), 1.0, 1), "gamma=1.0"),
        (lambda: kernel_of("rbf", -1.0, 1), "gamma=-1.0"),
        (lambda: kernel_of(3, None, 1), "kernel=3"),
    ],
)
def test_bad_input(make, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()
