r"""Several statistics of the neighbours side by side, scaled by the number of neighbours (PNA, arXiv 2004.05718)."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing, conv
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.typing import OptTensor

from convnn.errors import InputError, check_at_least, check_choice
from convnn.nn.graphs._checks import check_edge_features, check_features
from convnn.nn.graphs.aggregation import lists_of_sets
from convnn.ops import ragged
from convnn.ops.ragged import Lists, check_edges


def standard_deviation(values: Tensor, lists: Lists) -> Tensor:
    r"""Return the standard deviation as published, :math:`\sqrt{\max(0, \operatorname{var}) + 10^{-5}}`, (N, C).

    Of one value, and of none, it is 0.0032. `torch_geometric.nn.aggr.StdAggregation` is 0 there, and below.
    """
    return (ragged.variance(values, lists).relu() + 1e-5).sqrt()


STATISTICS: dict[str, Callable[[Tensor, Lists], Tensor]] = {
    "sum": ragged.total,
    "mean": ragged.mean,
    "min": ragged.minimum,
    "max": ragged.maximum,
    "var": ragged.variance,
    "std": standard_deviation,
}
SCALERS = ("identity", "amplification", "attenuation", "linear", "inverse_linear")


class DegreeScalerAggregation(Aggregation):
    r"""Several statistics of k elements, each times several functions of k.

    The result has, for each scaler, all statistics in their order. Scalers are 1 ("identity"),
    :math:`\log(k + 1) / d` ("amplification"), :math:`d / \log(k + 1)` ("attenuation"), :math:`k / l` ("linear") and
    :math:`l / k` ("inverse_linear"), where d and l are the means of :math:`\log(k + 1)` and k over all nodes in the
    training set. Attenuation and inverse are 1 without elements.

    Without a histogram, d and l are measured in the first training step: they are the buffer `averages`, which is 0
    before, and a checkpoint has it. Until then each graph is measured by itself.

    Args:
        aggregators: of "sum", "mean", "min", "max", "var" and "std", see `standard_deviation`.
        scalers: of "identity", "amplification", "attenuation", "linear" and "inverse_linear".
        deg: histogram: deg[k] nodes have k elements, see `PNAConv.get_degree_histogram`. None: measure.

    Raises:
        InputError: a name is unknown, or the histogram is not one, or counts no edge.
    """

    def __init__(
        self, aggregators: Sequence[str] | str, scalers: Sequence[str] | str, deg: Tensor | None = None
    ) -> None:
        super().__init__()
        self.aggregators = _names("aggregators", aggregators, STATISTICS)
        self.scalers = _names("scalers", scalers, SCALERS)
        self.given = None if deg is None else _averages(deg)
        if deg is None:
            self.register_buffer("averages", torch.zeros(2))

    def reset_parameters(self) -> None:
        """Forget the averages that were measured."""
        if self.given is None:
            self.averages.zero_()

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
    ) -> Tensor:
        """Return the scaled statistics of each set, with as many times the channels, the last axis."""
        rows = x.movedim(dim, 0)
        lists = lists_of_sets(rows, index, ptr, dim_size)
        statistics = [STATISTICS[name](rows.flatten(1), lists) for name in self.aggregators]
        shape = lists.queries, *rows.shape[1:]
        out = torch.cat([statistic.view(shape) for statistic in statistics], dim=-1)
        counts = lists.lengths.to(x.dtype)
        logarithms = counts.log1p()
        log_average, average = self.given or self._measured(logarithms, counts)
        is_empty = counts == 0
        factors = {
            "identity": torch.ones_like(counts),
            "amplification": logarithms / log_average,
            "attenuation": (log_average / logarithms).masked_fill(is_empty, 1),
            "linear": counts / average,
            "inverse_linear": (average / counts).masked_fill(is_empty, 1),
        }
        scaled = [out * factors[name].view([-1, *[1] * (out.dim() - 1)]) for name in self.scalers]
        return torch.cat(scaled, dim=-1).movedim(0, dim)

    @torch.no_grad()
    def _measured(self, logarithms: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the averages that were measured once, or those of this graph."""
        here = torch.stack([logarithms.mean(), counts.mean()]) if counts.numel() else counts.new_zeros(2)
        averages = torch.where(self.averages > 0, self.averages, here.to(self.averages.dtype))
        if self.training:
            self.averages.copy_(averages)
        log_average, average = averages.masked_fill(averages == 0, 1)  # a graph without edges has nothing to scale
        return log_average, average


class PNAConv(conv.PNAConv):
    r"""Principal neighbourhood aggregation: linear maps of each edge, several statistics, and a linear map of those.

    .. math:: m_{ji} = \operatorname{pre}([x_i, x_j, e_{ji}]), \quad s_i = \bigoplus_{\text{scalers}}
        \bigoplus_{\text{aggregators}} \operatorname{scale}(k_i) \operatorname{agg}_j m_{ji}, \quad
        y_i = W \operatorname{post}([x_i, s_i]) + b

    Each of T towers has its own pre, of width C or C / T, and its own post, to C' / T channels; W mixes them. Messages
    come from incoming edges, each as often as it is listed; nothing is added. `PNAConv` of PyTorch Geometric has
    another standard deviation, and another attenuation of nodes without edges: see `DegreeScalerAggregation`.

    Args:
        in_channels: C.
        out_channels: C'.
        aggregators, scalers: as in `DegreeScalerAggregation`, as a sequence or as text such as "mean,max".
        deg: histogram of the degrees in the training set; None: the averages of the first graph in training.
        edge_dim: D, channels of edge features, which are mapped linearly to the width of a tower; None: there are none.
        towers: T.
        pre_layers: number of linear layers of pre, with ReLU between.
        post_layers: number of linear layers of post.
        divide_input: each tower reads C / T of the channels.

    Raises:
        InputError: a name is unknown, a number is out of range, the towers do not divide the channels, or the histogram
            is not one.

    Reference:
        Corso et al., "Principal Neighbourhood Aggregation for Graph Nets", arXiv 2004.05718.

    Example:
        >>> PNAConv(4, 3)(torch.randn(3, 4), torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([3, 3])
    """

    propagate_type = {"x": Tensor, "edge_attr": OptTensor}  # noqa: RUF012 (looked up for a class of this name)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        aggregators: Sequence[str] | str = "mean,max,min,std",
        scalers: Sequence[str] | str = "identity,amplification,attenuation",
        deg: Tensor | None = None,
        edge_dim: int | None = None,
        towers: int = 1,
        pre_layers: int = 1,
        post_layers: int = 1,
        divide_input: bool = False,
    ) -> None:
        _check_numbers(in_channels=in_channels, out_channels=out_channels, pre_layers=pre_layers)
        _check_numbers(towers=towers, post_layers=post_layers)
        if out_channels % towers or (divide_input and in_channels % towers):
            divided = f"in_channels={in_channels} and " if divide_input else ""
            raise InputError(f"towers={towers} must divide {divided}out_channels={out_channels}")
        if edge_dim is not None:
            _check_numbers(edge_dim=edge_dim)
        aggregation = DegreeScalerAggregation(aggregators, scalers, deg)
        super().__init__(
            in_channels,
            out_channels,
            aggregators=aggregation.aggregators,
            scalers=aggregation.scalers,
            deg=torch.tensor([0, 1]),  # of an aggregation that ours replaces
            edge_dim=edge_dim,
            towers=towers,
            pre_layers=pre_layers,
            post_layers=post_layers,
            divide_input=divide_input,
        )
        self.aggr_module = aggregation

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        """Map features (N, C) to (N, C').

        Args:
            x: features of the nodes.
            edge_index: (2, E) int64, the source and the target of each edge.
            edge_attr: features (E, D) of the edges, with `edge_dim`.

        Raises:
            InputError: a shape or type is wrong, a node lies outside the graph, or edge features are missing, or given
                without `edge_dim`.
        """
        check_features(x, self.in_channels)
        check_edges(edge_index, x.shape[0], x.shape[0])
        if self.edge_dim is not None:
            check_edge_features(edge_attr, edge_index.shape[1], self.edge_dim)
        elif edge_attr is not None:
            raise InputError(f"edge_attr of shape {tuple(edge_attr.shape)} must be None, since edge_dim=None")
        return super().forward(x, edge_index, edge_attr)


class PNAConvSimple(MessagePassing):
    r"""The short form of `PNAConv`: statistics of the neighbours' features themselves, without the node's own.

    .. math:: y_i = \operatorname{post}\Bigl( \bigoplus_{\text{scalers}} \bigoplus_{\text{aggregators}}
        \operatorname{scale}(k_i) \operatorname{agg}_j x_j \Bigr)

    Args:
        in_channels, out_channels, aggregators, scalers, deg, post_layers: as in `PNAConv`.

    Raises:
        InputError: as in `PNAConv`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        aggregators: Sequence[str] | str = "mean,max,min,std",
        scalers: Sequence[str] | str = "identity,amplification,attenuation",
        deg: Tensor | None = None,
        post_layers: int = 1,
    ) -> None:
        _check_numbers(in_channels=in_channels, out_channels=out_channels, post_layers=post_layers)
        aggregation = DegreeScalerAggregation(aggregators, scalers, deg)
        super().__init__(aggregation)
        self.in_channels, self.out_channels = in_channels, out_channels
        width = in_channels * len(aggregation.aggregators) * len(aggregation.scalers)
        layers: list[nn.Module] = [nn.Linear(width, out_channels)]
        for _ in range(post_layers - 1):
            layers += [nn.ReLU(), nn.Linear(out_channels, out_channels)]
        self.post = nn.Sequential(*layers)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        """Map features (N, C) to (N, C'); features of edges are ignored, as published.

        Raises:
            InputError: a shape or type is wrong, or a node lies outside the graph.
        """
        check_features(x, self.in_channels)
        check_edges(edge_index, x.shape[0], x.shape[0])
        return self.post(self.propagate(edge_index, x=x))


def _names(argument: str, value: Sequence[str] | str, known: Iterable[str]) -> list[str]:
    """Return the names, which may be given as text."""
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else list(value)
    if not names:
        raise InputError(f"{argument}={value!r} must name at least one of {', '.join(known)}")
    for name in names:
        check_choice(argument, name, known)
    return names


def _check_numbers(**numbers: int) -> None:
    for name, number in numbers.items():
        check_at_least(name, number, 1)


def _averages(deg: Tensor) -> tuple[float, float]:
    """Return the means of log(k + 1) and of k over the nodes of a histogram.

    Raises:
        InputError: it is not a list of counts, or counts no edge.
    """
    if deg.dim() != 1 or not bool((deg >= 0).all()) or not bool((deg[1:] > 0).any()):
        raise InputError(
            f"deg of shape {tuple(deg.shape)} must be a list of counts, deg[k] of the nodes with k edges, and count a"
            " node with one"
        )
    counts, degrees = deg.double(), torch.arange(deg.numel(), dtype=torch.double, device=deg.device)
    nodes = counts.sum()
    return (counts @ degrees.log1p() / nodes).item(), (counts @ degrees / nodes).item()
