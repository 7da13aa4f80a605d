"""Layers that take several orders of neighbours at once, and GraphSAINT's network of them (arXiv 1907.04931)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_choice
from convnn.ops import ragged
from convnn.ops.ragged import Lists

EPS = 1e-9
COMBINE = ("concat", "sum")
NORMS = ("layer", "batch", "none")


class MixedOrders(nn.Module):
    r"""Take a node's features, those of its neighbours, of their neighbours and so on, each through its own linear map.

    .. math::
        P_o = \mathrm{norm}_o(\sigma(W_o A^o H + b_o)), \quad o = 0, \ldots, k; \qquad
        Y = [P_0, \ldots, P_k] \text{ or } \sum_o P_o

    Args:
        in_channels: width of the input.
        out_channels: width of the output.
        order: k, at least 0; 0 is an MLP.
        combine: "concat", or "sum".
        norm: "layer" over the features of each order, "batch" over the output, or "none".
        activated: whether there is a ReLU.
        dropout: probability with which inputs are dropped.

    Shape:
        x (N, C), edge_index (2, E) with sources and targets, edge_weight (E,) or None for 1; output (N, C').

    Raises:
        InputError: an argument is out of range, or the orders do not divide the output.

    Reference:
        Zeng et al., "GraphSAINT", arXiv 1907.04931; Abu-El-Haija et al., "MixHop", arXiv 1905.00067.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        order: int = 1,
        combine: str = "concat",
        norm: str = "layer",
        activated: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width = _width(out_channels, order, combine)
        check_choice("norm", norm, NORMS)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.order = order
        self.combine = combine
        self.dropout = dropout
        self.linears = nn.ModuleList(nn.Linear(in_channels, width) for _ in range(order + 1))
        self.norms = _norms(order + 1, width, norm)
        self.act = nn.ReLU() if activated else nn.Identity()
        self.norm = nn.BatchNorm1d(out_channels, eps=EPS) if norm == "batch" else nn.Identity()
        _reset(self.linears)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Return the features (N, C') of the nodes."""
        z = F.dropout(x, self.dropout, self.training)
        lists, weights = _lists(edge_index, x.shape[0], edge_weight) if self.order else (None, None)
        parts: list[Tensor] = []
        for linear, norm in zip(self.linears, self.norms, strict=True):
            if parts and lists is not None:
                z = ragged.total(z, lists, weights)
            parts.append(norm(self.act(linear(z))))
        out: Tensor = self.norm(_combined(parts, self.combine))
        return out


class AttentiveOrders(nn.Module):
    r"""Take several orders of neighbours with weights by attention without a softmax, for batches that lack neighbours.

    For each head and order o, features :math:`F_o = \sigma(W_o H + b_o)` are summed o times over the neighbours, with
    the features of the lower orders o - 1, ..., 0 in turn on the node's side:

    .. math::
        F_o[v] \leftarrow \sum_u A_{vu} \bigl(\phi(a_o \cdot F_{o-s-1}[v]) + \phi(a'_o \cdot F_o[u])\bigr) F_o[u],
        \quad s = 0, \ldots, o - 1

    with :math:`\phi` a leaky ReLU of slope 0.2. Then each head and order is normalised as in `MixedOrders`, whose other
    arguments, shapes and errors these are.

    Args:
        in_channels: width of the input.
        out_channels: width of the output.
        order: k, at least 0.
        heads: number of heads, which divides the width of an order.
        combine: "concat", or "sum".
        norm: "layer", or "none".
        dropout: probability with which inputs are dropped.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        order: int = 1,
        heads: int = 1,
        combine: str = "concat",
        norm: str = "layer",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width = _width(out_channels, order, combine)
        check_at_least("heads", heads, 1)
        check_choice("norm", norm, ("layer", "none"))
        if width % heads:
            raise InputError(f"heads={heads} must divide the {width} channels of an order")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.order = order
        self.heads = heads
        self.combine = combine
        self.dropout = dropout
        count, width = (order + 1) * heads, width // heads
        self.linears = nn.ModuleList(nn.Linear(in_channels, width) for _ in range(count))
        self.norms = _norms(count, width, norm)
        self.attention = nn.ParameterList(nn.Parameter(torch.empty(1, 2 * width)) for _ in range(order * heads))
        _reset(self.linears)
        for one in self.attention:
            nn.init.xavier_uniform_(one)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Return the features (N, C') of the nodes."""
        x = F.dropout(x, self.dropout, self.training)
        lists, weights = _lists(edge_index, x.shape[0], edge_weight)
        parts = [linear(x).relu() for linear in self.linears]
        for order in range(1, self.order + 1):
            for lower in reversed(range(order)):
                for head in range(self.heads):
                    own, other = parts[lower * self.heads + head], parts[order * self.heads + head]
                    attention = self.attention[(order - 1) * self.heads + head][0]
                    parts[order * self.heads + head] = _attend(own, other, attention, lists, weights)
        parts = [norm(part) for norm, part in zip(self.norms, parts, strict=True)]
        each = [torch.cat(parts[i : i + self.heads], 1) for i in range(0, len(parts), self.heads)]
        return _combined(each, self.combine)


class GraphSAINT(nn.Module):
    r"""GraphSAINT's network: layers of several orders, rows scaled to length one, and a linear classifier.

    Args:
        in_channels: width of the input.
        hidden_channels: width of each order of a layer.
        num_classes: number of outputs.
        orders: order of each layer, published (1, 0, 1, 0) or (1, 1, 0), of which the last 0 is the classifier.
        combine: "concat", or "sum".
        norm: as in `MixedOrders`.
        heads: number of heads of attention, or 0 for none.
        dropout: probability with which the inputs of layers and classifier are dropped.

    Shape:
        x (N, C), edge_index (2, E), edge_weight (E,), such as that of a batch of `GraphSAINTSampler`; output
        (N, num_classes).

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        num_classes: int,
        *,
        orders: Sequence[int] = (1, 0, 1),
        combine: str = "concat",
        norm: str = "layer",
        heads: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_at_least("heads", heads, 0)
        self.layers = nn.ModuleList()
        for order in orders:
            width = hidden_channels * (order + 1 if combine == "concat" else 1)
            if heads:
                layer: nn.Module = AttentiveOrders(
                    in_channels, width, order=order, heads=heads, combine=combine, norm=norm, dropout=dropout
                )
            else:
                layer = MixedOrders(in_channels, width, order=order, combine=combine, norm=norm, dropout=dropout)
            self.layers.append(layer)
            in_channels = width
        self.classifier = MixedOrders(in_channels, num_classes, order=0, norm="none", activated=False, dropout=dropout)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Return the outputs (N, num_classes) of the nodes."""
        for layer in self.layers:
            x = layer(x, edge_index, edge_weight)
        out: Tensor = self.classifier(F.normalize(x, dim=1), edge_index)
        return out


def _width(out_channels: int, order: int, combine: str) -> int:
    """Return the width of each order."""
    check_at_least("order", order, 0)
    check_choice("combine", combine, COMBINE)
    if combine == "concat" and out_channels % (order + 1):
        raise InputError(f"out_channels={out_channels} must be a multiple of {order + 1}, the orders that it joins")
    return out_channels // (order + 1) if combine == "concat" else out_channels


def _norms(count: int, width: int, norm: str) -> nn.ModuleList:
    return nn.ModuleList(nn.LayerNorm(width, eps=EPS) if norm == "layer" else nn.Identity() for _ in range(count))


def _reset(linears: nn.ModuleList) -> None:
    for linear in linears.modules():
        if isinstance(linear, nn.Linear):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)


def _lists(edge_index: Tensor, nodes: int, edge_weight: Tensor | None) -> tuple[Lists, Tensor | None]:
    """Return the neighbours of each node, and their weights in the order of the lists."""
    if edge_weight is not None and edge_weight.shape != edge_index.shape[1:]:
        raise InputError(
            f"edge_weight of shape {tuple(edge_weight.shape)} must be ({edge_index.shape[1]},), one for each edge"
        )
    lists, edges = Lists.of_edges(edge_index, nodes)
    return lists, None if edge_weight is None else edge_weight[edges]


def _attend(own: Tensor, other: Tensor, attention: Tensor, lists: Lists, weights: Tensor | None) -> Tensor:
    of_own, of_other = (
        F.leaky_relu(side @ part, 0.2) for side, part in zip((own, other), attention.chunk(2), strict=True)
    )
    scores = of_own[lists.query_of_each] + of_other[lists.indices]
    return ragged.total(other, lists, scores if weights is None else scores * weights)


def _combined(parts: list[Tensor], combine: str) -> Tensor:
    return torch.cat(parts, 1) if combine == "concat" else torch.stack(parts).sum(0)
