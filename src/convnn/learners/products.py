"""Products of kernel matrices with vectors, a block at a time."""

from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Protocol

import torch
from torch import Tensor

from convnn.errors import InputError, check_positive
from convnn.learners.direct import block, direct_product
from convnn.learners.kernels import Kernel

CACHED = 1 << 19
"""Numbers of a block that stay in the cache of a processor between the steps of a kernel."""


class Product(Protocol):
    """A way to multiply a kernel matrix by vectors."""

    @property
    def megabytes(self) -> float:
        """The most memory of kernel values at a time."""

    def __call__(self, kernel: Kernel, X: Tensor, Y: Tensor, v: Tensor) -> Tensor:
        """Return K(X, Y) v, (n,) or (n, c), of points (n, d) and (m, d) and vectors (m,) or (m, c)."""


@dataclass(frozen=True)
class Chunked:
    """The exact product, in blocks of kernel values that are used once.

    On a processor the compiled core multiplies by Gaussian, Laplace, arc cosine and polynomial kernels, in float32 and
    float64: a block is a tile of its registers, and points far from the origin, or near to each other and far from the
    rest, lose no digits. PyTorch does the rest: other kernels, more than 256 vectors at once, and what needs gradients,
    which keep all blocks until they are computed. Its blocks are as large as the processor's cache, or as allowed on a
    device.

    Args:
        megabytes: the most memory of kernel values at a time, positive.

    Raises:
        InputError: the size is not positive, or lengths do not agree.
    """

    megabytes: float = 256.0

    def __post_init__(self) -> None:
        check_positive("megabytes", self.megabytes)

    def __call__(self, kernel: Kernel, X: Tensor, Y: Tensor, v: Tensor) -> Tensor:
        """Return K(X, Y) v, (n,) or (n, c), of points (n, d) and (m, d) and vectors (m,) or (m, c)."""
        if v.shape[0] != Y.shape[0]:
            raise InputError(f"v of shape {tuple(v.shape)} must have the {Y.shape[0]} rows of Y")
        direct = direct_product(kernel, X, Y, v)
        if direct is not None:
            return direct
        rows, columns = self._sides(X, Y)
        parts = list(zip(Y.split(columns), v.split(columns), strict=True))
        return torch.cat([reduce(add, (kernel.block(x, y) @ some for y, some in parts)) for x in X.split(rows)])

    def _sides(self, X: Tensor, Y: Tensor) -> tuple[int, int]:
        """Return the rows and columns of a block; three of them may be there at once while a kernel is computed."""
        numbers = int(self.megabytes * 1e6 / X.element_size() / 3)
        if X.device.type == "cpu":
            numbers = min(numbers, CACHED)
        columns = min(max(numbers, 1), max(Y.shape[0], 1), 2048 if X.device.type == "cpu" else 1 << 16)
        return max(numbers // columns, 1), columns


@dataclass(frozen=True)
class KernelMatrix:
    """K(X, Y) as a matrix in formulas, whose values are kept only if they take less than the product's memory.

    `K @ v` and `K.T @ v` multiply, `K[rows]` has some of the rows, `K.dense()` returns the values.

    Args:
        kernel: the kernel; None where the values are given.
        X: (n, d) points of the rows.
        Y: (m, d) points of the columns.
        product: how to multiply.
        values: (n, m) the values, where they are known.
    """

    kernel: Kernel | None
    X: Tensor
    Y: Tensor
    product: Product = Chunked()
    values: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """The rows n and columns m."""
        return self.X.shape[0], self.Y.shape[0]

    @property
    def T(self) -> "KernelMatrix":
        """K(Y, X), which is the transposed matrix since kernels are symmetric."""
        return replace(self, X=self.Y, Y=self.X, values=None if self.values is None else self.values.T)

    @property
    def is_small(self) -> bool:
        """Whether the values take less than the memory that the product may use."""
        return self.shape[0] * self.shape[1] * self.X.element_size() <= self.product.megabytes * 1e6

    @property
    def known_kernel(self) -> Kernel:
        """The kernel, which must be known where the values are not."""
        if self.kernel is None:
            raise InputError("kernel=None must be a kernel where its values are not given")
        return self.kernel

    def diagonal(self) -> Tensor:
        """Return the kernel (n,) of each point of the rows with itself; of values alone, their diagonal."""
        if self.kernel is None and self.values is not None:
            return self.values.diagonal()
        return self.known_kernel.diagonal(self.X)

    def at(self, rows: Tensor, columns: Tensor) -> "KernelMatrix":
        """Return the matrix of some of the rows (r,) and columns (c,), by number."""
        values = None if self.values is None else self.values[rows[:, None], columns]
        return replace(self, X=self.X[rows], Y=self.Y[columns], values=values)

    def kept(self) -> "KernelMatrix":
        """Return the same matrix, with its values if they are small and the product is exact."""
        keeps = self.values is None and self.is_small and isinstance(self.product, Chunked)
        return replace(self, values=self.dense()) if keeps else self

    def dense(self) -> Tensor:
        """Return the values (n, m).

        Raises:
            InputError: they take more memory than the product may use.
        """
        if self.values is not None:
            return self.values
        if not self.is_small:
            size = self.shape[0] * self.shape[1] * self.X.element_size() / 1e6
            raise InputError(
                f"megabytes={self.product.megabytes:g} are less than the {size:.0f} of this kernel matrix, which is"
                " needed whole; allow more, or choose another solver"
            )
        return block(self.known_kernel, self.X, self.Y)

    def __matmul__(self, v: Tensor) -> Tensor:
        return self.product(self.known_kernel, self.X, self.Y, v) if self.values is None else self.values @ v

    def __getitem__(self, rows: Tensor | slice) -> "KernelMatrix":
        return replace(self, X=self.X[rows], values=None if self.values is None else self.values[rows])
