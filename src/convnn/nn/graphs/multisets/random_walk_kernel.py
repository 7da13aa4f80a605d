"""Random-walk kernels between the surroundings of each node and small learned graphs, and networks of them."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.nn import GINConv, global_add_pool, global_mean_pool

from convnn.errors import InputError, check_at_least
from convnn.nn.graphs._checks import check_features
from convnn.nn.graphs.multisets.ego_networks import EgoNetworks
from convnn.ops.ragged import check_edges


class EgoWalks(NamedTuple):
    """Walks within the ego network of each node, which depend on the graph alone.

    Attributes:
        owners: (N,) the node of each ego network, grouped by how many nodes they have.
        groups: for each size m the nodes (g, m) of g ego networks, and the powers (P, g, m, m) of their adjacency.
    """

    owners: Tensor
    groups: list[tuple[Tensor, Tensor]]


def ego_walks(edge_index: Tensor, nodes: int, hops: int, max_step: int, dtype: torch.dtype) -> EgoWalks:
    """Return the walks of 0 to `max_step` - 1 steps in the ego networks of all nodes.

    Args:
        edge_index: (2, E) int64, of an undirected graph; repeated edges count once.
        nodes: N.
        hops: how far the nodes of an ego network are, at least 1.
        max_step: P, at least 1.
        dtype: type of the powers.

    Raises:
        InputError: a shape or type is wrong, or a number is below 1.
    """
    check_at_least("max_step", max_step, 1)
    check_edges(edge_index, nodes)
    pairs = edge_index.unique(dim=1)
    own = torch.arange(nodes, device=edge_index.device).expand(2, -1)
    egos = EgoNetworks.of_graph(torch.cat([pairs, own], 1).unique(dim=1), nodes, hops)
    (entries,) = egos.place(torch.ones(pairs.shape[1], 1, dtype=dtype, device=pairs.device), pairs).unbind(1)
    groups = []
    for size, members in egos.members.items():
        adjacency = entries[egos.places[size]]
        powers = [torch.eye(size, dtype=dtype, device=pairs.device).expand_as(adjacency)]
        for _ in range(1, max_step):
            powers.append(adjacency @ powers[-1])
        groups.append((members, torch.stack(powers)))
    return EgoWalks(egos.owners, groups)


class RandomWalkKernelConv(nn.Module):
    r"""Compare the surroundings of each node with learned graphs by the walks that both have in common.

    .. math:: K_{vm} = \frac{1}{P} \sum_{p=0}^{P-1} \frac{1}{n_v n} \sum_{u, a} (X_v Z_m^\top)_{ua}
        \big( (A_v^p X_v) (W_m^p Z_m)^\top \big)_{ua}

    for the subgraph of the :math:`n_v` nodes within some hops of v, itself included, with adjacency A and features X,
    and filters of n nodes with features Z and adjacency W = ReLU(theta), symmetric and without self-loops.

    Edges of a filter that start with a negative theta, half of them, get no gradient until they become positive. Values
    grow with the square of the features.

    Args:
        in_channels: number of input channels.
        filters: M, number of learned graphs.
        filter_nodes: n, at least 2.
        max_step: P; with 1, no edge counts.
        hops: how far the nodes of a subgraph are, at least 1.

    Shapes:
        x (N, C_in), edge_index (2, E) of an undirected graph; output (N, M).

    Raises:
        InputError: a number is out of range, or shapes do not agree.

    Reference:
        Feng et al., "KerGNNs: Interpretable Graph Neural Networks with Graph Kernels", arXiv 2201.00491. Its code
        divides by the number of nodes of the largest subgraph in the data instead of :math:`n_v`.
    """

    def __init__(
        self, in_channels: int, filters: int = 8, filter_nodes: int = 4, *, max_step: int = 3, hops: int = 1
    ) -> None:
        super().__init__()
        check_at_least("filters", filters, 1)
        check_at_least("filter_nodes", filter_nodes, 2)
        check_at_least("max_step", max_step, 1)
        check_at_least("hops", hops, 1)
        self.in_channels, self.out_channels = in_channels, filters
        self.max_step, self.hops = max_step, hops
        self.theta = nn.Parameter(torch.empty(filters, filter_nodes * (filter_nodes - 1) // 2))
        self.z = nn.Parameter(torch.empty(filters, filter_nodes, in_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw theta uniformly from -1 to 1, and features of the filters from 0 to 1."""
        nn.init.uniform_(self.theta, -1, 1)
        nn.init.uniform_(self.z)

    def filter_adjacency(self) -> Tensor:
        """Return W (M, n, n): ReLU(theta) row by row above the diagonal, and the same below it."""
        filters, n, _ = self.z.shape
        row, column = torch.triu_indices(n, n, 1, device=self.theta.device)
        upper = self.theta.new_zeros(filters, n, n).index_put(
            (torch.arange(filters, device=row.device).unsqueeze(1), row, column), self.theta.relu()
        )
        return upper + upper.mT

    def forward(self, x: Tensor, edge_index: Tensor, walks: EgoWalks | None = None) -> Tensor:
        """Map (N, C_in) to (N, M); `walks` spares to find them again, see `ego_walks`."""
        check_features(x, self.in_channels)
        if walks is None:
            walks = ego_walks(edge_index, x.shape[0], self.hops, self.max_step, x.dtype)
        filters, n, _ = self.z.shape
        adjacency = self.filter_adjacency()
        walked: list[Tensor] = [self.z]
        for _ in range(1, self.max_step):
            walked.append(adjacency @ walked[-1])
        products = [x @ features.flatten(0, 1).mT for features in walked]  # (N, M n) for each number of steps
        found = []
        for members, powers in walks.groups:
            own = products[0][members]
            total = sum(own * (power @ of[members]) for power, of in zip(powers, products, strict=True))
            found.append(total.sum(1).unflatten(1, (filters, n)).sum(2) / (self.max_step * members.shape[1] * n))
        values = torch.cat(found)
        return torch.empty_like(values).index_copy(0, walks.owners, values)


class RandomWalkKernelNetwork(nn.Module):
    r"""Layers of random-walk kernels, read out all together as means over the nodes of each graph.

    .. math:: g_{l+1} = \operatorname{ReLU}(U_l K(g_l) + c_l), \qquad
        z_G = W \, \big\Vert_l \operatorname{mean}_{v \in G} g_{l,v} + b

    Args:
        in_channels: number of input channels.
        out_channels: width of the embedding.
        hidden: number of channels of each layer.
        num_layers: number of layers, at least 1.
        filters, filter_nodes, max_step, hops: see `RandomWalkKernelConv`.

    Shapes:
        x (N, C_in), edge_index (2, E), batch (N,) the graph of each node, ascending; output (B, out_channels).

    Raises:
        InputError: a number is out of range, or shapes do not agree.

    Reference:
        The explicit branch of arXiv 2306.04979, whose kernel and readout are assumptions.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        hidden: int = 32,
        num_layers: int = 2,
        filters: int = 8,
        filter_nodes: int = 4,
        max_step: int = 3,
        hops: int = 1,
    ) -> None:
        super().__init__()
        check_at_least("num_layers", num_layers, 1)
        widths = [in_channels, *[hidden] * (num_layers - 1)]
        self.convs = nn.ModuleList(
            RandomWalkKernelConv(width, filters, filter_nodes, max_step=max_step, hops=hops) for width in widths
        )
        self.maps = nn.ModuleList(nn.Linear(filters, hidden) for _ in widths)
        self.out = nn.Linear(num_layers * hidden, out_channels)
        self.max_step, self.hops = max_step, hops

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor, walks: EgoWalks | None = None) -> Tensor:
        """Map graphs to embeddings (B, out_channels); `walks` spares to find them again, see `ego_walks`."""
        graphs = number_of_graphs(batch, x.shape[0])
        if walks is None:
            walks = ego_walks(edge_index, x.shape[0], self.hops, self.max_step, x.dtype)
        readouts = []
        for conv, linear in zip(self.convs, self.maps, strict=True):
            x = linear(conv(x, edge_index, walks)).relu()
            readouts.append(global_mean_pool(x, batch, graphs))
        return self.out(torch.cat(readouts, 1))


class CoCo(nn.Module):
    r"""Two branches that see a graph differently, by messages and by kernels, and a classifier on the first.

    The first is GIN, :math:`h_{l+1} = \operatorname{ReLU}(W_2 \operatorname{ReLU}(W_1 (h_l + \sum_u h_u) + b_1) + b_2)`
    and a linear map of the sum over the graph; the second is a `RandomWalkKernelNetwork`.
    `convnn.objectives.contrastive.CoCoLoss` couples them.

    Args:
        in_channels: number of input channels.
        num_classes: C.
        out_channels: d, width of both embeddings.
        hidden: number of channels of each layer.
        num_layers: layers of GIN, at least 1.
        kernel_layers: layers of kernels, at least 1.
        filters, filter_nodes, max_step, hops: see `RandomWalkKernelConv`.

    Shapes:
        x (N, C_in), edge_index (2, E), batch (N,) the graph of each node, ascending; output embeddings of both branches
        (B, d), and logits (B, C).

    Raises:
        InputError: a number is out of range, or shapes do not agree.

    Reference:
        Yin et al., arXiv 2306.04979, without public code: GIN, sums and the classifier's place are assumptions.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        out_channels: int = 16,
        hidden: int = 32,
        num_layers: int = 2,
        kernel_layers: int = 2,
        filters: int = 8,
        filter_nodes: int = 4,
        max_step: int = 3,
        hops: int = 1,
    ) -> None:
        super().__init__()
        check_at_least("num_layers", num_layers, 1)
        self.convs = nn.ModuleList(
            GINConv(nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()))
            for width in [in_channels, *[hidden] * (num_layers - 1)]
        )
        self.out = nn.Linear(hidden, out_channels)
        self.kernels = RandomWalkKernelNetwork(
            in_channels,
            out_channels,
            hidden=hidden,
            num_layers=kernel_layers,
            filters=filters,
            filter_nodes=filter_nodes,
            max_step=max_step,
            hops=hops,
        )
        self.head = nn.Linear(out_channels, num_classes)

    def forward(
        self, x: Tensor, edge_index: Tensor, batch: Tensor, walks: EgoWalks | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Map graphs to embeddings (B, d) by messages and by kernels, and logits (B, C).

        `walks` spares to find them again where the same graphs come back, see `ego_walks`.
        """
        graphs, h = number_of_graphs(batch, x.shape[0]), x
        for conv in self.convs:
            h = conv(h, edge_index)
        z = self.out(global_add_pool(h, batch, graphs))
        return z, self.kernels(x, edge_index, batch, walks), self.head(z)


def number_of_graphs(batch: Tensor, nodes: int) -> int:
    """Return how many graphs there are, each of which has a node.

    Raises:
        InputError: batch is not (nodes,) int64 that ascends from 0 without a gap.
    """
    is_list = batch.shape == (nodes,) and batch.dtype == torch.long and nodes > 0
    if not is_list or int(batch[0]) != 0 or not bool(((batch.diff() == 0) | (batch.diff() == 1)).all()):
        raise InputError(
            f"batch of shape {tuple(batch.shape)} and {batch.dtype} must be ({nodes},) int64 that ascends from 0"
            " without a gap, the graph of each node"
        )
    return int(batch[-1]) + 1
