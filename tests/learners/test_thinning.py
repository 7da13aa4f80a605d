"""Tests of kernel thinning: the halving by its words, discrepancies by explicit features, swaps by brute force."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.metrics.pairwise import laplacian_kernel, rbf_kernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from convnn.errors import InputError, UnsupportedError
from convnn.learners import (
    Chunked,
    Function,
    Gaussian,
    Hashed,
    KernelMatrix,
    KernelThinning,
    Laplace,
    Matrix,
    kernel_thin,
)
from convnn.learners.thinning import halve


def points(count: int, features: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, features))


def halved(K: np.ndarray, ids: list[int], log_factor: float, uniforms: np.ndarray) -> tuple[list[int], list[int]]:
    """Halve a list by sums over the two halves, word by word."""
    left, right, variance = [], [], 0.0
    for i, u in enumerate(uniforms):
        a, b = ids[2 * i], ids[2 * i + 1]
        square = K[a, a] - 2 * K[a, b] + K[b, b]
        t = max(math.sqrt(variance * square * log_factor), square)
        if variance == 0:
            variance = square
        elif t != 0:
            variance += square * max(0, 1 + (square / t - 2) * variance / t)
        along = sum(K[a, q] - K[b, q] for q in right) - sum(K[a, q] - K[b, q] for q in left)
        if u <= (1 - along / (t or 1)) / 2:
            a, b = b, a
        left.append(a)
        right.append(b)
    return left, right


@pytest.mark.parametrize("megabytes", [256.0, 0.004, 0.001], ids="megabytes={}".format)
@pytest.mark.parametrize("log_factor", [0.5, 9.0], ids="log_factor={}".format)
def test_halves_are_those_of_the_definition(megabytes: float, log_factor: float) -> None:
    X = np.concatenate([points(36), points(1, seed=1), points(1, seed=1)])  # two are the same
    K, ids = rbf_kernel(X, gamma=0.7), np.random.default_rng(0).permutation(36)
    ids, coins = np.concatenate([ids, [36, 37]]), np.random.default_rng(1).uniform(size=19)
    matrix = KernelMatrix(Function(rbf_kernel_of), *[torch.from_numpy(X)] * 2, Chunked(megabytes))
    left, right = halve(matrix, ids, log_factor, coins)
    assert (left.tolist(), right.tolist()) == halved(K, ids.tolist(), log_factor, coins)


def rbf_kernel_of(X: torch.Tensor, Y: torch.Tensor) -> np.ndarray:
    return rbf_kernel(X, Y, gamma=0.7)


def test_a_kernel_of_zeros_tosses_fair_coins() -> None:
    coins = np.random.default_rng(0).uniform(size=(1, 10))
    lists = kernel_thin(np.zeros((20, 20)), np.eye(20), 1, coins).lists
    assert np.array_equal(lists[0], np.arange(20).reshape(10, 2)[np.arange(10), (coins[0] <= 0.5).astype(int)])


@pytest.mark.parametrize(("count", "m"), [(32, 3), (45, 2), (27, 1), (7, 0)], ids=str)
def test_lists_are_parts_of_the_points_and_the_discrepancy_falls(count: int, m: int) -> None:
    X, size = points(count, 3), count >> m
    K = X @ X.T  # its discrepancy is the distance of the means

    def discrepancy(chosen: np.ndarray) -> float:
        return float(np.linalg.norm(X[chosen].mean(0) - X.mean(0)))

    ours = kernel_thin(rbf_kernel(X), K, m, random_state=0)
    assert ours.lists.shape == (2**m, size)
    assert np.array_equal(np.sort(ours.lists, axis=None), np.arange(size << m))
    assert ours.mmd == pytest.approx(discrepancy(ours.indices), abs=1e-7)
    assert ours.best_mmd == pytest.approx(discrepancy(ours.best), abs=1e-7)
    regular = np.arange(count - 1, -1, -(count // size))[:size]
    tried = [regular, *(ours.lists[:1] if m == 1 else ours.lists)]
    assert ours.best_mmd == pytest.approx(min(map(discrepancy, tried)), abs=1e-7)
    assert len(ours.best) == len(ours.indices) == size
    assert ours.mmd <= ours.best_mmd


@pytest.mark.parametrize("unique", [True, False], ids="unique={}".format)
@pytest.mark.parametrize("zero_mean", [True, False], ids="zero_mean={}".format)
def test_swaps_are_the_best_of_all(unique: bool, zero_mean: bool) -> None:
    X = points(22, 3, 4)
    K = laplacian_kernel(X)
    ours = kernel_thin(K, K, 2, unique=unique, zero_mean=zero_mean, random_state=0)
    chosen = ours.best.tolist()

    def square(some: list[int]) -> float:
        own = K[np.ix_(some, some)].mean()
        return own if zero_mean else own - 2 * K[some].mean() + K.mean()

    regular = np.arange(21, -1, -4)[:5]  # the last of the six
    assert ours.best_mmd**2 == pytest.approx(min(square(list(one)) for one in [regular, *ours.lists]))
    for i in range(len(chosen)):
        rest = chosen[:i] + chosen[i + 1 :]
        scores = [square([*rest, z]) if not unique or z not in rest else math.inf for z in range(22)]
        chosen[i] = int(np.argmin(scores))
    assert ours.indices.tolist() == chosen
    assert ours.mmd == pytest.approx(math.sqrt(square(chosen)))
    assert len(set(chosen)) == 5 or not unique


def test_of_four_points_the_best_two() -> None:
    X = np.array([[0.0], [0.3], [2.0], [2.4]])
    K = rbf_kernel(X)
    squares = [K[np.ix_(two, two)].mean() - 2 * K[list(two)].mean() for two in combinations(range(4), 2)]
    best = math.sqrt(min(squares) + K.mean())
    for coins in ([0.1, 0.1], [0.1, 0.9], [0.9, 0.1], [0.9, 0.9]):
        assert kernel_thin(K, K, 1, [coins], unique=True).mmd == pytest.approx(best)


def test_scales_of_kernels_do_not_matter() -> None:
    X = points(40)
    K, other = rbf_kernel(X, gamma=0.3), laplacian_kernel(X)
    ours = kernel_thin(other, K, 2, random_state=0)
    again = kernel_thin(8 * other, 4 * K, 2, random_state=0)
    assert np.array_equal(ours.lists, again.lists)
    assert np.array_equal(ours.indices, again.indices)
    assert again.mmd == pytest.approx(2 * ours.mmd)


def test_two_for_a_quarter_of_the_points_are_nearer_than_random_ones() -> None:
    X = points(256)
    K = rbf_kernel(X, gamma=0.5)
    ours = kernel_thin(K, K, 4, random_state=0)
    drawn = [np.random.default_rng(seed).choice(256, 16, replace=False) for seed in range(20)]
    chance = np.mean([math.sqrt(K[np.ix_(C, C)].mean() - 2 * K[C].mean() + K.mean()) for C in drawn])
    assert ours.best_mmd < 0.7 * chance
    assert ours.mmd < 0.5 * chance


class Watched:
    """A kernel that remembers the size of its largest block."""

    def __init__(self) -> None:
        self.largest = 0

    def __call__(self, X: torch.Tensor, Y: torch.Tensor) -> torch.Tensor:
        self.largest = max(self.largest, len(X) * len(Y))
        return Gaussian(1.5).block(X, Y)


def test_blocks_have_a_bound_and_choose_the_same() -> None:
    X, watched = points(300), Watched()
    settings = {"m": 3, "random_state": 0}
    whole = KernelThinning(kernel=Gaussian(1.5), **settings).fit(X)
    sampled = KernelThinning(kernel=Gaussian(1.5), product=Hashed(samples=2000), **settings).fit(X)
    assert np.array_equal(sampled.coreset_.lists, whole.coreset_.lists)  # the halving is exact
    ours = KernelThinning(kernel=watched, product=Chunked(0.05), **settings).fit(X)
    assert np.array_equal(ours.indices_, whole.indices_)
    assert watched.largest <= 0.05e6 / 8
    with pytest.raises(InputError, match=r"^megabytes=0.001 are less than the 0 of this kernel matrix"):
        KernelThinning(product=Chunked(0.001)).fit(X)


@pytest.mark.parametrize(
    ("split", "power", "of"),
    [
        ("target", None, lambda X: laplacian(X)),
        ("power", 0.8, lambda X: matern(X, 0.2)),
        ("plus", None, lambda X: laplacian(X) + matern(X, 0.25)),
        (Gaussian(2.0), None, lambda X: rbf_kernel(X, gamma=0.125)),
    ],
    ids=["target", "power", "plus", "mine"],
)
def test_splits_are_those_of_the_matrices(split, power, of) -> None:
    X = points(40)
    ours = KernelThinning(kernel=Laplace(0.8), m=2, split_kernel=split, power=power, random_state=3).fit(X)
    expected = kernel_thin(of(X), laplacian(X), 2, random_state=3)
    assert np.array_equal(ours.coreset_.lists, expected.lists)
    assert np.array_equal(ours.indices_, expected.indices)
    assert ours.mmd_ == pytest.approx(expected.mmd)


def laplacian(X: np.ndarray) -> np.ndarray:
    return np.exp(-np.linalg.norm(X[:, None] - X, axis=2) / 0.8)


def matern(X: np.ndarray, smoothness: float) -> np.ndarray:
    from sklearn.gaussian_process.kernels import Matern

    return Matern(0.8 * math.sqrt(2 * smoothness), nu=smoothness)(X)


def test_the_root_of_a_gaussian_is_narrower() -> None:
    X = points(30)
    ours = KernelThinning(kernel=Gaussian(2.0), split_kernel="root", m=1, random_state=0).fit(X)
    expected = kernel_thin(rbf_kernel(X, gamma=0.25), rbf_kernel(X, gamma=0.125), 1, random_state=0)
    assert np.array_equal(ours.coreset_.lists, expected.lists)


@pytest.mark.parametrize("wanted", [1, 7, 40, 99, 150], ids="n_samples={}".format)
def test_as_many_as_wanted(wanted: int) -> None:
    X, y = load_iris(return_X_y=True)
    ours = KernelThinning(wanted, unique=True, random_state=0)
    rows, targets = ours.fit_resample(X, y)
    assert len(set(ours.indices_)) == wanted
    assert np.array_equal(rows, X[ours.indices_])
    assert np.array_equal(targets, y[ours.indices_])
    assert len(ours.set_params(n_samples=None).fit_transform(X)) == 150 >> 3  # about the square root


def test_matrices_pipelines_and_progress(capsys) -> None:
    X = points(64)
    K = rbf_kernel(X, gamma=0.5)
    settings = {"m": 3, "random_state": 0}
    ours = KernelThinning(kernel=Gaussian(), verbose=True, **settings).fit(X)
    assert "[KernelThinning] 8 points, discrepancy" in capsys.readouterr().out
    for kernel, data in (("precomputed", K), (Matrix(K), np.arange(64.0)[:, None])):
        assert np.array_equal(KernelThinning(kernel=kernel, **settings).fit(data).indices_, ours.indices_)
    chain = make_pipeline(StandardScaler(), KernelThinning(kernel=Gaussian(), **settings))
    scaled = StandardScaler().fit_transform(X)
    assert np.array_equal(chain.fit_transform(X), scaled[chain[-1].indices_])


def test_bad_input() -> None:
    K = np.eye(6)
    for message, change in (
        ("m=-1 must be an integer of at least 0", {"m": -1}),
        ("m=3 must be at most 2, for 6 points are halved m times", {"m": 3}),
        ("delta=0 must be a positive number", {"delta": 0}),
        ("delta=1 must be below 1", {"delta": 1}),
        ("delta=None must be a positive number", {"delta": None}),
        (r"K_split of shape \(5, 5\) must be \(6, 6\), as K_swap is", {"K_split": np.eye(5)}),
        (r"K_swap of shape \(6, 5\) must be \(n, n\)", {"K_swap": K[:, :5]}),
        (r"K_split of shape \(0, 0\) must be \(n, n\)", {"K_split": K[:0, :0]}),
        ("K_swap has values that are not finite", {"K_swap": np.where(K, np.nan, K)}),
        (r"uniforms of shape \(3,\) must be \(1, 3\), a row for each halving", {"uniforms": [0.1, 0.2, 0.3]}),
        ("uniforms has numbers that are not between 0 and 1", {"uniforms": [[0.1, 0.2, np.nan]]}),
        ("size=4 must be at most 3, what 1 halvings leave of 6 points", {"size": 4}),
        ("size=0 must be an integer of at least 1", {"size": 0}),
    ):
        with pytest.raises(InputError, match=f"^{message}"):
            kernel_thin(**{"K_split": K, "K_swap": K, "m": 1} | change)
    X = points(9)
    for message, settings in (
        ("m=4 must be at most 3, for 9 points", {"m": 4}),
        ("n_samples=10 must be at most the number of rows, 9", {"n_samples": 10}),
        ("n_samples=0 must be an integer of at least 1", {"n_samples": 0}),
        ("m=1 must be None where n_samples=2 says how many", {"m": 1, "n_samples": 2}),
        ("split_kernel='square' is not one of target, root, power, plus", {"split_kernel": "square"}),
        ("power=0.7 must be None unless split_kernel is 'power' or 'plus'", {"power": 0.7}),
        ("power=0.5 must be above 0.6667", {"kernel": "laplace", "split_kernel": "root"}),
        ("delta=2 must be below 1", {"delta": 2}),
        ("kernel has values that are not finite at point 0", {"kernel": lambda X, Y: torch.full((9, 9), torch.nan)}),
    ):
        with pytest.raises(InputError, match=f"^{message}"):
            KernelThinning(**settings).fit(X)
    with pytest.raises(InputError, match=r"^split_kernel has values that are not finite$"):
        KernelThinning(m=2, split_kernel=lambda X, Y: torch.full((len(X), len(Y)), torch.inf)).fit(X)
    with pytest.raises(InputError, match="split_kernel='root' must be 'target' for a precomputed kernel"):
        KernelThinning(kernel="precomputed", split_kernel="root").fit(np.eye(4))
    with pytest.raises(UnsupportedError, match="has no power here"):
        KernelThinning(kernel="linear", split_kernel="plus").fit(X)
