"""Walks in proportion to how deep in the graph a node lies (CoreWalk), and the lists of undirected graphs."""

import math

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice
from convnn.ops.ragged import Lists

MODES = ("linear", "power", "sigmoid")


def core_walk_counts(
    cores: Tensor,
    n_walks: int,
    mode: str = "linear",
    *,
    offset: float = 0,
    n_min: int = 1,
    power: float = 1,
    published: bool = False,
) -> Tensor:
    r"""Return how many walks start at each node, (N,) int64, fewer the farther out it lies; K is the largest core.

    .. math::
        \text{linear:}\ \max\Bigl(\Bigl\lfloor (n - o) \frac{k}{K} + o \Bigr\rfloor, n_{min}\Bigr), \quad
        \text{power:}\ \max\Bigl(\Bigl\lfloor n \Bigl(\frac{k}{K}\Bigr)^s \Bigr\rfloor, 1\Bigr), \quad
        \text{sigmoid:}\ \max\Bigl(\Bigl\lfloor \frac{n}{1 + e^{-10 (k - K/2) / K}} \Bigr\rfloor, 1\Bigr)

    Args:
        cores: (N,) core numbers.
        n_walks: n, walks from the innermost core; at least 1.
        mode: "linear", "power" or "sigmoid".
        offset: o of the linear form.
        n_min: least number of walks in the linear form, at least 1.
        power: s of the power form.
        published: whether isolated nodes, which get no walk, get as many as the innermost core, as in the published
            code.

    Raises:
        InputError: an argument is out of range, or the mode unknown.

    Reference:
        "About Graph Degeneracy, Representation Learning and Scalability", CoreWalk.
    """
    check_at_least("n_walks", n_walks, 1)
    check_at_least("n_min", n_min, 1)
    check_choice("mode", mode, MODES)
    most = int(cores.max()) if cores.numel() else 0
    of_core = [
        {
            "linear": lambda k: max(int((n_walks - offset) * k / most + offset), n_min),
            "power": lambda k: max(int(n_walks * (k / most) ** power), 1),
            "sigmoid": lambda k: max(int(n_walks / (1 + math.exp(-10 * (k - most / 2) / most))), 1),
        }[mode](core)
        for core in range(1, most + 1)
    ]
    isolated = of_core[-1] if published and of_core else 0
    return torch.tensor([isolated, *of_core])[cores]


def undirected_lists(edge_index: Tensor, num_nodes: int, edge_weight: Tensor | None = None) -> tuple[Lists, Tensor]:
    """Return the neighbours of each node and their weights (E,) in float64, both in the order given.

    Args:
        edge_index: (2, E) int64, each edge both ways.
        num_nodes: N.
        edge_weight: (E,) positive weights, or None for 1.

    Raises:
        InputError: an edge is there one way only, or with two weights, joins a node to itself or repeats; or a weight
            is not positive and finite.
    """
    lists, edges = Lists.of_edges(edge_index.flip(0), num_nodes)
    weights = torch.ones(edges.shape[0], dtype=torch.float64) if edge_weight is None else edge_weight.double()
    if weights.shape != edges.shape or not bool(((weights > 0) & weights.isfinite()).all()):
        raise InputError(
            f"edge_weight of shape {tuple(weights.shape)} must be ({edges.shape[0]},), positive and finite"
        )
    rows, columns, weights = lists.query_of_each, lists.indices, weights[edges]
    if bool((rows == columns).any()):
        raise InputError(f"edge_index joins node {int(rows[rows == columns][0])} to itself; remove self-loops")
    there, back = (one.sort() for one in (rows * num_nodes + columns, columns * num_nodes + rows))
    if bool((there.values.diff() == 0).any()):
        raise InputError("edge_index repeats an edge; join them to one with the sum of weights")
    if not torch.equal(there.values, back.values) or not torch.equal(weights[there.indices], weights[back.indices]):
        raise InputError("edge_index must have each edge both ways, with one weight: the graph must be undirected")
    return lists, weights
