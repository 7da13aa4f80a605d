"""Products with kernel matrices without blocks of PyTorch: by the compiled core, by factors, by sparse matrices."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from convnn.backends import cpu
from convnn.learners.kernels import ArcCosine, Gaussian, Kernel, Laplace, Linear, Polynomial
from convnn.learners.matrix import Matrix

Formula: TypeAlias = tuple[str, tuple[float, ...]]
"""A kernel's name in the core, and its hyperparameters."""

FORMULAS: dict[type[Kernel], Callable[[Any], Formula]] = {
    Gaussian: lambda kernel: ("gaussian", (kernel.bandwidth,)),
    Laplace: lambda kernel: ("laplace", (kernel.bandwidth,)),
    Polynomial: lambda kernel: ("polynomial", (kernel.degree, kernel.scale, kernel.offset)),
    ArcCosine: lambda kernel: ("arc_cosine", (kernel.order,)),
}
"""The kernels that the core computes; those derived from them may compute something else."""

FEWEST_ROWS = 32
"""Rows with which it pays to bring the columns into the order of the core."""

MOST_VECTORS = 256
"""Vectors beyond which their product with blocks takes most of the time, in which PyTorch is as quick."""


def direct_product(kernel: Kernel, X: Tensor, Y: Tensor, v: Tensor) -> Tensor | None:
    """Return K(X, Y) v, (n,) or (n, c), or None where blocks of kernel values are the better way, or the only one."""
    if isinstance(kernel, Matrix) and kernel.is_sparse:
        return kernel.product(X, Y, v)
    if type(kernel) is Linear:
        return X @ (Y.T @ v)
    if v.shape[1:].numel() > MOST_VECTORS or not _suits_core(kernel, X, Y, v):
        return None
    vectors = v.reshape(v.shape[0], v.shape[1:].numel())
    return cpu.kernel_product(X, Y, vectors, *FORMULAS[type(kernel)](kernel)).reshape(X.shape[0], *v.shape[1:])


def block(kernel: Kernel, X: Tensor, Y: Tensor) -> Tensor:
    """Return the kernel (n, m) of points (n, d) and (m, d) in the quickest way."""
    return cpu.kernel_matrix(X, Y, *FORMULAS[type(kernel)](kernel)) if _suits_core(kernel, X, Y) else kernel.block(X, Y)


def _suits_core(kernel: Kernel, *tensors: Tensor) -> bool:
    X, Y = tensors[:2]
    return (
        type(kernel) in FORMULAS
        and not cpu.unavailable_reasons()
        and all(one.device.type == "cpu" and one.dtype == X.dtype for one in tensors)
        and X.dtype in (torch.float32, torch.float64)
        and X.shape[0] >= FEWEST_ROWS
        and X.shape[1] == Y.shape[1]
        and not (torch.is_grad_enabled() and any(one.requires_grad for one in tensors))
    )
