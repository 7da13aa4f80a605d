"""Messages that depend on both ends of an edge: functions of their sum, and of what surrounds the target."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import MessagePassing
from torch_geometric.typing import OptTensor
from torch_geometric.utils import degree

from convnn.errors import check_at_least, check_choice, check_rate
from convnn.nn._activations import ACTIVATIONS
from convnn.nn._settings import written
from convnn.nn.graphs._checks import Nodes, check_edge_attr, check_graph
from convnn.nn.graphs.aggregation import REDUCTIONS, MaxAggregation, MeanAggregation, SumAggregation
from convnn.ops import ragged
from convnn.ops.edges import lists_of_edges

AGGREGATIONS = {"sum": SumAggregation, "mean": MeanAggregation, "max": MaxAggregation, "sym": SumAggregation}
"""How messages are put together; "sym" is a sum of messages weighted by the degrees of both ends."""


class PairConv(MessagePassing):
    r"""Aggregated messages, each any function of both ends of its edge.

    .. math:: y_u = \operatorname{AGG}_{v \to u} \; g([x_u ; x_v ; a_{uv}])

    EdgeConv has :math:`x_v - x_u` in place of :math:`x_v`. A node that no edge enters has 0.

    Args:
        network: g, a module from 2 C channels, and C_e of the edges, to C'.
        aggr: "sum", "mean", "max" or "sym"; see `SIRGCN`.

    Shapes:
        x (N, C), or a pair for the sources and the targets of edges; edge_index (2, E); edge_attr (E, C_e) or None;
        output (N, C').

    Raises:
        InputError: the aggregation is unknown; in forward: x or edge_attr has no row for each node or edge, or an edge
            names a node that is not there.

    Reference:
        Lim, "Contextualized Messages Boost Graph Representations", arXiv 2403.12529.
    """

    def __init__(self, network: nn.Module, *, aggr: str = "sum") -> None:
        check_choice("aggr", aggr, AGGREGATIONS)
        super().__init__(aggr=AGGREGATIONS[aggr]())
        self.network = network
        self.aggregation = aggr

    def forward(self, x: Nodes, edge_index: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        """Map features (N, C) to (N, C')."""
        sources, targets = check_graph(x, edge_index)
        if edge_attr is not None:
            check_edge_attr(edge_attr, edge_index.shape[1], edge_attr.shape[-1])
        weights = _weights(self.aggregation, edge_index, sources, targets)
        sizes = (sources.shape[0], targets.shape[0])
        return self.propagate(edge_index, x=(sources, targets), edge_attr=edge_attr, weights=weights, size=sizes)

    def message(self, x_i: Tensor, x_j: Tensor, edge_attr: OptTensor, weights: OptTensor) -> Tensor:
        """Return the message (E, C') of each edge."""
        ends = [x_i, x_j] if edge_attr is None else [x_i, x_j, edge_attr]
        messages = self.network(torch.cat(ends, dim=-1))
        return messages if weights is None else weights * messages


class SIRGCN(MessagePassing):
    r"""Soft-isomorphic relational graph convolution: messages that depend on both ends of their edge.

    .. math:: y_u = W_R \operatorname{AGG}_{v \to u} \; \sigma(W_Q x_u + b_Q + W_K x_v + W_E a_{uv}) + b_R

    Linear maps act on nodes, and on edges the activation alone. A maximum does not commute with :math:`W_R`, which then
    maps every message :math:`z_{uv}`: :math:`y_u = \max_v (W_R z_{uv} + b_R)`. A node that no edge enters has
    :math:`b_R`, under the maximum 0. Self-loops are edges like others, and none is added; repeated edges count
    repeatedly.

    Args:
        in_channels: C.
        out_channels: C'.
        hidden_channels: H, of the messages; None: C'.
        edge_activation: sigma, "relu", "gelu", "leaky_relu" (slope 0.2), "hardswish", "none", or a function or module
            from (E, H) to (E, H).
        aggr: "sum", "mean", "max", or "sym", a sum weighted by 1 / sqrt(d_out(v) d_in(u)) with the numbers of edges
            that leave v and enter u. GCN counts those that enter at both ends.
        edge_dim: C_e, number of features of an edge; None: edges have none.
        dropout: of W_Q x_u + b_Q and W_K x_v, once a node, and of W_E a_uv.
        inner_bias: learn b_Q.
        outer_bias: learn b_R.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        x (N, C), or a pair for the sources and the targets of edges; edge_index (2, E); edge_attr (E, C_e) or None;
        output (N, C').

    Raises:
        InputError: an argument is out of range; in forward: shapes do not agree, features of the edges are missing or
            not read, or an edge names a node that is not there.

    Reference:
        Lim, "Contextualized Messages Boost Graph Representations", arXiv 2403.12529; biases and maximum as in the
        published code.

    Example:
        >>> from convnn.nn.graphs import SIRGCN
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> SIRGCN(8, 16)(torch.randn(3, 8), edge_index).shape
        torch.Size([3, 16])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        hidden_channels: int | None = None,
        edge_activation: str | Callable[[Tensor], Tensor] = "relu",
        aggr: str = "sum",
        edge_dim: int | None = None,
        dropout: float = 0.0,
        inner_bias: bool = True,
        outer_bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        hidden = out_channels if hidden_channels is None else hidden_channels
        for name, size in (("in_channels", in_channels), ("out_channels", out_channels), ("hidden_channels", hidden)):
            check_at_least(name, size, 1)
        if edge_dim is not None:
            check_at_least("edge_dim", edge_dim, 1)
        check_choice("aggr", aggr, AGGREGATIONS)
        check_rate("dropout", dropout)
        super().__init__(aggr=AGGREGATIONS[aggr]())
        self.in_channels, self.hidden_channels, self.out_channels = in_channels, hidden, out_channels
        self.edge_dim, self.aggregation, self.dropout = edge_dim, aggr, dropout
        self.activation = _activation(edge_activation)
        of_weights = {"device": device, "dtype": dtype}
        self.linear_query = nn.Linear(in_channels, hidden, bias=inner_bias, **of_weights)
        self.linear_key = nn.Linear(in_channels, hidden, bias=False, **of_weights)
        self.linear_edge = None if edge_dim is None else nn.Linear(edge_dim, hidden, bias=False, **of_weights)
        self.linear_relation = nn.Linear(hidden, out_channels, bias=outer_bias, **of_weights)

    def forward(self, x: Nodes, edge_index: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        """Map features (N, C) to (N, C')."""
        sources, targets = check_graph(x, edge_index, self.in_channels)
        check_edge_attr(edge_attr, edge_index.shape[1], self.edge_dim)
        key = self._dropped(self.linear_key(sources))
        query = self._query(sources, targets, edge_index)
        edge = None if self.linear_edge is None else self._dropped(self.linear_edge(edge_attr))
        weights = _weights(self.aggregation, edge_index, sources, targets)
        sizes = (sources.shape[0], targets.shape[0])
        y = self.propagate(edge_index, query=query, key=key, edge=edge, weights=weights, size=sizes)
        return y if self.aggregation == "max" else self.linear_relation(y)

    def message(self, query_i: Tensor, key_j: Tensor, edge: OptTensor, weights: OptTensor) -> Tensor:
        """Return the message of each edge, (E, H), under a maximum (E, C')."""
        messages = self.activation(query_i + key_j if edge is None else query_i + key_j + edge)
        if self.aggregation == "max":
            return self.linear_relation(messages)
        return messages if weights is None else weights * messages

    def _query(self, sources: Tensor, targets: Tensor, edge_index: Tensor) -> Tensor:
        """Return the part (N, H) of the messages that the target decides."""
        return self._dropped(self.linear_query(targets))

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)

    def extra_repr(self) -> str:
        """Return the channels and the aggregation."""
        settings = written(hidden_channels=self.hidden_channels, aggr=self.aggregation)
        return f"{self.in_channels}, {self.out_channels}, {settings}"


class SINCGCN(SIRGCN):
    r"""Soft-isomorphic neighbourhood-contextualised convolution: every message also sees the target's neighbourhood.

    .. math:: c_u = \operatorname{AGG'}_{w \to u} \; x_w, \qquad
        y_u = W_R \operatorname{AGG}_{v \to u} \; \sigma(W_Q x_u + b_Q + W_K x_v + W_N c_u) + b_R

    The context of u is that of all messages to u; v is part of the context of its own message, and u where it has a
    self-loop. It is 0 where no edge enters. All else is as in `SIRGCN`.

    Args:
        in_channels: C.
        out_channels: C'.
        context_aggr: AGG', "sum", "mean", "max" or "sym". A sum grows with the degree; the mean does not.
        hidden_channels, edge_activation, aggr, dropout, inner_bias, outer_bias, device, dtype: as in `SIRGCN`.

    Shapes:
        x (N, C), or a pair for the sources and the targets of edges; edge_index (2, E); output (N, C').

    Raises:
        InputError: as `SIRGCN`.

    Reference:
        Lim, arXiv 2511.11046; the context aggregates features before W_N, as in the published code, on which a maximum
        depends.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        context_aggr: str = "sum",
        hidden_channels: int | None = None,
        edge_activation: str | Callable[[Tensor], Tensor] = "relu",
        aggr: str = "sum",
        dropout: float = 0.0,
        inner_bias: bool = True,
        outer_bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_choice("context_aggr", context_aggr, AGGREGATIONS)
        super().__init__(
            in_channels,
            out_channels,
            hidden_channels=hidden_channels,
            edge_activation=edge_activation,
            aggr=aggr,
            dropout=dropout,
            inner_bias=inner_bias,
            outer_bias=outer_bias,
            device=device,
            dtype=dtype,
        )
        self.context_aggr = context_aggr
        self.linear_neigh = nn.Linear(in_channels, self.hidden_channels, bias=False, device=device, dtype=dtype)

    def _query(self, sources: Tensor, targets: Tensor, edge_index: Tensor) -> Tensor:
        query = super()._query(sources, targets, edge_index)
        lists, order = lists_of_edges(edge_index, (sources.shape[0], targets.shape[0]))
        weights = _weights(self.context_aggr, edge_index, sources, targets)
        if weights is None:
            context = REDUCTIONS[self.context_aggr](sources, lists)
        else:
            context = ragged.total(sources, lists, weights.index_select(0, order))
        return query + self._dropped(self.linear_neigh(context))


def _weights(aggr: str, edge_index: Tensor, sources: Tensor, targets: Tensor) -> Tensor | None:
    """Return the weights (E, 1) of the edges, 1 / sqrt(d_out(v) d_in(u)), where the aggregation has some."""
    if aggr != "sym":
        return None
    leaving, entering = (
        degree(numbers, nodes.shape[0], torch.long)[numbers]  # as whole numbers, which no type rounds
        for numbers, nodes in zip(edge_index, (sources, targets), strict=True)
    )
    exact = torch.promote_types(sources.dtype, torch.float32)
    return (leaving * entering).to(exact).rsqrt().to(sources.dtype).unsqueeze(1)


def _activation(activation: str | Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    if callable(activation):
        return activation
    check_choice("edge_activation", activation, ACTIVATIONS)
    return ACTIVATIONS[activation]()
