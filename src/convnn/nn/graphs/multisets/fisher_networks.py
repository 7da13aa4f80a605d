"""Networks of Fisher information embedding: one that learns without labels, and classifiers of nodes and graphs."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import check_at_least, check_choice, check_fraction
from convnn.nn.graphs.multisets.clustering import some_rows, spherical_kmeans
from convnn.nn.graphs.multisets.kernel_projection import KernelProjection
from convnn.nn.graphs.multisets.mixture import PROJECTIONS, FisherEmbedding, FisherPooling


class FIENet(nn.Module):
    """Embeddings of nodes without labels: a kernel projection and layers of `FisherEmbedding`, the last unprojected.

    `fit` finds all anchors by clustering, layer by layer; a linear classifier on the result needs few labels. The
    published experiments scale features to length one and add a self-loop to every node.

    Args:
        in_channels: number of input channels.
        hidden: number of channels between layers.
        num_layers: number of layers after the projection.
        num_mixtures: number of components in each layer.
        num_heads: number of mixtures in each layer.
        kernel: kernel of the projections, "exp" or "linear".
        sigma: width of the first.
        concat: whether the output has the features after every layer, or those after the last.

    Shapes:
        x (N, C_in), edge_index (2, E); output (N, num_layers * hidden + num_mixtures * num_heads * hidden), or only the
        last part.

    Raises:
        InputError: a number is out of range, or shapes do not agree.

    Reference:
        Chen et al., "Fisher Information Embedding for Node and Graph Learning", arXiv 2305.07580, and its code.
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int = 64,
        *,
        num_layers: int = 3,
        num_mixtures: int = 8,
        num_heads: int = 1,
        kernel: str = "exp",
        sigma: float = 0.5,
        concat: bool = True,
    ) -> None:
        super().__init__()
        check_at_least("num_layers", num_layers, 1)
        self.concat = concat
        self.head = KernelProjection(in_channels, hidden, kernel=kernel, sigma=sigma)
        each: dict[str, Any] = {"num_mixtures": num_mixtures, "num_heads": num_heads, "kernel": kernel, "sigma": sigma}
        layers = [FisherEmbedding(hidden, hidden, **each) for _ in range(num_layers - 1)]
        last = FisherEmbedding(hidden, num_mixtures * num_heads * hidden, projection=None, **each)
        self.layers = nn.ModuleList([*layers, last])

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Map (N, C_in) to embeddings."""
        found = [self.head(x)]
        for layer in self.layers:
            found.append(layer(found[-1], edge_index))
        return torch.cat(found, dim=1) if self.concat else found[-1]

    @torch.no_grad()
    def fit(
        self, x: Tensor, edge_index: Tensor, generator: torch.Generator | None = None, samples: int = 100_000
    ) -> "FIENet":
        """Find the anchors of every part, from its inputs; see `FisherEmbedding.fit_anchors`.

        Raises:
            InputError: there are fewer rows than centres.
        """
        rows = some_rows(x, samples, generator)
        self.head.weight.copy_(spherical_kmeans(rows, self.head.weight.shape[0], generator=generator))
        x = self.head(x)
        for layer in self.layers:
            if isinstance(layer, FisherEmbedding):
                layer.fit_anchors(x, edge_index, generator, samples)
            x = layer(x, edge_index)
        return self


class SupFIENet(nn.Module):
    """A classifier of nodes or graphs: an input map, layers of `FisherEmbedding`, and a linear layer.

    With projection "kernel" the input map is a kernel projection and each layer follows the last; with "relu" it is
    linear, and each layer is added to its input, through dropout.

    Args:
        in_channels: number of input channels.
        out_channels: number of classes.
        hidden: number of channels of all layers.
        num_layers: number of layers.
        num_mixtures: number of components in each layer, and of the pooling.
        num_heads: number of mixtures in each of them.
        projection: "kernel" or "relu".
        kernel: kernel of the projections, "exp" or "linear".
        sigma: width of the first.
        dropout: share of the channels dropped after each layer with projection "relu", and before the last one.

    Shapes:
        x (N, C_in), edge_index (2, E); output (N, C_out), or with batch (N,), the graph of each node, (B, C_out).

    Raises:
        InputError: a number is out of range, a choice is unknown, or shapes do not agree.

    Reference:
        Chen et al., "Fisher Information Embedding for Node and Graph Learning", arXiv 2305.07580, and its code, which
        calls the second form ReLUFIENet.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        hidden: int = 64,
        num_layers: int = 4,
        num_mixtures: int = 8,
        num_heads: int = 1,
        projection: str = "kernel",
        kernel: str = "exp",
        sigma: float = 0.5,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_at_least("num_layers", num_layers, 1)
        check_choice("projection", projection, PROJECTIONS)
        check_fraction("dropout", dropout)
        self.projection, self.dropout = projection, dropout
        each: dict[str, Any] = {"num_mixtures": num_mixtures, "num_heads": num_heads, "kernel": kernel, "sigma": sigma}
        each["projection"] = projection
        self.input: nn.Module = nn.Linear(in_channels, hidden)
        if projection == "kernel":
            self.input = KernelProjection(in_channels, hidden, kernel=kernel, sigma=sigma)
        self.layers = nn.ModuleList(FisherEmbedding(hidden, hidden, **each) for _ in range(num_layers))
        self.pool = FisherPooling(hidden, hidden, **each)
        self.head = nn.Linear(hidden, out_channels)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None) -> Tensor:
        """Map (N, C_in) to (N, C_out), or with batch to (B, C_out)."""
        x = self.input(x)
        for layer in self.layers:
            after = layer(x, edge_index)
            x = x + F.dropout(after, self.dropout, self.training) if self.projection == "relu" else after
        x = x if batch is None else self.pool(x, batch)
        out: Tensor = self.head(F.dropout(x, self.dropout, self.training))
        return out
