r"""Tangent kernels of graph networks of infinite width, between the nodes of a graph and between graphs."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice
from convnn.learners.activation_duals import Activationish, dual, dual_derivative
from convnn.ops.edges import propagate
from convnn.ops.ragged import check_edges, check_factors

NORMALIZATIONS = ("graphon", "sym", "row")
"""What weighs the neighbours; None takes the weights as they are."""


class Covariances(NamedTuple):
    """What a layer of infinite width does to two signals.

    Attributes:
        features: covariances of its outputs, the kernel of a network of which only the last layer is learned.
        tangent: the tangent kernel of all layers up to it.
    """

    features: Tensor
    tangent: Tensor


class Filter:
    r"""The aggregation of a layer, :math:`h \mapsto (S^k h)_{k \in \text{taps}}`, each of them with its own weights.

    Args:
        graph: adjacency (n, n) or edges (2, E).
        nodes: n.
        edge_weight: (E,) weights of edges.
        taps: the powers; 0 is the node itself.
        normalization: of S.

    Raises:
        InputError: an argument has another shape, or is out of range.
    """

    def __init__(
        self, graph: Tensor, nodes: int, edge_weight: Tensor | None, taps: Sequence[int], normalization: str | None
    ) -> None:
        if not isinstance(taps, Sequence) or not taps or any(not isinstance(k, int) or k < 0 for k in taps):
            raise InputError(f"taps={taps!r} must be powers of the shift, at least one, each an integer of at least 0")
        if normalization is not None:
            check_choice("normalization", normalization, NORMALIZATIONS)
        self.taps = set(taps)
        self.shift = shift_of(graph, nodes, edge_weight, normalization)

    def between(self, covariance: Tensor, other: "Filter") -> Tensor:
        r"""Return :math:`\sum_k S^k C (S'^k)^T` of covariances (n, m) of this graph with another."""
        found = covariance if 0 in self.taps else torch.zeros_like(covariance)
        for k in range(1, max(self.taps) + 1):
            covariance = other.shift(self.shift(covariance).T).T
            found = found + covariance if k in self.taps else found
        return found


def shift_of(
    graph: Tensor, nodes: int, edge_weight: Tensor | None, normalization: str | None
) -> Callable[[Tensor], Tensor]:
    """Return the function that sums over the neighbours of each node, (n, c) to (n, c)."""
    neighbors = _sum_of(graph, nodes, edge_weight)
    if normalization is None:
        return neighbors
    if normalization == "graphon":
        return lambda h: neighbors(h) / nodes

    def shift(h: Tensor) -> Tensor:
        degrees = neighbors(h.new_ones(nodes, 1)) + 1
        if normalization == "row":
            return (neighbors(h) + h) / degrees
        scaled = h * degrees.rsqrt()
        return (neighbors(scaled) + scaled) * degrees.rsqrt()

    return shift


def _sum_of(graph: Tensor, nodes: int, edge_weight: Tensor | None) -> Callable[[Tensor], Tensor]:
    """Return the function that sums over the neighbours of each node by the weights of the graph."""
    if not isinstance(graph, Tensor):
        raise InputError(f"graph of type {type(graph).__name__} must be a tensor, an adjacency (n, n) or edges (2, E)")
    if graph.dtype == torch.long and graph.shape[0] == 2:
        check_edges(graph, nodes, name="graph")
        check_factors("edge_weight", edge_weight, graph.shape[1])
        _check_weights("edge_weight", edge_weight)
        return lambda h: propagate(h, graph, None if edge_weight is None else edge_weight.to(h))
    if edge_weight is not None:
        raise InputError("edge_weight is for edges (2, E); the weights of an adjacency are its entries")
    if graph.shape != (nodes, nodes) or not graph.is_floating_point():
        raise InputError(
            f"graph of shape {tuple(graph.shape)} and {graph.dtype} must be a floating adjacency {(nodes, nodes)} of"
            " the rows of x, or edges (2, E) of int64"
        )
    _check_weights("graph", graph if graph.layout == torch.strided else graph.to_sparse_coo().coalesce().values())
    return lambda h: graph.to(h.dtype) @ h


def _check_weights(name: str, weights: Tensor | None) -> None:
    if weights is not None and not bool((weights >= 0).all()):
        wrong = weights[~(weights >= 0)][0].item()
        raise InputError(f"{name} has {wrong}; weights must not be negative or NaN")


def gntk(
    graph: Tensor,
    x: Tensor,
    x2: Tensor | None = None,
    *,
    edge_weight: Tensor | None = None,
    layers: int = 2,
    taps: Sequence[int] = (0, 1),
    activation: Activationish = "relu",
    normalization: str | None = "graphon",
    return_nngp: bool = False,
) -> Tensor | Covariances:
    r"""Return the tangent kernel (n, n) of a graph network of infinite width, between the nodes of a graph.

    The network has standard normal weights :math:`W^{l,k}` of its own for each tap k, and widths :math:`m_l`:

    .. math:: z^l = \frac{1}{\sqrt{m_{l-1}}} \sum_k S^k h^{l-1} W^{l,k}, \quad h^0 = X, \quad h^l = \sqrt{c}\,
        \sigma(z^l), \quad f = h^L w / \sqrt{m_L}, \quad c = 1 / E\, \sigma(g)^2

    with g standard normal, so that c is 2 for ReLU. With :math:`A(C) = \sum_k S^k C (S^k)^T` and the duals K and D of
    :math:`\sqrt c\, \sigma` and its derivative, from :math:`C = \Theta = X X'^T / F` in each layer

    .. math:: \Theta \leftarrow K(A(C)) + D(A(C)) \odot A(\Theta), \qquad C \leftarrow K(A(C)).

    Divided by n, as by default, the kernel of graphs that are drawn from a graphon has a limit, that of the graphon. A
    `Matrix` of `convnn.learners` makes it the kernel of a learner whose points are nodes. A ridge must grow as n does.

    Args:
        graph: adjacency (n, n), floating, dense or sparse, whose row i weighs what node i reads; or edges (2, E) of
            int64, from a source to a target, which reads it. Weights are at least 0.
        x: (n, F) features of the nodes, the rows of the kernel.
        x2: (n, F) a second signal on the same graph, its columns; None is x.
        edge_weight: (E,) weights of edges; None is 1.
        layers: hidden layers L, at least 1.
        taps: powers of S that a layer reads; 0 is the node itself.
        activation: a name or a function, as of `convnn.learners.activation_duals.dual`.
        normalization: S is A / n ("graphon"); :math:`D^{-1/2} (A + I) D^{-1/2}` ("sym", with taps (1,) a `GCNConv`);
            :math:`D^{-1} (A + I)` ("row"), with D of A + I; or A (None).
        return_nngp: return `Covariances`, the kernel of the network of which only w is learned besides.

    Raises:
        InputError: an argument has another shape, or is out of range.
        UnsupportedError: the activation has a derivative of 0.

    References:
        Krishnagopal and Ruiz, "Graph neural tangent kernel: convergence on large graphs", arXiv 2301.10808, whose
        network it is; the recursion is derived from it here. Du et al., arXiv 1905.13192, for graphs.
    """
    signals = (x,) if x2 is None else (x, x2)
    for name, signal in zip(("x", "x2"), signals, strict=False):
        _check_features(name, signal)
    if x2 is not None and x2.shape != x.shape:
        raise InputError(f"x2 of shape {tuple(x2.shape)} must have the shape {tuple(x.shape)} of x")
    check_at_least("layers", layers, 1)
    filters = [Filter(graph, x.shape[0], edge_weight, taps, normalization)] * len(signals)
    scaled = [signal / x.shape[1] ** 0.5 for signal in signals]
    *_, last = after_layers(scaled, filters, layers, 1, activation)
    return last if return_nngp else last.tangent


def gntk_of_graphs(
    graph: Tensor,
    x: Tensor,
    graph2: Tensor | None = None,
    x2: Tensor | None = None,
    *,
    edge_weight: Tensor | None = None,
    edge_weight2: Tensor | None = None,
    layers: int = 2,
    steps: int = 1,
    jumping: bool = False,
    activation: Activationish = "relu",
    normalization: str | None = "row",
) -> Tensor:
    r"""Return the tangent kernel of two graphs, a number: of a network that sums over all nodes at its end.

    Every layer aggregates once, and then has `steps` linear layers with activations.

    Args:
        graph: adjacency (n, n) or edges (2, E) of the first graph, as in `gntk`.
        x: (n, F) its features.
        graph2: (m, m) or (2, E') the second graph; None is the first, with its features.
        x2: (m, F) its features.
        edge_weight: (E,) weights of edges.
        edge_weight2: (E',) those of the second graph.
        layers: aggregations, at least 1; `num_layers` - 1 of the published code.
        steps: linear layers in each, at least 1; its `num_mlp_layers`.
        jumping: whether the features of all layers, and x, are summed at the end; its `jk`.
        activation: as in `gntk`.
        normalization: as in `gntk`; the published "uniform" is None with an adjacency that has loops.

    Raises:
        InputError: an argument has another shape, or is out of range.
        UnsupportedError: the activation has a derivative of 0.

    Reference:
        Du et al., "Graph neural tangent kernel", arXiv 1905.13192. The published code returns twice the number.
    """
    if (graph2 is None) != (x2 is None):
        raise InputError("graph2 and x2 must be given both or neither")
    check_at_least("layers", layers, 1)
    check_at_least("steps", steps, 1)
    _check_features("x", x)
    signals, filters = [x], [Filter(graph, x.shape[0], edge_weight, (1,), normalization)]
    if graph2 is not None and x2 is not None:
        _check_features("x2", x2)
        if x2.shape[1] != x.shape[1]:
            raise InputError(f"x2 of shape {tuple(x2.shape)} must have the {x.shape[1]} features of x")
        signals.append(x2)
        filters.append(Filter(graph2, x2.shape[0], edge_weight2, (1,), normalization))
    each = [one.tangent for one in after_layers(signals, filters, layers, steps, activation)]
    if jumping:
        return (x @ signals[-1].T + torch.stack(each).sum(0)).sum()
    return each[-1].sum()


def after_layers(
    signals: Sequence[Tensor], filters: Sequence[Filter], layers: int, steps: int, activation: Activationish
) -> Iterator[Covariances]:
    """Yield the covariances of the signals after each layer: of one with itself, or of the first with the second.

    Where a variance is 0, as of a node that nothing reaches, so are the tangent kernel and the outputs of ReLU.
    """
    pairs = [(0, 0)] if len(signals) == 1 else [(0, 1), (0, 0), (1, 1)]
    of = [signals[i] @ signals[j].T for i, j in pairs]  # the first is the result, the others have its variances
    tangent, one = of[0], of[0].new_ones(())
    gain = 1 / dual(activation, one, one, one)
    for _ in range(layers):
        of = [filters[i].between(each, filters[j]) for (i, j), each in zip(pairs, of, strict=True)]
        tangent = filters[pairs[0][0]].between(tangent, filters[pairs[0][1]])
        for _ in range(steps):
            variances = [of[-len(signals)].diagonal(), of[-1].diagonal()]
            slope = gain * dual_derivative(activation, variances[0][:, None], variances[1], of[0])
            of = [
                gain * dual(activation, variances[i][:, None], variances[j], each)
                for (i, j), each in zip(pairs, of, strict=True)
            ]
            tangent = of[0] + tangent * slope
        yield Covariances(of[0], tangent)


def _check_features(name: str, x: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise InputError(f"{name} of type {type(x).__name__} must be a tensor (n, F), a row for each node")
    if x.dim() != 2 or not x.numel() or not x.is_floating_point():
        raise InputError(
            f"{name} of shape {tuple(x.shape)} and {x.dtype} must be floating and (n, F), a row for each node"
        )
