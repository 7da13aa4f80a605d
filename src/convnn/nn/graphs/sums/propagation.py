r"""Linear propagation over a graph: nodes take the weighted sum of their neighbours, several times.

With the weights :math:`A_{ij}` of the edges from :math:`j` to :math:`i`, of which repeated ones add up, :math:`\lambda`
for a loop at every node, and the degrees :math:`d_i = \lambda + \sum_j A_{ij}`, one propagation is

.. math:: S = D^{-1/2} (A + \lambda I) D^{-1/2}

where a node of degree 0 has the factor 0. On a directed graph S is not symmetric.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import MessagePassing

from convnn.errors import check_at_least
from convnn.nn.graphs._checks import check_features, check_weights
from convnn.nn.graphs._degrees import degree_powers
from convnn.ops.edges import propagate


def propagations(
    x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None, *, hops: int = 2, loops: float = 1.0
) -> Iterator[Tensor]:
    r"""Yield the features after 0, 1, ..., K propagations, :math:`S^k x`.

    The last one does not depend on any weight: computed once, it serves a linear classifier for the whole training.

    Args:
        x: (N, C) features of the nodes.
        edge_index: (2, E) int64, the source and the target of each edge.
        edge_weight: (E,) weights of at least 0; None is 1.
        hops: K.
        loops: weight of the loop at each node, in addition to loops in the graph: 1 for SGC, 0 for LightGCN.

    Raises:
        InputError: hops is negative, a shape or type is wrong, a node lies outside the graph, or a weight is negative
            or NaN.
    """
    check_at_least("hops", hops, 0)
    check_features(x)
    check_weights("edge_weight", edge_weight, edge_index.shape[-1])
    degrees = loops + propagate(x.new_ones(x.shape[0], 1), edge_index, edge_weight)
    roots = degree_powers(degrees, -0.5)
    yield x
    for _ in range(hops):
        scaled = roots * x
        received = propagate(scaled, edge_index, edge_weight)
        x = roots * (received + loops * scaled if loops else received)
        yield x


class _LinearPropagation(MessagePassing):
    """Layers that propagate the features and then map them linearly.

    They are layers of PyTorch Geometric, so that its `to_hetero` treats them as such, but store no messages.
    """

    def __init__(self, in_channels: int, out_channels: int, hops: int, bias: bool) -> None:
        super().__init__()
        check_at_least("in_channels", in_channels, 1)
        check_at_least("out_channels", out_channels, 1)
        check_at_least("hops", hops, 0)
        self.in_channels, self.out_channels, self.hops = in_channels, out_channels, hops
        self.lin = nn.Linear(in_channels, out_channels, bias=bias)

    def reset_parameters(self) -> None:
        """Draw the linear map anew."""
        self.lin.reset_parameters()

    def _mapped(self, x: Tensor, propagated: Callable[[Tensor], Tensor]) -> Tensor:
        """Propagate and map; the map comes first where it leaves fewer channels to propagate, which is the same."""
        if self.out_channels >= self.in_channels:
            out: Tensor = self.lin(propagated(x))
            return out
        sums = propagated(F.linear(x, self.lin.weight))
        return sums if self.lin.bias is None else sums + self.lin.bias

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.in_channels}, {self.out_channels}, hops={self.hops})"


class SGC(_LinearPropagation):
    r"""Simple graph convolution: K propagations with loops, then one linear map, :math:`S^K x W^\top + b`.

    A loop is added at every node, also where the graph has one, which then counts twice; `SGConv` of PyTorch Geometric
    leaves such nodes as they are.

    Args:
        in_channels: C.
        out_channels: C'.
        hops: K; 0 is a linear map of the features.
        bias: learn b.

    Raises:
        InputError: a number is out of range.

    Reference:
        Wu et al., "Simplifying Graph Convolutional Networks", arXiv 1902.07153.

    Example:
        >>> SGC(4, 3)(torch.randn(3, 4), torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([3, 3])
    """

    def __init__(self, in_channels: int, out_channels: int, *, hops: int = 2, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, hops=hops, bias=bias)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Map features (N, C) to (N, C'); see `propagations` for the edges, and for what is refused."""
        check_features(x, self.in_channels)
        return self._mapped(x, lambda x: list(propagations(x, edge_index, edge_weight, hops=self.hops))[-1])


class LGC(_LinearPropagation):
    r"""Light graph convolution: the mean over all depths of propagation without loops, then one linear map.

    .. math:: \Bigl( \frac{1}{K + 1} \sum_{k=0}^{K} S^k x \Bigr) W^\top + b

    A node without incoming edges has :math:`x / (K + 1)` instead of the mean.

    Args:
        in_channels: C.
        out_channels: C'.
        hops: K; 0 is a linear map of the features.
        bias: learn b.

    Raises:
        InputError: a number is out of range.

    Reference:
        He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation", arXiv 2002.02126,
        whose features are embeddings, without a linear map: see `LightGCN`.
    """

    def __init__(self, in_channels: int, out_channels: int, *, hops: int = 3, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, hops=hops, bias=bias)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Map features (N, C) to (N, C'); see `propagations` for the edges, and for what is refused."""
        check_features(x, self.in_channels)
        return self._mapped(x, lambda x: mean_of_depths(x, edge_index, edge_weight, hops=self.hops))


def mean_of_depths(x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None, *, hops: int = 3) -> Tensor:
    """Return the mean (N, C) of the features after 0, 1, ..., K propagations without loops; see `propagations`."""
    total = sum(propagations(x, edge_index, edge_weight, hops=hops, loops=0.0), start=torch.zeros_like(x))
    return total / (hops + 1)
