"""A batch of nodes with the neighbours that one layer needs of them."""

from typing import NamedTuple

import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.ops.ragged import Lists


class Block(NamedTuple):
    """The rows of a layer for a batch of nodes need these nodes and these edges alone.

    Attributes:
        batch: (B,) nodes whose rows are wanted.
        nodes: (M,) the batch, then the other sources of its edges.
        edge_index: (2, E') places in `nodes`, edges in the order of the graph for each target.
        edge_weight: (E',) or None.
    """

    batch: Tensor
    nodes: Tensor
    edge_index: Tensor
    edge_weight: Tensor | None


def block(batch: Tensor, lists: Lists, edge_weight: Tensor | None) -> Block:
    """Return the block of a batch.

    Args:
        batch: (B,) int64, different nodes.
        lists: the incoming neighbours of each node.
        edge_weight: (E,) in the order of the lists, or None.

    Raises:
        InputError: the batch is no list of different nodes of the graph.
    """
    count = lists.queries
    if batch.dim() != 1 or batch.dtype != torch.long or not batch.numel() or batch.unique().numel() < batch.numel():
        raise InputError(f"batch of shape {tuple(batch.shape)} and {batch.dtype} must be different nodes, int64")
    if not 0 <= int(batch.min()) <= int(batch.max()) < count:
        raise InputError(f"batch has nodes from {int(batch.min())} to {int(batch.max())} of a graph of {count}")
    places, own = lists.places(batch), torch.arange(batch.shape[0], device=batch.device)
    sources, is_other = lists.indices.index_select(0, places), batch.new_zeros(count, dtype=torch.bool)
    is_other[sources], is_other[batch] = True, False
    nodes = torch.cat([batch, is_other.nonzero().flatten()])
    number = batch.new_empty(count)  # looked at for these nodes only
    number[nodes] = torch.arange(nodes.shape[0], device=batch.device)
    targets = own.repeat_interleave(lists.lengths[batch], output_size=places.shape[0])
    edges = torch.stack([number.index_select(0, sources), targets])
    return Block(batch, nodes, edges, None if edge_weight is None else edge_weight[places])
