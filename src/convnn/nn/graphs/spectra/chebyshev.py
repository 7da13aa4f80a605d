"""Chebyshev filters of a graph, damped so that they do not oscillate where the response jumps."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_choice, check_fraction, check_positive
from convnn.nn.graphs._checks import check_features, check_weights
from convnn.nn.graphs._degrees import degree_powers, degrees
from convnn.nn.graphs.spectra.choices import DAMPINGS, HOMOPHILIES
from convnn.ops.edges import propagate
from convnn.ops.ragged import check_edges

SLOPE = 0.01
"""Of the leaky ReLU."""


def gibbs_damping(
    hops: int,
    damping: str = "jackson",
    *,
    mu: float = 3.0,
    xi: float = 4.0,
    stigma: float = 0.5,
    heta: float = 2.0,
) -> Tensor:
    r"""Return the factors (K + 1,), in float64, by which the terms of a Chebyshev series of order K are damped.

    With :math:`u = k / (K + 1)` and :math:`c = \pi / (K + 2)`, :math:`g_0 = 1` and

    - none, dirichlet: 1
    - fejer: :math:`1 - u`
    - jackson: :math:`((K + 2 - k) \cos kc + \sin kc \cot c) / (K + 2)`
    - lanczos: :math:`(\sin \pi u / \pi u)^\mu`
    - lorentz: :math:`\sinh(\xi (1 - u)) / \sinh \xi`
    - vekic: :math:`\frac{1}{2} \bigl( 1 - \tanh \frac{u - 1/2}{u (1 - u)} \bigr)`
    - wang: :math:`e^{-(u / \sigma)^\eta}`

    Args:
        hops: K, the order of the series, at least 0.
        damping: one of the names above.
        mu: power of lanczos, at least 1.
        xi: rate of lorentz, not 0.
        stigma: :math:`\sigma` of wang, positive.
        heta: :math:`\eta` of wang, at least 1.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Zhang and Sun, "ChebGibbsNet", arXiv 2412.01789.

    Example:
        >>> gibbs_damping(2, "fejer")
        tensor([1.0000, 0.6667, 0.3333], dtype=torch.float64)
    """
    check_at_least("hops", hops, 0)
    check_choice("damping", damping, DAMPINGS)
    check_positive("stigma", stigma)
    for name, value in (("mu", mu), ("heta", heta)):
        if not value >= 1:
            raise InputError(f"{name}={value!r} must be at least 1")
    if not 0 < abs(xi) < math.inf:
        raise InputError(f"xi={xi!r} must be a number other than 0")
    k = torch.arange(1, hops + 1, dtype=torch.double)
    u, c = k / (hops + 1), math.pi / (hops + 2)
    if damping == "fejer":
        factors = 1 - u
    elif damping == "jackson":
        factors = ((hops + 2 - k) * (k * c).cos() + (k * c).sin() / math.tan(c)) / (hops + 2)
    elif damping == "lanczos":
        factors = torch.sinc(u) ** mu
    elif damping == "lorentz":
        factors = torch.sinh(xi * (1 - u)) / math.sinh(xi)
    elif damping == "vekic":
        factors = (1 - torch.tanh((u - 0.5) / (u * (1 - u)))) / 2
    elif damping == "wang":
        factors = torch.exp(-((u / stigma) ** heta))
    else:
        factors = torch.ones_like(u)
    return F.pad(factors, (1, 0), value=1.0)


def chebyshev_series(step: Callable[[Tensor], Tensor], x: Tensor, coefficients: Tensor) -> Tensor:
    r"""Return :math:`\sum_k c_k T_k(P) x` with :math:`T_0 = 1`, :math:`T_1 = P`, :math:`T_k = 2 P T_{k-1} - T_{k-2}`.

    Args:
        step: the linear map P.
        x: (N, C).
        coefficients: (K + 1,).
    """
    out = coefficients[0] * x
    before, term = x, x
    for k, coefficient in enumerate(coefficients[1:]):
        before, term = term, 2 * step(term) - before if k else step(x)
        out = out + coefficient * term
    return out


def node_homophily(scores: Tensor, edge_index: Tensor) -> Tensor:
    """Return the mean over all nodes of the share of incoming neighbours whose largest score has the same place.

    Self-loops do not count, and an edge that is given twice counts twice. A node without neighbours has the share 0.

    Args:
        scores: (N, C).
        edge_index: (2, E) int64.
    """
    labels = scores.argmax(1)
    sources, targets = edge_index
    is_other = (sources != targets).double()
    is_alike = is_other * (labels[sources] == labels[targets])
    ones = scores.new_ones(scores.shape[0], 1, dtype=torch.double)
    counts = propagate(ones, edge_index, is_other).clamp_min(1)
    return (propagate(ones, edge_index, is_alike) / counts).mean()


class ChebGibbsProp(nn.Module):
    r"""Damped Chebyshev series of the adjacency, with learned coefficients that all channels share.

    .. math:: y = c_0 x + \sum_{k=1}^{K} c_k g_k T_k(P) x, \qquad P = \pm D^{-1/2} A D^{-1/2}

    Self-loops are removed. The sign is plus where neighbours are alike, so that a low-pass filter keeps what they have
    in common, and minus otherwise. "auto" decides that in every call by `node_homophily` of x itself, plus above 0.5:
    x are scores of classes, and until they are trained the sign may change from step to step. Where x has no rows that
    compete, say which. An isolated node has :math:`P = 0`.

    Args:
        hops: K, the order of the series, at least 0.
        damping, mu, xi, stigma, heta: the factors g, as in `gibbs_damping`.
        homophily: "high" (plus), "low" (minus) or "auto".

    Shapes:
        x (N, C); edge_index (2, E); edge_weight (E,), at least 0; output (N, C); coefficients (K + 1,).

    Raises:
        InputError: an argument is out of range; in forward: a shape or type is wrong, a node lies outside the graph, or
            a weight is negative.

    Reference:
        Zhang and Sun, "ChebGibbsNet", arXiv 2412.01789. The published code caches the sign of its first call.

    Example:
        >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> ChebGibbsProp(4)(torch.randn(3, 2), path).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        hops: int = 10,
        *,
        damping: str = "jackson",
        mu: float = 3.0,
        xi: float = 4.0,
        stigma: float = 0.5,
        heta: float = 2.0,
        homophily: str = "auto",
    ) -> None:
        super().__init__()
        check_choice("homophily", homophily, HOMOPHILIES)
        self.damping, self.homophily = damping, homophily
        # Numbers, not a buffer, which would be rounded with the weights and widened without them.
        self.factors = gibbs_damping(hops, damping, mu=mu, xi=xi, stigma=stigma, heta=heta).tolist()
        self.coefficients = nn.Parameter(torch.empty(hops + 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start from 1 / (K + 1) for the first coefficient and 2 / (K + 1) for the others."""
        count = self.coefficients.shape[0]
        with torch.no_grad():
            self.coefficients.fill_(2 / count)
            self.coefficients[0] = 1 / count

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Filter the features (N, C) of the nodes."""
        check_features(x, x.shape[-1])
        check_edges(edge_index, x.shape[0])
        check_weights("edge_weight", edge_weight, edge_index.shape[1])
        is_loop = edge_index[0] == edge_index[1]
        if torch.compiler.is_compiling() or is_loop.any():
            edge_weight = x.new_ones(is_loop.shape) if edge_weight is None else edge_weight
            edge_weight = edge_weight.masked_fill(is_loop, 0)
        roots, sign = degree_powers(degrees(x, edge_index, edge_weight), -0.5), self._sign(x, edge_index)

        def step(term: Tensor) -> Tensor:
            return sign * roots * propagate(roots * term, edge_index, edge_weight)

        return chebyshev_series(step, x, self.coefficients * x.new_tensor(self.factors))

    def _sign(self, x: Tensor, edge_index: Tensor) -> Tensor:
        if self.homophily != "auto":
            return x.new_tensor(1.0 if self.homophily == "high" else -1.0)
        return torch.where(node_homophily(x.detach(), edge_index) > 0.5, 1.0, -1.0).to(x)

    def extra_repr(self) -> str:
        """Return the order, the damping and the homophily."""
        return f"hops={len(self.factors) - 1}, damping={self.damping!r}, homophily={self.homophily!r}"


class ChebGibbs(nn.Module):
    r"""Linear map to the output channels, then `ChebGibbsProp` of them.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels, best the classes, by whose scores "auto" decides.
        hops, damping, mu, xi, stigma, heta, homophily: as in `ChebGibbsProp`.
        bias: add a learned bias to the linear map.

    Shapes:
        x (N, C_in); edge_index (2, E); edge_weight (E,), at least 0; output (N, C_out).

    Raises:
        InputError: an argument is out of range; in forward: a shape or type is wrong, a node lies outside the graph, or
            a weight is negative.

    Reference:
        Zhang and Sun, "ChebGibbsNet", arXiv 2412.01789.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        hops: int = 10,
        damping: str = "jackson",
        mu: float = 3.0,
        xi: float = 4.0,
        stigma: float = 0.5,
        heta: float = 2.0,
        homophily: str = "auto",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.lin = nn.Linear(in_channels, out_channels, bias)
        self.propagate = ChebGibbsProp(
            hops, damping=damping, mu=mu, xi=xi, stigma=stigma, heta=heta, homophily=homophily
        )

    def reset_parameters(self) -> None:
        """Draw the linear map anew, and start the series from its first coefficients."""
        self.lin.reset_parameters()
        self.propagate.reset_parameters()

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Map and filter the features (N, C_in) of the nodes."""
        return self.propagate(self.lin(x), edge_index, edge_weight)


class ChebGibbsNet(nn.Module):
    """Two linear maps with a leaky ReLU between them, and the damped Chebyshev filter of the scores of the classes.

    Args:
        in_channels: number of input channels.
        classes: number of classes.
        hidden: number of channels between the maps.
        dropout: share of what both maps read, and of the scores, that is dropped in training, 0 to 1.
        hops: order of the series, at least 0.
        filtered: further settings of `ChebGibbsProp`.

    Shapes:
        x (N, C); edge_index (2, E); edge_weight (E,), at least 0; output (N, classes), scores without a softmax.

    Raises:
        InputError: an argument is out of range; in forward: a shape or type is wrong, a node lies outside the graph, or
            a weight is negative.

    Reference:
        Zhang and Sun, "ChebGibbsNet", arXiv 2412.01789.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        hidden: int = 32,
        dropout: float = 0.1,
        hops: int = 10,
        **filtered: Any,
    ) -> None:
        super().__init__()
        check_fraction("dropout", dropout)
        self.dropout = nn.Dropout(dropout)
        self.lin1 = nn.Linear(in_channels, hidden)
        self.lin2 = nn.Linear(hidden, classes)
        self.propagate = ChebGibbsProp(hops, **filtered)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the maps from He's and from Glorot's normal distribution, with biases of 0."""
        nn.init.kaiming_normal_(self.lin1.weight, a=SLOPE)
        nn.init.xavier_normal_(self.lin2.weight)
        for lin in (self.lin1, self.lin2):
            nn.init.zeros_(lin.bias)
        self.propagate.reset_parameters()

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Return the scores of the classes, (N, classes)."""
        x = F.leaky_relu(self.lin1(self.dropout(x)), SLOPE)
        scores = self.dropout(self.lin2(self.dropout(x)))
        return self.propagate(scores, edge_index, edge_weight)
