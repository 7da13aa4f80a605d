"""The network of subgraph permutation equivariant layers."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch_geometric.utils import scatter

from convnn.errors import check_at_least, check_fraction
from convnn.nn.graphs.multisets.ego_networks import EgoNetworks, SubgraphEquivariantConv, pair_features


class SPEN(nn.Module):
    """Subgraph permutation equivariant network: classes of whole graphs, from their ego networks.

    Layers from pairs to pairs and nodes, a last one to ego networks, whose mean over each graph a small MLP classifies.

    Args:
        in_channels: number of channels of the nodes, which are one-hot labels in the published data.
        out_channels: number of classes.
        hidden: number of channels of each map.
        num_layers: number of layers, at least 2.
        hops: number of steps from a node to the rim of its ego network.
        sizes: sizes of ego networks with weights of their own; see `SubgraphEquivariantConv`.
        dropout: share of the channels dropped before the last linear layer.

    Shapes:
        x (N, C_in), edge_index (2, E), batch (N,) the graph of each node, or None; output (B, C_out).

    Raises:
        InputError: a number is out of range, an ego network is smaller than all sizes, or shapes do not agree.

    Reference:
        Mitton and Murray-Smith, "Subgraph Permutation Equivariant Networks", arXiv 2111.11840.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        hidden: int = 64,
        num_layers: int = 5,
        hops: int = 1,
        sizes: Sequence[int] | Mapping[int, int] = (1,),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_at_least("num_layers", num_layers, 2)
        check_at_least("hops", hops, 1)
        check_fraction("dropout", dropout)
        self.hops = hops
        widths = [in_channels + 1, hidden] + [2 * hidden] * (num_layers - 2)
        forms = [(2, 21)] + [(21, 21)] * (num_layers - 2) + [(21, 0)]
        self.layers = nn.ModuleList(
            SubgraphEquivariantConv(width, hidden, *form, sizes=sizes)
            for width, form in zip(widths, forms, strict=True)
        )
        linear = (nn.Linear(2 * hidden, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU())
        self.head = nn.Sequential(*linear, nn.Dropout(dropout), nn.Linear(128, out_channels))

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None) -> Tensor:
        """Map (N, C_in) to (B, C_out)."""
        edge_index, features = pair_features(x, edge_index)
        egos = EgoNetworks.of_graph(edge_index, x.shape[0], self.hops)
        batch = edge_index.new_zeros(x.shape[0]) if batch is None else batch
        out: Tensor = self.head(self.pooled(egos, egos.place(features, edge_index), batch))
        return out

    def pooled(self, egos: EgoNetworks, pairs: Tensor, batch: Tensor) -> Tensor:
        """Return the mean (B, 2 hidden) over the ego networks of each graph, before the head."""
        nodes = None
        for layer in self.layers[:-1]:
            pairs, nodes = layer(egos, pairs, nodes, batch)
        (of_egos,) = self.layers[-1](egos, pairs, nodes, batch)
        return scatter(of_egos, batch[egos.owners], reduce="mean")
