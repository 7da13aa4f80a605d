"""Scene graphs from graphs of PyTorch Geometric."""

from collections.abc import Sequence

from convnn.data.geometric import import_geometric
from convnn.errors import InputError, check_at_least
from convnn.ops.scene_graphs import SceneGraphs


def from_geometric(
    graphs: Sequence[object], categories: Sequence[str], predicates: Sequence[str], max_nodes: int
) -> SceneGraphs:
    """Return graphs of PyTorch Geometric in this form.

    Args:
        graphs: `Data` with the types x (n,), box (n, 4), edge_index (2, E) and the relations edge_attr (E,).
        categories: names of the types.
        predicates: names of the relations, of which the first is none.
        max_nodes: N.

    Raises:
        InputError: PyTorch Geometric is missing, a graph is larger, or something in it is out of range.
    """
    check_at_least("max_nodes", max_nodes, 1)
    batch = import_geometric("data").Batch.from_data_list(list(graphs))
    largest = int(batch.batch.bincount().max())
    if largest > max_nodes:
        raise InputError(f"max_nodes={max_nodes} is less than the {largest} nodes of the largest graph")
    utils = import_geometric("utils")
    sizes = {"batch_size": len(graphs), "max_num_nodes": max_nodes}
    types, flags = utils.to_dense_batch(batch.x, batch.batch, **sizes)
    boxes, _ = utils.to_dense_batch(batch.box, batch.batch, **sizes)
    relations = utils.to_dense_adj(batch.edge_index, batch.batch, batch.edge_attr, **sizes)
    return SceneGraphs(types, boxes, relations.long(), flags, tuple(categories), tuple(predicates))
