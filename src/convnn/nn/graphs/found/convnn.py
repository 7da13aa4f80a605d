"""ConvNN on a given graph: the neighbours are those of the edges, in their order, instead of the most similar."""

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_choice, check_fraction
from convnn.nn._grouped import GroupedLinear, check_groups
from convnn.nn._reset import reset_as_conv
from convnn.nn._settings import unless_usual, written
from convnn.nn.functional import SCORES_OF_ITSELF
from convnn.ops import Neighbors, aggregate, check_backend, edges, weigh

Nodes = Tensor | tuple[Tensor, Tensor]
"""Features (N, C) of all nodes; or those of the sources and of the targets of a bipartite graph."""


class GraphConvNN(nn.Module):
    r"""Convolution over the first K incoming edges of every node of a graph.

    .. math:: y_{io} = b_o + \sum_{c} \sum_{k=1}^{\min(K, |N_i|)} W_{ock} \, w_{ik} \, x_{j_{ik} c}

    where :math:`j_{i1}, j_{i2}, \dots` are the sources of the edges to node i in the order of edge_index, and
    :math:`w_{ik}` their weights, or 1. Of longer lists the rest is ignored; in shorter ones the missing slots add
    nothing. So the order of the edges means something: `convnn.graphs.knn_graph` returns the nearest first, and on its
    edges, with self-loops, this is the layer `ConvNN`.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        K: number of slots of the kernel.
        groups: number of blocks of channels that do not mix.
        bias: add a learned bias to the output.
        backend: implementation of the operations: "auto" (the fastest available), "cpu", "triton" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input x (N, C_in), edge_index (2, E), edge_weight (E,) or None; output (N, C_out); weight (C_out, C_in / groups,
        K). Of a bipartite graph x is a pair, of which the second tensor gives only the number of targets.

    Raises:
        InputError: an argument is out of range; in forward: a shape is wrong, or an edge leads to no node.
        UnsupportedError: in forward: the named backend cannot compute this.

    Reference:
        Kang and Farias Sales Rocha Neto, arXiv 2511.14137, the aggregation.

    Example:
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 1, 0]])
        >>> GraphConvNN(4, 8, K=2)(torch.randn(3, 4), edge_index).shape
        torch.Size([3, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        K: int = 9,
        groups: int = 1,
        bias: bool = True,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, number in (("in_channels", in_channels), ("out_channels", out_channels), ("K", K)):
            check_at_least(name, number, 1)
        check_groups(groups, in_channels, out_channels)
        check_backend(backend)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.K = K
        self.groups = groups
        self.backend = backend
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, K, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias as `torch.nn.Conv1d` does."""
        reset_as_conv(self.weight, self.bias)

    def forward(self, x: Nodes, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Convolve the neighbours of every node."""
        sources, targets = _both(x, self.in_channels)
        nodes = sources.shape[0], targets.shape[0]
        neighbors = edges.to_neighbors(edge_index, nodes, K=self.K, edge_weight=edge_weight)
        rows = sources.unsqueeze(0)
        return aggregate.convolve(
            rows, neighbors, self.weight, self.bias, groups=self.groups, backend=self.backend
        ).squeeze(0)

    def extra_repr(self) -> str:
        """Return the channels, K, and what differs from the defaults."""
        shown = [f"{self.in_channels}, {self.out_channels}", written(K=self.K)]
        shown.append(unless_usual(groups=(self.groups, 1), backend=(self.backend, "auto")))
        return ", ".join(filter(None, shown))


class GraphConvNNAttn(nn.Module):
    r"""Attention to the first K incoming edges of every node, whose weights are followed by a kernel over the K.

    .. math:: y_i = W_o \left( b_p + W_p \left( b + \sum_{k} w_k \odot \alpha_{ik} W_v x_{j_{ik}} \right) \right),
        \qquad \alpha_i = \operatorname{softmax}_k s(W_k x_i, W_q x_{j_{ik}})

    with s the cosine or minus the squared distance, and the constant 1.1 or 0.1 on self-loops. The order of the edges,
    and lists longer and shorter than K, are as in `GraphConvNN`; on the edges of K neighbours nearest in projection,
    each node first among its own, this is the layer `ConvNN_Attn`.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        K: number of slots of the kernel.
        groups: number of blocks of channels that no projection mixes.
        metric: "cosine" or "euclidean".
        attention_dropout: probability of dropping a neighbour in training, 0 to 1.
        bias: add biases to the depthwise kernel and the pointwise map.
        backend: as in `GraphConvNN`.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input x (N, C_in) or a pair for a bipartite graph, edge_index (2, E); output (N, C_out); weight (C_in, 1, K),
        initialised to ones.

    Raises:
        InputError: as for `GraphConvNN`.

    Reference:
        Kang and Farias Sales Rocha Neto, arXiv 2511.14137, the attention form.

    Example:
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 1, 0]])
        >>> GraphConvNNAttn(4, 8, K=2)(torch.randn(3, 4), edge_index).shape
        torch.Size([3, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        K: int = 9,
        groups: int = 1,
        metric: str = "cosine",
        attention_dropout: float = 0.1,
        bias: bool = True,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, number in (("in_channels", in_channels), ("out_channels", out_channels), ("K", K)):
            check_at_least(name, number, 1)
        check_groups(groups, in_channels, out_channels)
        check_choice("metric", metric, SCORES_OF_ITSELF)
        check_fraction("attention_dropout", attention_dropout)
        check_backend(backend)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.K = K
        self.groups = groups
        self.metric = metric
        self.attention_dropout = attention_dropout
        self.backend = backend
        self.query, self.key, self.value = (
            GroupedLinear(in_channels, in_channels, groups, bias=False, device=device, dtype=dtype) for _ in range(3)
        )
        self.weight = nn.Parameter(torch.empty(in_channels, 1, K, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(in_channels, device=device, dtype=dtype)) if bias else None
        self.pointwise = GroupedLinear(in_channels, out_channels, groups, bias=bias, device=device, dtype=dtype)
        self.output = GroupedLinear(out_channels, out_channels, groups, bias=False, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise the kernel to ones, so that training starts from plain attention, and the rest as torch does."""
        for projection in (self.query, self.key, self.value, self.pointwise, self.output):
            projection.reset_parameters()
        nn.init.ones_(self.weight)
        if self.bias is not None:
            bound = self.K**-0.5
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Nodes, edge_index: Tensor) -> Tensor:
        """Attend to the neighbours of every node."""
        sources, targets = _both(x, self.in_channels)
        neighbors = edges.to_neighbors(edge_index, (sources.shape[0], targets.shape[0]), K=self.K)
        # Published: row t scores candidate j by s(k_t, q_j), so the keys are the queries of the comparison.
        queries, keys, values = (
            one.unsqueeze(0) for one in (self.key(targets), self.query(sources), self.value(sources))
        )
        neighbors = weigh.similarity(neighbors, queries, keys, metric=self.metric, backend=self.backend)
        if isinstance(x, Tensor):
            neighbors = _with_own_score(neighbors, SCORES_OF_ITSELF[self.metric])
        neighbors = weigh.dropout(weigh.softmax(neighbors), self.attention_dropout, training=self.training)
        out = aggregate.convolve(
            values, neighbors, self.weight, self.bias, groups=self.in_channels, backend=self.backend
        ).squeeze(0)
        return self.output(self.pointwise(out))

    def extra_repr(self) -> str:
        """Return the channels, K, and what differs from the defaults."""
        shown = [f"{self.in_channels}, {self.out_channels}", written(K=self.K)]
        others = {"groups": (self.groups, 1), "metric": (self.metric, "cosine"), "backend": (self.backend, "auto")}
        return ", ".join(filter(None, [*shown, unless_usual(**others)]))


def _with_own_score(neighbors: Neighbors, score: float) -> Neighbors:
    """Give self-loops a constant score."""
    own = torch.arange(neighbors.indices.shape[1], device=neighbors.indices.device).unsqueeze(1)
    scores = neighbors.scores
    return (
        neighbors if scores is None else neighbors._replace(scores=scores.masked_fill(neighbors.indices == own, score))
    )


def _both(x: Nodes, channels: int) -> tuple[Tensor, Tensor]:
    """Return the features of sources and targets.

    Raises:
        InputError: they have another shape or are not floating.
    """
    sources, targets = (x, x) if isinstance(x, Tensor) else x
    for rows in (sources, targets):
        if rows.dim() != 2 or rows.shape[1] != channels or not rows.is_floating_point():
            raise InputError(f"x of shape {tuple(rows.shape)} and {rows.dtype} must be floating and (N, {channels})")
    return sources, targets
