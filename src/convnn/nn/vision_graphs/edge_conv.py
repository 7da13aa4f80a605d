"""Dynamic graph CNN: the nearest positions by feature, and the maximum of an MLP over the edges to them."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from convnn.errors import check_at_least
from convnn.nn._field import Field
from convnn.nn._grid import Grid, Sides
from convnn.nn._grouped import GroupedLinear, grouped_linear
from convnn.nn._layer import UnpaddedLayer
from convnn.nn._reset import reset_as_conv
from convnn.nn._settings import unless_usual, written
from convnn.nn.vision_graphs._edges import edge_parameters, norm_and_activation
from convnn.nn.vision_graphs._feature_graph import FeatureSearch
from convnn.ops import Neighbors, aggregate

MONOTONE = ("relu", "leaky_relu", "none")
"""Monotone activations, which commute with the maximum."""


class EdgeConv2d(UnpaddedLayer):
    r"""Maximum over the K nearest positions of an MLP of both ends of the edge.

    .. math:: y_i = \max_{j \in N(i)} h(x_i, x_j - x_i), \qquad
        h(u, v) = \operatorname{ReLU}(W_1 u + W_2 v + b)

    with N(i) every d-th of the K d positions whose features are nearest to those of i; i itself is nearest. An MLP of
    more layers has a linear map and ReLU for each. A single layer costs no more than two 1x1 convolutions: its output
    for an edge is a sum over both ends, and ReLU is monotone. Normalisation and some other activations are not, and
    are computed for every edge.

    Args:
        in_channels: number of input channels.
        out_channels: number of channels of the output, and of each layer of the MLP.
        K: number of neighbours of each position, itself included; all candidates if there are fewer.
        graph_dilation: d, keep every d-th of the nearest.
        mlp_layers: number of linear layers of the MLP.
        edge_norm: batch normalisation, over all edges, after each linear map.
        edge_activation: activation after it, "relu", "gelu", "leaky_relu" (slope 0.2), "hardswish" or "none".
        scale_features: search features scaled to length 1, as Vision GNN does.
        reduction: neighbours are cells of this side, over which features are averaged; 1: positions.
        relative_side: codes of positions in the search, as in `ViG2d`; 0: none.
        positional_size: side of the window of a positional encoding before the layer, an odd number; 0: none.
        groups: number of blocks of channels that do not mix.
        stride, padding, window_size, dilation: those of the convolution that it replaces; it computes the middle of
            each window, without padding.
        bias: add a learned bias to the first layer.
        backend: implementation of the operations: "auto" (the fastest available), "cpu", "triton" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, H, W) or (C_in, H, W); output (B, C_out, H', W'); weight (C_out, 2, C_in / groups).

    Raises:
        InputError: an argument is out of range; C_in is not a multiple of 4 and `relative_side` is not 0.
        UnsupportedError: in forward: the named backend cannot compute this.

    Reference:
        Wang et al., "Dynamic Graph CNN for Learning on Point Clouds", arXiv 1801.07829, equations 7 and 8;
        normalised, and of scaled features: the published code of arXiv 2206.00272.

    Example:
        >>> EdgeConv2d(8, 16, K=9)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        K: int = 9,
        graph_dilation: int = 1,
        mlp_layers: int = 1,
        edge_norm: bool = False,
        edge_activation: str = "relu",
        scale_features: bool = False,
        reduction: int = 1,
        relative_side: int = 0,
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
        check_at_least("mlp_layers", mlp_layers, 1)
        search = FeatureSearch(
            K=K,
            graph_dilation=graph_dilation,
            reduction=reduction,
            relative_side=relative_side,
            scale_features=scale_features,
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
        self.weight, self.bias = edge_parameters(
            in_channels, out_channels, groups=groups, bias=bias, device=device, dtype=dtype
        )
        self.reset_parameters()

        def make_norm_activation() -> nn.Module:
            return norm_and_activation(out_channels, edge_norm, edge_activation, device, dtype)

        more = (GroupedLinear(out_channels, out_channels, groups, True, device, dtype) for _ in range(mlp_layers - 1))
        self.norm_activation = make_norm_activation()
        self.mlp = nn.Sequential(*(layer for linear in more for layer in (linear, make_norm_activation())))
        self.keeps_order = not edge_norm and edge_activation in MONOTONE

    def reset_parameters(self) -> None:
        """Draw weight and bias as a 1x1 `torch.nn.Conv2d` of 2 * C_in channels does."""
        reset_as_conv(self.weight, self.bias)

    def _rows(self, field: Field) -> Tensor:
        cells = self.search.cells(field)
        neighbors = self.search.select(field, cells, backend=self.backend)
        of_position, of_difference = self.weight.unbind(1)
        there = grouped_linear(cells, of_difference)
        here = grouped_linear(field.at_queries(field.features), of_position - of_difference, self.bias)
        if self.keeps_order and not len(self.mlp):
            return self.norm_activation(aggregate.maximum(there, neighbors, backend=self.backend) + here)
        return self.mlp(self.norm_activation(aggregate.gather(there, neighbors) + here.unsqueeze(2))).amax(2)

    def _neighbors(self, field: Field) -> Neighbors:
        return self.search.middles(field, backend=self.backend)

    def settings(self) -> Iterable[object]:
        """Return the search, the depth, and whether features are scaled in the search."""
        scaled = unless_usual(scale_features=(self.search.scale_features, False))
        return self.search, written(mlp_layers=1 + len(self.mlp) // 2), scaled, *super().settings()
