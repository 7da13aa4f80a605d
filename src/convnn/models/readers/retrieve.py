"""Subgraphs around an entity, drawn from the triples of training."""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least
from convnn.ops.ragged import Lists
from convnn.ops.triples import check_triples

Draw = Callable[[int, int], list[int]]
"""Function from the length of a list and a number of draws to as many positions, with replacement."""


class Retriever:
    """The triples at each entity, either end of them, from which a subgraph is drawn.

    Args:
        triples: (E, 3) int64, those of training.
        num_nodes: number of entities.
        forward: only follow triples from the head to the tail.
        replace: draw the triples of an entity with replacement, as published; otherwise each comes once.
        generator: source of the random numbers; None is that of torch.
        draw: draws positions instead, for numbers that are given.

    Raises:
        InputError: the triples are none of such a graph.

    Reference:
        Pahuja et al., "A Retrieve-and-Read Framework for Knowledge Graph Link Prediction" (KG-R3), arXiv 2212.09724.
    """

    def __init__(
        self,
        triples: Tensor,
        num_nodes: int,
        *,
        forward: bool = False,
        replace: bool = True,
        generator: torch.Generator | None = None,
        draw: Draw | None = None,
    ) -> None:
        check_triples(triples, num_nodes)
        self.triples, self.num_nodes, self.generator = triples, num_nodes, generator
        own = self._draw if replace else self._draw_once
        self.draw = own if draw is None else draw
        ends = triples[:, [0, 2]]
        lists = Lists.of_targets(ends[:, 0].contiguous() if forward else ends.flatten(), num_nodes)
        # Two places for each triple, in the order of the triples: where it is read from its head, and from its tail.
        self._starts, self._places = lists.starts.tolist(), (lists.indices * (2 if forward else 1)).tolist()
        self._others = ends.flip(1).flatten().tolist()

    def bfs(self, center: int, size: int, n: int) -> Tensor:
        """Return the triples (at most size,) of a tree around an entity, breadth first.

        Of each entity that is reached, at most n of its triples are drawn; one that leads to an entity that the tree
        has already is left out.

        Raises:
            InputError: the entity does not exist, or size or n is less than 1.
        """
        self._check(center, size)
        check_at_least("n", n, 1)
        queue, visited = deque([center]), {center}
        picked: dict[int, None] = {}
        while queue and len(picked) < size:
            first, degree = self._list_of(queue.popleft())
            for position in self.draw(degree, min(n, degree)) if degree else ():
                if len(picked) == size:
                    break
                place = self._places[first + position]
                edge, other = place // 2, self._others[place]
                if other not in visited and edge not in picked:
                    queue.append(other)
                    visited.add(other)
                    picked[edge] = None
        return torch.tensor(list(picked), dtype=torch.long)

    def one_hop(self, center: int, size: int) -> Tensor:
        """Return triples (at most size,) of an entity, of as many draws as it has.

        Raises:
            InputError: the entity does not exist, or size is less than 1.
        """
        self._check(center, size)
        first, degree = self._list_of(center)
        drawn = self.draw(degree, degree) if degree else []
        picked = dict.fromkeys(self._places[first + position] // 2 for position in drawn)
        return torch.tensor(list(picked)[:size], dtype=torch.long)

    def _list_of(self, entity: int) -> tuple[int, int]:
        first = self._starts[entity]
        return first, self._starts[entity + 1] - first

    def _draw(self, length: int, count: int) -> list[int]:
        drawn: list[int] = torch.randint(length, (count,), generator=self.generator).tolist()
        return drawn

    def _draw_once(self, length: int, count: int) -> list[int]:
        drawn: list[int] = torch.randperm(length, generator=self.generator)[:count].tolist()
        return drawn

    def _check(self, center: int, size: int) -> None:
        check_at_least("size", size, 1)
        if not 0 <= center < self.num_nodes:
            raise InputError(f"center={center} must lie between 0 and {self.num_nodes - 1}")
