"""Walks from all nodes of a graph in progress: some nodes at a time, which can end anywhere and go on."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.ops.halting import HaltingWalks, Visits
from convnn.ops.walks import Stream

WALKS = 1 << 16
"""How many walks are under way at once."""
REINFORCED = 1 << 20
"""The most neighbours that reinforced walks look at in a step."""


class Loads(NamedTuple):
    """What the walks from each node leave behind: loads by where they are after how many steps, as sums over walks / m.

    Entries of node i are those from starts[i] to starts[i + 1], ordered by column and step.

    Attributes:
        starts: (N + 1,) int64.
        columns: (E,) int32, or int64 of graphs of more than 2^31 nodes.
        steps: (E,) int32.
        loads: (E,) float64.
    """

    starts: Tensor
    columns: Tensor
    steps: Tensor
    loads: Tensor

    @property
    def length(self) -> int:
        """One more than the most steps."""
        return int(self.steps.max()) + 1 if self.steps.numel() else 1

    @property
    def rows(self) -> Tensor:
        """(E,) the node of each entry."""
        return torch.arange(self.starts.shape[0] - 1).repeat_interleave(self.starts.diff())

    def of(self, nodes: Tensor) -> "Loads":
        """Return the entries of some nodes (n,), as rows 0 to n - 1."""
        first, counts = self.starts[nodes], self.starts[nodes + 1] - self.starts[nodes]
        starts = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
        places = torch.arange(int(starts[-1])) + (first - starts[:-1]).repeat_interleave(counts)
        return Loads(starts, self.columns[places], self.steps[places], self.loads[places])


class FeatureWalks:
    """Walks from every node, of which sums of loads are kept; see `GraphRandomFeatures`.

    Everything random follows from the place in a stream of numbers, so that `state` is the loads so far and two
    numbers.

    Args:
        walker: the law of the walks.
        walks: m, from each node.
        stream: where numbers come from.

    Attributes:
        done: nodes from which all walks have been made.
        total: nodes.
    """

    def __init__(self, walker: HaltingWalks, walks: int, stream: Stream) -> None:
        self.walker = walker
        self.walks = walks
        self.stream = stream
        self.total = walker.lists.queries
        self.done = 0
        self._parts: list[dict[str, Tensor]] = []
        self._at_once = max(WALKS // walks, 1)
        if walker.reinforcement is not None:
            self._at_once = max(min(self._at_once, REINFORCED // max(int(walker.degrees.max()), 1)), 1)

    @property
    def is_over(self) -> bool:
        """Whether all nodes are done."""
        return self.done >= self.total

    def advance(self) -> None:
        """Walk from the next nodes."""
        nodes = torch.arange(self.done, min(self.done + self._at_once, self.total))
        visits = self.walker(nodes, self.walks, self.stream)
        self._parts.append(_sums(visits, nodes.shape[0], self.walks, self.total))
        self.done += nodes.shape[0]

    def loads(self) -> Loads:
        """Return what the walks left behind, of all nodes that are done."""
        merged = self._merged()
        starts = torch.nn.functional.pad(merged["counts"].long().cumsum(0), (1, 0))
        return Loads(starts, merged["columns"], merged["steps"], merged["loads"])

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return sums and places from which `restore` goes on."""
        return self._merged() if self._parts else {}, {"done": self.done, "position": self.stream.position}

    def restore(self, tensors: dict[str, Tensor], places: dict[str, Any]) -> None:
        """Go on from a state of the same settings and graph.

        Raises:
            InputError: it has sums for another number of nodes.
        """
        counts = tensors["counts"].shape[0] if "counts" in tensors else 0
        if counts != places["done"] or counts > self.total:
            raise InputError(f"the state must have counts of {places['done']} nodes of at most {self.total}")
        self._parts = [tensors] if tensors else []
        self.done, self.stream.position = places["done"], places["position"]

    def _merged(self) -> dict[str, Tensor]:
        if len(self._parts) > 1:
            self._parts = [{name: torch.cat([part[name] for part in self._parts]) for name in self._parts[0]}]
        return self._parts[0]


def _sums(visits: Visits, rows: int, walks: int, nodes: int) -> dict[str, Tensor]:
    """Return the sums over walks from the same start that are at a node after the same number of steps."""
    walked = visits.load != 0  # a load that is lost never comes back
    step, load = visits.step[walked], visits.load[walked]
    length = int(step.max()) + 1
    key = (torch.div(visits.walk[walked], walks, rounding_mode="floor") * nodes + visits.node[walked]) * length + step
    key, order = key.sort(stable=True)
    key, place = key.unique_consecutive(return_inverse=True)
    row = torch.div(key, nodes * length, rounding_mode="floor")
    columns = torch.div(key, length, rounding_mode="floor") - row * nodes
    narrow = torch.int32 if nodes <= np.iinfo(np.int32).max else torch.long
    return {
        "counts": row.bincount(minlength=rows).int(),
        "columns": columns.to(narrow),
        "steps": (key % length).int(),
        "loads": torch.zeros(key.shape[0], dtype=torch.float64).index_add_(0, place, load[order]) / walks,
    }
