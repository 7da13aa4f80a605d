r"""Kernels of a known spectrum, and those whose spectrum is a power of it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import gamma, kv
from torch import Tensor

from convnn.errors import InputError, UnsupportedError, check_positive
from convnn.learners.kernels import Gaussian, Kernel, Laplace, RadialKernel

LARGEST = 100
"""The largest smoothness, beyond which Gamma functions overflow."""


@dataclass
class Matern(RadialKernel):
    r""":math:`\tfrac{2^{1-s}}{\Gamma(s)} r^s K_s(r)` of :math:`r = |x - y| / b`, with the modified Bessel function K.

    At s = 1/2 it is the Laplace kernel. In d dimensions its Fourier transform falls as
    :math:`(b^{-2} + |\omega|^2)^{-(s + d/2)}`. scikit-learn's length scale is :math:`\sqrt{2 s}\, b`.

    Args:
        bandwidth: b, positive.
        smoothness: s, positive, and at most 100.

    Raises:
        InputError: a hyperparameter is out of range.
    """

    bandwidth: float = 1.0
    smoothness: float = 1.5

    def __post_init__(self) -> None:
        check_positive("bandwidth", self.bandwidth)
        check_positive("smoothness", self.smoothness)
        if self.smoothness > LARGEST:
            raise InputError(f"smoothness={self.smoothness!r} must be at most {LARGEST}; Gaussian is its limit")

    def of_squares(self, squares: Tensor) -> Tensor:
        """Return the kernel of squared distances of any shape."""
        found = _Bessel.apply((squares / self.bandwidth**2).double(), self.smoothness)
        return (found * (2 ** (1 - self.smoothness) / math.gamma(self.smoothness))).to(squares.dtype)


class _Bessel(torch.autograd.Function):
    r""":math:`f_s(q) = r^s K_s(r)` of :math:`q = r^2` and any real s; its derivative is :math:`-f_{s-1}(q) / 2`."""

    @staticmethod
    def forward(ctx: Any, squares: Tensor, order: float) -> Tensor:
        ctx.save_for_backward(squares)
        ctx.order = order
        roots = squares.detach().cpu().double().sqrt().numpy()
        at_zero = 2 ** (order - 1) * gamma(order) if order > 0 else math.inf
        with np.errstate(all="ignore"):
            found = roots**order * kv(order, roots)
        limit = np.where(roots < 1, at_zero, 0.0)  # one factor overflows, the other vanishes
        return torch.from_numpy(np.where(np.isfinite(found), found, limit)).to(squares)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        (squares,) = ctx.saved_tensors
        return slopes[0] * _Bessel.apply(squares, ctx.order - 1) / -2, None


def spectral_power(kernel: Kernel, power: float | None, width: int) -> RadialKernel:
    r"""Return the kernel whose Fourier transform in d dimensions is a power of another's, 1 at distance 0.

    A Gaussian of bandwidth b becomes one of :math:`b \sqrt a`; Matern and Laplace kernels become Matern kernels of
    smoothness :math:`a s - (1 - a) d / 2`, which must be positive.

    Args:
        kernel: a `Gaussian`, `Laplace` or `Matern` kernel.
        power: a, 1/2 for the square root, at most 1; None is 1/2, or, where there is no such kernel, halfway between
            the least that there is and 1.
        width: d.

    Raises:
        InputError: the power is out of range.
        UnsupportedError: the kernel is another one.

    Reference:
        Dwivedi and Mackey, "Generalized kernel thinning", arXiv 2110.01593, table 1.
    """
    if power is not None:
        check_positive("power", power)
        if not 0.5 <= power <= 1:
            raise InputError(f"power={power!r} must be between 0.5 and 1")
    if isinstance(kernel, Gaussian):
        return Gaussian(kernel.bandwidth * math.sqrt(0.5 if power is None else power))
    if not isinstance(kernel, Laplace | Matern):
        raise UnsupportedError(f"kernel {kernel} has no power here; Gaussian, Laplace and Matern kernels have")
    smoothness = kernel.smoothness if isinstance(kernel, Matern) else 0.5
    least = width / (width + 2 * smoothness)
    if power is None:
        power = 0.5 if least < 0.5 else (least + 1) / 2
    if power <= least:
        raise InputError(f"power={power:g} must be above {least:.4g} for the kernel {kernel} in {width} dimensions")
    return Matern(kernel.bandwidth, power * smoothness - (1 - power) * width / 2)
