"""Vision GNN: the nearest positions by feature, every so many of them, and the most that they have more."""

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import check_at_least
from convnn.nn._field import Field
from convnn.nn._grid import Grid, Sides
from convnn.nn.relatives._layer import MaxRelative, nearest_every
from convnn.ops import Neighbors, aggregate


class ViG2d(MaxRelative):
    r"""Max-relative graph convolution over the K nearest positions by feature, dilated.

    .. math:: y_i = W_1 x_i + W_2 \max_{j \in N(i)} (x_j - x_i) + b

    with N(i) every d-th of the K d positions nearest to i, by the distance of features scaled to length 1. The position
    itself is nearest. The choice carries no gradient.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        K: neighbours of each position, itself included; all there are on a map with fewer.
        graph_dilation: d, keep every d-th of the nearest.
        reduction: neighbours are cells of this side, over which features are averaged; 1: positions.
        positional_size: side of the window of a positional encoding in front of it, an odd number; 0: none.
        groups: blocks of channels that do not mix; the published networks have 4.
        stride, padding, window_size, dilation: those of the convolution whose place it takes; it computes the middle of
            each window, and looks at no padding.
        bias: add a learned constant to every output channel.
        backend: what computes it: "auto" takes the fastest that can; "cpu", "triton" or "reference" that one only.
        device: where the weights live.
        dtype: of the weights.

    Shapes:
        input (B, C_in, H, W) or (C_in, H, W); output (B, C_out, H', W'); weight (C_out, 2, C_in / groups).

    Raises:
        InputError: an argument is out of range.
        UnsupportedError: in forward: the named backend cannot compute this.

    Reference:
        Han et al., "Vision GNN: An Image is Worth Graph of Nodes", arXiv 2206.00272, equations 4 to 7; dilation: Li et
        al., "DeepGCNs", arXiv 1904.03751.

    Example:
        >>> ViG2d(8, 16, K=9, graph_dilation=2)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        K: int = 9,
        *,
        graph_dilation: int = 1,
        reduction: int = 1,
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
        for name, value in (("K", K), ("graph_dilation", graph_dilation), ("reduction", reduction)):
            check_at_least(name, value, 1)
        grid = Grid(window_size, stride, padding, dilation)
        super().__init__(in_channels, out_channels, grid, positional_size, groups, bias, backend, device, dtype)
        self.K = K
        self.graph_dilation = graph_dilation
        self.reduction = reduction

    def relative_max(self, field: Field, own: Tensor) -> Tensor:
        """The most that a neighbour has more than each position that is computed, (B, N, C)."""
        cells = self.cells(field)
        return aggregate.maximum(cells, self.select(field, cells), own, backend=self.backend)

    def cells(self, field: Field) -> Tensor:
        """What can be a neighbour: features (B, M, C) of positions, or means over cells of them."""
        side = min(self.reduction, *field.size)
        if side == 1:
            return field.features
        return F.avg_pool2d(field.features.mT.unflatten(2, field.size), side).flatten(2).mT

    def select(self, field: Field, cells: Tensor) -> Neighbors:
        """Which cells every position that is computed looks at, nearest first."""
        is_whole = cells.shape[1] == field.features.shape[1]
        return nearest_every(
            F.normalize(field.at_queries(_precise(field.features)), dim=-1),
            F.normalize(_precise(cells), dim=-1),
            self.K,
            self.graph_dilation,
            positions=field.queries() if is_whole else None,
            backend=self.backend,
        )

    def _neighbors(self, field: Field) -> Neighbors:
        """Whom the positions of the grid look at; of a cell, the position in its middle."""
        chosen = self.select(field, self.cells(field)).indices
        height, width = field.real_size
        side = min(self.reduction, height, width)
        rows, columns = chosen // (width // side), chosen % (width // side)
        return Neighbors((rows * side + side // 2) * width + columns * side + side // 2)

    def named(self) -> dict[str, int]:
        """K, dilation and reduction."""
        return {"K": self.K, "graph_dilation": self.graph_dilation, "reduction": self.reduction}


def _precise(rows: Tensor) -> Tensor:
    """Without gradient, in float32 at least: lengths are not to overflow."""
    return rows.detach().to(torch.promote_types(rows.dtype, torch.float32))
