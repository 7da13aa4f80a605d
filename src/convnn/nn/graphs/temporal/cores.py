r"""k-cores as a sequence: nodes read their neighbours core by core, from the densest outwards.

The k-core is the largest subgraph in which every node has at least k neighbours. With the largest k at which a node is
in it, its core number :math:`c(v)`, and the adjacency A of the whole graph, the edges of the k-core are

.. math:: (A_k)_{uv} = A_{uv} \text{ if } c(u) \ge k \text{ and } c(v) \ge k, \text{ else } 0

so that each core contains all denser ones.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from convnn.errors import check_at_least, check_choice
from convnn.nn.graphs._checks import check_features
from convnn.ops.cores import core_numbers
from convnn.ops.edges import propagate
from convnn.ops.ragged import Lists, check_edges, check_factors

CELLS = {"gru": nn.GRU, "lstm": nn.LSTM}

Weighted = tuple[Tensor, Tensor | None]
"""Edges (2, E), each both ways, and their weights (E,), or None for 1."""


class _Shell(NamedTuple):
    """The edges of a core that no denser core has, both ways, and where they are listed last."""

    edge_index: Tensor
    places: Tensor


def k_core_adjacencies(
    edge_index: Tensor, edge_weight: Tensor | None, num_nodes: int, max_cores: int | None = None
) -> list[Weighted]:
    """Return the edges of the k-cores, from the densest to the whole graph.

    The graph is taken as undirected: an edge may be listed once or both ways. Of several weights of a pair, in either
    direction, the last one counts; self-loops are left out. A core that adds no edge of a weight other than 0 is left
    out, so that their number is at most the largest core number; without any edge, one core has none.

    Args:
        edge_index: (2, E) int64.
        edge_weight: (E,), or None for 1; core numbers do not depend on it.
        num_nodes: N.
        max_cores: m; only the cores 1 to m, the least dense, are there, and the first is the m-core.

    Returns:
        Edges (2, E_k), both ways, and their weights (E_k,), or None, of each core.

    Raises:
        InputError: a shape or type is wrong, a node lies outside the graph, or max_cores is less than 1.
    """
    shells = core_shells(edge_index, edge_weight, num_nodes, max_cores)
    return [_joined(shells[: count + 1]) for count in range(len(shells))]


def core_shells(
    edge_index: Tensor, edge_weight: Tensor | None, num_nodes: int, max_cores: int | None = None
) -> list[Weighted]:
    """Return what each core of `k_core_adjacencies` adds to the denser ones; see there for arguments and errors.

    Core numbers are computed once for each tensor of edges, and anew when it has been changed in place.
    """
    check_edges(edge_index, num_nodes)
    check_factors("edge_weight", edge_weight, edge_index.shape[1])
    if max_cores is not None:
        check_at_least("max_cores", max_cores, 1)
    shells = _shells_once(edge_index, num_nodes, max_cores)
    if edge_weight is None:
        return [(shell.edge_index, None) for shell in shells]
    weights = [edge_weight[shell.places] for shell in shells]
    is_kept = [True, *(bool(one.any()) for one in weights[1:])]
    return [(shell.edge_index, one) for shell, one, kept in zip(shells, weights, is_kept, strict=True) if kept]


def _shells_once(edge_index: Tensor, nodes: int, max_cores: int | None) -> list[_Shell]:
    if edge_index.is_inference():  # it has no version
        return _shells_of(edge_index, nodes, max_cores)
    key = edge_index._version, nodes, max_cores
    known, shells = _FOUND.get(edge_index, (None, []))
    if known != key:
        shells = _shells_of(edge_index, nodes, max_cores)
        _FOUND[edge_index] = key, shells
    return shells


_FOUND = WeakIdKeyDictionary()
"""Shells of the tensors of edges that are alive, with the version of the tensor, the nodes and the number of cores."""


def _shells_of(edge_index: Tensor, nodes: int, max_cores: int | None) -> list[_Shell]:
    pairs, places = _pairs_of(edge_index, nodes)
    lists, _ = Lists.of_edges(torch.cat([pairs, pairs.flip(0)], 1), nodes)
    core = core_numbers(lists)[pairs].amin(0)  # the densest core that has the edge
    most = int(core.max()) if core.numel() else 1
    core = core.clamp_max(most if max_cores is None else max_cores)
    levels = core.unique().flip(0) if core.numel() else core.new_ones(1)
    of_levels = [(core == level).nonzero().flatten() for level in levels]
    return [_Shell(torch.cat([pairs[:, one], pairs[:, one].flip(0)], 1), places[one].repeat(2)) for one in of_levels]


def _pairs_of(edge_index: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
    """Return each pair of different nodes once (2, P), the lower one first, and where it is listed last (P,)."""
    places = (edge_index[0] != edge_index[1]).nonzero().flatten()
    low, high = edge_index[:, places].sort(dim=0).values
    keys, each = (low * nodes + high).unique(return_inverse=True)
    last = places.new_zeros(keys.shape[0]).scatter_reduce(0, each, places, "amax")
    return torch.stack([keys // max(nodes, 1), keys % max(nodes, 1)]), last


def _joined(shells: list[Weighted]) -> Weighted:
    edges, weights = zip(*shells, strict=True)
    return torch.cat(edges, 1), None if weights[0] is None else torch.cat(weights)


class CoreDiffusion(nn.Module):
    r"""Core diffusion: sums over the neighbours within each k-core, read as a sequence by a recurrent network.

    .. math:: R_j = R_{j-1} + A_{k_j} x, \quad R_0 = x, \qquad
        y = \operatorname{LayerNorm}\Bigl(\sum_j \operatorname{GRU}(\operatorname{ReLU}(R_1), \operatorname{ReLU}(R_2),
        \dots)_j\Bigr)

    over the cores of `k_core_adjacencies`, the densest first; an edge counts as often as cores up to the j-th have it.
    Sums are not normalised. The states of all steps are added up. A node without neighbours reads itself in every step;
    without any edge, there is one step.

    The number of steps is that of the whole graph's cores, so a node's result changes with the densest part of the
    graph, however far away, and that of a graph with those beside it in a batch.

    Args:
        in_channels: F.
        out_channels: H.
        rnn: "gru" or "lstm".
        max_cores: how many cores are read, those of the lowest k; 1 is the sum over all neighbours, in one step. None
            reads all.
        bias: of the recurrent network.

    Raises:
        InputError: a number is out of range, or the recurrent network is unknown.

    Reference:
        Liu et al., "K-Core based Temporal Graph Convolutional Network for Dynamic Graphs", arXiv 2003.09902. The linear
        map of its code that nothing uses is not here.

    Example:
        >>> edges = torch.tensor([[0, 0, 1, 2], [1, 2, 2, 3]])  # a triangle, and a node beside it
        >>> CoreDiffusion(8, 4)(torch.randn(4, 8), edges).shape
        torch.Size([4, 4])
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, rnn: str = "gru", max_cores: int | None = None, bias: bool = True
    ) -> None:
        super().__init__()
        check_at_least("in_channels", in_channels, 1)
        check_at_least("out_channels", out_channels, 1)
        check_choice("rnn", rnn, CELLS)
        if max_cores is not None:
            check_at_least("max_cores", max_cores, 1)
        self.in_channels, self.out_channels, self.max_cores = in_channels, out_channels, max_cores
        self.rnn = CELLS[rnn](in_channels, out_channels, bias=bias)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Map features (N, F) to (N, H).

        Args:
            x: (N, F).
            edge_index: (2, E) int64, the edges of an undirected graph, once or both ways; see `k_core_adjacencies`.
            edge_weight: (E,), or None for 1.

        Raises:
            InputError: a shape or type is wrong, or a node lies outside the graph.
        """
        check_features(x, self.in_channels)
        shells = core_shells(edge_index, edge_weight, x.shape[0], self.max_cores)
        added = torch.stack([propagate(x, *shell) for shell in shells])
        of_cores = x + added.cumsum(0).cumsum(0)  # of the shells a core is made of, and of the cores so far
        states, _ = self.rnn(of_cores.relu())
        out: Tensor = self.norm(states.sum(0))
        return out

    def extra_repr(self) -> str:
        """Show the number of cores, where it is limited."""
        return "" if self.max_cores is None else f"max_cores={self.max_cores}"
