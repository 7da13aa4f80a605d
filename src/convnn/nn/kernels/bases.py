"""Bases of functions: every channel of a map becomes several, which a convolution can then weigh."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError

Basis = Callable[[Tensor], Tensor]
"""A function from maps (B, C, *S) to (B, C, n, *S): n functions of every value."""
LARGEST_COSINE = 1 - 1e-7
"""Where Chebyshev polynomials end: the derivative of the arc cosine, by which they are defined, is infinite at 1."""


def stack(functions: list[Tensor]) -> Tensor:
    """Stack n maps (B, C, *S) to (B, C, n, *S)."""
    return torch.stack(functions, dim=2)


def _of_each(numbers: Tensor, x: Tensor) -> Tensor:
    """View numbers (n,), or (C, n), so that they broadcast with `x.unsqueeze(2)` to (B, C, n, *S)."""
    return numbers.view(*numbers.shape, *(1,) * (x.dim() - 2))


def b_splines(x: Tensor, order: int, intervals: int, first: float, last: float) -> Tensor:
    r"""Return the B-splines of an order on equal intervals, continued by `order` of them on either side.

    .. math:: B_i(x) = M(u - i), \quad u = \frac{x - a}{h} + s, \quad
        M(v) = \frac{1}{s!} \sum_{j \le d} (-1)^j \binom{s + 1}{j} (d - j)_+^s, \quad
        d = \tfrac{s + 1}{2} - \left| v - \tfrac{s + 1}{2} \right|

    with the order s and intervals of length h from a on. A spline is symmetric, and summing its powers from the nearer
    end keeps the sum exact. Order 0 has the indicators of the half-open intervals.

    Args:
        x: (B, C, \*S).
        order: s, at least 0.
        intervals: number of intervals of the range.
        first, last: ends of the range.

    Returns:
        (B, C, intervals + s, \*S); 0 outside of the continued range.
    """
    step = (last - first) / intervals
    place = ((x - first) / step + order).unsqueeze(2)
    start = _of_each(torch.arange(intervals + order, dtype=x.dtype, device=x.device), x)
    if order == 0:
        return ((place >= start) & (place < start + 1)).to(x.dtype)
    half = (order + 1) / 2
    inside = half - (place - (start + half)).abs()
    total = F.relu(inside) ** order
    for j in range(1, math.ceil(half)):
        total = total + (-1) ** j * math.comb(order + 1, j) * F.relu(inside - j) ** order
    return total / math.factorial(order)


def gaussians(x: Tensor, number: int, first: float, last: float) -> Tensor:
    r"""Return Gaussians around equally spaced centres c, :math:`\exp(-((x - c_i) / h)^2)` with their distance h.

    Args:
        x: (B, C, \*S).
        number: n, at least 2.
        first, last: first and last centre.

    Returns:
        (B, C, n, \*S).
    """
    centers = torch.linspace(first, last, number, dtype=x.dtype, device=x.device)
    return torch.exp(-(((x.unsqueeze(2) - _of_each(centers, x)) * ((number - 1) / (last - first))) ** 2))


def chebyshev(t: Tensor, degree: int) -> Tensor:
    r"""Return the Chebyshev polynomials :math:`T_i(t) = \cos(i \arccos t)`, i = 0 ... degree, (B, C, degree + 1, \*S).

    Computed by :math:`T_{i+1} = 2 t T_i - T_{i-1}`; t is clamped to 1e-7 inside of [-1, 1].
    """
    t = t.clamp(-LARGEST_COSINE, LARGEST_COSINE)
    return stack(_recurrence(t, degree, t, lambda _, one, two: 2 * t * one - two))


def legendre(t: Tensor, degree: int) -> Tensor:
    r"""Return the Legendre polynomials of t (B, C, \*S) up to a degree, (B, C, degree + 1, \*S)."""
    return stack(_recurrence(t, degree, t, lambda n, one, two: ((2 * n - 1) / n) * (t * one) - ((n - 1) / n) * two))


def jacobi(t: Tensor, degree: int, a: float = 1.0, b: float = 1.0) -> Tensor:
    r"""Return the Jacobi polynomials :math:`P_i^{(a, b)}(t)` up to a degree, (B, C, degree + 1, \*S)."""

    def following(n: int, one: Tensor, two: Tensor) -> Tensor:
        whole = 2 * n + a + b
        divisor = 2 * n * (n + a + b) * (whole - 2)
        slope = (whole - 1) * whole * (whole - 2) / divisor
        constant = (whole - 1) * (a * a - b * b) / divisor
        return (slope * t + constant) * one - (2 * (n + a - 1) * (n + b - 1) * whole / divisor) * two

    return stack(_recurrence(t, degree, (a - b) / 2 + (a + b + 2) / 2 * t, following))


def gram(t: Tensor, degree: int, weights: Tensor) -> Tensor:
    r"""Return SiLU of Gram polynomials with learned recurrences, (B, C, degree + 1, \*S).

    .. math:: P_0 = 1, \quad P_1 = t, \quad P_i = t P_{i-1} - \beta_{i-1} P_{i-2}, \quad
        \beta_n = \frac{(2 n + 1)\, n^2 (4 n^2 - 1)}{(n + 1)^2} w_n

    The factor is that of the published code; the recurrence of the orthogonal polynomials has
    :math:`4 n^2 - 1` in its denominator.

    Args:
        t: (B, C, \*S).
        degree: of the last polynomial.
        weights: w, (degree + 1,); the first and the last are not used.
    """

    def following(i: int, one: Tensor, two: Tensor) -> Tensor:
        n = i - 1
        return t * one - ((2 * n + 1) * n * n * (4 * n * n - 1) / (n + 1) ** 2 * weights[n]) * two

    return F.silu(stack(_recurrence(t, degree, t, following)))


def _recurrence(
    t: Tensor, degree: int, first: Tensor, following: Callable[[int, Tensor, Tensor], Tensor]
) -> list[Tensor]:
    """Return polynomials of degree 0 to `degree` from the first two, each from the two before it."""
    polynomials = [torch.ones_like(t), first][: degree + 1]
    for n in range(2, degree + 1):
        polynomials.append(following(n, polynomials[-1], polynomials[-2]))
    return polynomials


class LearnedPowers(nn.Module):
    r"""Squares of products of two ReLUs, whose ends are learned.

    .. math:: \phi_i(x) = \left( r (x - l_i)_+ (h_i - x)_+ \right)^2, \quad r = \frac{4 g^2}{(k + 1)^2}

    Initially :math:`l_i = (i - k) / g` and :math:`h_i = l_i + (k + 1) / g`, i = 0 ... g + k - 1: bumps of height 1 that
    overlap with k neighbours on either side.

    Args:
        channels: number of channels with ends of their own; blocks of so many channels share them.
        intervals: g.
        order: k.
        device: device of the ends.
        dtype: data type of the ends.
    """

    def __init__(
        self,
        channels: int,
        intervals: int,
        order: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.intervals, self.order = intervals, order
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.low = nn.Parameter(torch.empty(channels, intervals + order, **where))
        self.high = nn.Parameter(torch.empty(channels, intervals + order, **where))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the ends of bumps of equal width."""
        with torch.no_grad():
            starts = torch.arange(-self.order, self.intervals, dtype=self.low.dtype, device=self.low.device)
            self.low.copy_(starts / self.intervals)
            self.high.copy_((starts + self.order + 1) / self.intervals)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *S) to (B, C, g + k, *S)."""
        blocks = x.unflatten(1, (-1, self.low.shape[0]))
        height = 4 * self.intervals**2 / (self.order + 1) ** 2
        x = blocks.unsqueeze(3)
        inside = _of_each(self.low, blocks[:, 0]), _of_each(self.high, blocks[:, 0])
        return ((F.relu(x - inside[0]) * F.relu(inside[1] - x) * height) ** 2).flatten(1, 2)


class GramBasis(nn.Module):
    """`gram` of the hyperbolic tangent, with learned weights.

    Args:
        degree: degree of the last polynomial.
        deviation: standard deviation of the initial weights.
        device: device of the weights.
        dtype: data type of the weights.
    """

    def __init__(
        self,
        degree: int,
        deviation: float,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.degree, self.deviation = degree, deviation
        self.weights = nn.Parameter(torch.empty(degree + 1, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights from a normal distribution."""
        nn.init.normal_(self.weights, std=self.deviation)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *S) to (B, C, degree + 1, *S)."""
        return gram(x.tanh(), self.degree, self.weights)


def unchanged(x: Tensor) -> Tensor:
    """Return the map itself, the basis of an ordinary convolution."""
    return x


def of_tanh(polynomials: Callable[[Tensor, int], Tensor], degree: int, x: Tensor) -> Tensor:
    """Return polynomials of tanh x."""
    return polynomials(x.tanh(), degree)


def of_range(polynomials: Callable[[Tensor, int], Tensor], degree: int, groups: int, x: Tensor) -> Tensor:
    """Return polynomials of a map scaled to [-1, 1] by `between_ends`."""
    return polynomials(between_ends(x, groups), degree)


def between_ends(x: Tensor, groups: int) -> Tensor:
    """Scale each of several blocks of channels to [-1, 1] by its least and largest value in the whole batch.

    A block whose values are all equal becomes -1.
    """
    blocks = x.unflatten(1, (groups, -1))
    axes = tuple(axis for axis in range(blocks.dim()) if axis != 1)
    least, largest = blocks.amin(axes, keepdim=True), blocks.amax(axes, keepdim=True)
    span = (largest - least).clamp_min(torch.finfo(x.dtype).tiny)
    return (2 * (blocks - least) / span - 1).flatten(1, 2)


def as_range(name: str, value: tuple[float, float] | str) -> tuple[float, float]:
    """Return two increasing numbers from a pair, or from text such as "-1,1", as a flag has them.

    Raises:
        InputError: there are not two, or they do not increase; the message names the setting.
    """
    try:
        first, last = (float(one) for one in (value.split(",") if isinstance(value, str) else value))
    except (TypeError, ValueError):
        raise InputError(f"{name}={value!r} must be two numbers, such as -1,1") from None
    if not (first < last and math.isfinite(first) and math.isfinite(last)):
        raise InputError(f"{name}={value!r} must be finite and increase, such as -1,1")
    return first, last
