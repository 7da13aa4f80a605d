r"""Columns of the inverse of a graph's matrix, found where they are large: from a node, mass is pushed to neighbours.

Who the neighbours of a node are, near or several steps away, and how much each of them counts, follows from the graph;
`eps` says how far to look. Work grows with what is found, not with the graph.
"""

from collections import deque
from itertools import pairwise

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice, check_positive
from convnn.ops.ragged import Lists, check_same_nodes

SYSTEMS = ("pagerank", "laplacian")


class LocalPush:
    r"""Approximate columns of an inverse of a graph with weights W and degrees :math:`d_u = \sum_v W_{uv}`.

    "pagerank" is personalised PageRank with the restart probability alpha, and "laplacian" the inverse of the
    regularised Laplacian:

    .. math:: \alpha (I - (1 - \alpha) W^T D^{-1})^{-1}, \qquad (\alpha I + D - W)^{-1}

    From p = 0 and a residue r that is all at one node, nodes u wait in a queue, first come, first served. Where
    :math:`r_u > \epsilon d_u`, the residue is pushed: a part of it goes to :math:`p_u`, and the rest in proportion to
    :math:`W_{uv}` to the neighbours, which join the queue in the order of their list. In the end every
    :math:`r_v \le \epsilon d_v`, and p is below the column by the inverse times this residue. A node without
    neighbours keeps what it has.

    Args:
        lists: the neighbours of N nodes among themselves.
        weights: (E,) weights in the order of the lists, at least 0, the same both ways for "laplacian"; None is 1.
        alpha: restart probability, above 0 and at most 1; for "laplacian", any positive number.
        eps: residue that stays, as a share of the degree, positive; the smaller, the farther and the slower.
        system: "pagerank" or "laplacian".

    Raises:
        InputError: lists are not of nodes among themselves, weights do not fit, are negative or not finite, a number is
            out of range, or the system is unknown; in a call, there is no such node.

    Reference:
        Andersen, Chung and Lang, "Local graph partitioning using PageRank vectors", FOCS 2006; Zhou et al., "Fast
        online node labeling for very large graphs", arXiv 2305.16257.

    Example:
        >>> lists, _ = Lists.of_edges(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), 3)
        >>> LocalPush(lists, alpha=0.5, eps=0.2)(0)
        (tensor([0, 1]), tensor([0.5000, 0.2500], dtype=torch.float64))
    """

    def __init__(
        self, lists: Lists, weights: Tensor | None = None, *, alpha: float, eps: float, system: str = "pagerank"
    ) -> None:
        check_same_nodes(lists)
        check_choice("system", system, SYSTEMS)
        check_positive("alpha", alpha)
        check_positive("eps", eps)
        if system == "pagerank" and alpha > 1:
            raise InputError(f"alpha={alpha!r} must be at most 1, for it is a probability")
        weights = torch.ones(lists.indices.shape[0]) if weights is None else weights
        each = _checked(lists, weights)
        degrees = torch.zeros(lists.queries, dtype=torch.float64).index_add_(0, lists.query_of_each.cpu(), each)
        starts = lists.starts.tolist()
        pairs = list(zip(lists.indices.tolist(), each.tolist(), strict=True))
        self._near = [pairs[first:last] for first, last in pairwise(starts)]
        self._bounds = (eps * degrees).tolist()
        if system == "pagerank":
            self._first = 1.0
            self._kept = [alpha] * lists.queries
            self._shares = torch.where(degrees > 0, (1 - alpha) / degrees, 0).tolist()
        else:
            self._first = 1 / alpha
            self._kept = (alpha / (alpha + degrees)).tolist()
            self._shares = (1 / (alpha + degrees)).tolist()

    def __call__(self, node: int) -> tuple[Tensor, Tensor]:
        """Return the nodes (m,) of a column at which it is found above 0, ascending, and its values (m,), float64."""
        count = len(self._near)
        if not 0 <= node < count:
            raise InputError(f"node={node} must lie between 0 and {count - 1}")
        near, bounds, kept, shares = self._near, self._bounds, self._kept, self._shares
        found: dict[int, float] = {}
        residue, waits = [0.0] * count, bytearray(count)
        residue[node] = self._first
        queue = deque([node])
        while queue:
            u = queue.popleft()
            waits[u] = 0
            rest = residue[u]
            if rest > bounds[u]:
                found[u] = found.get(u, 0.0) + kept[u] * rest
                residue[u] = 0.0
                share = shares[u] * rest
                for v, weight in near[u]:
                    residue[v] += share * weight
                    if not waits[v]:
                        waits[v] = 1
                        queue.append(v)
        nodes = sorted(found)
        return torch.tensor(nodes, dtype=torch.int64), torch.tensor([found[u] for u in nodes], dtype=torch.float64)

    def nearest(self, K: int) -> tuple[Lists, Tensor]:
        """Return the K other nodes that weigh most in the column of each node, and their values (E,), largest first.

        Ties go to the lowest index; a list is shorter where fewer are found.

        Raises:
            InputError: K is below 1.
        """
        check_at_least("K", K, 1)
        found = []
        for node in range(len(self._near)):
            nodes, values = self(node)
            nodes, values = nodes[nodes != node], values[nodes != node]
            order = values.argsort(descending=True, stable=True)[:K]
            found.append((nodes[order], values[order]))
        starts = torch.tensor([0, *(len(nodes) for nodes, _ in found)]).cumsum(0)
        nodes, values = (torch.cat(parts) for parts in zip(*found, strict=True))
        return Lists(starts, nodes, len(found)), values


def _checked(lists: Lists, weights: Tensor) -> Tensor:
    """Return the weights (E,) in float64, on the processor."""
    edges = lists.indices.shape[0]
    if weights.shape != (edges,):
        raise InputError(f"weights of shape {tuple(weights.shape)} must be ({edges},), one of each neighbour")
    if edges and not (bool(weights.isfinite().all()) and float(weights.min()) >= 0):
        raise InputError("weights must be finite and at least 0")
    return weights.detach().double().cpu()
