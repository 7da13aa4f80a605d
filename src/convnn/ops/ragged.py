r"""Aggregation over lists of any length: the neighbours of the nodes of a graph.

`aggregate` has K neighbours for every position; on a graph each node :math:`i` has a list :math:`N_i` of its own, and
edges are in the order of the lists (CSR). On the CPU, memory does not grow with edges times channels, and results are
the same bits on any number of threads. All but the mean by softmax can be differentiated any number of times.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from convnn.backends._ragged import list_of_each
from convnn.errors import InputError
from convnn.ops import _ragged
from convnn.ops._dispatch import check_backend


@dataclass(frozen=True, eq=False)
class Lists:
    """The neighbours of N queries among T positions, in lists of any length.

    Attributes:
        starts: (N + 1,) int64, ascending from 0 to E: the neighbours of query i are indices[starts[i] : starts[i + 1]].
        indices: (E,) int64, the position of each neighbour.
        positions: T.

    Raises:
        InputError: shapes or types are wrong, starts do not ascend from 0 to E, or an index lies outside the positions.
    """

    starts: Tensor
    indices: Tensor
    positions: int
    _found: dict[str, Any] = field(default_factory=dict, init=False, repr=False)  # found out once a graph

    def __post_init__(self) -> None:
        for name, tensor in (("starts", self.starts), ("indices", self.indices)):
            if tensor.dim() != 1 or tensor.dtype != torch.long:
                raise InputError(f"{name} of shape {tuple(tensor.shape)} and {tensor.dtype} must be one list of int64")
        if not self.starts.shape[0]:
            raise InputError("starts must have an entry before the first list, 0")
        if torch.compiler.is_compiling():
            return
        edges = self.indices.shape[0]
        if self.starts[0] != 0 or self.starts[-1] != edges or bool((self.starts.diff() < 0).any()):
            raise InputError(f"starts must ascend from 0 to {edges}, the number of indices")
        if edges and not 0 <= int(self.indices.min()) <= int(self.indices.max()) < self.positions:
            raise InputError(
                f"indices from {int(self.indices.min())} to {int(self.indices.max())} must lie between 0 and"
                f" {self.positions - 1} for {self.positions} positions"
            )

    @classmethod
    def of_edges(cls, edge_index: Tensor, nodes: int | tuple[int, int]) -> tuple["Lists", Tensor]:
        """Return the lists of incoming neighbours of a graph, and the place (E,) in edge_index of each of their edges.

        Args:
            edge_index: (2, E) int64, the source and the target of each edge, as in torch_geometric.
            nodes: number of nodes, or of sources and of targets.

        Raises:
            InputError: the shape or type is wrong, or a node lies outside the graph.
        """
        sources, targets = (nodes, nodes) if isinstance(nodes, int) else nodes
        check_edges(edge_index, sources, targets)
        edges = cls.of_targets(edge_index[1].contiguous(), targets)
        return cls(edges.starts, edge_index[0].index_select(0, edges.indices), sources), edges.indices

    @classmethod
    def of_targets(cls, targets: Tensor, nodes: int) -> "Lists":
        """Return the edges that lead to each node, in their order: lists for values (E, C) of the edges.

        Args:
            targets: (E,) int64, the target of each edge.
            nodes: number of nodes.

        Raises:
            InputError: the shape or type is wrong, or a target is no node.
        """
        each = torch.arange(targets.shape[0] + 1, device=targets.device)
        return cls(each, targets, nodes).transposed  # transposed, every edge is a list of its target

    @property
    def queries(self) -> int:
        """The number of lists, N."""
        return self.starts.shape[0] - 1

    @property
    def lengths(self) -> Tensor:
        """The number of neighbours of each query, (N,)."""
        return self.starts.diff()

    @property
    def query_of_each(self) -> Tensor:
        """The query (E,) of each neighbour."""
        found: Tensor = self._once("query_of_each", lambda: list_of_each(self.starts, self.indices))
        return found

    @property
    def edges(self) -> "Lists":
        """The same lists of the edges themselves, for values (E, C) of their own."""
        found: Lists = self._once("edges", lambda: Lists(self.starts, self._numbers(), self.indices.shape[0]))
        return found

    @property
    def transposed(self) -> "Lists":
        """The lists of the other end: for each position, the queries that have it as a neighbour."""
        starts, indices, edges, back_edges = self._once("transposed", self._transposed)
        other = Lists(starts, indices, self.queries)
        other._found["transposed"] = self.starts, self.indices, back_edges, edges
        return other

    def _transposed(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the transposed lists, and the places of edges here and there; see `_ragged.ragged_sum`."""
        starts, indices, edges = _ragged.transpose_lists(self.starts, self.indices, self.positions, "auto")
        return starts, indices, edges, torch.empty_like(edges).scatter_(0, edges, self._numbers())

    def places(self, queries: Tensor) -> Tensor:
        """Return the places in `indices` of the neighbours of some queries (n,), one query after the other."""
        first = self.starts.index_select(0, queries)
        lengths = self.starts.index_select(0, queries + 1) - first
        ends = lengths.cumsum(0)
        total = int(ends[-1]) if queries.numel() else 0
        shifts = (first - ends + lengths).repeat_interleave(lengths, output_size=total)
        return shifts.add_(torch.arange(total, device=queries.device))

    def _once(self, name: str, find: Callable[[], Any]) -> Any:
        if name not in self._found:
            self._found[name] = find()
        return self._found[name]

    def _numbers(self) -> Tensor:
        return torch.arange(self.indices.shape[0], device=self.indices.device)

    def arguments(self) -> tuple[Tensor, ...]:
        """Return what the operators take: the lists both ways."""
        return self.starts, self.indices, *self._once("transposed", self._transposed)


def check_edges(
    edge_index: Tensor,
    sources: int,
    targets: int | None = None,
    *,
    name: str = "edge_index",
    ends: tuple[str, str] = ("sources", "targets"),
) -> None:
    """Check that edges are (2, E) int64 between nodes; None is as many targets as sources.

    In a compiled graph the values are not looked at.

    Raises:
        InputError: the shape or type is wrong, or a node lies outside the graph; the message has the argument's name
            and what the nodes at both ends are called.
    """
    if edge_index.dim() != 2 or edge_index.shape[0] != 2 or edge_index.dtype != torch.long:
        raise InputError(f"{name} of shape {tuple(edge_index.shape)} and {edge_index.dtype} must be (2, E) int64")
    if torch.compiler.is_compiling() or not edge_index.numel():
        return
    counts = sources, sources if targets is None else targets
    for numbers, count, of in zip(edge_index, counts, ends, strict=True):
        least, most = int(numbers.min()), int(numbers.max())
        if least < 0 or most >= count:
            raise InputError(f"{name} has {of} from {least} to {most}; they must lie between 0 and {count - 1}")


def check_same_nodes(lists: Lists) -> None:
    """Refuse lists that are not of nodes among themselves.

    Raises:
        InputError: there are not as many positions as queries.
    """
    if lists.queries != lists.positions:
        raise InputError(f"lists of {lists.queries} nodes among {lists.positions} must be among the same nodes")


def check_factors(name: str, factors: Tensor | None, count: int, of: str = "edge") -> None:
    """Refuse factors that are not one for each edge; they may be negative.

    Raises:
        InputError: the shape or type is wrong.
    """
    if factors is not None and (factors.shape != (count,) or not factors.is_floating_point()):
        raise InputError(
            f"{name} of shape {tuple(factors.shape)} and {factors.dtype} must be floating and ({count},), one for each"
            f" {of}"
        )


def total(values: Tensor, lists: Lists, scores: Tensor | None = None, *, backend: str = "auto") -> Tensor:
    r"""Return the sum over each list, :math:`y_{ic} = \sum_{j \in N_i} s_{ij} v_{jc}`; an empty list gives 0.

    Args:
        values: (T, C) values of the positions.
        lists: N lists with E neighbours in all.
        scores: (E,) a factor of each neighbour, or (E, H) of each of H heads, consecutive blocks of C / H channels.
        backend: as in `convnn.ops.select.nearest`.

    Returns:
        (N, C).

    Raises:
        InputError: shapes do not agree.
        UnsupportedError: the named backend cannot compute this.
    """
    _check(values, lists, backend)
    if scores is not None:
        scores = scores.unsqueeze(1) if scores.dim() == 1 else scores
        heads = scores.shape[1] if scores.dim() == 2 else 0
        if scores.shape[0] != lists.indices.shape[0] or not heads or values.shape[1] % heads:
            raise InputError(
                f"scores of shape {tuple(scores.shape)} must be ({lists.indices.shape[0]}, H), where H divides the"
                f" {values.shape[1]} channels"
            )
    return _ragged.ragged_sum(values, scores, *lists.arguments(), backend)


def products(queries: Tensor, keys: Tensor, lists: Lists, *, heads: int = 1, backend: str = "auto") -> Tensor:
    r"""Return the inner products of each query with the keys in its list, :math:`\langle q_i, k_j \rangle`.

    Args:
        queries: (N, C).
        keys: (T, C).
        lists: N lists with E neighbours in all.
        heads: H, number of consecutive blocks of channels with a product each.
        backend: as in `total`.

    Returns:
        (E, H).

    Raises:
        InputError: shapes do not agree.
        UnsupportedError: the named backend cannot compute this.
    """
    _check(keys, lists, backend)
    shape = (lists.queries, keys.shape[1])
    if queries.shape != shape:
        raise InputError(f"queries of shape {tuple(queries.shape)} must be {shape}, a row for each list")
    if heads < 1 or keys.shape[1] % heads:
        raise InputError(f"heads={heads} must divide the {keys.shape[1]} channels")
    return _ragged.ragged_products(queries, keys, *lists.arguments(), heads, backend)


def mean(values: Tensor, lists: Lists, *, backend: str = "auto") -> Tensor:
    r"""Return the mean of each list, :math:`\frac{1}{|N_i|} \sum_{j \in N_i} v_{jc}`, (N, C); 0 where it is empty.

    Arguments and errors are those of `total`.
    """
    return total(values, lists, backend=backend) / _counts(lists, values)


def variance(values: Tensor, lists: Lists, *, backend: str = "auto") -> Tensor:
    r"""Return the variance of each list, (N, C); 0 where it is empty.

    .. math:: \frac{1}{|N_i|} \sum_{j \in N_i} v_{jc}^2 - \Bigl( \frac{1}{|N_i|} \sum_{j \in N_i} v_{jc} \Bigr)^2

    Rounding may make it a little negative. Arguments and errors are those of `total`.
    """
    both = mean(torch.cat([values, values.square()], dim=1), lists, backend=backend)
    means, squares = both.chunk(2, dim=1)
    return squares - means.square()


def maximum(values: Tensor, lists: Lists, *, backend: str = "auto") -> Tensor:
    r"""Return the largest value of each list, :math:`\max_{j \in N_i} v_{jc}`, (N, C); 0 where it is empty.

    The gradient goes to the first of the largest alone; NaN counts as the largest value. Arguments and errors are those
    of `total`.
    """
    _check(values, lists, backend)
    choices = _ragged.ragged_largest(values.detach(), lists.starts, lists.indices, backend)
    return _ragged.take_choices(values, choices, backend)


def minimum(values: Tensor, lists: Lists, *, backend: str = "auto") -> Tensor:
    """Return the smallest value of each list, (N, C), as `maximum` returns the largest; 0 where it is empty."""
    return -maximum(-values, lists, backend=backend)


def power_mean(values: Tensor, lists: Lists, power: Tensor | float, *, backend: str = "auto") -> Tensor:
    r"""Return the power mean of each list, :math:`\Bigl( \frac{1}{|N_i|} \sum_{j \in N_i} v_{jc}^p \Bigr)^{1/p}`.

    Values must be positive, or the result may be NaN; it is 0 where a list is empty. `power` is p, or a p for each
    channel, (C,). Other arguments and errors are those of `total`.
    """
    means = mean(values**power, lists, backend=backend)
    is_empty = (lists.lengths == 0).unsqueeze(1)
    return (means.masked_fill(is_empty, 1) ** (1 / power)).masked_fill(is_empty, 0)


def softmax_mean(values: Tensor, lists: Lists, temperature: Tensor | float = 1.0, *, backend: str = "auto") -> Tensor:
    r"""Return the mean of each list weighted by a softmax in each channel; 0 where it is empty.

    .. math:: y_{ic} = \sum_{j \in N_i} \frac{e^{t_c v_{jc}}}{\sum_{l \in N_i} e^{t_c v_{lc}}} v_{jc}

    Args:
        values: (T, C) values of the positions.
        lists: N lists with E neighbours in all.
        temperature: t, or t of each channel, (C,): 0 gives the mean, a large one the maximum.
        backend: as in `total`.

    Returns:
        (N, C).

    Raises:
        InputError: shapes do not agree.
        UnsupportedError: the named backend cannot compute this.

    Reference:
        Li et al., "DeeperGCN: All You Need to Train Deeper GCNs", arXiv 2006.07739, equation 4.
    """
    _check(values, lists, backend)
    temperature = torch.as_tensor(temperature, dtype=values.dtype, device=values.device)
    if temperature.dim() > 1 or temperature.numel() not in (1, values.shape[1]):
        raise InputError(
            f"temperature of shape {tuple(temperature.shape)} must be one number, or one for each of the"
            f" {values.shape[1]} channels"
        )
    starts, indices, back_starts, back_indices, *_ = lists.arguments()
    of_channels = temperature.expand(values.shape[1])
    return _ragged.ragged_softmax(values, of_channels, starts, indices, back_starts, back_indices, backend)[0]


def softmax(scores: Tensor, lists: Lists, *, backend: str = "auto") -> Tensor:
    r"""Return the softmax of the scores of each list, :math:`e^{s_{ij}} / \sum_{l \in N_i} e^{s_{il}}`.

    Args:
        scores: (E, H), a score of each neighbour for each head.
        lists: N lists with E neighbours in all.
        backend: as in `total`.

    Returns:
        (E, H).

    Raises:
        InputError: shapes do not agree.
        UnsupportedError: the named backend cannot compute this.
    """
    largest = maximum(scores.detach(), lists.edges, backend=backend)
    powers = (scores - largest.index_select(0, lists.query_of_each)).exp()
    return powers / total(powers, lists.edges, backend=backend).index_select(0, lists.query_of_each)


def _counts(lists: Lists, values: Tensor) -> Tensor:
    return lists.lengths.clamp_min(1).to(values.dtype).unsqueeze(1)


def _check(values: Tensor, lists: Lists, backend: str) -> None:
    if values.dim() != 2 or not values.is_floating_point() or values.shape[0] != lists.positions:
        raise InputError(
            f"values of shape {tuple(values.shape)} and {values.dtype} must be floating and ({lists.positions}, C), a"
            " row for each position"
        )
    check_backend(backend)
