"""Orthonormal weights: matrices whose rows, or columns, have length 1 and stand at right angles."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from convnn.errors import InputError, check_at_least, check_choice, check_positive
from convnn.nn.graphs.spectra.choices import ORTHONORMAL

SERIES = {2: (15 / 8, -5 / 4, 3 / 8), 3: (35 / 16, -35 / 16, 21 / 16, -5 / 16)}
"""Coefficients of w, w G, w G^2, ... in a step of each order."""


def bjorck(weight: Tensor, *, order: int = 2, steps: int = 25, beta: float = 0.5) -> Tensor:
    r"""Return the nearest matrix with orthonormal rows or columns, the polar factor, by the iteration of Bjoerck.

    With :math:`G = w^\top w` a step is one of

    - order 1: :math:`w \leftarrow (1 + \beta) w - \beta w G`
    - order 2: :math:`w \leftarrow \frac{15}{8} w - \frac{5}{4} w G + \frac{3}{8} w G^2`
    - order 3: :math:`w \leftarrow \frac{35}{16} w - \frac{35}{16} w G + \frac{21}{16} w G^2 - \frac{5}{16} w G^3`

    Singular values go to 1 if they are below :math:`\sqrt{3}` at the start, for order 1 with beta = 0.5, or
    :math:`\sqrt{7 / 3}` for order 2; scale the matrix so that they are. Tiny ones grow by 15/8 in a step of order 2,
    and 0 stays 0: a matrix without full rank does not become orthonormal.

    Args:
        weight: (m, n).
        order: 1, 2 or 3.
        steps: number of steps, at least 1.
        beta: that of order 1; 0.5 for the others.

    Returns:
        (m, n), differentiable through all steps.

    Raises:
        InputError: an argument is out of range, or the iteration diverges.

    Reference:
        Abbahaddou et al., "Bounding the Expected Robustness of Graph Neural Networks Subject to Node Feature Attacks",
        arXiv 2404.17947.

    Example:
        >>> w = bjorck(torch.tensor([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]]))
        >>> torch.allclose(w @ w.T, torch.eye(2), atol=1e-6)
        True
    """
    if order not in (1, 2, 3):
        raise InputError(f"order={order!r} must be 1, 2 or 3")
    check_at_least("steps", steps, 1)
    check_positive("beta", beta)
    if order > 1 and beta != 0.5:
        raise InputError(f"beta={beta!r} must be 0.5 for order={order}, whose coefficients are those of beta=0.5")
    coefficients = SERIES.get(order, (1 + beta, -beta))
    w = weight if weight.shape[0] >= weight.shape[1] else weight.T  # G is as small as it can be
    for _ in range(steps):
        gram, start = w.T @ w, w
        w = coefficients[-1] * start
        for coefficient in coefficients[-2::-1]:
            w = w @ gram + coefficient * start
    if not torch.compiler.is_compiling() and not torch.isfinite(w).all():
        size = weight.detach().square().mean().sqrt().item()
        raise InputError(
            f"weight with a root mean square of {size:.3g} makes the iteration diverge; it converges if its largest"
            " singular value is below 1.52"
        )
    return w if weight.shape[0] >= weight.shape[1] else w.T


class Bjorck(nn.Module):
    r"""Parametrisation of a weight V as `bjorck` of :math:`V / \sqrt{m n}`, for any linear map.

    The scale of V does not matter to the weight, as long as the root of its mean square is below 1.52; to the gradient
    it does. V starts as an orthonormal matrix divided by :math:`\sqrt{n}`.

    Args:
        order, steps, beta: as in `bjorck`.

    Raises:
        InputError: an argument is out of range; in forward: the iteration diverges.

    Example:
        >>> lin = nn.Linear(5, 3)
        >>> _ = parametrize.register_parametrization(lin, "weight", Bjorck())
        >>> torch.allclose(lin.weight @ lin.weight.T, torch.eye(3), atol=1e-6)
        True
    """

    def __init__(self, *, order: int = 2, steps: int = 25, beta: float = 0.5) -> None:
        super().__init__()
        bjorck(torch.eye(1), order=order, steps=steps, beta=beta)  # refuses what is out of range
        self.order, self.steps, self.beta = order, steps, beta

    def forward(self, weight: Tensor) -> Tensor:
        """Return the orthonormal weight of V (m, n)."""
        scaled = weight / weight.numel() ** 0.5
        return bjorck(scaled, order=self.order, steps=self.steps, beta=self.beta)

    def right_inverse(self, weight: Tensor) -> Tensor:
        r"""Return the V of an orthonormal weight (m, n): :math:`W / \sqrt{n}`."""
        return weight / weight.shape[1] ** 0.5

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"order={self.order}, steps={self.steps}, beta={self.beta}"


class OrthonormalLinear(nn.Module):
    """A linear map without a bias whose weight is kept orthonormal.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        orthonormal: how the weight comes from a free matrix: "bjorck", or "matrix_exp", "cayley" or "householder" of
            `torch.nn.utils.parametrizations.orthogonal`.
        order, steps, beta: settings of `bjorck`.

    Raises:
        InputError: an argument is out of range; in forward: the iteration diverges.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        orthonormal: str = "bjorck",
        *,
        order: int = 2,
        steps: int = 25,
        beta: float = 0.5,
    ) -> None:
        super().__init__()
        check_choice("orthonormal", orthonormal, ORTHONORMAL)
        self.weight: Tensor = nn.Parameter(torch.eye(out_channels, in_channels))
        if orthonormal == "bjorck":
            parametrize.register_parametrization(self, "weight", Bjorck(order=order, steps=steps, beta=beta))
        else:
            parametrizations.orthogonal(self, "weight", orthogonal_map=orthonormal)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw an orthonormal weight, uniformly distributed among them."""
        self.weight = nn.init.orthogonal_(torch.empty_like(self.weight))

    def forward(self, x: Tensor) -> Tensor:
        """Map rows (..., C_in) to (..., C_out)."""
        return F.linear(x, self.weight)
