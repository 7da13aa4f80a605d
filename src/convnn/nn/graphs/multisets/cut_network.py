"""The network that classifies graphs by layers of total variation between balanced poolings."""

import torch
from torch import Tensor, nn
from torch_geometric.utils import to_dense_adj, to_dense_batch

from convnn.errors import check_at_least
from convnn.nn.graphs.multisets.balanced_cut import AsymCheegerCutPool
from convnn.nn.graphs.multisets.total_variation import DenseGTVConv, GTVConv


class TVGNN(nn.Module):
    """Total variation graph network: three layers with a pooling to half of the nodes after each of the first two.

    The mean over the last clusters is classified. The losses of the poolings are to be added to that of the classes.

    Args:
        in_channels: number of input channels.
        out_channels: number of classes.
        max_nodes: number of nodes whose half and quarter are the numbers of clusters, that of a large graph.
        hidden: number of channels.
        delta: length of the steps.
        act: activation of the layers.
        totvar_coeff: factor of the loss of cut edges.
        balance_coeff: factor of the loss of balance.

    Shapes:
        x (N, C_in), edge_index (2, E), batch (N,) the graph of each node, or None; output (B, C_out), and a loss.

    Raises:
        InputError: a number is out of range, or shapes do not agree.

    Reference:
        Hansen and Bianchi, "Total Variation Graph Neural Networks", arXiv 2211.06218, and the code published with it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        max_nodes: int,
        hidden: int = 32,
        delta: float = 2.0,
        act: str = "relu",
        totvar_coeff: float = 0.5,
        balance_coeff: float = 0.5,
    ) -> None:
        super().__init__()
        check_at_least("max_nodes", max_nodes, 2)
        self.first = GTVConv(in_channels, hidden, delta=delta, act=act)
        self.layers = nn.ModuleList(DenseGTVConv(hidden, hidden, delta=delta, act=act) for _ in range(2))
        self.pools = nn.ModuleList(
            AsymCheegerCutPool(
                max(max_nodes // divisor, 2),
                [hidden, hidden],
                totvar_coeff=totvar_coeff,
                balance_coeff=balance_coeff,
                return_selection=False,
            )
            for divisor in (2, 4)
        )
        self.head = nn.Linear(hidden, out_channels)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the classes (B, C_out) and the sum of the losses of all poolings."""
        x, mask = to_dense_batch(self.first(x, edge_index), batch)
        adj = to_dense_adj(edge_index, batch, max_num_nodes=x.shape[1], batch_size=x.shape[0]).to(x.dtype)
        losses: list[Tensor] = []
        for pool, layer in zip(self.pools, self.layers, strict=True):
            x, adj, cut, balance = pool(x, adj, mask)
            x, mask = layer(x, adj), None
            losses += [cut, balance]
        return self.head(x.mean(1)), torch.stack(losses).sum()
