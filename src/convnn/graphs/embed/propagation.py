"""Embedding of a core, propagated outwards."""

from typing import Any, Protocol

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import spsolve
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_positive
from convnn.graphs.embed.cores import undirected_lists
from convnn.ops.cores import core_numbers


class Embedder(Protocol):
    """What embeds the nodes of a graph."""

    embedding_: Tensor

    def fit(self, edge_index: Tensor, edge_weight: Tensor | None = None, num_nodes: int | None = None) -> Any:
        """Find `embedding_`, a row for each node."""


class KCoreEmbedding:
    r"""Embed the k-core of a graph, and let every other node take the weighted mean of its neighbours.

    From the core outwards, layer by layer of nodes R that have an embedded neighbour (E are the embedded nodes):

    .. math:: Z_v = \frac{\sum_{u \in E \cup R} a_{uv} Z_u}{\sum_{u \in E \cup R} a_{uv}}, \quad v \in R

    The solution, :math:`Z_R = (D_R - A_{RR})^{-1} A_{RE} Z_E`, or, with `max_iter`, its approximation by repeating the
    mean from random values as the published code does. Nodes without a path to the core are 0.

    Args:
        embedder: an estimator with `fit(edge_index, edge_weight, num_nodes)` and `embedding_` (N, d), a row for each
            node in order, such as `GraphVite`.
        core_index: k, or None for the innermost core.
        max_iter: number of repetitions, published 20; None solves the equation.
        tol: repetitions end when no entry changes by more; only with `max_iter`.
        random_state: seed of the values to start from.

    Attributes:
        core_numbers_: (N,).
        core_: (N,) bool, the nodes that the embedder has seen.
        step_: (N,) the layer of each node: 0 in the core, -1 without a path to it.
        embedding_: (N, d) float64.

    Raises:
        InputError: an argument is out of range; in `fit`, k is larger than the innermost core, the graph is not
            undirected, or the embedder returns another number of rows.

    Reference:
        "About Graph Degeneracy, Representation Learning and Scalability"; the code takes layers by distance, not cores.
    """

    core_numbers_: Tensor
    core_: Tensor
    step_: Tensor
    embedding_: Tensor

    def __init__(
        self,
        embedder: Embedder,
        core_index: int | None = None,
        *,
        max_iter: int | None = None,
        tol: float | None = None,
        random_state: int = 0,
    ) -> None:
        if core_index is not None:
            check_at_least("core_index", core_index, 0)
        if max_iter is not None:
            check_at_least("max_iter", max_iter, 1)
        if tol is not None:
            check_positive("tol", tol)
        self.embedder = embedder
        self.core_index = core_index
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def fit(
        self, edge_index: Tensor, edge_weight: Tensor | None = None, num_nodes: int | None = None
    ) -> "KCoreEmbedding":
        """Embed an undirected graph, (2, E) int64 with each edge both ways and positive weights (E,)."""
        nodes = int(edge_index.max()) + 1 if num_nodes is None else num_nodes
        lists, weights = undirected_lists(edge_index, nodes, edge_weight)
        self.core_numbers_ = core_numbers(lists)
        innermost = int(self.core_numbers_.max())
        core = innermost if self.core_index is None else self.core_index
        if core > innermost:
            raise InputError(f"core_index={core} must be at most {innermost}, the innermost core of this graph")
        self.core_ = self.core_numbers_ >= core
        inside = self._embed_core(edge_index, edge_weight)
        adjacency = csr_array((weights.numpy(), lists.indices.numpy(), lists.starts.numpy()), shape=(nodes, nodes))
        start = np.random.RandomState(self.random_state)  # as published
        self.embedding_, self.step_ = propagate(
            adjacency, self.core_, inside, max_iter=self.max_iter, tol=self.tol, start=start
        )
        return self

    def _embed_core(self, edge_index: Tensor, edge_weight: Tensor | None) -> Tensor:
        size, local = int(self.core_.sum()), self.core_.cumsum(0) - 1
        kept = self.core_[edge_index].all(0)
        self.embedder.fit(local[edge_index[:, kept]], None if edge_weight is None else edge_weight[kept], size)
        inside = torch.as_tensor(self.embedder.embedding_)
        if inside.dim() != 2 or inside.shape[0] != size:
            raise InputError(f"embedder returned {tuple(inside.shape)} for {size} nodes; it must return a row for each")
        return inside


def propagate(
    adjacency: csr_array,
    known: Tensor,
    inside: Tensor,
    *,
    max_iter: int | None = None,
    tol: float | None = None,
    start: np.random.RandomState | Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Propagate embeddings outwards; see `KCoreEmbedding`.

    Args:
        adjacency: (N, N) symmetric weights.
        known: (N,) bool, the embedded nodes.
        inside: (n, d) their embeddings.
        max_iter: number of repetitions, or None to solve the equation.
        tol: largest change of an entry in the last repetition.
        start: draws values in [-1, 1) to start from, or the values (N, d) themselves.

    Returns:
        The embeddings (N, d) float64, and the layer (N,) of each node.
    """
    is_known, embedding = known.numpy().copy(), np.zeros((known.shape[0], inside.shape[1]))
    embedding[is_known] = inside.double().numpy()
    steps = np.where(is_known, 0, -1)
    step = 0
    while (reached := ~is_known & (adjacency @ is_known.astype(float) > 0)).any():
        step += 1
        rows = adjacency[reached]
        among, given = rows[:, reached], rows[:, is_known] @ embedding[is_known]
        totals = rows[:, is_known | reached].sum(1)
        if max_iter is None:
            found = spsolve((diags_array(totals) - among).tocsc(), given)
            found = found.reshape(given.shape)  # of one column it makes a vector
        else:
            first = _start(start, reached, given.shape)
            found = _repeat(among, given, totals[:, None], first, max_iter, tol)
        embedding[reached], steps[reached] = found, step
        is_known |= reached
    return torch.from_numpy(embedding), torch.from_numpy(steps)


def _start(start: np.random.RandomState | Tensor | None, reached: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if isinstance(start, Tensor):
        return start.numpy()[reached]
    return (start or np.random.RandomState(0)).uniform(-1, 1, shape)


def _repeat(
    among: csr_array, given: np.ndarray, totals: np.ndarray, z: np.ndarray, max_iter: int, tol: float | None
) -> np.ndarray:
    for _ in range(max_iter):
        before, z = z, (given + among @ z) / totals
        if tol is not None and np.abs(z - before).max() <= tol:
            break
    return z
