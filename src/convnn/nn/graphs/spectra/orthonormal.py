"""Graph convolution with orthonormal weights, which no attack on the features can make use of to grow."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import GCNConv

from convnn.errors import check_fraction
from convnn.nn.graphs._checks import check_features, check_weights
from convnn.nn.graphs.spectra.polar import OrthonormalLinear
from convnn.ops.ragged import check_edges


class GCORN(GCNConv):
    r"""Graph convolution whose weight is orthonormal, and that therefore enlarges no difference of the features.

    .. math::
        y = D^{-1/2} (A + 1) D^{-1/2} x W^\top, \qquad
        W = \operatorname{bjorck} \bigl( V / \sqrt{C_\text{in} C_\text{out}} \bigr)

    Published with a ReLU after it. W has orthonormal rows, or columns where there are more outputs than inputs. It is
    computed in every call, and V learned.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        orthonormal: "bjorck", or another way from V to W, as in `OrthonormalLinear`.
        bjorck_order, bjorck_steps, bjorck_beta: settings of `bjorck`.

    Shapes:
        x (N, C_in); edge_index (2, E); edge_weight (E,), at least 0; output (N, C_out); W (C_out, C_in), `lin.weight`.

    Raises:
        InputError: an argument is out of range; in forward: a shape or type is wrong, a node lies outside the graph, a
            weight is negative, or the iteration diverges.

    Reference:
        Abbahaddou et al., "Bounding the Expected Robustness of Graph Neural Networks Subject to Node Feature Attacks",
        arXiv 2404.17947.

    Example:
        >>> import torch
        >>> GCORN(4, 8)(torch.randn(3, 4), torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([3, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        orthonormal: str = "bjorck",
        bjorck_order: int = 2,
        bjorck_steps: int = 25,
        bjorck_beta: float = 0.5,
    ) -> None:
        super().__init__(in_channels, out_channels, bias=False)
        self.lin = OrthonormalLinear(
            in_channels, out_channels, orthonormal, order=bjorck_order, steps=bjorck_steps, beta=bjorck_beta
        )

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Map the features (N, C_in) of the nodes."""
        check_features(x, self.in_channels)
        check_edges(edge_index, x.shape[0])
        check_weights("edge_weight", edge_weight, edge_index.shape[1])
        return super().forward(x, edge_index, edge_weight)


class GCORNNet(nn.Module):
    """Two layers of `GCORN` with a ReLU after each, dropout between them, and a free linear map to the classes.

    Args:
        in_channels: number of input channels.
        classes: number of classes.
        hidden: number of channels of both layers.
        dropout: share of the first layer's output that is dropped in training, 0 to 1.
        settings: those of `GCORN`.

    Shapes:
        x (N, C); edge_index (2, E); edge_weight (E,), at least 0; output (N, classes), logarithms of probabilities.

    Raises:
        InputError: an argument is out of range; in forward: as in `GCORN`.

    Reference:
        Abbahaddou et al., "Bounding the Expected Robustness of Graph Neural Networks Subject to Node Feature Attacks",
        arXiv 2404.17947.
    """

    def __init__(
        self, in_channels: int, classes: int, *, hidden: int = 16, dropout: float = 0.5, **settings: Any
    ) -> None:
        super().__init__()
        check_fraction("dropout", dropout)
        self.conv1, self.conv2 = GCORN(in_channels, hidden, **settings), GCORN(hidden, hidden, **settings)
        self.dropout = dropout
        self.lin = nn.Linear(hidden, classes)

    def embed(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Return the output of the second layer, (N, hidden): what an attack on the features can move only so far."""
        x = F.dropout(self.conv1(x, edge_index, edge_weight).relu(), self.dropout, self.training)
        return self.conv2(x, edge_index, edge_weight).relu()

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Return the logarithms of the probabilities of the classes, (N, classes)."""
        return self.lin(self.embed(x, edge_index, edge_weight)).log_softmax(1)
