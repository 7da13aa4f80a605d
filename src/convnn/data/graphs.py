"""Graph data sets: published ones read from files, and small ones that need no file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from convnn.data import builtin_graphs, graph_files
from convnn.errors import InputError, check_at_least, check_choice

if TYPE_CHECKING:
    from torch_geometric.data import Data


@dataclass(frozen=True)
class GraphData:
    """The graphs of one data set in PyTorch Geometric's form.

    Attributes:
        name: one of `list_graph_datasets()`.
        graphs: graphs with `x` (N, C) float32, features of the nodes; `edge_index` (2, E) int64, source and target,
            each edge both ways where the graph is undirected; `y` int64, labels (N,) of nodes or (1,) of the graph.
            Graphs whose nodes are classified also have `train_mask`, `val_mask` and `test_mask`, (N,) bool.
        num_features: C.
        num_classes: number of labels; 0 where there are none.
    """

    name: str
    graphs: tuple[Data, ...]
    num_features: int
    num_classes: int

    @property
    def graph(self) -> Data:
        """The graph of a data set with a single graph.

        Raises:
            InputError: there are several.
        """
        if len(self.graphs) != 1:
            raise InputError(f"dataset {self.name!r} has {len(self.graphs)} graphs; take one of its `graphs`")
        return self.graphs[0]


@dataclass(frozen=True)
class GraphOptions:
    """The arguments of `load_graph`, checked."""

    data_path: Path | None
    seed: int
    split: int


def list_graph_datasets() -> list[str]:
    """Return the names that `load_graph` accepts."""
    return list(GRAPH_BUILDERS)


def load_graph(name: str, data_path: str | Path | None = None, *, seed: int = 0, split: int = 0) -> GraphData:
    """Open a graph data set; nothing is downloaded, and nothing is written.

    Args:
        name: one of `list_graph_datasets()`. Read from files: Cora and CiteSeer with their public split; texas, cornell
            and wisconsin, directed, with ten splits; MUTAG and PROTEINS, with many graphs each. "digits", "karate",
            "sbm", "erdos-renyi" and "grid" need no file.
        data_path: folder that holds planetoid/, webkb/ and tu/, each with NAME/raw/ as PyTorch Geometric reads it;
            unused for graphs that need no file.
        seed: seed of random graphs, and of the split of digits and sbm.
        split: index of the split of texas, cornell and wisconsin, from 0; unused otherwise.

    Raises:
        InputError: an argument is out of range, files are missing or broken, or PyTorch Geometric is not installed.

    Example:
        >>> data = load_graph("karate")
        >>> data.graph.num_nodes, data.graph.num_edges, data.num_features, data.num_classes
        (34, 156, 34, 4)
    """
    check_choice("name", name, GRAPH_BUILDERS)
    check_at_least("split", split, 0)
    options = GraphOptions(None if data_path is None else Path(data_path).expanduser(), seed, split)
    graphs = GRAPH_BUILDERS[name](options)
    labels = [graph.y for graph in graphs if graph.y is not None]
    num_classes = 1 + max((int(label.max()) for label in labels), default=-1)
    return GraphData(name, tuple(graphs), graphs[0].num_features, num_classes)


def _from_files(options: GraphOptions, family: str, name: str) -> list[Data]:
    if options.data_path is None:
        folder = graph_files.FOLDERS[family]
        raise InputError(f"name={name!r} is read from files; give data_path, the folder that holds {folder}/{name}/raw")
    return graph_files.READERS[family](options.data_path, name, options.split)


GRAPH_BUILDERS: dict[str, Callable[[GraphOptions], list[Data]]] = {
    **{
        name: partial(_from_files, family=family, name=name)
        for family, names in graph_files.NAMES.items()
        for name in names
    },
    "digits": lambda options: [builtin_graphs.digits(options.seed)],
    "karate": lambda options: [builtin_graphs.karate()],
    "sbm": lambda options: [builtin_graphs.blocks(options.seed)],
    "erdos-renyi": lambda options: [builtin_graphs.erdos_renyi(options.seed)],
    "grid": lambda options: [builtin_graphs.grid()],
}
