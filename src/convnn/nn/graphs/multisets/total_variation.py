"""Total variation on graphs: a layer that keeps sharp transitions, and the loss that it descends."""

import math

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.resolver import activation_resolver
from torch_geometric.typing import OptTensor
from torch_geometric.utils import scatter

from convnn.errors import InputError, check_positive
from convnn.nn.graphs._checks import check_features
from convnn.nn.graphs.aggregation import SumAggregation
from convnn.ops.edges import from_dense
from convnn.ops.ragged import check_edges, check_factors


class _TotalVariation(MessagePassing):
    """The map of the channels and the step, for graphs of both forms."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        delta: float = 1.0,
        eps: float = 1e-3,
        act: str | None = "relu",
        bias: bool = True,
    ) -> None:
        super().__init__(aggr=SumAggregation(), flow="target_to_source")  # a node reads along the edges that leave it
        check_positive("eps", eps)
        if not math.isfinite(delta):
            raise InputError(f"delta={delta!r} must be a finite number")
        self.in_channels, self.out_channels, self.delta, self.eps = in_channels, out_channels, delta, eps
        self.act = activation_resolver(act) if act else nn.Identity()
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels))
        self.register_parameter("bias", nn.Parameter(torch.empty(out_channels)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight as He et al. do, and set the bias to 0."""
        nn.init.kaiming_normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def step(self, z: Tensor, edge_index: Tensor, edge_weight: Tensor | None) -> Tensor:
        """Return Z - delta L Z with the bias, (N, C), of Z (N, C)."""
        slopes = self.propagate(edge_index, z=z, edge_weight=edge_weight, size=None)
        out = z - self.delta * slopes
        return out if self.bias is None else out + self.bias

    def message(self, z_i: Tensor, z_j: Tensor, edge_weight: OptTensor) -> Tensor:
        """Return gamma (Z_i - Z_j) of each edge."""
        differences = z_i - z_j
        distances = differences.abs().sum(1, keepdim=True).clamp_min(self.eps)
        weights = 1 if edge_weight is None else edge_weight.unsqueeze(1)
        return weights * differences / distances

    def extra_repr(self) -> str:
        """Show what the layer was built with."""
        return f"{self.in_channels}, {self.out_channels}, delta={self.delta}, eps={self.eps}"


class GTVConv(_TotalVariation):
    r"""A step down the total variation of the features: neighbours count less, the further they are.

    .. math::
        Z = X \Theta, \qquad \gamma_{ij} = \frac{w_{ij}}{\max(\lVert Z_i - Z_j \rVert_1, \epsilon)}, \qquad
        Y_i = \sigma \Bigl( Z_i - \delta \sum_{(i, j)} \gamma_{ij} (Z_i - Z_j) + b \Bigr)

    A node i reads from the targets j of the edges that leave it, against the usual direction; on an undirected graph
    both are the same. Multiple edges add up, self-loops have no effect, a node without edges keeps its Z. The distance
    is differentiated too, except where it is below epsilon. With a large epsilon this is a step of the heat equation.
    The scale of the features decides: a step moves them by at most delta for each neighbour of weight 1.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        delta: length of the step; the published code has no factor 2 before it, its description does.
        eps: smallest distance by which a difference is divided.
        act: the activation, by the name that PyTorch Geometric resolves; None is none.
        bias: whether the layer has a bias.

    Shapes:
        x (N, C_in), edge_index (2, E), edge_weight (E,) or None; output (N, C_out).

    Raises:
        InputError: eps is not positive, delta is not finite, or shapes do not agree.

    Reference:
        Hansen and Bianchi, "Total Variation Graph Neural Networks", arXiv 2211.06218, and the code published with it.
    """

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Map (N, C_in) to (N, C_out)."""
        check_features(x, self.in_channels)
        check_edges(edge_index, x.shape[0])
        check_factors("edge_weight", edge_weight, edge_index.shape[1])
        out: Tensor = self.act(self.step(x @ self.weight, edge_index, edge_weight))
        return out


class DenseGTVConv(_TotalVariation):
    """The layer `GTVConv` for a batch of graphs with dense adjacency matrices, as pooled graphs have them.

    Its arguments, parameters and errors are those of `GTVConv`. Adjacencies are differentiated where they are not 0.

    Shapes:
        x (B, N, C_in) or (N, C_in), adj (B, N, N) or (N, N), mask (B, N), true for nodes; output (B, N, C_out). Masked
        nodes are 0 before the activation.
    """

    def forward(self, x: Tensor, adj: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, N, C_in) to (B, N, C_out)."""
        x = x.unsqueeze(0) if x.dim() == 2 else x
        adj, nodes = adj.unsqueeze(0) if adj.dim() == 2 else adj, x.shape[:2]
        check_dense(adj, nodes)
        edge_index, edge_weight = from_dense(adj)
        rows = x.flatten(0, 1)
        check_features(rows, self.in_channels)
        out = self.step(rows @ self.weight, edge_index, edge_weight).unflatten(0, nodes)
        if mask is not None:
            out = out * mask.view(*nodes, 1).to(out.dtype)
        activated: Tensor = self.act(out)
        return activated


def total_variation_loss(
    s: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None, batch: Tensor | None = None
) -> Tensor:
    r"""Return the mean total variation of the assignment of nodes over an edge, and the mean of that over graphs.

    .. math:: \frac{1}{2 |E|} \sum_{(i, j) \in E} w_{ij} \lVert S_i - S_j \rVert_1

    where E has both directions of an undirected edge, and edges of weight 0 are none. It is the share of the edges that
    are cut if S is a partition. Without edges it is 0.

    Args:
        s: (N, K) assignment of each node to the clusters.
        edge_index: (2, E).
        edge_weight: (E,), or None for 1.
        batch: (N,) the graph of each node, or None for one graph.

    Raises:
        InputError: shapes do not agree.

    Reference:
        Hansen and Bianchi, "Total Variation Graph Neural Networks", arXiv 2211.06218.
    """
    check_edges(edge_index, s.shape[0])
    check_factors("edge_weight", edge_weight, edge_index.shape[1])
    batch = edge_index.new_zeros(s.shape[0]) if batch is None else batch
    weights = s.new_ones(edge_index.shape[1]) if edge_weight is None else edge_weight
    source, target = edge_index
    graphs = int(batch.max()) + 1 if batch.numel() else 1
    cuts = weights * (s[source] - s[target]).abs().sum(1)
    totals = scatter(cuts, batch[source], dim_size=graphs)
    edges = scatter((weights != 0).to(s.dtype), batch[source], dim_size=graphs)
    return (totals / (2 * edges.clamp_min(1))).mean()


def check_dense(adj: Tensor, nodes: tuple[int, ...]) -> None:
    """Refuse adjacency matrices that are not (B, N, N) for (B, N) nodes.

    Raises:
        InputError: they are not.
    """
    batch, size = nodes
    if adj.shape != (batch, size, size):
        raise InputError(f"adj of shape {tuple(adj.shape)} must be {(batch, size, size)}, square, for {size} nodes")
