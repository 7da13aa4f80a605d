r"""Holomorphic filters of directed graphs: functions :math:`g(T)` of an operator that need not be symmetric.

For any square matrix T and g holomorphic around its spectrum,

.. math:: g(T) = \frac{1}{2 \pi i} \oint g(z) (z - T)^{-1} dz

which needs neither eigenvectors nor a Fourier transform. A layer learns :math:`g = \sum_k \theta_k \psi_k` for known
:math:`\psi_k`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_choice, check_fraction
from convnn.nn.graphs._checks import check_weights
from convnn.nn.graphs._degrees import degree_powers, degrees
from convnn.nn.graphs.spectra.choices import HOLO_BASES, POWER_DAMPINGS
from convnn.ops.edges import propagate
from convnn.ops.ragged import check_edges

JUMPS = {
    "cat": lambda depths: torch.cat(depths, dim=1),
    "max": lambda depths: torch.stack(depths).amax(0),
    "none": lambda depths: depths[-1],
}
"""What the last linear map reads of the outputs of all layers."""
Step = Callable[[Tensor], Tensor]
"""A linear map of features (N, C) of the nodes."""


class Holo(nn.Module):
    r"""Polynomials of a directed graph, one of its out-neighbours and one of its in-neighbours.

    .. math::
        y &= \alpha \sum_k c_k (T^k x W_k^\top + b_k) + (1 - \alpha) \sum_k c_k ((T^\top)^k x V_k^\top + d_k) \\
        T &= D_\text{out}^{p} A D_\text{in}^{p}, \qquad c_0 = c_1 = 1, \quad
        c_k = 2^{-(k-1)} \text{ ("exp") or } \tfrac{1}{k - 1} \text{ ("lin")}

    where :math:`A_{st}` is the weight of the edge from s to t, repeated edges adding up, so that :math:`(T x)_s`
    collects from the nodes that s points to. The sums begin with k = 1, with `zero_order` with k = 0. A node without
    edges in a direction gets its biases alone.

    With ``holo_basis="resolvent"`` the powers are those of :math:`R = (L + 1)^{-1}` for the Laplacian
    :math:`(L x)_s = \sum_t A_{st} (x_s - x_t)` of each direction. Nodes tied ever more strongly then act like one: the
    filter does not depend on the resolution of the graph. R is a dense matrix of all nodes, solved for in every call.

    With a complex `dtype` the same with complex weights; x is complex or real.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        hops: K, the highest power, at least 1.
        out_weight: alpha, the weight of the sum over out-neighbours, 0 to 1.
        learn_out_weight: learn it, starting there.
        degree_exponent: p, negative; the factor of the degree 0 is 0. The resolvent does not read it.
        power_damping: "exp" or "lin", the factors c.
        zero_order: begin with the features themselves.
        holo_basis: "powers" of T or of the "resolvent".
        bias: add learned biases.
        dtype: data type of the weights, which may be complex.

    Shapes:
        x (N, C_in); edge_index (2, E); edge_weight (E,), at least 0; output (N, C_out). `out_neighbors` and
        `in_neighbors` are lists of linear maps, one for each power.

    Raises:
        InputError: an argument is out of range; in forward: a shape or type is wrong, a node lies outside the graph, a
            weight is negative, or x is not finite, or complex where the weights are real.

    Reference:
        Koke and Cremers, "HoloNets: Spectral Convolutions do extend to Directed Graphs", arXiv 2310.02232. The
        published code applies :math:`T^\top` to the powers of T, and keeps T of its first call; this is the formula.

    Example:
        >>> Holo(4, 8)(torch.randn(3, 4), torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([3, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        hops: int = 3,
        out_weight: float = 0.5,
        learn_out_weight: bool = False,
        degree_exponent: float = -0.25,
        power_damping: str = "exp",
        zero_order: bool = False,
        holo_basis: str = "powers",
        bias: bool = True,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_at_least("hops", hops, 1)
        check_fraction("out_weight", out_weight)
        check_choice("power_damping", power_damping, POWER_DAMPINGS)
        check_choice("holo_basis", holo_basis, HOLO_BASES)
        if not degree_exponent < 0:
            raise InputError(f"degree_exponent={degree_exponent!r} must be negative, so that the degree 0 counts 0")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.holo_basis, self.degree_exponent = holo_basis, degree_exponent
        self.is_complex = dtype is not None and dtype.is_complex
        self.powers = range(0 if zero_order else 1, hops + 1)
        decay = {"exp": lambda k: 2.0 ** (1 - k), "lin": lambda k: 1 / (k - 1)}[power_damping]
        self.factors = [1.0 if k < 2 else decay(k) for k in self.powers]
        self.out_weight: nn.Parameter | float = out_weight  # no buffer, which would be rounded to float32
        if learn_out_weight:
            self.out_weight = nn.Parameter(torch.tensor(out_weight))

        def maps() -> nn.ModuleList:
            return nn.ModuleList(nn.Linear(in_channels, out_channels, bias, dtype=dtype) for _ in self.powers)

        self.out_neighbors, self.in_neighbors = maps(), maps()

    def reset_parameters(self) -> None:
        """Draw all linear maps anew."""
        for lin in (*self.out_neighbors, *self.in_neighbors):
            lin.reset_parameters()

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Filter the features (N, C_in) of the nodes."""
        x = self._checked(x)
        check_edges(edge_index, x.shape[0])
        check_weights("edge_weight", edge_weight, edge_index.shape[1])
        to_out, to_in = self._steps(x, edge_index, edge_weight)
        forward, reverse = self._sum(self.out_neighbors, to_out, x), self._sum(self.in_neighbors, to_in, x)
        return self.out_weight * forward + (1 - self.out_weight) * reverse

    def _sum(self, maps: nn.ModuleList, step: Step, x: Tensor) -> Tensor:
        out = x.new_zeros(())
        for k, factor, lin in zip(self.powers, self.factors, maps, strict=True):
            x = step(x) if k else x
            out = out + factor * lin(x)
        return out

    def _steps(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None) -> tuple[Step, Step]:
        """Return the operators that collect from out-neighbours and from in-neighbours."""
        backwards = edge_index.flip(0)
        if self.holo_basis == "resolvent":
            return resolvent(x, backwards, edge_weight), resolvent(x, edge_index, edge_weight)
        exponent = self.degree_exponent
        outs = degree_powers(degrees(x.real, backwards, edge_weight), exponent)
        ins = degree_powers(degrees(x.real, edge_index, edge_weight), exponent)
        return (
            lambda term: outs * _propagate(ins * term, backwards, edge_weight),
            lambda term: ins * _propagate(outs * term, edge_index, edge_weight),
        )

    def _checked(self, x: Tensor) -> Tensor:
        if x.dim() != 2 or x.shape[1] != self.in_channels or not (x.is_floating_point() or x.is_complex()):
            raise InputError(
                f"x of shape {tuple(x.shape)} and {x.dtype} must be floating or complex and (N, {self.in_channels}), a"
                " row for each node"
            )
        if x.is_complex() and not self.is_complex:
            raise InputError(f"x of {x.dtype} needs complex weights; build the layer with dtype={x.dtype}")
        if not torch.compiler.is_compiling() and not torch.isfinite(x).all():
            raise InputError("x must be finite, since powers of the graph spread what is not")
        return torch.complex(x, torch.zeros_like(x)) if self.is_complex and not x.is_complex() else x

    def extra_repr(self) -> str:
        """Return the powers, the weight of out-neighbours and the basis."""
        return f"powers={[*self.powers]}, out_weight={float(self.out_weight):g}, holo_basis={self.holo_basis!r}"


def resolvent(x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Step:
    r"""Return the map :math:`(L + 1)^{-1}` of the Laplacian :math:`(L x)_i = \sum_{j \to i} w_{ji} (x_i - x_j)`.

    L + 1 is dense (N, N) and always invertible; it is factorised once.

    Args:
        x: features (N, C), for the number of nodes and the data type.
        edge_index: (2, E) int64.
        edge_weight: (E,), at least 0; None is 1.
    """
    one = torch.eye(x.shape[0], dtype=x.real.dtype, device=x.device)
    collected = propagate(one, edge_index, edge_weight)
    factors = torch.linalg.lu_factor(one + torch.diag(collected.sum(1)) - collected)

    def solve(term: Tensor) -> Tensor:
        if not term.is_complex():
            return torch.linalg.lu_solve(*factors, term)
        return torch.complex(solve(term.real), solve(term.imag))

    return solve


def _propagate(x: Tensor, edge_index: Tensor, edge_weight: Tensor | None) -> Tensor:
    """Propagate real or complex features; real weights act on both parts alike."""
    if not x.is_complex():
        return propagate(x, edge_index, edge_weight)
    return torch.complex(*(propagate(part, edge_index, edge_weight) for part in (x.real, x.imag)))


class HoloNet(nn.Module):
    r"""Layers of `Holo`, a leaky ReLU after each, jumping knowledge, and a linear map to the classes.

    With complex layers the activation, dropout and normalisation act on real and imaginary part by themselves, and the
    linear map reads both.

    Args:
        in_channels: number of input channels.
        classes: number of classes.
        hidden: number of channels of every layer.
        layers: number of layers, at least 1.
        jump: "cat" or "max" of the outputs of all layers, or "none", the last.
        slope: negative slope of the leaky ReLU; -1 is the absolute value.
        normalize: scale each row to length 1 after every layer.
        dropout: share of the features dropped after every layer in training, 0 to 1.
        learn_out_weight: learn the weight of out-neighbours, one for all layers.
        settings: further settings of `Holo`.

    Shapes:
        x (N, C); edge_index (2, E); edge_weight (E,), at least 0; output (N, classes), logarithms of probabilities.

    Raises:
        InputError: an argument is out of range; in forward: as in `Holo`.

    Reference:
        Koke and Cremers, "HoloNets: Spectral Convolutions do extend to Directed Graphs", arXiv 2310.02232.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        hidden: int = 64,
        layers: int = 3,
        jump: str = "max",
        slope: float = -1.0,
        normalize: bool = False,
        dropout: float = 0.0,
        learn_out_weight: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__()
        check_at_least("layers", layers, 1)
        check_choice("jump", jump, JUMPS)
        check_fraction("dropout", dropout)
        self.slope, self.normalize, self.dropout, self.jump = slope, normalize, dropout, jump
        widths = [in_channels] + [hidden] * (layers - 1)
        convs = [Holo(width, hidden, learn_out_weight=learn_out_weight, **settings) for width in widths]
        for conv in convs:
            conv.out_weight = convs[0].out_weight
        self.convs = nn.ModuleList(convs)
        width = hidden * (layers if jump == "cat" else 1) * (2 if convs[0].is_complex else 1)
        dtype = settings.get("dtype")
        self.lin = nn.Linear(width, classes, dtype=dtype and dtype.to_real())

    def reset_parameters(self) -> None:
        """Draw all linear maps anew."""
        for layer in (*self.convs, self.lin):
            layer.reset_parameters()

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Return the logarithms of the probabilities of the classes, (N, classes)."""
        depths = []
        for conv in self.convs:
            x = conv(x, edge_index, edge_weight)
            x = torch.complex(self._after(x.real), self._after(x.imag)) if x.is_complex() else self._after(x)
            depths.append(torch.view_as_real(x).mT.flatten(1) if x.is_complex() else x)
        return self.lin(JUMPS[self.jump](depths)).log_softmax(1)

    def _after(self, x: Tensor) -> Tensor:
        x = F.dropout(F.leaky_relu(x, self.slope), self.dropout, self.training)
        return F.normalize(x, dim=1) if self.normalize else x
