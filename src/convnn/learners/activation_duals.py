r"""Duals: the mean product of the activations of two normally distributed inputs, which is a wide layer's kernel."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from convnn.errors import InputError, UnsupportedError, check_choice

Function: TypeAlias = Callable[[Tensor], Tensor]
Dual: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]

ALIGNED = 1e-13
"""How far below 1 a correlation counts as 1: rounding would move an angle by 1e-8 there."""
REACH = 9.0
"""Standard deviations over which the quadrature runs."""
STEP = 0.1
"""Its step; the midpoint rule needs no smaller one of functions that are smooth, and meets no kink at 0."""
PAIRS = 64
"""Pairs of the quadrature at a time: 16 MB."""


class Angles(NamedTuple):
    """The lengths of two inputs, multiplied, and the angle between them.

    Attributes:
        lengths: the square root of both variances multiplied.
        cosine: the correlation, 0 where a variance is 0.
        sine: of the angle.
        angle: between 0 and pi.
    """

    lengths: Tensor
    cosine: Tensor
    sine: Tensor
    angle: Tensor


def angles(a: Tensor, b: Tensor, s: Tensor) -> Angles:
    """Return lengths and angle of variances a, b and covariance s, which broadcast.

    A correlation above 1 - 1e-13 is 1 (of float32, above 1 - 1e-6). At both ends the slopes of angle and sine are
    infinite; in the kernels they cancel, so there only the cosine passes gradients.
    """
    square = a * b
    is_there = square > 0
    lengths = torch.where(is_there, square, 1).sqrt()
    cosine = torch.where(is_there, s / lengths, 0)
    cosine = cosine + (cosine.clamp(-1, 1) - cosine).detach()  # clamp has no gradient at its bounds
    is_aligned, is_opposed = cosine > 1 - max(ALIGNED, 8 * torch.finfo(cosine.dtype).eps), cosine == -1
    between = torch.where(is_aligned | is_opposed, 0, cosine)  # whose slopes are finite
    angle = torch.where(is_aligned, 0, torch.where(is_opposed, math.pi, between.acos()))
    sine = torch.where(is_aligned | is_opposed, 0, (1 - between.square()).sqrt())
    cosine = cosine + torch.where(is_aligned, 1 - cosine, 0).detach()
    return Angles(torch.where(is_there, lengths, 0), cosine, sine, angle)


def arc_cosine(order: int, a: Tensor, b: Tensor, s: Tensor) -> Tensor:
    r"""Return the arc-cosine kernel :math:`2 E[\max(0, u)^p \max(0, v)^p]` of order p, which is 0, 1 or 2.

    .. math:: \tfrac{1}{\pi} (ab)^{p/2} J_p(\theta), \quad J_0 = \pi - \theta, \quad
        J_1 = \sin\theta + (\pi - \theta) \cos\theta, \quad J_2 = 3 \sin\theta \cos\theta + (\pi - \theta)(1 + 2
        \cos^2\theta)

    Args:
        order: p.
        a: variance of u.
        b: variance of v.
        s: their covariance.

    Reference:
        Cho and Saul, "Kernel methods for deep learning", NeurIPS 2009, section 2.
    """
    lengths, cosine, sine, angle = angles(a, b, s)
    rest = math.pi - angle
    if order == 0:
        return rest / math.pi
    if order == 1:
        return lengths * (sine + rest * cosine) / math.pi
    return lengths.square() * (3 * sine * cosine + rest * (1 + 2 * cosine.square())) / math.pi


def _arcsine(a: Tensor, b: Tensor, s: Tensor) -> Tensor:
    return (2 / math.pi) * (2 * s / ((1 + 2 * a) * (1 + 2 * b)).sqrt()).asin()


def _arcsine_slope(a: Tensor, b: Tensor, s: Tensor) -> Tensor:
    return (4 / math.pi) / ((1 + 2 * a) * (1 + 2 * b) - 4 * s.square()).sqrt()


def _gaussian(a: Tensor, b: Tensor, s: Tensor) -> Tensor:
    return torch.exp(s - (a + b) / 2)


def _cosine(a: Tensor, b: Tensor, s: Tensor) -> Tensor:
    return (_gaussian(a, b, s) + _gaussian(a, b, -s)) / 2  # cosh alone would overflow


def _sine(a: Tensor, b: Tensor, s: Tensor) -> Tensor:
    return (_gaussian(a, b, s) - _gaussian(a, b, -s)) / 2


@dataclass(frozen=True)
class Activation:
    r"""A function of single numbers, and the kernels of infinitely many units with it.

    Attributes:
        function: :math:`\sigma`, of tensors.
        dual: :math:`E[\sigma(u) \sigma(v)]`, of two variances and a covariance.
        slope: :math:`E[\sigma'(u) \sigma'(v)]`; None where the derivative is 0 almost everywhere.
        has_phase: whether a number uniform in :math:`[0, 2\pi)` is added to the input of each unit, whose mean the
            duals then take as well.
    """

    function: Function
    dual: Dual
    slope: Dual | None = None
    has_phase: bool = False


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(torch.relu, lambda *of: arc_cosine(1, *of) / 2, lambda *of: arc_cosine(0, *of) / 2),
    "step": Activation(lambda u: (u > 0).to(u.dtype), lambda *of: arc_cosine(0, *of) / 2),
    "sign": Activation(torch.sign, lambda *of: 2 * arc_cosine(0, *of) - 1),
    "erf": Activation(torch.erf, _arcsine, _arcsine_slope),
    "cos": Activation(torch.cos, _cosine, _sine),
    "sin": Activation(torch.sin, _sine, _cosine),
    "fourier": Activation(lambda u: math.sqrt(2) * u.cos(), _gaussian, _gaussian, has_phase=True),
}
"""Activations by name, whose duals have a closed form."""

Activationish: TypeAlias = str | Function
"""What takes the place of an activation: a name in `ACTIVATIONS`, or a function of tensors, element by element."""


def activation_of(activation: Activationish) -> Activation:
    """Return an activation by name, or of a function, whose duals are integrated.

    Raises:
        InputError: the name is unknown, or it is no function.
    """
    if isinstance(activation, str):
        check_choice("activation", activation, ACTIVATIONS)
        return ACTIVATIONS[activation]
    if not callable(activation):
        raise InputError(f"activation={activation!r} must be one of {', '.join(ACTIVATIONS)}, or a function of tensors")
    return Activation(
        activation, partial(_integrated, activation), partial(_integrated, partial(_derivative, activation))
    )


def activations_of(activation: Activationish | Sequence[Activationish], layers: int) -> list[Activation]:
    """Return the activations of all layers, of one for all or a sequence of one for each.

    Raises:
        InputError: there are not as many as layers, or one is unknown.
    """
    if isinstance(activation, str) or not isinstance(activation, Sequence):
        return [activation_of(activation)] * layers
    if len(activation) != layers:
        raise InputError(f"activation={activation!r} must be one for all layers, or {layers}, one for each")
    return [activation_of(each) for each in activation]


def dual(activation: Activationish, a: Tensor, b: Tensor, s: Tensor) -> Tensor:
    r"""Return :math:`E[\sigma(u) \sigma(v)]`, where u and v are normally distributed around 0.

    With :math:`\rho = s / \sqrt{ab}`, which is 0 where a variance is 0, and :math:`\theta = \arccos \rho`:

    | activation | dual |
    |---|---|
    | relu | :math:`\sqrt{ab} (\sin\theta + (\pi - \theta) \rho) / 2\pi` |
    | step, u > 0 | :math:`(\pi - \theta) / 2\pi` |
    | sign | :math:`\tfrac{2}{\pi} \arcsin \rho` |
    | erf | :math:`\tfrac{2}{\pi} \arcsin(2s / \sqrt{(1 + 2a)(1 + 2b)})` |
    | cos | :math:`e^{-(a + b)/2} \cosh s` |
    | sin | :math:`e^{-(a + b)/2} \sinh s` |
    | fourier, :math:`\sqrt 2 \cos(u + c)` of uniform c | :math:`e^{-(a + b)/2 + s}` |

    Any other is integrated by the midpoint rule, over 9 standard deviations in steps of a tenth: to 1e-12 where the
    function is smooth over such a step, to about 1e-4 where it has a kink, and 0.02 where it jumps. A pair takes
    32,000 values of the function.

    Args:
        activation: its name, or a function of tensors, element by element.
        a: variance of u, at least 0.
        b: variance of v, at least 0.
        s: their covariance; all three broadcast.

    Raises:
        InputError: the name is unknown.

    References:
        Cho and Saul, NeurIPS 2009, for relu and step. Williams, "Computing with infinite networks", NeurIPS 1996, for
        erf. Daniely, Frostig and Singer, arXiv 1602.05897, for the name.
    """
    return activation_of(activation).dual(a, b, s)


def dual_derivative(activation: Activationish, a: Tensor, b: Tensor, s: Tensor) -> Tensor:
    r"""Return :math:`E[\sigma'(u) \sigma'(v)]`, which is the derivative of `dual` by s.

    Args:
        activation: its name, or a differentiable function of tensors, element by element.
        a: variance of u, at least 0.
        b: variance of v, at least 0.
        s: their covariance; all three broadcast.

    Raises:
        InputError: the name is unknown.
        UnsupportedError: the derivative is 0 almost everywhere.
    """
    slope = activation_of(activation).slope
    if slope is None:
        raise UnsupportedError(f"activation={activation!r} has a derivative of 0, so that no gradient passes it")
    return slope(a, b, s)


def _derivative(function: Function, u: Tensor) -> Tensor:
    """Return the derivative of a function that is applied element by element."""
    return torch.func.jvp(function, (u,), (torch.ones_like(u),))[1]


def _integrated(function: Function, a: Tensor, b: Tensor, s: Tensor) -> Tensor:
    r"""Return :math:`E[f(u) f(v)]` by the midpoint rule.

    It is over independent x and y with :math:`u = \sqrt a x, v = \sqrt b (\rho x + \sqrt{1 - \rho^2} y)`.
    """
    a, b, s = torch.broadcast_tensors(a, b, s)
    count = round(REACH / STEP)
    x = STEP * (torch.arange(-count, count, device=a.device, dtype=a.dtype) + 0.5)
    density = STEP * torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
    found = []
    for left, right, both in zip(*(each.reshape(-1).split(PAIRS) for each in (a, b, s)), strict=True):
        _, cosine, sine, _ = angles(left, right, both)
        first = function(_root(left)[:, None] * x)
        turned = cosine[:, None, None] * x[:, None] + sine[:, None, None] * x
        second = function(_root(right)[:, None, None] * turned)
        found.append(torch.einsum("pi,pij,i,j->p", first, second, density, density))
    return torch.cat(found).view(a.shape)


def _root(variance: Tensor) -> Tensor:
    """Return the square root, whose slope at 0 is 0."""
    is_there = variance > 0
    return torch.where(is_there, torch.where(is_there, variance, 1).sqrt(), 0)
