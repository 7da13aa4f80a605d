r"""The Fourier transform as products of small dense matrices, the butterfly or Monarch form.

A transform of length :math:`N = N_1 N_2` is one of length :math:`N_1` down the columns of an :math:`N_1 \times N_2`
array, factors :math:`e^{-2 \pi i k_1 n_2 / N}`, and one of length :math:`N_2` along its rows. Devices with fast matrix
products compute it so; torch's FFT is faster on processors (`benchmarks`, group generated).
"""

from collections.abc import Sequence
from math import isqrt

import torch
from torch import Tensor

DENSEST = 32
"""Longest transform that is a single matrix."""


def rfftn(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the transform of real maps (..., *S) continued by zeros to `sizes`; all frequencies of the last axis."""
    out = torch.complex(x, torch.zeros_like(x))
    for axis, size in zip(range(-len(sizes), 0), sizes, strict=True):
        missing = size - out.shape[axis]
        zeros = out.new_zeros(*out.shape[:axis], missing, *(out.shape[axis + 1 :] if axis < -1 else ()))
        out = fft(torch.cat([out, zeros], axis).movedim(axis, -1)).movedim(-1, axis)
    return out


def irfftn(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the real part of the inverse transform of (..., *sizes)."""
    for axis in range(-len(sizes), 0):
        x = fft(x.movedim(axis, -1).conj()).conj().movedim(-1, axis) / x.shape[axis]
    return x.real


def fft(x: Tensor) -> Tensor:
    r"""Return the Fourier transform of complex rows (..., N), by small matrices where N has factors.

    .. math:: X_k = \sum_n x_n e^{-2 \pi i k n / N}

    Example:
        >>> x = torch.randn(3, 360, dtype=torch.complex128)
        >>> bool((fft(x) - torch.fft.fft(x)).abs().max() < 1e-10)
        True
    """
    n = x.shape[-1]
    first = _factor(n)
    if n <= DENSEST or first == 1:
        return x @ _matrix(n, x.dtype, x.device)
    rest = n // first
    x = x.unflatten(-1, (first, rest))
    columns = fft(x.transpose(-1, -2)).transpose(-1, -2) * _factors(first, rest, x.dtype, x.device)
    return fft(columns).transpose(-1, -2).flatten(-2)


def _factor(n: int) -> int:
    """Return the divisor of n that is nearest to its root from below."""
    return next(d for d in range(isqrt(n), 0, -1) if n % d == 0)


def _matrix(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    index = torch.arange(n, device=device)
    return _roots(index.unsqueeze(1) * index % n, n, dtype)


def _factors(first: int, rest: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    rows, columns = torch.arange(first, device=device), torch.arange(rest, device=device)
    return _roots(rows.unsqueeze(1) * columns, first * rest, dtype)


def _roots(power: Tensor, n: int, dtype: torch.dtype) -> Tensor:
    """Return the powers of the root of unity, from angles in float64."""
    angle = power.double() * (-2 * torch.pi / n)
    return torch.polar(torch.ones_like(angle), angle).to(dtype)
