"""Adaptive neighbourhoods: the best of a window, in a number learned for each position."""

from collections.abc import Iterable

import torch
from torch import Tensor

from convnn.errors import check_at_least, check_choice
from convnn.nn._field import Field
from convnn.nn._grid import Grid, Sides
from convnn.nn._grouped import GroupedLinear
from convnn.nn._layer import UnpaddedLayer
from convnn.nn._settings import unless_usual, written
from convnn.nn.vision_graphs._degree import DegreeEstimator
from convnn.nn.vision_graphs._ranker import EDGE_TYPES, EdgeRanker
from convnn.ops import Neighbors, aggregate, select, weigh
from convnn.ops.weigh import SOFT_TOPS

POOLINGS = ("mean", "max")


class AdaptiveNeighborhoods2d(UnpaddedLayer):
    r"""Mean or maximum over the best of the k x k window around each position, in a learned number.

    .. math:: y_i = W_1 x_i + W_2 m_i + b, \qquad m_i = \sum_j \frac{w_{ij}}{\sum_l w_{il}} x_j
        \;\text{ or }\; \max_j w_{ij} (x_j - x_i), \qquad w_{ij} = e_{ij} \, \sigma(-2 (t_{ij} - k_i))

    with the edge scores e of `EdgeRanker`, the rank t of j among them, 0 for the best, and the number k from
    `DegreeEstimator`, with half and a quarter of the positions in the window as mean and deviation. At the border,
    windows are shifted inwards. `weigh.soft_top` has the other forms of w.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        kernel_size: side of the window.
        edge_type: how edges are ranked: any form of `EdgeRanker` except "weight", since all weights are 1.
        degree_type: input from which k is estimated: "features", "graph", "degree" or "scores".
        stochastic_degree: sample k in training.
        keeping: w is "scaled" as above; "alone", without e, whose parameters then receive no gradient; or "added", plus
            e.
        pooling: aggregation of the neighbours, "mean" or "max".
        latent_channels: number of channels of the codes that rank edges and estimate degrees.
        positional_size: side of the window of a positional encoding before the layer, an odd number; 0: none.
        groups: number of blocks of channels that do not mix; all have the same neighbours.
        stride, padding, window_size, dilation: those of the convolution that it replaces; it computes the middle of
            each window, without padding.
        bias: add a learned bias to the output.
        backend: implementation of the operations: "auto" (the fastest available), "cpu", "triton" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, H, W) or (C_in, H, W); output (B, C_out, H', W').

    Raises:
        InputError: an argument is out of range.
        UnsupportedError: in forward: the named backend cannot compute this.

    Reference:
        Saha et al., "Learning Adaptive Neighborhoods for Graph Neural Networks", arXiv 2307.09065; the window as the
        graph of candidates, and the two linear maps, are additions of this library.

    Example:
        >>> AdaptiveNeighborhoods2d(8, 16, kernel_size=5)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        edge_type: str = "distance",
        degree_type: str = "features",
        stochastic_degree: bool = False,
        keeping: str = "scaled",
        pooling: str = "mean",
        latent_channels: int = 64,
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
        check_at_least("kernel_size", kernel_size, 1)
        check_choice("pooling", pooling, POOLINGS)
        check_choice("edge_type", edge_type, EDGE_TYPES)
        check_choice("keeping", keeping, SOFT_TOPS)
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
        self.kernel_size = kernel_size
        self.pooling = pooling
        self.ranker = EdgeRanker(in_channels, latent_channels, edge_type, device, dtype)
        self.degree = DegreeEstimator(
            in_channels, latent_channels, degree_type, stochastic_degree, device=device, dtype=dtype
        )
        self.keeping = keeping
        self.own = GroupedLinear(in_channels, out_channels, groups, bias, device, dtype)
        self.other = GroupedLinear(in_channels, out_channels, groups, False, device, dtype)

    def _rows(self, field: Field) -> Tensor:
        neighbors = self._neighbors(field)
        own = field.at_queries(field.features)
        if self.pooling == "max":
            most = aggregate.maximum(field.features, neighbors, own, backend=self.backend)
        else:
            assert neighbors.scores is not None
            least = torch.finfo(neighbors.scores.dtype).tiny  # if all scores round to 0, no neighbour counts
            shares = neighbors.scores / neighbors.scores.sum(-1, keepdim=True).clamp(min=least)
            most = aggregate.weighted_sum(field.features, neighbors._replace(scores=shares), backend=self.backend)
        return self.own(own) + self.other(most)

    def _neighbors(self, field: Field) -> Neighbors:
        """Return the window of every position of the grid, best first, with weights."""
        rows, positions = field.features, field.queries()
        sides = [min(self.kernel_size, n) for n in field.size]
        windows = Neighbors(select.window(field.size, sides, device=field.features.device).indices[:, positions])
        degrees = rows.new_full(rows.shape[:2], windows.K)
        ranked = self.ranker(rows, positions, windows.for_each_of(rows.shape[0]), degrees, self.backend)
        numbers = self.degree(rows, positions, ranked, degrees, windows.K / 2, windows.K / 4)
        return weigh.soft_top(ranked, numbers, keeping=self.keeping)

    def settings(self) -> Iterable[object]:
        """Return window, ranking and pooling; degree and keeping if they differ from the defaults."""
        yield written(kernel_size=self.kernel_size, edge_type=self.ranker.edge_type, pooling=self.pooling)
        yield unless_usual(degree_type=(self.degree.degree_type, "features"), keeping=(self.keeping, "scaled"))
        yield from super().settings()
