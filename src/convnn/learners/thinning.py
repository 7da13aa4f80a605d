r"""Coresets: few points whose kernel mean is nearly that of all, by halving with balanced coins and by swaps."""

import math
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import check_consistent_length
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice, check_positive
from convnn.learners.base import KernelLearner
from convnn.learners.kernels import Function, Kernel, Kernelish, kernel_of
from convnn.learners.products import KernelMatrix, Product
from convnn.learners.spectra import spectral_power

AT_ONCE = 512
"""The most pairs whose kernel values are there at once."""
SPLITS = ("target", "root", "power", "plus")
Values: TypeAlias = Tensor | np.ndarray | KernelMatrix
"""A kernel matrix, of which values are there, or computed when needed."""


class Coreset(NamedTuple):
    """What thinning chose of n points.

    Attributes:
        indices: (N,) the rows of the points chosen.
        mmd: their maximum mean discrepancy from all points.
        lists: (2^m, N) the parts into which halving split the points.
        best: (N,) the best of them, or of every n / N-th point, before points are swapped.
        best_mmd: its discrepancy.
    """

    indices: np.ndarray
    mmd: float
    lists: np.ndarray
    best: np.ndarray
    best_mmd: float


def kernel_thin(
    K_split: Values,
    K_swap: Values,
    m: int,
    uniforms: Any = None,
    *,
    size: int | None = None,
    delta: float = 0.5,
    unique: bool = False,
    zero_mean: bool = False,
    random_state: Any = None,
) -> Coreset:
    r"""Choose :math:`N = \lfloor n / 2^m \rfloor` of n points that have nearly the kernel mean of all of them.

    1. **Split**: m times, each list is halved. Of the pairs of consecutive points (a, b) one goes left and one right,
       by a coin so biased that :math:`\sum_{right} k - \sum_{left} k` stays small in the space of K_split.
    2. **Best**: the list C of the smallest :math:`\mathrm{MMD}^2(C) = \mathrm{mean}\, K_{CC} - 2\, \mathrm{mean}\,
       \mu_C + \mathrm{mean}\, K` in K_swap, with :math:`\mu` its row means; every n / N-th point is tried as well.
    3. **Swap**: each point of C in turn is exchanged for the one, of all n, that makes the discrepancy least.

    It takes n^2 kernel values, of which no more are kept than `KernelMatrix.kept` keeps.

    Args:
        K_split: (n, n) kernel of the halving; a matrix, or a `KernelMatrix` of the points with themselves.
        K_swap: (n, n) kernel of the discrepancy.
        m: halvings, at least 0; 0 chooses all points.
        uniforms: (m, n // 2) numbers in [0, 1) of the coins, read from left to right, list by list in each row; None
            draws them.
        size: N, if less than that many are wanted: the first N 2^m points are split.
        delta: probability, above 0 and below 1, with which the bound on the sums may fail; smaller makes fairer coins.
        unique: whether swaps keep points distinct; otherwise a point may count twice.
        zero_mean: whether the mean to be near is 0, as it is of Stein kernels, instead of that of the points.
        random_state: seed or generator of the coins.

    Raises:
        InputError: an argument is out of range, the shapes do not agree, or a value is not finite.

    Reference:
        Dwivedi and Mackey, "Kernel thinning", arXiv 2105.05842, and "Generalized kernel thinning", arXiv 2110.01593;
        the published code for kernel matrices, whose route for points leaves out part of the sums from the second
        halving on.
    """
    halving, swapping = _matrix_of("K_split", K_split), _matrix_of("K_swap", K_swap)
    count = swapping.shape[0]
    if halving.shape != swapping.shape:
        raise InputError(f"K_split of shape {halving.shape} must be {swapping.shape}, as K_swap is")
    size = _check_size(count, m, size)
    check_positive("delta", delta)
    if delta >= 1:
        raise InputError(f"delta={delta!r} must be below 1")
    if uniforms is None:
        uniforms = check_random_state(random_state).uniform(size=(m, count // 2))
    coins = np.asarray(uniforms, dtype=np.float64)
    if coins.shape != (m, count // 2):
        raise InputError(f"uniforms of shape {coins.shape} must be {(m, count // 2)}, a row for each halving")
    if not ((coins >= 0) & (coins <= 1)).all():
        raise InputError("uniforms has numbers that are not between 0 and 1")
    discrepancy = Discrepancy(swapping, zero_mean)
    lists = _split(halving, m, size, coins, delta)
    best = discrepancy.best(lists)
    chosen = discrepancy.swapped(best, unique) if len(best) < count else best
    mmd, best_mmd = discrepancy(chosen), discrepancy(best)
    return Coreset(chosen, mmd, lists, best, best_mmd)


def halve(K: KernelMatrix, ids: np.ndarray, log_factor: float, uniforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of a list that go left and right, of an even number of points.

    It is the self-balancing walk over the differences k(a, .) - k(b, .) of pairs: their inner products say how far
    along the next one the sum lies already, and the coin is biased against it.

    Args:
        K: kernel of all points.
        ids: (2h,) rows of the points, of which consecutive ones are pairs.
        log_factor: what the variance of the sum is multiplied by in the bound that it may reach.
        uniforms: (h,) numbers of the coins.
    """
    count = len(ids) // 2
    signs, variance = np.zeros(count), 0.0
    numbers = int(K.product.megabytes * 1e6 / K.X.element_size() / 16)  # of pairs; 4 values each, and to compute them
    at_once = min(max(numbers // max(count, 1), 1), AT_ONCE)
    for first in range(0, count, at_once):
        last = min(first + at_once, count)
        products = _dense(K, ids[2 * first : 2 * last], ids[: 2 * last])
        products = products[0::2] - products[1::2]
        products = products[:, 0::2] - products[:, 1::2]
        along, products = products[:, :first] @ signs[:first], products[:, first:]
        for i, uniform in enumerate(uniforms[first:last]):
            square = max(float(products[i, i]), 0.0)
            bound = max(math.sqrt(variance * square * log_factor), square)
            if variance == 0:
                variance = square
            elif bound:
                variance += square * max(0.0, 1 + (square / bound - 2) * variance / bound)
            sign = signs[first + i] = 1 if uniform <= (1 - along[i] / (bound or 1)) / 2 else -1
            along[i + 1 :] += sign * products[i, i + 1 :]
    pairs = ids.reshape(-1, 2)
    return np.where(signs > 0, pairs[:, 1], pairs[:, 0]), np.where(signs > 0, pairs[:, 0], pairs[:, 1])


class Discrepancy:
    """How far the kernel mean of some points is from that of all, or from 0.

    Args:
        K: kernel of all points.
        zero_mean: whether it is the distance from 0.

    Raises:
        InputError: the kernel is not finite.
    """

    def __init__(self, K: KernelMatrix, zero_mean: bool) -> None:
        count = K.shape[0]
        means = (K @ K.X.new_ones(count) / count).cpu().numpy()
        if not np.isfinite(means).all():
            raise InputError(f"kernel has values that are not finite at point {int(np.isfinite(means).argmin())}")
        self.K, self.zero_mean = K, zero_mean
        self.means = np.zeros(count) if zero_mean else means

    def __call__(self, chosen: np.ndarray) -> float:
        """Return the discrepancy of points by number, (N,)."""
        return math.sqrt(max(self.square(chosen), 0.0))

    def square(self, chosen: np.ndarray) -> float:
        """Return its square, which rounding may bring below 0."""
        own = float((self._at(chosen, chosen) @ self.K.X.new_ones(len(chosen))).mean()) / len(chosen)
        return own + float(self.means.mean() - 2 * self.means[chosen].mean())

    def best(self, lists: np.ndarray) -> np.ndarray:
        """Return the best of lists (l, N), or every n / N-th point, if none is better; of two halves the first."""
        count, size = self.K.shape[0], lists.shape[1]
        regular = np.arange(count - 1, -1, -(count // size))[:size][::-1]
        tried = lists[:1] if len(lists) == 2 and not self.zero_mean else lists  # halves are as good as each other
        return min([regular, *tried], key=self.square)

    def swapped(self, chosen: np.ndarray, unique: bool) -> np.ndarray:
        """Return points in which each in turn was exchanged for the best of all; if `unique`, of those not chosen."""
        chosen, size = chosen.copy(), len(chosen)
        own = self.K.diagonal().cpu().numpy() / size - 2 * self.means
        total = (self.K[self._rows(chosen)].T @ self.K.X.new_ones(size)).cpu().numpy()
        taken = np.zeros(len(own), dtype=bool)
        taken[chosen] = unique
        for i, old in enumerate(chosen):
            others = total - self._row(old)
            scores = own + 2 / size * others
            taken[old] = False
            new = int(np.where(taken, np.inf, scores).argmin())
            if new != old and not (unique and scores[old] == scores[new]):
                chosen[i], total = new, others + self._row(new)
            taken[chosen[i]] = unique
        return chosen

    def _row(self, number: int) -> np.ndarray:
        return self.K[int(number) : int(number) + 1].dense()[0].cpu().numpy()

    def _at(self, rows: np.ndarray, columns: np.ndarray) -> KernelMatrix:
        return self.K.at(self._rows(rows), self._rows(columns))

    def _rows(self, numbers: np.ndarray) -> Tensor:
        return torch.from_numpy(numbers.copy()).to(self.K.X.device)


def _split(K: KernelMatrix, m: int, size: int, uniforms: np.ndarray, delta: float) -> np.ndarray:
    """Return 2^m lists (2^m, N) of the first N 2^m points, by m halvings of each list."""
    lists = np.arange(size << m)[None]
    for j, coins in enumerate(uniforms):
        count = K.shape[0] if m == 1 else lists.shape[1]  # as published; they differ by a last point without a partner
        log_factor = 2 * math.log(2 * count * m / (delta * 2**j))
        each = coins[: lists.size // 2].reshape(len(lists), -1)
        lists = np.stack(
            [half for ids, own in zip(lists, each, strict=True) for half in halve(K, ids, log_factor, own)]
        )
    return lists


def _dense(K: KernelMatrix, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the values of some rows and columns, in float64, and check them."""
    places = (torch.from_numpy(numbers).to(K.X.device) for numbers in (rows, columns))
    found: np.ndarray = K.at(*places).dense().double().cpu().numpy()
    if not np.isfinite(found).all():
        raise InputError("split_kernel has values that are not finite")
    return found


def _matrix_of(name: str, values: Values) -> KernelMatrix:
    """Return a square kernel matrix of float64 values, or as it is."""
    if isinstance(values, KernelMatrix):
        found = values
    else:
        tensor = torch.as_tensor(values).detach().double()
        found = KernelMatrix(None, tensor, tensor, values=tensor)
        if tensor.dim() != 2 or tensor.shape[0] != tensor.shape[1]:
            raise InputError(f"{name} of shape {tuple(tensor.shape)} must be (n, n), the kernel of all pairs of points")
        if not bool(tensor.isfinite().all()):
            raise InputError(f"{name} has values that are not finite")
    if found.shape[0] != found.shape[1] or not found.shape[0]:
        raise InputError(f"{name} of shape {found.shape} must be (n, n), the kernel of all pairs of points")
    return found


def _check_size(count: int, m: int, size: int | None) -> int:
    """Return how many points to choose."""
    check_at_least("m", m, 0)
    if count < 2**m:
        raise InputError(f"m={m} must be at most {int(math.log2(count))}, for {count} points are halved m times")
    most = count >> m
    if size is None:
        return most
    check_at_least("size", size, 1)
    if size > most:
        raise InputError(f"size={size} must be at most {most}, what {m} halvings leave of {count} points")
    return size


class KernelThinning(KernelLearner):
    """Choose few points that stand for all, better than as many at random: see `kernel_thin`.

    `fit_transform` returns the points, and `fit_resample` their targets as well. There is no `transform`, which in
    scikit-learn keeps the number of rows; `indices_` chooses from whatever goes with them.

    Args:
        n_samples: N, how many points to choose, at most as many as there are; the number of halvings follows from it.
        kernel: see `KernelLearner`, the kernel of the discrepancy; "precomputed" only with the split "target".
        gamma: see `KernelLearner`.
        m: halvings instead, which leave n / 2^m points; if both are None, they leave about the square root of n.
        split_kernel: the kernel k' that drives the halving: "target" is `kernel` k itself, "root" the one whose
            Fourier transform is the square root of that of k, "power" the one whose transform is a power of it, see
            `spectral_power`, "plus" the sum of k and that; or a kernel of yours.
        power: of "power" and "plus"; None chooses one, see `spectral_power`.
        delta: see `kernel_thin`.
        unique: see `kernel_thin`.
        zero_mean: see `kernel_thin`.
        product: how to multiply by kernel matrices; None is `Chunked()`. Matrices are kept as a whole, in float64, if
            they take no more than its memory, and computed in blocks otherwise, the least of which is two rows.
        device: where to compute kernel values; None is the processor.
        random_state: seed or generator of the coins, (m, n // 2) uniform numbers.
        verbose: whether to print the discrepancies.

    Attributes:
        indices_: (N,) rows of the points chosen, in no order; without `unique` a row may occur twice.
        mmd_: their maximum mean discrepancy from all points.
        coreset_: `Coreset`, with all lists.

    Raises:
        InputError: in `fit`, a setting is out of range, or two rows of the kernel matrix take more memory than
            `product` may use.
        UnsupportedError: in `fit`, the kernel has no power that is known here.

    Reference:
        Dwivedi and Mackey, arXiv 2105.05842 and 2110.01593.
    """

    indices_: np.ndarray
    mmd_: float
    coreset_: Coreset

    def __init__(
        self,
        n_samples: int | None = None,
        kernel: Kernelish = "gaussian",
        *,
        gamma: float | None = None,
        m: int | None = None,
        split_kernel: Kernelish = "target",
        power: float | None = None,
        delta: float = 0.5,
        unique: bool = False,
        zero_mean: bool = False,
        product: Product | None = None,
        device: str | None = None,
        random_state: Any = None,
        verbose: bool | int = False,
    ) -> None:
        self.n_samples = n_samples
        self.kernel = kernel
        self.gamma = gamma
        self.m = m
        self.split_kernel = split_kernel
        self.power = power
        self.delta = delta
        self.unique = unique
        self.zero_mean = zero_mean
        self.product = product
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> "KernelThinning":
        """Choose of points (n, d), or of their precomputed kernel (n, n); y is ignored."""
        points = self._check_points(X, reset=True).double()
        m = self._halvings(points.shape[0])
        self._set_kernel(points.shape[1])
        swapping = self._gram(points).kept()
        kernel = self._split_kernel(points.shape[1])
        halving = swapping if kernel is None else replace(swapping, kernel=kernel, values=None).kept()
        self.coreset_ = kernel_thin(
            halving,
            swapping,
            m,
            size=self.n_samples,
            delta=self.delta,
            unique=self.unique,
            zero_mean=self.zero_mean,
            random_state=self._draws(),
        )
        self.indices_, self.mmd_ = self.coreset_.indices, self.coreset_.mmd
        self._report(f"{len(self.indices_)} points, discrepancy {self.coreset_.best_mmd:.3g}, swapped {self.mmd_:.3g}")
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Return the rows of X that `fit` chooses."""
        return _safe_indexing(X, self.fit(X).indices_)

    def fit_resample(self, X: Any, y: Any) -> tuple[Any, Any]:
        """Return the rows of X that `fit` chooses, and those of y."""
        check_consistent_length(X, y)
        return self.fit_transform(X), _safe_indexing(y, self.indices_)

    def _halvings(self, count: int) -> int:
        """Return m, and check it against `n_samples`."""
        if self.n_samples is None:
            return (count.bit_length() - 1) // 2 if self.m is None else self.m
        if self.m is not None:
            raise InputError(f"m={self.m!r} must be None where n_samples={self.n_samples!r} says how many to choose")
        check_at_least("n_samples", self.n_samples, 1)
        if self.n_samples > count:
            raise InputError(f"n_samples={self.n_samples} must be at most the number of rows, {count}")
        return (count // self.n_samples).bit_length() - 1

    def _split_kernel(self, width: int) -> Kernel | None:
        """Return the kernel of the halving, None for `kernel` itself."""
        split = self.split_kernel
        if self.power is not None and split not in ("power", "plus"):
            raise InputError(f"power={self.power!r} must be None unless split_kernel is 'power' or 'plus'")
        if isinstance(split, str):
            check_choice("split_kernel", split, SPLITS)
        if split == "target":
            return None
        if self._is_precomputed:
            raise InputError(f"split_kernel={split!r} must be 'target' for a precomputed kernel, or use kernel_thin")
        if not isinstance(split, str):
            return kernel_of(split, None, width)
        kernel = self.kernel_
        other = spectral_power(kernel, 0.5 if split == "root" else self.power, width)
        return Function(lambda X, Y: kernel.block(X, Y) + other.block(X, Y)) if split == "plus" else other
