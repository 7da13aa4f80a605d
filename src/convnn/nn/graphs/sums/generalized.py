"""Aggregation between the mean and the maximum: softmax and power means (DeeperGCN, arXiv 2006.07739)."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch_geometric.nn import conv
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.typing import OptPairTensor, OptTensor
from torch_geometric.utils import degree

from convnn.errors import InputError, check_at_least, check_choice
from convnn.nn.graphs._checks import check_edge_features, check_features
from convnn.nn.graphs.aggregation import (
    MaxAggregation,
    MeanAggregation,
    SoftmaxAggregation,
    SumAggregation,
)
from convnn.nn.graphs.aggregation import PowerMeanAggregation as ClampedPowerMean
from convnn.ops.ragged import check_edges

LEAST, MOST = 1e-7, 10.0
"""Bounds of messages, and of the mean of their powers, in a power mean."""

GENERALIZED = ("softmax", "softmax_sg", "softmax_sum", "power", "power_sum", "add", "mean", "max")
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
    "instance": lambda width: nn.LayerNorm(width, elementwise_affine=False),  # what InstanceNorm1d does to (N, C)
    "none": lambda width: nn.Identity(),
}


class PowerMeanAggregation(ClampedPowerMean):
    r"""The power mean as published, with messages and the mean of their powers between 1e-7 and 10.

    .. math:: \operatorname{clamp}\Bigl( \frac{1}{k} \sum_j \operatorname{clamp}(m_j)^p \Bigr)^{1/p}

    A mean of powers above 10 is 10: with p = 3 no result is above 2.15. Without messages it is :math:`10^{-7/p}`.
    `torch_geometric.nn.aggr.PowerMeanAggregation` has other bounds, and none where p is a fixed 1.

    Args:
        p: the power, not 0; the initial one if it is learned.
        learn: learn p.

    Raises:
        InputError: p is 0.
    """

    def __init__(self, p: float = 1.0, learn: bool = False) -> None:
        if p == 0:
            raise InputError("p=0 must not be 0: the root is 1/p")
        super().__init__(p, learn, clamp_min=LEAST, clamp_max=MOST)

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
    ) -> Tensor:
        """Return the power mean of each set."""
        powers = x.clamp(LEAST, MOST) ** self.p
        return self.reduce(powers, index, ptr, dim_size, dim, "mean").clamp(LEAST, MOST) ** (1 / self.p)


class DegreeSumAggregation(Aggregation):
    r"""Another aggregation times :math:`k^{\sigma(y)}` for k messages: from a mean, y to :math:`\infty`, to a sum.

    Without messages it is 0.

    Args:
        mean: the other aggregation.
        y: the initial y.
        learn: learn y; it is a parameter without gradient otherwise.
    """

    def __init__(self, mean: Aggregation, y: float = 0.0, learn: bool = False) -> None:
        super().__init__()
        self.mean = mean
        self._initial_y = y
        self.y = nn.Parameter(torch.empty(1), requires_grad=learn)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Return to the initial y."""
        self.mean.reset_parameters()
        nn.init.constant_(self.y, self._initial_y)

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
    ) -> Tensor:
        """Return the aggregate of each set."""
        self.assert_index_present(index)
        out = self.mean(x, index, ptr, dim_size, dim)
        counts = degree(index, out.shape[dim], dtype=torch.long).to(out.dtype)
        return out.movedim(dim, -1).mul(counts ** self.y.sigmoid()).movedim(-1, dim)


def generalized_aggregation(
    aggr: str = "softmax",
    *,
    t: float = 1.0,
    learn_t: bool = False,
    semi_grad: bool | None = None,
    p: float = 1.0,
    learn_p: bool = False,
    y: float = 0.0,
    learn_y: bool = False,
) -> Aggregation:
    r"""Return an aggregation (messages, index, dim_size) by its published name.

    Args:
        aggr: "softmax", :math:`\sum_j \operatorname{softmax}_j(t m_j) m_j` in each channel; "softmax_sg", without a
            gradient through the weights; "power", see `PowerMeanAggregation`; "softmax_sum" and "power_sum", see
            `DegreeSumAggregation`; "add", "mean" or "max".
        t: inverse temperature, the initial one if it is learned.
        learn_t: learn t.
        semi_grad: no gradient through the weights of the softmax; None: where t is not learned, as published.
        p: power.
        learn_p: learn p.
        y: exponent of the degree in the sums, before a sigmoid.
        learn_y: learn y.

    Raises:
        InputError: the name is unknown, p is 0, or t is to be learned without a gradient through the weights.
    """
    check_choice("aggr", aggr, GENERALIZED)
    name = aggr.removesuffix("_sum")
    if name.startswith("softmax"):
        if semi_grad is None:
            semi_grad = name == "softmax_sg" or not learn_t
        if semi_grad and learn_t:
            raise InputError("learn_t=True must be False where the weights of the softmax have no gradient (semi_grad)")
        mean = SoftmaxAggregation(t, learn_t, semi_grad)
    elif name == "power":
        mean = PowerMeanAggregation(p, learn_p)
    else:
        return {
            "add": SumAggregation,
            "mean": MeanAggregation,
            "max": MaxAggregation,
        }[name]()
    return DegreeSumAggregation(mean, y, learn_y) if aggr.endswith("_sum") else mean


class GENConv(conv.GENConv):
    r"""Positive messages, aggregated in any way between mean and maximum, then an MLP of the node's sum with them.

    .. math:: m_{ji} = \operatorname{relu}(x_j + e_{ji}) + 10^{-7}, \quad
        a_i = \operatorname{agg}_j m_{ji}, \quad y_i = \operatorname{MLP}(x_i + a_i)

    with messages from incoming edges, each as often as it is listed; no loops are added. With `msg_norm`, a is replaced
    by :math:`s \lVert x_i \rVert_2 a_i / \lVert a_i \rVert_2`, and 0 stays 0. The MLP has widths C, 2C, ..., 2C, C'.
    `GENConv` of PyTorch Geometric changes the width before it aggregates, and has no biases by default.

    Args:
        in_channels: C.
        out_channels: C'.
        aggr, t, learn_t, semi_grad, p, learn_p, y, learn_y: see `generalized_aggregation`.
        msg_norm: scale the aggregate to the length of the node's features.
        learn_msg_scale: learn s, initially 1; it is a parameter without gradient otherwise.
        mlp_layers: number of linear layers; after all but the last are normalisation and ReLU.
        norm: "batch", "layer", "instance" (each node by itself, nothing learned) or "none".
        edge_dim: D, channels of edge features, which are mapped linearly to C; None: they have C channels already.

    Raises:
        InputError: a name is unknown, a number is out of range, or the aggregation refuses its settings.

    Reference:
        Li et al., "DeeperGCN: All You Need to Train Deeper GCNs", arXiv 2006.07739.

    Example:
        >>> GENConv(4, 3)(torch.randn(3, 4), torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([3, 3])
    """

    propagate_type = {"x": OptPairTensor, "edge_attr": OptTensor}  # noqa: RUF012 (looked up for a class of this name)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        aggr: str = "softmax",
        t: float = 1.0,
        learn_t: bool = False,
        semi_grad: bool | None = None,
        p: float = 1.0,
        learn_p: bool = False,
        y: float = 0.0,
        learn_y: bool = False,
        msg_norm: bool = False,
        learn_msg_scale: bool = True,
        mlp_layers: int = 2,
        norm: str = "batch",
        edge_dim: int | None = None,
    ) -> None:
        check_at_least("in_channels", in_channels, 1)
        check_at_least("out_channels", out_channels, 1)
        check_at_least("mlp_layers", mlp_layers, 1)
        check_choice("norm", norm, NORMS)
        module = generalized_aggregation(
            aggr, t=t, learn_t=learn_t, semi_grad=semi_grad, p=p, learn_p=learn_p, y=y, learn_y=learn_y
        )
        super().__init__(in_channels, in_channels, module, msg_norm=msg_norm, learn_msg_scale=learn_msg_scale)
        self.out_channels = out_channels
        self.mlp = _mlp([in_channels, *[2 * in_channels] * (mlp_layers - 1), out_channels], norm)
        self.edge_dim = edge_dim
        if edge_dim is not None:
            check_at_least("edge_dim", edge_dim, 1)
            self.lin_edge = nn.Linear(edge_dim, in_channels)

    def forward(self, x: Tensor | tuple[Tensor, Tensor], edge_index: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        """Map features (N, C), or of sources and targets, to (N, C').

        Args:
            x: features of the nodes, or those of the sources and those of the targets.
            edge_index: (2, E) int64, the source and the target of each edge.
            edge_attr: features (E, D) of the edges.

        Raises:
            InputError: a shape or type is wrong, or a node lies outside the graph.
        """
        ends = (x, x) if isinstance(x, Tensor) else x
        for features in ends:
            check_features(features, self.in_channels)
        check_edges(edge_index, ends[0].shape[0], ends[1].shape[0])
        if edge_attr is not None or self.edge_dim is not None:
            check_edge_features(edge_attr, edge_index.shape[1], self.edge_dim or self.in_channels)
        return super().forward(x, edge_index, edge_attr)


def _mlp(widths: list[int], norm: str) -> nn.Sequential:
    """Return linear layers, with normalisation and ReLU after all but the last."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), NORMS[norm](after), nn.ReLU()]
    return nn.Sequential(*layers[:-2])
