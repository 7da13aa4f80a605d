"""Vision GNN: every d-th of the nearest positions by feature, aggregated in one of three forms."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from convnn.errors import check_choice
from convnn.nn._field import Field
from convnn.nn._grid import Grid, Sides
from convnn.nn._grouped import GroupedLinear, grouped_linear
from convnn.nn._layer import UnpaddedLayer
from convnn.nn._reset import reset_as_conv
from convnn.nn._settings import unless_usual
from convnn.nn.vision_graphs._edges import edge_linear, edge_parameters, norm_and_activation
from convnn.nn.vision_graphs._feature_graph import FeatureSearch
from convnn.ops import Neighbors, aggregate

GRAPH_CONVS = ("max_relative", "sage", "gin")


class ViG2d(UnpaddedLayer):
    r"""Graph convolution over the K nearest positions by feature, dilated.

    .. math:: y_i = \begin{cases} W_1 x_i + W_2 \max_{j \in N(i)} (x_j - x_i) + b & \text{max_relative} \\
        W_1 x_i + W_2 \max_{j \in N(i)} h(x_j) + b & \text{sage} \\
        W \left( (1 + \varepsilon) x_i + \sum_{j \in N(i)} x_j \right) + b & \text{gin} \end{cases}

    with N(i) every d-th of the K d positions nearest to i, by the distance of features scaled to length 1. The position
    itself is nearest. The choice carries no gradient. h is a linear map with activation, :math:`\varepsilon` a learned
    number, initially 0. The fourth form of the published code, over edges, is `EdgeConv2d`.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        K: number of neighbours of each position, itself included; all candidates if there are fewer.
        graph_conv: "max_relative", "sage" or "gin".
        graph_dilation: d, keep every d-th of the nearest.
        reduction: neighbours are cells of this side, over which features are averaged; 1: positions.
        relative_side: add to squared distances :math:`-2 p_i \cdot p_j / C`, with sines and cosines p of row and column
            on a square map of this side, stretched in raster order for other maps; 0: features only.
        edge_norm: batch normalisation in h, over all edges.
        edge_activation: activation in h, "relu", "gelu", "leaky_relu" (slope 0.2), "hardswish" or "none".
        positional_size: side of the window of a positional encoding before the layer, an odd number; 0: none.
        groups: number of blocks of channels that do not mix; the published networks have 4.
        stride, padding, window_size, dilation: those of the convolution that it replaces; it computes the middle of
            each window, without padding.
        bias: add a learned bias to the output.
        backend: implementation of the operations: "auto" (the fastest available), "cpu", "triton" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, H, W) or (C_in, H, W); output (B, C_out, H', W'); weight (C_out, 2, C_in / groups), of "gin"
        (C_out, 1, C_in / groups).

    Raises:
        InputError: an argument is out of range; C_in is not a multiple of 4 and `relative_side` is not 0.
        UnsupportedError: in forward: the named backend cannot compute this.

    Reference:
        Han et al., "Vision GNN: An Image is Worth Graph of Nodes", arXiv 2206.00272, equations 4 to 7, and its code;
        dilation: Li et al., "DeepGCNs", arXiv 1904.03751; "sage": arXiv 1706.02216; "gin": arXiv 1810.00826.

    Example:
        >>> ViG2d(8, 16, K=9, graph_dilation=2)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        K: int = 9,
        graph_conv: str = "max_relative",
        graph_dilation: int = 1,
        reduction: int = 1,
        relative_side: int = 0,
        edge_norm: bool = False,
        edge_activation: str = "relu",
        positional_size: int = 0,
        groups: int = 1,
        stride: Sides = 1,
        padding: Sides | str = 0,
        window_size: Sides | None = None,
        dilation: Sides = 1,
        bias: bool = True,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_choice("graph_conv", graph_conv, GRAPH_CONVS)
        search = FeatureSearch(
            K=K,
            graph_dilation=graph_dilation,
            reduction=reduction,
            relative_side=relative_side,
            scale_features=True,
        )
        search.check_channels(in_channels)
        super().__init__(
            in_channels,
            out_channels,
            grid=Grid(window_size, stride, padding, dilation),
            positional_size=positional_size,
            groups=groups,
            backend=backend,
            device=device,
            dtype=dtype,
        )
        self.search = search
        ends = 1 if graph_conv == "gin" else 2
        self.weight, self.bias = edge_parameters(
            in_channels, out_channels, ends=ends, groups=groups, bias=bias, device=device, dtype=dtype
        )
        self.reset_parameters()
        self.graph_conv = graph_conv
        norm_activation = norm_and_activation(in_channels, edge_norm, edge_activation, device, dtype)
        if graph_conv == "sage":
            self.edge = nn.Sequential(
                GroupedLinear(in_channels, in_channels, groups, bias, device, dtype), norm_activation
            )
        if graph_conv == "gin":
            self.eps = nn.Parameter(torch.zeros(1, device=device, dtype=dtype))

    def reset_parameters(self) -> None:
        """Draw weight and bias as a 1x1 `torch.nn.Conv2d` of 2 * C_in channels does."""
        reset_as_conv(self.weight, self.bias)

    def _rows(self, field: Field) -> Tensor:
        own, cells = field.at_queries(field.features), self.search.cells(field)
        neighbors = self.search.select(field, cells, backend=self.backend)
        if self.graph_conv == "gin":
            total = (1 + self.eps) * own + aggregate.weighted_sum(cells, neighbors, backend=self.backend)
            return grouped_linear(total, self.weight[:, 0], self.bias)
        if self.graph_conv == "sage":
            most = self.edge(aggregate.gather(cells, neighbors)).amax(2)
        else:
            most = aggregate.maximum(cells, neighbors, own, backend=self.backend)
        return edge_linear(own, most, self.weight, self.bias)

    def _neighbors(self, field: Field) -> Neighbors:
        return self.search.middles(field, backend=self.backend)

    def settings(self) -> Iterable[object]:
        """Return the search, and the form where it differs from the default."""
        return self.search, unless_usual(graph_conv=(self.graph_conv, "max_relative")), *super().settings()
