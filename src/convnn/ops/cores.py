"""k-cores of a graph: how deep in it each node lies."""

import torch
from torch import Tensor

from convnn.ops.ragged import Lists


def core_numbers(lists: Lists) -> Tensor:
    """Return the core number (N,) of each node: the largest k for which it is in a subgraph of least degree k.

    Nodes of the least degree are removed, all at once, until none is left; unlike networkx, whose numbers these are,
    this takes no dictionary for each node.

    Args:
        lists: neighbours of nodes among themselves, undirected and without self-loops; see
            `convnn.graphs.embed.cores.undirected_lists`.
    """
    left = lists.lengths.clone()  # neighbours that are not removed yet
    numbers = torch.full_like(left, -1)
    core = 0
    while bool((is_left := numbers < 0).any()):
        core = max(core, int(left[is_left].min()))
        while (removed := ((numbers < 0) & (left <= core)).nonzero().flatten()).numel():
            numbers[removed] = core
            left -= torch.bincount(lists.indices[lists.places(removed)], minlength=left.shape[0])
    return numbers
