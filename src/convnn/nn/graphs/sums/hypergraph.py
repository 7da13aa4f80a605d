r"""Convolution on hypergraphs, whose edges join any number of nodes: from nodes to hyperedges and back (HGNN).

With the incidence :math:`H_{ve} \ge 0` of nodes in hyperedges, weights :math:`w_e` of hyperedges, and the degrees
:math:`d_v = \sum_e w_e H_{ve}` and :math:`b_e = \sum_v H_{ve}`,

.. math:: G = D^{-1/2} H W B^{-1} H^\top D^{-1/2}

is symmetric, with eigenvalues between 0 and 1. A degree of 0 gives the factor 0, and a node in no hyperedge the output
0. G is never formed.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from convnn.errors import InputError, check_at_least, check_fraction, check_positive
from convnn.nn.graphs._checks import check_features, check_weights
from convnn.nn.graphs._degrees import degree_powers
from convnn.ops import select
from convnn.ops.edges import propagate
from convnn.ops.ragged import check_edges

ROWS = 1024
"""Number of nodes whose distances to all others are in memory at a time."""


def propagate_hyperedges(
    x: Tensor,
    hyperedge_index: Tensor,
    hyperedge_weight: Tensor | None = None,
    incidence_weight: Tensor | None = None,
) -> Tensor:
    """Return G x, see this module.

    Args:
        x: (N, C) features of the nodes.
        hyperedge_index: (2, E) int64, a node and a hyperedge that it is in.
        hyperedge_weight: (M,) weights w of at least 0, which may be learned; None is 1.
        incidence_weight: (E,) values of H of at least 0; None is 1.

    Returns:
        (N, C).

    Raises:
        InputError: a shape or type is wrong, an index is out of range, or a weight is negative or NaN.
    """
    check_features(x)
    nodes, back = x.shape[0], hyperedge_index.flip(0)
    if hyperedge_weight is None:
        hyperedge_weight = x.new_ones(int(back[0].max()) + 1 if back.numel() else 0)
    hyperedges = hyperedge_weight.shape[0]
    check_edges(hyperedge_index, nodes, hyperedges, name="hyperedge_index", ends=("nodes", "hyperedges"))
    check_weights("hyperedge_weight", hyperedge_weight, hyperedges, "hyperedge")
    check_weights("incidence_weight", incidence_weight, hyperedge_index.shape[1], "member of a hyperedge")

    def to_hyperedges(rows: Tensor) -> Tensor:
        return propagate(rows, hyperedge_index, incidence_weight, hyperedges)

    def to_nodes(rows: Tensor) -> Tensor:
        return propagate(rows, back, incidence_weight, nodes)

    weights = hyperedge_weight.unsqueeze(1)
    roots = degree_powers(to_nodes(weights), -0.5)
    shares = weights * degree_powers(to_hyperedges(x.new_ones(nodes, 1)), -1)
    return roots * to_nodes(shares * to_hyperedges(roots * x))


class HGNNConv(MessagePassing):
    r"""Hypergraph convolution: a linear map, then propagation over the hyperedges, :math:`G (x \Theta + \beta)`.

    The bias is propagated too. `HypergraphConv` of PyTorch Geometric divides by the degree once instead of by its root
    on both sides, has no incidence weights, and adds the bias last. On the edges of a graph, the sources of the edges
    to a node are a hyperedge: with the graph of nearest neighbours, each node and its neighbours.

    Args:
        in_channels: C.
        out_channels: C'.
        bias: learn beta.

    Raises:
        InputError: a number is out of range.

    Reference:
        Feng et al., "Hypergraph Neural Networks", arXiv 1809.09401. Its code fixes the weights of hyperedges to 1.

    Example:
        >>> members = torch.tensor([[0, 1, 2, 2, 3], [0, 0, 0, 1, 1]])  # hyperedges {0, 1, 2} and {2, 3}
        >>> HGNNConv(4, 3)(torch.randn(4, 4), members).shape
        torch.Size([4, 3])
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__()
        check_at_least("in_channels", in_channels, 1)
        check_at_least("out_channels", out_channels, 1)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias uniformly, bounded by the root of the outputs, as published."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(self.out_channels**-0.5), self.out_channels**-0.5)

    def forward(
        self,
        x: Tensor,
        hyperedge_index: Tensor,
        hyperedge_weight: Tensor | None = None,
        incidence_weight: Tensor | None = None,
    ) -> Tensor:
        """Map features (N, C) to (N, C'); see `propagate_hyperedges` for the arguments, and for what is refused."""
        check_features(x, self.in_channels)
        mapped = x @ self.weight if self.bias is None else torch.addmm(self.bias, x, self.weight)
        return propagate_hyperedges(mapped, hyperedge_index, hyperedge_weight, incidence_weight)


class HGNN(nn.Module):
    """Two hypergraph convolutions with ReLU and dropout between, as published, from features to logits.

    Args:
        in_channels: channels of the features.
        out_channels: number of classes.
        hidden_channels: channels between.
        dropout: dropout rate, 0 to 1, in training only; the published code drops in evaluation too.

    Raises:
        InputError: a number is out of range.

    Reference:
        Feng et al., "Hypergraph Neural Networks", arXiv 1809.09401.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, hidden_channels: int = 128, dropout: float = 0.5
    ) -> None:
        super().__init__()
        check_fraction("dropout", dropout)
        self.first = HGNNConv(in_channels, hidden_channels)
        self.second = HGNNConv(hidden_channels, out_channels)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        hyperedge_index: Tensor,
        hyperedge_weight: Tensor | None = None,
        incidence_weight: Tensor | None = None,
    ) -> Tensor:
        """Map features (N, C) to logits (N, classes); arguments are those of `HGNNConv`."""
        hypergraph = hyperedge_index, hyperedge_weight, incidence_weight
        hidden = self.dropout(self.first(x, *hypergraph).relu())
        return self.second(hidden, *hypergraph)


@torch.no_grad()
def knn_hypergraph(
    features: Tensor | Sequence[Tensor], k: int | Sequence[int] = 10, *, prob: bool = True, m_prob: float = 1.0
) -> tuple[Tensor, Tensor]:
    r"""Return a hypergraph with a hyperedge around every node: the node and its k - 1 nearest by feature.

    Node v is in the hyperedge around c with :math:`\exp(-\lVert x_c - x_v \rVert^2 / (m \bar d_c)^2)`, where
    :math:`\bar d_c` is the mean distance of c to all nodes, itself included; or with 1. It has no gradient.

    Args:
        features: (N, C), or several features of the same nodes, each of which makes N hyperedges.
        k: number of nodes in a hyperedge; more than N are all. Or several numbers, each of which makes N hyperedges for
            each of the features.
        prob: weigh by distance; otherwise by 1.
        m_prob: m, above 0.

    Returns:
        hyperedge_index (2, E) int64, nodes and their hyperedges, and incidence_weight (E,).

    Raises:
        InputError: a shape or type is wrong, a number is out of range, or all nodes have the same features with `prob`.

    Reference:
        Feng et al., "Hypergraph Neural Networks", arXiv 1809.09401, section "Hypergraph construction".
    """
    modalities = [features] if isinstance(features, Tensor) else list(features)
    sizes = [k] if isinstance(k, int) else list(k)
    for size in sizes:
        check_at_least("k", size, 1)
    check_positive("m_prob", m_prob)
    for x in modalities:
        check_features(x)
        if x.shape[0] != modalities[0].shape[0]:
            raise InputError(
                f"features have {modalities[0].shape[0]} and {x.shape[0]} rows; they must be of the same nodes"
            )
    found = [_around_each(x, size, m_prob if prob else None) for x in modalities for size in sizes]
    members = torch.cat([nodes.flatten() for nodes, _ in found])
    hyperedges = torch.arange(sum(len(nodes) for nodes, _ in found), device=members.device)
    counts = torch.cat([hyperedges.new_full(nodes.shape[:1], nodes.shape[1]) for nodes, _ in found])
    index = torch.stack([members, hyperedges.repeat_interleave(counts)])
    return index, torch.cat([weights.flatten() for _, weights in found])


def _around_each(x: Tensor, size: int, m_prob: float | None) -> tuple[Tensor, Tensor]:
    """Return the nodes (N, k) nearest to each, and their weights (N, k); `m_prob` None weighs by 1."""
    positions = torch.arange(x.shape[0], device=x.device)
    k = min(size, x.shape[0])
    members = select.nearest(x[None], x[None], k, metric="euclidean", positions=positions).indices[0]
    if m_prob is None:
        return members, x.new_ones(members.shape)
    spread = torch.cat([_distances(rows, x).mean(1, keepdim=True) for rows in x.split(ROWS)])
    if bool((spread == 0).any()):
        raise InputError("features must differ between nodes with prob=True, which divides by their mean distance")
    distances = (x[members] - x.unsqueeze(1)).norm(dim=2)
    return members, (-(distances / (m_prob * spread)).square()).exp()


def _distances(rows: Tensor, x: Tensor) -> Tensor:
    return torch.cdist(rows, x, compute_mode="donot_use_mm_for_euclid_dist")
