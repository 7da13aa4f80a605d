r"""Kernels as small objects: functions of inner products, of distances, or yours."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.metrics.pairwise import PAIRWISE_KERNEL_FUNCTIONS, pairwise_kernels
from torch import Tensor

from convnn.errors import InputError, UnsupportedError, check_at_least, check_choice, check_not_negative, check_positive
from convnn.learners.activation_duals import arc_cosine


class Kernel(BaseEstimator, ABC):
    """A positive semidefinite function of two points.

    Hyperparameters are those of the constructor, `get_params` and `set_params`, so that a search finds them as
    `kernel__bandwidth`. Called with arrays (n, d) and (m, d), it returns an array (n, m), as scikit-learn wants it.
    """

    @abstractmethod
    def block(self, X: Tensor, Y: Tensor) -> Tensor:
        """Return the kernel (n, m) of points (n, d) and (m, d)."""

    def diagonal(self, X: Tensor) -> Tensor:
        """Return the kernel (n,) of each point with itself."""
        return torch.cat([self.block(x, x).flatten() for x in X.split(1)]) if len(X) else X.new_empty(0)

    @property
    def metric(self) -> str:
        """The metric by which `ops.select.nearest` ranks points as this kernel does.

        Raises:
            UnsupportedError: there is none.
        """
        raise UnsupportedError(f"{self} ranks points unlike cosine, euclidean and matmul; give its features a metric")

    def set_params(self, **params: Any) -> "Kernel":
        """Set hyperparameters and check them."""
        super().set_params(**params)
        self.__post_init__()
        return self

    def __post_init__(self) -> None:
        """Check the hyperparameters."""

    def __call__(self, X: np.ndarray, Y: np.ndarray | None = None) -> np.ndarray:
        """Return the kernel (n, m) of arrays (n, d) and (m, d), by default of the first with itself."""
        left = _floating(X)
        return self.block(left, left if Y is None else _floating(Y)).numpy()


class GramKernel(Kernel):
    r"""A kernel that is a function of :math:`x \cdot y`, :math:`x \cdot x` and :math:`y \cdot y`."""

    @abstractmethod
    def of_gram(self, xy: Tensor, xx: Tensor, yy: Tensor) -> Tensor:
        """Return the kernel (n, m) of inner products (n, m), and of those of the points with themselves (n,), (m,)."""

    def block(self, X: Tensor, Y: Tensor) -> Tensor:
        """Return the kernel (n, m) of points (n, d) and (m, d)."""
        return self.of_gram(X @ Y.T, X.square().sum(1), Y.square().sum(1))

    def of_own(self, xx: Tensor) -> Tensor:
        """Return the kernel of each point with itself, of its inner product with itself, of any shape."""
        return self.of_gram(xx[..., None, None], xx[..., None], xx[..., None])[..., 0, 0]

    def diagonal(self, X: Tensor) -> Tensor:
        """Return the kernel (n,) of each point with itself."""
        return self.of_own(X.square().sum(1))


class RadialKernel(GramKernel):
    r"""A kernel that is a falling function of the distance, 1 at distance 0."""

    @abstractmethod
    def of_squares(self, squares: Tensor) -> Tensor:
        """Return the kernel of squared distances of any shape."""

    def of_gram(self, xy: Tensor, xx: Tensor, yy: Tensor) -> Tensor:
        """Return the kernel (n, m) of inner products (n, m), and of those of the points with themselves (n,), (m,)."""
        return self.of_squares(_within(xx.unsqueeze(-1) + yy.unsqueeze(-2) - 2 * xy, 0, math.inf))

    def block(self, X: Tensor, Y: Tensor) -> Tensor:
        """Return the kernel (n, m) of points (n, d) and (m, d), of distances that do not suffer from cancellation."""
        return self.of_squares(squared_distances(X, Y))

    def of_own(self, xx: Tensor) -> Tensor:
        """Return ones."""
        return torch.ones_like(xx)

    @property
    def metric(self) -> str:
        """The Euclidean distance."""
        return "euclidean"


@dataclass
class Linear(GramKernel):
    r""":math:`x \cdot y`."""

    def of_gram(self, xy: Tensor, xx: Tensor, yy: Tensor) -> Tensor:
        """Return the inner products."""
        return xy

    @property
    def metric(self) -> str:
        """The inner product."""
        return "matmul"


@dataclass
class Polynomial(GramKernel):
    r""":math:`(s\, x \cdot y + c)^p`.

    Args:
        degree: p, at least 1.
        scale: s, positive.
        offset: c, at least 0.

    Raises:
        InputError: a hyperparameter is out of range.
    """

    degree: int = 3
    scale: float = 1.0
    offset: float = 1.0

    def __post_init__(self) -> None:
        check_at_least("degree", self.degree, 1)
        check_positive("scale", self.scale)
        check_not_negative("offset", self.offset)

    def of_gram(self, xy: Tensor, xx: Tensor, yy: Tensor) -> Tensor:
        """Return the power of the inner products."""
        return (self.scale * xy + self.offset) ** self.degree

    @property
    def metric(self) -> str:
        """The inner product, of an odd degree; an even one ranks otherwise."""
        return "matmul" if self.degree % 2 else super().metric


@dataclass
class ArcCosine(GramKernel):
    r"""The kernel of infinitely many units :math:`\max(0, w \cdot x)^p`, with normally distributed w.

    .. math:: \tfrac{1}{\pi} (|x| |y|)^p J_p(\theta), \quad J_0 = \pi - \theta, \quad
        J_1 = \sin\theta + (\pi - \theta) \cos\theta, \quad J_2 = 3 \sin\theta \cos\theta + (\pi - \theta)(1 + 2
        \cos^2\theta)

    where :math:`\theta` is the angle between x and y, a right one where a point is zero.

    Args:
        order: p, 0 to 2; order 1 is that of ReLU.

    Raises:
        InputError: the order is out of range.

    Reference:
        Cho and Saul, "Kernel methods for deep learning", NeurIPS 2009, section 2.
    """

    order: int = 1

    def __post_init__(self) -> None:
        if self.order not in (0, 1, 2):
            raise InputError(f"order={self.order!r} must be 0, 1 or 2")

    def of_gram(self, xy: Tensor, xx: Tensor, yy: Tensor) -> Tensor:
        """Return the kernel (n, m) of inner products (n, m), and of those of the points with themselves (n,), (m,)."""
        return arc_cosine(self.order, xx.unsqueeze(-1), yy.unsqueeze(-2), xy)

    def of_own(self, xx: Tensor) -> Tensor:
        """Return the kernel of angle 0, or, of a point that is zero, of a right one."""
        powers = (torch.where(xx > 0, 1.0, 0.5), xx, 3 * xx.square())
        return powers[self.order].to(xx.dtype)

    @property
    def metric(self) -> str:
        """The cosine, of order 0; the others rank by length as well."""
        return super().metric if self.order else "cosine"


@dataclass
class Gaussian(RadialKernel):
    r""":math:`\exp(-|x - y|^2 / (2 b^2))`.

    Args:
        bandwidth: b, positive; scikit-learn's gamma is :math:`1 / (2 b^2)`.

    Raises:
        InputError: the bandwidth is not positive.
    """

    bandwidth: float = 1.0

    def __post_init__(self) -> None:
        check_positive("bandwidth", self.bandwidth)

    def of_squares(self, squares: Tensor) -> Tensor:
        """Return the kernel of squared distances of any shape."""
        return torch.exp(squares * (-0.5 / self.bandwidth**2))


@dataclass
class Laplace(RadialKernel):
    r""":math:`\exp(-|x - y| / b)`, of the Euclidean distance.

    Args:
        bandwidth: b, positive.

    Raises:
        InputError: the bandwidth is not positive.
    """

    bandwidth: float = 1.0

    def __post_init__(self) -> None:
        check_positive("bandwidth", self.bandwidth)

    def of_squares(self, squares: Tensor) -> Tensor:
        """Return the kernel of squared distances of any shape."""
        return torch.exp(squares.sqrt() * (-1 / self.bandwidth))


@dataclass
class ExponentialPower(RadialKernel):
    r""":math:`\exp(-(|x - y| / b)^p)`, with Gaussian and Laplace kernels at p = 2 and 1.

    Args:
        bandwidth: b, positive.
        power: p, above 0 and at most 2, beyond which it is not positive semidefinite.

    Raises:
        InputError: a hyperparameter is out of range.
    """

    bandwidth: float = 1.0
    power: float = 1.0

    def __post_init__(self) -> None:
        check_positive("bandwidth", self.bandwidth)
        if not 0 < self.power <= 2:
            raise InputError(f"power={self.power!r} must be above 0 and at most 2")

    def of_squares(self, squares: Tensor) -> Tensor:
        """Return the kernel of squared distances of any shape."""
        return torch.exp(-((squares / self.bandwidth**2) ** (self.power / 2)))


class Function(Kernel):
    """A kernel of yours.

    Args:
        function: of tensors or arrays (n, d) and (m, d), that returns (n, m).

    Raises:
        InputError: in `block`, the result has another shape.
    """

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        self.function = function

    def block(self, X: Tensor, Y: Tensor) -> Tensor:
        """Return the kernel (n, m) of points (n, d) and (m, d)."""
        found = torch.as_tensor(self.function(X, Y)).to(X)
        if found.shape != (len(X), len(Y)):
            raise InputError(f"kernel returns shape {tuple(found.shape)}, which must be {(len(X), len(Y))}")
        return found


Kernelish: TypeAlias = str | Kernel | Callable[[Any, Any], Any]
"""What learners take for `kernel`: a name, a kernel, or a function."""

NAMES: dict[str, Callable[[float], Kernel]] = {
    "gaussian": lambda gamma: Gaussian(math.sqrt(0.5 / gamma)),
    "rbf": lambda gamma: Gaussian(math.sqrt(0.5 / gamma)),
    "laplace": lambda gamma: Laplace(1 / gamma),
    "linear": lambda _: Linear(),
    "polynomial": lambda gamma: Polynomial(scale=gamma),
    "arc_cosine": lambda _: ArcCosine(),
}
"""Kernels by name, of gamma: exp(-gamma |x - y|^2), exp(-gamma |x - y|), (gamma x y + 1)^3."""


def kernel_of(kernel: Kernelish, gamma: float | None, width: int) -> Kernel:
    """Return a kernel by name, as it is, or of a function.

    Args:
        kernel: a name in `NAMES`, another name of `sklearn.metrics.pairwise_kernels`, a `Kernel`, or a function.
        gamma: of kernels by name; None is 1 / d, as in scikit-learn.
        width: d.

    Raises:
        InputError: the name is unknown, gamma is not positive, or given to a kernel that is not a name.
    """
    if not isinstance(kernel, str):
        if gamma is not None:
            raise InputError(f"gamma={gamma!r} is for kernels by name; set it in {kernel}")
        if not callable(kernel):
            raise InputError(f"kernel={kernel!r} must be a name, a Kernel or a function")
        return kernel if isinstance(kernel, Kernel) else Function(kernel)
    check_choice("kernel", kernel, [*NAMES, *(name for name in PAIRWISE_KERNEL_FUNCTIONS if name not in NAMES)])
    if gamma is not None:
        check_positive("gamma", gamma)
    if kernel in NAMES:
        return NAMES[kernel](1 / width if gamma is None else gamma)
    return Function(_Pairwise(kernel, gamma))


@dataclass(frozen=True)
class _Pairwise:
    """A kernel of scikit-learn; an object, which can be pickled."""

    name: str
    gamma: float | None

    def __call__(self, X: Tensor, Y: Tensor) -> np.ndarray:
        left, right = X.detach().cpu().numpy(), Y.detach().cpu().numpy()
        return pairwise_kernels(left, right, metric=self.name, filter_params=True, gamma=self.gamma)


def _floating(array: Any) -> Tensor:
    """Return an array as a floating tensor: squares of small integers would overflow."""
    found = torch.as_tensor(array)
    return found if found.is_floating_point() or found.is_complex() else found.double()


def _within(values: Tensor, low: float, high: float) -> Tensor:
    """Return values that rounding has put out of bounds within them; their slope is 1 at the bounds too."""
    return values + (values.clamp(low, high) - values).detach()


def squared_distances(X: Tensor, Y: Tensor) -> Tensor:
    """Return the squared distances (n, m) of points (n, d) and (m, d).

    They come from inner products; those of pairs so near that these cancel are sums of squared differences instead.
    """
    middle = Y.mean(0) if len(Y) else 0
    X, Y = X - middle, Y - middle
    lengths = X.square().sum(1)[:, None] + Y.square().sum(1)
    found = torch.addmm(lengths, X, Y.T, alpha=-2)
    is_near = found < torch.finfo(X.dtype).eps ** 0.25 * lengths
    count = int(is_near.sum())
    if count > X.numel() + Y.numel():  # as many as to take more memory than the block
        return torch.cdist(X, Y, compute_mode="donot_use_mm_for_euclid_dist").square()
    if count:
        rows, columns = is_near.nonzero(as_tuple=True)
        found[rows, columns] = (X[rows] - Y[columns]).square().sum(1)
    return found.clamp_min(0)
