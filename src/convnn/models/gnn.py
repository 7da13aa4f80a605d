"""A stack of layers on a graph, for its nodes or for graphs as a whole."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_choice, check_fraction
from convnn.models._network import Network
from convnn.models._registry import register_model
from convnn.nn import LayerFactory
from convnn.nn.graphs.batch import GraphBatch

HIDDEN_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "tanh": torch.tanh,
    "abs": torch.abs,
    "none": lambda x: x,
}
NODE_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda channels: nn.Identity(),
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
}
RESIDUALS = ("none", "res", "res+")
READOUTS = ("mean", "sum", "max")


class GNN(Network):
    r"""A stack of layers on a graph, with dropout before each.

    Without residuals every layer but the last is followed by a norm and an activation, and the last gives the logits:

    .. math:: h_l = \sigma(\operatorname{norm}(f_l(\operatorname{drop}(h_{l-1})))), \qquad
        y = f_L(\operatorname{drop}(h_{L-1}))

    With residuals, or `linear_head`, the last is followed by them too, and a linear map gives the logits. With
    residuals a linear map comes first as well, and

    .. math:: h_l = h_{l-1} + \sigma(\operatorname{norm}(f_l(\operatorname{drop}(h_{l-1})))) \text{ for "res"}, \qquad
        h_l = h_{l-1} + f_l(\operatorname{drop}(\sigma(\operatorname{norm}(h_{l-1})))) \text{ for "res+"}

    the second as DeeperGCN has it (Li et al., arXiv 2006.07739), with a last norm and activation. Of several graphs,
    `readout` pools the nodes of each before the linear map, or the logits where there is none.

    Args:
        layer: function from input and output channels to a layer called with x (N, C) and edge_index (2, E).
        in_channels: number of features of the nodes.
        num_classes: number of classes.
        width: factor on d_hidden.
        d_hidden: number of channels between layers.
        num_layers: number of layers.
        dropout: probability, 0 to 1, before every layer and the linear map to the logits.
        hidden_activation: one of `HIDDEN_ACTIVATIONS`.
        node_norm: "none", "batch", over all nodes of a step, or "layer", over the channels of each node.
        residual: "none", "res" or "res+".
        linear_head: end in a linear map to the logits, after as many layers.
        readout: "mean", "sum" or "max" over the nodes of each graph.

    Raises:
        InputError: an argument is out of range.
    """

    reads: ClassVar[str] = "graphs"
    default_layer: ClassVar[str] = "GCN"

    def __init__(
        self,
        layer: LayerFactory,
        *,
        in_channels: int = 1,
        num_classes: int = 2,
        width: float = 1.0,
        d_hidden: int = 16,
        num_layers: int = 2,
        dropout: float = 0.5,
        hidden_activation: str = "relu",
        node_norm: str = "none",
        residual: str = "none",
        linear_head: bool = False,
        readout: str = "mean",
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        check_at_least("num_layers", num_layers, 1)
        check_fraction("dropout", dropout)
        check_choice("hidden_activation", hidden_activation, HIDDEN_ACTIVATIONS)
        check_choice("node_norm", node_norm, NODE_NORMS)
        check_choice("residual", residual, RESIDUALS)
        check_choice("readout", readout, READOUTS)
        hidden, has_head = self.scaled(d_hidden), linear_head or residual != "none"
        first = hidden if residual != "none" else in_channels
        channels = [first, *[hidden] * (num_layers - 1), hidden if has_head else num_classes]
        self.encoder = nn.Linear(in_channels, hidden) if residual != "none" else nn.Identity()
        self.layers = nn.ModuleList(layer(i, o) for i, o in pairwise(channels))
        normed = num_layers if has_head else num_layers - 1
        self.norms = nn.ModuleList(NODE_NORMS[node_norm](hidden) for _ in range(normed))
        self.head = nn.Linear(hidden, num_classes) if has_head else nn.Identity()
        self.has_head = has_head
        self.dropout = dropout
        self.hidden_activation = hidden_activation
        self.residual = residual
        self.readout = readout

    def forward(self, graph: GraphBatch) -> Tensor:
        """Map a graph to the logits (B, num_classes) of its `nodes`, or of every graph where there are several.

        Raises:
            InputError: the features have another shape.
        """
        x = graph.x
        if x.dim() != 2 or x.shape[1] != self.in_channels:
            raise InputError(f"x of shape {tuple(x.shape)} must be (N, {self.in_channels})")
        return self.forward_head(self.forward_features(graph))

    def forward_features(self, graph: GraphBatch) -> Tensor:
        """Map a graph to features (B, F) of its `nodes`, or of every graph where there are several."""
        h = self.embed(graph)
        if graph.graph_of is not None:
            return pool_nodes(h, graph.graph_of, graph.num_graphs, self.readout)
        return h if graph.nodes is None else h[graph.nodes]

    def forward_head(self, features: Tensor) -> Tensor:
        """Map features (B, F) to logits (B, num_classes); without a linear head they are the logits."""
        return self.head(self._drop(features) if self.has_head else features)

    def embed(self, graph: GraphBatch) -> Tensor:
        """Return the features (N, F) of all nodes after the last layer, or their logits without a linear head."""
        act = HIDDEN_ACTIVATIONS[self.hidden_activation]
        weight = () if graph.edge_weight is None else (graph.edge_weight,)
        h = self.encoder(graph.x)
        pre = self.residual == "res+"
        for number, layer in enumerate(self.layers):
            inner = act(self.norms[number - 1](h)) if pre and number else h
            new = layer(self._drop(inner), graph.edge_index, *weight)
            if not pre and number < len(self.norms):
                new = act(self.norms[number](new))
            h = new if self.residual == "none" else h + new
        return act(self.norms[-1](h)) if pre else h

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


def pool_nodes(x: Tensor, graph_of: Tensor, num_graphs: int, how: str) -> Tensor:
    """Return the mean, sum or maximum (B, F) of the nodes of each graph; of a graph without nodes zeros.

    Args:
        x: (N, F) features of all nodes.
        graph_of: (N,) int64, the graph of each node.
        num_graphs: B.
        how: one of `READOUTS`.
    """
    empty = x.new_zeros(num_graphs, x.shape[1])
    if how == "max":
        return empty.scatter_reduce(0, graph_of[:, None].expand_as(x), x, "amax", include_self=False)
    total = empty.index_add(0, graph_of, x)
    if how == "sum":
        return total
    return total / graph_of.bincount(minlength=num_graphs).clamp(min=1)[:, None]


@register_model(GNN)
def gnn(layer: LayerFactory, **settings: Any) -> GNN:
    """Stack of layers on a graph, 2 with 16 channels between, for its nodes or for graphs as a whole."""
    return GNN(layer, **settings)
