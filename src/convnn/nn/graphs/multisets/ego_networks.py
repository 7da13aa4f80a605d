"""Ego networks, the part of a graph around each of its nodes, and layers for which each is a small graph of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import GraphNorm
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import scatter

from convnn.errors import InputError, check_at_least
from convnn.nn.graphs._checks import check_features
from convnn.nn.graphs.multisets.equivariant_maps import EquivariantMap
from convnn.ops.ragged import Lists, check_edges, check_factors

FORMS = ((2, 21), (21, 21), (21, 0), (2, 1))
"""What a layer takes and gives, by the digits: 2 features of pairs of nodes, 1 of nodes, 0 of whole ego networks."""


@dataclass(frozen=True, eq=False)
class EgoNetworks:
    """The nodes within a number of hops of each node, grouped by how many they are.

    Attributes:
        nodes: N, the number of nodes of the graph.
        owners: (N,) the node of each ego network, in ascending order of sizes and then of nodes.
        members: for each size m the nodes (n, m) of the n ego networks of that size.
        pairs: (2, P) the pairs of nodes that share an ego network, in row-major order.
        places: for each size the place (n, m, m) of each pair of members in `pairs`.
    """

    nodes: int
    owners: Tensor
    members: dict[int, Tensor]
    pairs: Tensor
    places: dict[int, Tensor] = field(repr=False)

    @classmethod
    def of_graph(cls, edge_index: Tensor, nodes: int, hops: int = 1) -> "EgoNetworks":
        """Find the ego networks of a graph.

        That of one hop has the targets of the edges that leave the node, and the node itself only where it has a
        self-loop; each further hop adds the targets of the edges that leave these, and drops those that are not.

        Args:
            edge_index: (2, E).
            nodes: number of nodes.
            hops: number of steps along edges, at least 1; the published code has 1 and 2.

        Raises:
            InputError: hops are below 1, edge_index is no graph of these nodes, or no edge leaves or reaches a node.
        """
        check_at_least("hops", hops, 1)
        check_edges(edge_index, nodes)
        ego, member = _within(edge_index, nodes, hops)
        sizes = torch.bincount(ego, minlength=nodes)
        lonely = (sizes == 0) | (torch.bincount(member, minlength=nodes) == 0)
        if lonely.any():
            raise InputError(
                f"node {int(lonely.nonzero()[0])} must have edges that leave and reach it, to be in an ego network; add"
                " self-loops"
            )
        members = {m: member[sizes[ego] == m].view(-1, m) for m in sizes.unique().tolist()}
        numbers = [(group.unsqueeze(2) * nodes + group.unsqueeze(1)).flatten() for group in members.values()]
        pairs, places = torch.cat(numbers).unique(return_inverse=True)
        parts = places.split([len(part) for part in numbers])
        return cls(
            nodes,
            sizes.argsort(stable=True),
            members,
            torch.stack([pairs // nodes, pairs % nodes]),
            {m: part.view(-1, m, m) for m, part in zip(members, parts, strict=True)},
        )

    def place(self, features: Tensor, edge_index: Tensor) -> Tensor:
        """Return features (E, C) of edges as features (P, C) of pairs: several of an edge add up, missing ones are 0.

        Raises:
            InputError: there is not a row for each edge.
        """
        check_edges(edge_index, self.nodes)
        if features.dim() != 2 or features.shape[0] != edge_index.shape[1]:
            raise InputError(
                f"features of shape {tuple(features.shape)} must be ({edge_index.shape[1]}, C), a row for each edge"
            )
        numbers, wanted = (self.nodes * index[0] + index[1] for index in (self.pairs, edge_index))
        place = torch.searchsorted(numbers, wanted).clamp_max(len(numbers) - 1)
        is_inside = numbers[place] == wanted
        out = features.new_zeros(len(numbers), features.shape[1])
        return out.index_add(0, place[is_inside], features[is_inside])


class SubgraphEquivariantConv(nn.Module):
    r"""Equivariant linear maps within the ego networks of a graph, and the mean over all that contain a node or a pair.

    Each ego network is a small dense graph, whose matrix X has the features of its pairs, and whose vector v those of
    its nodes. `EquivariantMap` takes them to matrices and vectors, which return to the graph as means over the ego
    networks, through ELU and `GraphNorm`. Ego networks of one size share their weights.

    Args:
        in_channels: number of channels of pairs, and of nodes where rep_in has them.
        out_channels: number of output channels of each map; from "21" there are two, whose channels are concatenated.
        rep_in: what comes in: 2 features of pairs, 21 of pairs and of nodes.
        rep_out: what goes out: 21 features of pairs and of nodes, 1 of nodes, 0 of ego networks without normalisation.
        sizes: the sizes with weights of their own, or a dictionary from sizes to numbers of sets of weights. Another
            size has those of the nearest smaller one in it. The published tables have one set for each size that is
            frequent in the data.

    Shapes:
        pairs (P, C_in), nodes (N, C_in) or None; output a tuple of pairs (P, C) and nodes (N, C), of nodes, or of
        ego networks (N, C), in the order of `EgoNetworks.owners`.

    Raises:
        InputError: the form is not (2, 21), (21, 21), (21, 0), which are published, or (2, 1); sizes are empty; an ego
            network is smaller than all of them; or shapes do not agree.

    Reference:
        Mitton and Murray-Smith, "Subgraph Permutation Equivariant Networks", arXiv 2111.11840, and the code published
        with its first version, without its two mistakes in the order of rows.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        rep_in: int = 21,
        rep_out: int = 21,
        *,
        sizes: Sequence[int] | Mapping[int, int] = (1,),
    ) -> None:
        super().__init__()
        if (rep_in, rep_out) not in FORMS:
            raise InputError(f"rep_in={rep_in!r} to rep_out={rep_out!r} must be one of {', '.join(map(str, FORMS))}")
        self.sets = dict(sizes) if isinstance(sizes, Mapping) else {size: size for size in sizes}
        if not self.sets or min(self.sets) < 1:
            raise InputError(f"sizes={sizes!r} must be numbers of nodes, at least one")
        self.in_channels, self.rep_in, self.rep_out = in_channels, rep_in, rep_out
        self.maps = nn.ModuleDict()
        for of, out in product(self._digits(rep_in), self._digits(rep_out)):
            sets = {str(name): EquivariantMap(of, out, in_channels, out_channels) for name in self.sets.values()}
            self.maps[f"{of}_to_{out}"] = nn.ModuleDict(sets)
        self.out_channels = out_channels * len(self._digits(rep_in))
        norms = {str(out): GraphNorm(self.out_channels) for out in self._digits(rep_out) if out > 0}
        self.norms = nn.ModuleDict(norms)

    @staticmethod
    def _digits(rep: int) -> list[int]:
        return [int(digit) for digit in str(rep)]

    def set_of(self, size: int) -> str:
        """Return the name of the set of weights for ego networks of a size.

        Raises:
            InputError: the size is below all that have weights.
        """
        smaller = [known for known in self.sets if known <= size]
        if not smaller:
            raise InputError(
                f"sizes={sorted(self.sets)} must have one of at most {size}, for ego networks of that size"
            )
        return str(self.sets[max(smaller)])

    def forward(
        self, egos: EgoNetworks, pairs: Tensor, nodes: Tensor | None = None, batch: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Return features of what rep_out has; batch (N,), the graph of each node, is for the normalisation."""
        self._check("pairs", pairs, egos.pairs.shape[1])
        if self.rep_in == 21:
            if nodes is None:
                raise InputError("nodes=None must be features of the nodes, which rep_in=21 has")
            self._check("nodes", nodes, egos.nodes)
        out: dict[int, list[Tensor]] = {order: [] for order in self._digits(self.rep_out)}
        for size, members in egos.members.items():
            inside = {2: pairs[egos.places[size]].movedim(3, 1)}
            if nodes is not None:
                inside[1] = nodes[members].movedim(2, 1)
            for order, found in out.items():
                found.append(self._mapped(inside, order, self.set_of(size)))
        if self.rep_out == 0:
            return (F.elu(torch.cat(out[0])),)
        batch = egos.pairs.new_zeros(egos.nodes) if batch is None else batch
        graphs = int(batch.max()) + 1
        places, graph_of = {2: egos.places, 1: egos.members}, {2: batch[egos.pairs[0]], 1: batch}
        back = {
            order: self._returned(one, list(places[order].values()), len(graph_of[order])) for order, one in out.items()
        }
        return tuple(self.norms[str(order)](rows, graph_of[order], graphs) for order, rows in back.items())

    def _mapped(self, inside: Mapping[int, Tensor], order: int, name: str) -> Tensor:
        """Return what the maps from all orders give, (n, C, m, m), (n, C, m) or (n, C), side by side."""
        maps = {of: self.maps.get_submodule(f"{of}_to_{order}.{name}") for of in self._digits(self.rep_in)}
        return torch.cat([one(inside[of]) for of, one in maps.items()], dim=1)

    @staticmethod
    def _returned(found: list[Tensor], places: list[Tensor], rows: int) -> Tensor:
        """Return the mean over all ego networks that contain a pair or node, through ELU."""
        values = torch.cat([one.movedim(1, -1).flatten(0, -2) for one in found])
        place = torch.cat([one.flatten() for one in places])
        return F.elu(scatter(values, place, dim_size=rows, reduce="mean"))

    def _check(self, name: str, features: Tensor, rows: int) -> None:
        if features.shape != (rows, self.in_channels):
            raise InputError(f"{name} of shape {tuple(features.shape)} must be ({rows}, {self.in_channels})")


def _within(edge_index: Tensor, nodes: int, hops: int) -> tuple[Tensor, Tensor]:
    """Return each node with the ends of all walks of a number of edges from it, once and in order."""
    targets, _ = Lists.of_edges(edge_index.flip(0), nodes)
    ego = end = torch.arange(nodes, device=edge_index.device)
    for _ in range(hops):
        counts = targets.lengths[end]
        first = targets.starts[end] - (counts.cumsum(0) - counts)
        edges = first.repeat_interleave(counts) + torch.arange(int(counts.sum()), device=ego.device)
        numbers = (nodes * ego.repeat_interleave(counts) + targets.indices[edges]).unique()
        ego, end = numbers // nodes, numbers % nodes
    return ego, end


def pair_features(x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""Return the graph with self-loops and features (E, 1 + C) of its edges, the published input.

    All channels have the entries of :math:`D^{-1/2} (A + I) D^{-1/2}`; those of a self-loop, except the first channel,
    also have the features of its node added, which are one-hot labels in the published data.

    Args:
        x: (N, C).
        edge_index: (2, E).
        edge_weight: (E,), or None for 1.

    Raises:
        InputError: shapes do not agree.
    """
    check_features(x)
    check_edges(edge_index, x.shape[0])
    check_factors("edge_weight", edge_weight, edge_index.shape[1])
    edge_index, edge_weight = gcn_norm(edge_index, edge_weight, x.shape[0], dtype=x.dtype)
    is_loop = (edge_index[0] == edge_index[1]).to(x.dtype).unsqueeze(1)
    of_nodes = F.pad(x[edge_index[0]] * is_loop, (1, 0))
    return edge_index, edge_weight.unsqueeze(1) + of_nodes


class SPENConv(nn.Module):
    r"""Features of nodes from equivariant maps of their ego networks, as a layer on a graph.

    The first layer of SPEN with its published input, `pair_features`, as far as it gives features of nodes. Self-loops
    are added where there are none.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        hops: number of steps from a node to the rim of its ego network.
        ego_sizes: sizes with weights of their own, separated by commas; others take those of the nearest smaller one.

    Shapes:
        x (N, C_in), edge_index (2, E), edge_weight (E,) or None; output (N, C_out).

    Raises:
        InputError: hops are below 1, an ego network is smaller than all sizes, or shapes do not agree.

    Reference:
        Mitton and Murray-Smith, "Subgraph Permutation Equivariant Networks", arXiv 2111.11840.
    """

    def __init__(self, in_channels: int, out_channels: int, *, hops: int = 1, ego_sizes: str = "1") -> None:
        super().__init__()
        check_at_least("hops", hops, 1)
        self.in_channels, self.out_channels, self.hops = in_channels, out_channels, hops
        self.conv = SubgraphEquivariantConv(in_channels + 1, out_channels, 2, 1, sizes=read_sizes(ego_sizes))

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Map (N, C_in) to (N, C_out)."""
        check_features(x, self.in_channels)
        edge_index, features = pair_features(x, edge_index, edge_weight)
        egos = EgoNetworks.of_graph(edge_index, x.shape[0], self.hops)
        (nodes,) = self.conv(egos, egos.place(features, edge_index))
        return nodes


def read_sizes(text: str) -> tuple[int, ...]:
    """Read sizes separated by commas.

    Raises:
        InputError: one is no number.
    """
    sizes = [part.strip() for part in text.split(",")]
    if not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise InputError(f"ego_sizes={text!r} must be numbers of nodes separated by commas, such as 2,3,4")
    return tuple(int(size) for size in sizes)
