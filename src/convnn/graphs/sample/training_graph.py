"""The part of a graph that is seen in training, and its subgraphs."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.ops.ragged import Lists
from convnn.ops.walks import RandomWalks


@dataclass(frozen=True)
class Subgraph:
    """Nodes and all training edges between them.

    Attributes:
        nodes: (n,) ascending.
        edges: (e,) places in the lists of the training graph, ascending.
    """

    nodes: Tensor
    edges: Tensor


class TrainingGraph:
    """All edges between training nodes, as lists of incoming neighbours in ascending order.

    Args:
        edge_index: (2, E) int64, the source and the target of each edge.
        num_nodes: N.
        train: numbers of the training nodes; all nodes by default.

    Attributes:
        lists: N lists of sources, empty for nodes that are not in training.
        places: (E',) place in edge_index of each edge of the lists.

    Raises:
        InputError: there is no training node, or one lies outside the graph.
    """

    def __init__(self, edge_index: Tensor, num_nodes: int, train: Tensor | None = None) -> None:
        self.train = torch.arange(num_nodes) if train is None else train
        if not self.train.numel():
            raise InputError("train must have at least one training node")
        if not 0 <= int(self.train.min()) <= int(self.train.max()) < num_nodes:
            raise InputError(
                f"train has nodes from {int(self.train.min())} to {int(self.train.max())}; they must lie between 0 and"
                f" {num_nodes - 1}"
            )
        is_train = torch.zeros(num_nodes, dtype=torch.bool)
        is_train[self.train] = True
        kept = (is_train[edge_index[0]] & is_train[edge_index[1]]).nonzero().flatten()
        ordered = kept[(edge_index[1, kept] * num_nodes + edge_index[0, kept]).argsort(stable=True)]
        self.lists, edges = Lists.of_edges(edge_index[:, ordered].contiguous(), num_nodes)
        self.places = ordered[edges]

    @cached_property
    def degrees(self) -> Tensor:
        """The number of incoming edges of each node, (N,)."""
        return self.lists.lengths

    @cached_property
    def walks(self) -> RandomWalks:
        """Walks against the edges, each neighbour equally likely."""
        return RandomWalks(self.lists)

    @cached_property
    def is_symmetric(self) -> bool:
        """Whether each edge is there both ways."""
        rows, columns, count = self.lists.query_of_each, self.lists.indices, self.lists.queries
        return bool(((rows * count + columns) == (columns * count + rows).sort().values).all())

    def subgraph(self, nodes: Tensor) -> Subgraph:
        """Return the subgraph of the nodes, which may repeat."""
        nodes, lists = nodes.unique(), self.lists
        edges = lists.places(nodes)
        self._member[nodes] = True
        edges = edges.masked_select(self._member.index_select(0, lists.indices.index_select(0, edges)))
        self._member[nodes] = False
        return Subgraph(nodes, edges)

    def local(self, subgraph: Subgraph) -> Tensor:
        """Return the ends (2, e) of the edges of a subgraph by the places of its nodes."""
        self._number[subgraph.nodes] = torch.arange(subgraph.nodes.shape[0])
        ends = (self.lists.indices, self.lists.query_of_each)
        return torch.stack([self._number.index_select(0, each.index_select(0, subgraph.edges)) for each in ends])

    @cached_property
    def _member(self) -> Tensor:
        return torch.zeros(self.lists.queries, dtype=torch.bool)

    @cached_property
    def _number(self) -> Tensor:
        return torch.empty(self.lists.queries, dtype=torch.long)
