"""Deep stacks of layers on graphs (DeeperGCN, arXiv 2006.07739)."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch_geometric.nn import DeepGCNLayer

from convnn.errors import UnsupportedError, check_at_least, check_choice, check_fraction
from convnn.nn.graphs.sums.generalized import NORMS, GENConv

BLOCKS = ("res+", "res", "plain", "dense")
LayerMaker = Callable[[int, int], nn.Module]


class DeeperGCN(nn.Module):
    r"""A stack of layers on a graph that trains when it is deep, by residuals before which nothing is activated.

    With layers g, norms n, all on `hidden_channels`, and dropout after each activation, "res+" is

    .. math:: h_0 = g_0(W x + b), \quad h_l = h_{l-1} + g_l(\operatorname{relu}(n_{l-1}(h_{l-1}))), \quad
        y = W' \operatorname{relu}(n_{L-1}(h_{L-1})) + b'

    "res" adds after the activation, :math:`h_l = h_{l-1} + \operatorname{relu}(n_l(g_l(h_{l-1})))`, except in the first
    layer, and "plain" never adds. The published network ends in a log-softmax; this one returns the logits.

    Args:
        in_channels: channels of the nodes' features.
        out_channels: number of classes.
        hidden_channels: width of all layers.
        num_layers: L.
        layer: function of input and output channels to a layer called with (x, edge_index, ...); None is `GENConv` with
            the maximum and one linear layer.
        block: "res+", "res" or "plain".
        norm: "batch", "layer", "instance" or "none".
        dropout: dropout rate, 0 to 1.

    Raises:
        InputError: a name is unknown, or a number is out of range.
        UnsupportedError: block is "dense", whose width grows from layer to layer, and which was never published.

    Reference:
        Li et al., "DeeperGCN: All You Need to Train Deeper GCNs", arXiv 2006.07739.

    Example:
        >>> import torch
        >>> DeeperGCN(4, 3, num_layers=28)(torch.randn(5, 4), torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        hidden_channels: int = 128,
        num_layers: int = 3,
        layer: LayerMaker | None = None,
        block: str = "res+",
        norm: str = "batch",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_choice("block", block, BLOCKS)
        if block == "dense":
            raise UnsupportedError("block='dense' was never published; choose 'res+', 'res' or 'plain'")
        check_choice("norm", norm, NORMS)
        check_at_least("num_layers", num_layers, 1)
        check_fraction("dropout", dropout)
        layer = layer or partial(GENConv, aggr="max", mlp_layers=1)
        self.encode = nn.Linear(in_channels, hidden_channels)
        layers = [layer(hidden_channels, hidden_channels) for _ in range(num_layers)]
        norms = [NORMS[norm](hidden_channels) for _ in range(num_layers)]

        def block_of(kind: str, conv: nn.Module, normalization: nn.Module) -> nn.Module:
            return DeepGCNLayer(conv, normalization, nn.ReLU(), kind, dropout)

        blocks: list[nn.Module]
        last: list[nn.Module] = []
        if block == "res+":  # the last normalisation comes after all blocks
            blocks = [layers[0], *(block_of(block, *pair) for pair in zip(layers[1:], norms[:-1], strict=True))]
            last = [norms[-1], nn.ReLU(), nn.Dropout(dropout)]
        else:
            blocks = [block_of(block if i else "plain", layers[i], norms[i]) for i in range(num_layers)]
        self.blocks, self.last = nn.ModuleList(blocks), nn.Sequential(*last)
        self.classify = nn.Linear(hidden_channels, out_channels)

    def forward(self, x: Tensor, edge_index: Tensor, *of_edges: Tensor | None) -> Tensor:
        """Map features (N, C) to logits (N, classes).

        Args:
            x: features of the nodes.
            edge_index: (2, E) int64, the source and the target of each edge.
            of_edges: what the layer reads besides, such as features (E, D) of the edges.

        Raises:
            InputError: the layer refuses a shape, a type or a node.
        """
        h = self.encode(x)
        for block in self.blocks:
            h = block(h, edge_index, *of_edges)
        return self.classify(self.last(h))
