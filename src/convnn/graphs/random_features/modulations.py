r"""Modulations: how much a walk counts after each number of steps, and thus of which kernel it yields features.

A kernel is a power series of a matrix, and its modulation is the sequence whose convolution with itself has the
coefficients of the series:

.. math:: K = \sum_k \alpha_k U^k, \qquad \sum_{p=0}^{k} f_p f_{k-p} = \alpha_k
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from convnn.errors import InputError, check_choice, check_positive

Series: TypeAlias = Tensor | Sequence[float] | Callable[[int], float | Tensor]
"""The first numbers of a sequence, of which the others are 0, or a function of k."""


def regularized(d: float = 2.0) -> Callable[[int], float]:
    r"""Return the modulation of :math:`(I - U)^{-d}`, :math:`f_k = \prod_{j<k} (d/2 + j) / (j + 1)`; 1 for d = 2."""
    check_positive("d", d)
    return lambda k: math.prod((d / 2 + j) / (j + 1) for j in range(k))


def diffusion(b: float = 1.0) -> Callable[[int], float]:
    r"""Return the modulation of :math:`\exp(b U)`, :math:`f_k = (b/2)^k / k!`."""
    return lambda k: math.prod(b / 2 / j for j in range(1, k + 1))


def random_walk(p: float = 2.0, a: float = 1.0) -> Callable[[int], float]:
    r"""Return the modulation of :math:`(a I + U)^p`, :math:`f_k = \binom{p/2}{k} a^{p/2 - k}`, for a above 0.

    It is 0 beyond step p / 2 where p is even; otherwise the series converges where all eigenvalues of U are below a.
    """
    check_positive("a", a)
    return lambda k: a ** (p / 2 - k) * math.prod((p / 2 - j) / (j + 1) for j in range(k))


def deconvolved(alpha: Tensor, count: int) -> Tensor:
    r"""Return the first numbers of the modulation of a power series, (count,) float64.

    .. math:: f_0 = \sqrt{\alpha_0}, \qquad f_k = \frac{\alpha_k - \sum_{p=1}^{k-1} f_p f_{k-p}}{2 f_0}

    Args:
        alpha: (K,) coefficients, of which the first is positive; beyond them they are 0. Gradients reach them.
        count: how many numbers, at least 1.

    Raises:
        InputError: the first coefficient is not positive, so that f would not be real.

    Reference:
        Reid et al., "General graph random features", arXiv 2310.04859.
    """
    alpha = alpha.double()
    if not (first := float(alpha.detach()[0])) > 0:
        raise InputError(f"alpha must begin with a positive coefficient, and begins with {first}")
    found = [alpha[0].sqrt()]
    for k in range(1, count):
        middle = torch.stack(found[1:]) if k > 1 else alpha[:0]
        coefficient = alpha[k] if k < alpha.shape[0] else torch.zeros_like(alpha[0])
        found.append((coefficient - middle @ middle.flip(0)) / (2 * found[0]))
    return torch.stack(found)


def _cosine(count: int) -> Tensor:
    """Return the modulation of sin U + cos U."""
    alpha = [(-1) ** (k // 2) * math.prod(1 / j for j in range(1, k + 1)) for k in range(count)]
    return deconvolved(torch.tensor(alpha, dtype=torch.float64), count)


MODULATIONS: dict[str, Callable[[int], Tensor]] = {
    "regularized_1": lambda count: _numbers("modulation", regularized(1), count),
    "regularized_2": lambda count: _numbers("modulation", regularized(2), count),
    "random_walk_2": lambda count: _numbers("modulation", random_walk(2), count),
    "diffusion": lambda count: _numbers("modulation", diffusion(), count),
    "cosine": _cosine,
}
"""By name, the first numbers of the modulations of (I - U)^-1, (I - U)^-2, (I + U)^2, exp U and sin U + cos U."""


def coefficients(modulation: str | Series, alpha: Series | None, count: int) -> Tensor:
    """Return at most `count` numbers of a modulation, float64, without those at the end that are 0 and stay so.

    Args:
        modulation: a name of `MODULATIONS`, numbers, or a function of k.
        alpha: numbers or a function to deconvolve instead, or None.
        count: at least 1.

    Raises:
        InputError: the modulation has an unknown name, another shape, or is not finite, or alpha does not begin with a
            positive coefficient.
    """
    if alpha is not None:
        found = deconvolved(_numbers("alpha", alpha, count), count)
    elif isinstance(modulation, str):
        check_choice("modulation", modulation, MODULATIONS)
        found = MODULATIONS[modulation](count)
    else:
        found = _numbers("modulation", modulation, count)
    if not bool(found.isfinite().all()):
        raise InputError(f"{'modulation' if alpha is None else 'alpha'} must be finite, and yields {found.tolist()}")
    if found.requires_grad:
        return found
    return found[: int(found.nonzero().max()) + 1] if bool(found.any()) else found[:1]


def _numbers(name: str, series: Series, count: int) -> Tensor:
    """Return at most `count` numbers, (K,) float64; gradients reach tensors."""
    if callable(series) and not isinstance(series, Tensor):
        each: list[Any] = [series(k) for k in range(count)]
        if any(isinstance(one, Tensor) for one in each):
            return torch.stack([torch.as_tensor(one, dtype=torch.float64).squeeze() for one in each])
        return torch.tensor(each, dtype=torch.float64)
    found = torch.as_tensor(series)
    if found.dim() != 1 or not found.shape[0] or found.is_complex():
        raise InputError(f"{name} of shape {tuple(found.shape)} must be one list of at least one number")
    return found.double()[:count]
