"""Dynamic graph CNN: the nearest positions by feature, and the maximum of an MLP over the edges to them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.backends.reference import gather
from convnn.errors import check_at_least
from convnn.nn._field import Field
from convnn.nn._grid import Grid, Sides
from convnn.nn._grouped import GroupedLinear, grouped_linear
from convnn.nn.relatives._layer import EdgeLinear, nearest_every
from convnn.ops import Neighbors, aggregate


class EdgeConv2d(EdgeLinear):
    r"""Maximum over the K nearest positions of an MLP of both ends of the edge.

    .. math:: y_i = \max_{j \in N(i)} h(x_i, x_j - x_i), \qquad
        h(u, v) = \operatorname{ReLU}(W_1 u + W_2 v + b)

    with N(i) every d-th of the K d positions whose features are nearest to those of i; i itself is nearest. An MLP of
    more layers has a linear map and ReLU for each. The first costs no more than two 1x1 convolutions: what it makes of
    an edge is a sum of what it makes of the ends, and ReLU keeps the order.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, and of each layer of the MLP.
        K: neighbours of each position, itself included; all there are on a map with fewer.
        graph_dilation: d, keep every d-th of the nearest.
        mlp_layers: linear layers of the MLP.
        positional_size: side of the window of a positional encoding in front of it, an odd number; 0: none.
        groups: blocks of channels that do not mix.
        stride, padding, window_size, dilation: those of the convolution whose place it takes; it computes the middle of
            each window, and looks at no padding.
        bias: add a learned constant to every channel of the first layer.
        backend: what computes it: "auto" takes the fastest that can; "cpu", "triton" or "reference" that one only.
        device: where the weights live.
        dtype: of the weights.

    Shapes:
        input (B, C_in, H, W) or (C_in, H, W); output (B, C_out, H', W'); weight (C_out, 2, C_in / groups).

    Raises:
        InputError: an argument is out of range.
        UnsupportedError: in forward: the named backend cannot compute this.

    Reference:
        Wang et al., "Dynamic Graph CNN for Learning on Point Clouds", arXiv 1801.07829, equations 7 and 8.

    Example:
        >>> EdgeConv2d(8, 16, K=9)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        K: int = 9,
        *,
        graph_dilation: int = 1,
        mlp_layers: int = 1,
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
        for name, value in (("K", K), ("graph_dilation", graph_dilation), ("mlp_layers", mlp_layers)):
            check_at_least(name, value, 1)
        grid = Grid(window_size, stride, padding, dilation)
        super().__init__(in_channels, out_channels, grid, positional_size, groups, bias, backend, device, dtype)
        self.K = K
        self.graph_dilation = graph_dilation
        more = (GroupedLinear(out_channels, out_channels, groups, True, device, dtype) for _ in range(mlp_layers - 1))
        self.mlp = nn.Sequential(*(layer for linear in more for layer in (linear, nn.ReLU())))

    def _rows(self, field: Field) -> Tensor:
        neighbors = self._neighbors(field)
        of_position, of_difference = self.weight.unbind(1)
        there = grouped_linear(field.features, of_difference)
        here = grouped_linear(field.at_queries(field.features), of_position - of_difference, self.bias)
        if len(self.mlp):
            return self.mlp(F.relu(gather(there, neighbors.indices) + here.unsqueeze(2))).amax(2)
        return F.relu(aggregate.maximum(there, neighbors, backend=self.backend) + here)

    def _neighbors(self, field: Field) -> Neighbors:
        """Whom the positions of the grid look at, nearest first."""
        queries, K, step = field.at_queries(field.features), self.K, self.graph_dilation
        return nearest_every(queries, field.features, K, step, positions=field.queries(), backend=self.backend)

    def named(self) -> dict[str, int]:
        """K, dilation and depth."""
        return {"K": self.K, "graph_dilation": self.graph_dilation, "mlp_layers": 1 + len(self.mlp) // 2}
