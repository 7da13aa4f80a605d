"""GraphSAINT's four ways to draw the nodes of a subgraph (arXiv 1907.04931, section 3.3).

Each takes integers R of a stream in order; which node an integer means is part of its definition.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least
from convnn.graphs.sample.training_graph import TrainingGraph
from convnn.ops.walks import Stream


class Draws(Protocol):
    """A way to draw nodes."""

    def __call__(self, graph: TrainingGraph, stream: Stream) -> Tensor:
        """Return the nodes (n,) of one subgraph, which may repeat."""


@dataclass(frozen=True)
class NodeDraws:
    """Draw nodes in proportion to their degrees, with replacement.

    Args:
        budget: number of draws, at least 1.
        published: whether a degree's last value belongs to the next node, as in the published code: R mod the sum of
            degrees finds the first running sum that is not less than it, where it should exceed it.

    Raises:
        InputError: the budget is below 1, or, when drawn, no training node has an edge.
    """

    budget: int
    published: bool = False

    def __post_init__(self) -> None:
        check_at_least("budget", self.budget, 1)

    def __call__(self, graph: TrainingGraph, stream: Stream) -> Tensor:
        """Return the nodes drawn, (budget,)."""
        sums = graph.degrees[graph.train].cumsum(0)
        _check_edges(graph)
        found = torch.searchsorted(sums, stream.integers(self.budget) % sums[-1], right=not self.published)
        return graph.train[found]


@dataclass(frozen=True)
class EdgeDraws:
    """Draw edges with probability in proportion to 1 / deg(u) + 1 / deg(v), with replacement, and take both ends.

    Args:
        budget: number of draws, at least 1.
        published: whether running sums are float32, as in the published code.

    Raises:
        InputError: the budget is below 1, or, when drawn, there is no edge, or edges are not there both ways.
    """

    budget: int
    published: bool = False

    def __post_init__(self) -> None:
        check_at_least("budget", self.budget, 1)

    def __call__(self, graph: TrainingGraph, stream: Stream) -> Tensor:
        """Return the ends of the edges drawn, (2 budget,)."""
        rows, columns, shares = self.probabilities(graph)
        uniform = stream.uniform(self.budget)
        if self.published:
            sums = torch.from_numpy(shares.float().numpy().cumsum(dtype=np.float32))
            found = torch.searchsorted(sums, uniform.float() * sums[-1])
        else:
            sums = shares.cumsum(0)
            found = torch.searchsorted(sums, uniform * sums[-1], right=True)
        found = found.clamp_max(rows.shape[0] - 1)
        return torch.cat([rows[found], columns[found]])

    def probabilities(self, graph: TrainingGraph) -> tuple[Tensor, Tensor, Tensor]:
        """Return both ends of each edge once, (E / 2,), and how many of the budget it is expected to get."""
        _check_edges(graph)
        if not graph.is_symmetric:
            raise InputError("edge_index must have each edge both ways to draw edges")
        rows, columns = graph.lists.query_of_each, graph.lists.indices
        is_upper = rows < columns
        rows, columns, shares = rows[is_upper], columns[is_upper], 1 / graph.degrees.double()
        weights = shares[rows] + shares[columns]
        return rows, columns, weights * (self.budget / weights.sum())


@dataclass(frozen=True)
class WalkDraws:
    """Draw roots among the training nodes, and walk from each.

    Args:
        roots: number of roots, at least 1.
        depth: steps of each walk, at least 0. A root without neighbours draws nothing.

    Raises:
        InputError: an argument is below its least value.
    """

    roots: int
    depth: int

    def __post_init__(self) -> None:
        check_at_least("roots", self.roots, 1)
        check_at_least("depth", self.depth, 0)

    def __call__(self, graph: TrainingGraph, stream: Stream) -> Tensor:
        """Return the nodes of all walks, (roots (depth + 1),)."""
        table = self._numbers(graph, stream)
        roots = graph.train[table[:, 0] % graph.train.shape[0]]
        return graph.walks(roots, self.depth, table[:, 1:].contiguous()).flatten()

    def _numbers(self, graph: TrainingGraph, stream: Stream) -> Tensor:
        """Return for each root its number and those of its steps, (roots, 1 + depth)."""
        each = 1 + self.depth
        numbers = stream.peek(self.roots * each)
        takes = torch.where(graph.degrees[graph.train[numbers % graph.train.shape[0]]] > 0, each, 1).tolist()
        first, place = [], 0
        for _ in range(self.roots):  # a root begins where the numbers of the one before end
            first.append(place)
            place += takes[place] if place < len(takes) else each
        stream.integers(place)
        padded = torch.cat([numbers, numbers.new_zeros(each)])  # the last root may need none of its steps
        return padded[torch.tensor(first)[:, None] + torch.arange(each)]


@dataclass(frozen=True)
class FrontierDraws:
    """Draw a frontier of training nodes; again and again one of them, by degree, is replaced by one of its neighbours.

    Args:
        frontier: number of nodes in the frontier, at least 1.
        budget: number of nodes in all, at least `frontier`.
        clip: the largest degree that counts, or None.

    Raises:
        InputError: an argument is below its least value.

    Reference:
        Ribeiro and Towsley, "Estimating and sampling graphs with multidimensional random walks", arXiv 1002.1751.
    """

    frontier: int
    budget: int
    clip: int | None = None

    def __post_init__(self) -> None:
        check_at_least("frontier", self.frontier, 1)
        check_at_least("budget", self.budget, self.frontier)
        if self.clip is not None:
            check_at_least("clip", self.clip, 1)

    def __call__(self, graph: TrainingGraph, stream: Stream) -> Tensor:
        """Return the nodes drawn, at most (budget,); nothing follows a frontier without edges."""
        starts, indices = graph.lists.starts, graph.lists.indices
        train, degree_of = graph.train, graph.degrees
        nodes = [int(train[stream.integer() % train.shape[0]]) for _ in range(self.frontier)]
        slots: list[int] = []  # each holds a place in `nodes`, -1 once that has been replaced
        held: list[range] = []  # the slots of each place
        for place, node in enumerate(nodes):
            self._hold(place, int(degree_of[node]), slots, held)
        alive = len(slots)
        while len(nodes) < self.budget and alive:
            while (place := slots[stream.integer() % len(slots)]) < 0:
                pass
            first, degree = int(starts[nodes[place]]), int(degree_of[nodes[place]])
            node = int(indices[first + stream.integer() % degree])
            for slot in held[place]:
                slots[slot] = -1
            nodes.append(node)
            self._hold(len(nodes) - 1, int(degree_of[node]), slots, held)
            alive += len(held[-1]) - len(held[place])
        return torch.tensor(nodes)

    def _hold(self, place: int, degree: int, slots: list[int], held: list[range]) -> None:
        count = degree if self.clip is None else min(degree, self.clip)
        held.append(range(len(slots), len(slots) + count))
        slots += [place] * count


def _check_edges(graph: TrainingGraph) -> None:
    if not graph.lists.indices.numel():
        raise InputError("edge_index must have at least one edge between training nodes")
