"""The graph that a search finds among the positions of a map, or among tokens."""

import inspect
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_choice
from convnn.nn._field import Field
from convnn.nn._search import Search, find_neighbors, similarity_features
from convnn.nn._settings import unless_usual
from convnn.ops import Neighbors, edges, weigh

EDGE_WEIGHTS = ("none", "similarity", "softmax")


@dataclass(frozen=True)
class FoundGraph:
    """A graph in which every position has K neighbours, or all positions if there are fewer.

    Attributes:
        search: who they are.
        loop: whether the position itself is one of them, the first.
        edge_weights: "none"; "similarity", the scores of the metric; or "softmax", positive weights that sum to 1.

    Raises:
        InputError: the edge weights are unknown, or the search is that of a window.
    """

    search: Search
    loop: bool = True
    edge_weights: str = "none"

    def __post_init__(self) -> None:
        check_choice("edge_weights", self.edge_weights, EDGE_WEIGHTS)
        if self.search.similarity_type == "Window":
            raise InputError("similarity_type='Window' finds no graph; choose 'Loc' for the nearest places")

    def check(self, conv: nn.Module) -> None:
        """Refuse a graph layer that cannot be used on this graph.

        Raises:
            InputError: it takes no edge weights where there are some, or would keep the first graph that it sees.
        """
        kind = type(conv).__name__
        if self.edge_weights != "none" and "edge_weight" not in inspect.signature(conv.forward).parameters:
            raise InputError(
                f"edge_weights={self.edge_weights!r} must be 'none' with {kind}, which takes no edge_weight"
            )
        check_not_cached(conv)

    def neighbors(self, field: Field, *, training: bool, backend: str) -> Neighbors:
        """Return the K neighbours (B, T, K) of every position and their similarities."""
        everywhere = field.all_choose()
        found = self._found(everywhere, training=training, backend=backend)
        keys = similarity_features(everywhere, self.search)
        return weigh.similarity(found, keys, keys, metric=self.search.metric, backend=backend)

    def apply(self, conv: nn.Module, field: Field, *, training: bool, backend: str) -> Tensor:
        """Return the rows (B, T, C_out) that a graph layer makes of a batch, as one graph of B T nodes."""
        if self.edge_weights == "none":
            neighbors = self._found(field.all_choose(), training=training, backend=backend)
        else:
            neighbors = self.neighbors(field, training=training, backend=backend)
            neighbors = weigh.softmax(neighbors) if self.edge_weights == "softmax" else neighbors
        return apply_to(conv, field.features, neighbors)

    def _found(self, field: Field, *, training: bool, backend: str) -> Neighbors:
        K = min(self.search.K + (not self.loop), field.features.shape[1])
        found = find_neighbors(field, replace(self.search, K=K), training=training, backend=backend)
        if self.loop:
            return found
        indices = found.indices
        own = torch.arange(indices.shape[1], device=indices.device)[:, None]
        order = (indices == own).long().argsort(dim=-1, stable=True)  # itself last, the others as they were
        return Neighbors(indices.gather(-1, order)[..., :-1])

    def __str__(self) -> str:
        """Write K, and what differs from the defaults."""
        others = unless_usual(loop=(self.loop, True), edge_weights=(self.edge_weights, "none"))
        return f"{self.search}, {others}" if others else str(self.search)


def apply_to(conv: nn.Module, rows: Tensor, neighbors: Neighbors) -> Tensor:
    """Return the rows (B, T, C_out) that a graph layer makes of (B, T, C), whose neighbours are (B, T, K).

    The batch is one graph of B T nodes; scores become edge weights.
    """
    graph = edges.from_neighbors(neighbors)
    weight: dict[str, Any] = {}
    if graph.edge_weight is not None:
        weight = {"edge_weight": graph.edge_weight.to(rows.dtype)}
    out: Tensor = conv(rows.flatten(0, 1), graph.edge_index, **weight)
    return out.unflatten(0, rows.shape[:2])


def check_not_cached(conv: nn.Module) -> None:
    """Refuse a graph layer that would keep the first graph that it sees.

    Raises:
        InputError: it would.
    """
    if getattr(conv, "cached", False):
        raise InputError(f"cached=True of {type(conv).__name__} must be False, for every map has a graph of its own")


def channels_of(conv: nn.Module, in_channels: int | None, out_channels: int | None) -> tuple[int, int]:
    """Return the numbers of channels of a graph layer, which layers of torch_geometric have as attributes.

    Raises:
        InputError: a number is neither given nor known.
    """
    numbers = []
    for name, given in (("in_channels", in_channels), ("out_channels", out_channels)):
        number = getattr(conv, name, None) if given is None else given
        if not isinstance(number, int):
            raise InputError(f"{name}={given} must be given for {type(conv).__name__}, which does not tell it")
        numbers.append(number)
    return numbers[0], numbers[1]
