"""Graphs as data for training: the nodes of one graph are classified, or many graphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from convnn.data.epochs import EpochLoader, LoaderSettings
from convnn.data.geometric import import_geometric
from convnn.data.graphs import GraphData, load_graph
from convnn.data.interface import Batch, LabelledData, Loader
from convnn.data.options import DRAWN_GRAPHS, GRAPH_SETS, Options
from convnn.errors import InputError
from convnn.nn.graphs.batch import GraphBatch, side_by_side

if TYPE_CHECKING:
    from torch_geometric.data import Data

FOLDS = 10
NO_STATISTICS: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
"""Mean and standard deviation of features that are not normalised."""


class NodeLoader(EpochLoader):
    """The nodes of one part of a graph: every epoch is one batch, the whole graph.

    Args:
        graph: the graph.
        labels: (N,) labels of all its nodes.
        nodes: (n,) nodes of this part.
        settings: settings of the batches, whose size and order are not read.
    """

    def __init__(self, graph: GraphBatch, labels: Tensor, nodes: Tensor, settings: LoaderSettings) -> None:
        super().__init__(len(nodes), replace(settings, batch_size=max(1, len(nodes)), shuffle=False))
        self._graph = graph.to(settings.device)
        self._labels = labels.to(settings.device)
        self._nodes = nodes.to(settings.device)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the one batch of an epoch."""
        for step in self._steps():
            indices = step.indices.to(self._settings.device)
            nodes = self._nodes[indices]
            yield Batch(self._graph._replace(nodes=nodes), self._labels[nodes], indices)


class GraphLoader(EpochLoader):
    """Batches of graphs side by side.

    Args:
        graphs: the graphs of this part.
        labels: (n,) their labels.
        settings: settings of the batches.
    """

    def __init__(self, graphs: Sequence[GraphBatch], labels: Tensor, settings: LoaderSettings) -> None:
        super().__init__(len(graphs), settings)
        self._graphs = [graph.to(settings.device) for graph in graphs]
        self._labels = labels.to(settings.device)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch."""
        channels = self._graphs[0].x.shape[1]
        for step in self._steps():
            indices = step.indices.to(self._settings.device)
            graphs = [self._graphs[index] for index in step.indices.tolist()]
            yield Batch(side_by_side(graphs, channels), self._labels[indices], indices)


def build_graphs(options: Options) -> LabelledData:
    """Build a data set whose nodes are classified, in its published parts, or whose graphs are, in ten folds."""
    name, number = GRAPH_SETS[options.name], options.split or 0  # at least 0
    try:
        data = load_graph(name, options.data_path, seed=number if options.name in DRAWN_GRAPHS else 0, split=number)
    except InputError as error:
        raise InputError(str(error).replace("load_graph needs", f"dataset={options.name!r} needs")) from error
    graphs = [_prepared(graph, options) for graph in data.graphs]
    is_one = len(graphs) == 1
    parts = _node_parts(options, data.graph, graphs[0]) if is_one else _graph_parts(options, data, graphs)
    return LabelledData(
        options.name,
        parts["train"],
        parts["test"],
        tuple(map(str, range(data.num_classes))),
        (data.num_features,),
        *NO_STATISTICS,
        parts.get("val"),
        kind="node" if is_one else "graph",
    )


def ten_folds(labels: Tensor, fold: int) -> dict[str, Tensor]:
    """Divide samples into ten folds of equal shares of each class: one for the test, the next to validate.

    The folds are the same in every run: `StratifiedKFold` of scikit-learn, shuffled with seed 0. The other eight are
    for training.

    Args:
        labels: (n,) labels of all samples.
        fold: index of the fold for the test, from 0 to 9.

    Returns:
        The positions of each part in ascending order.

    Raises:
        InputError: there is no such fold.
    """
    from sklearn.model_selection import StratifiedKFold  # takes a second to import

    if fold >= FOLDS:
        raise InputError(f"split={fold} must lie between 0 and {FOLDS - 1}, the number of a fold")
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(labels, labels)
    tests = [torch.from_numpy(test) for _, test in folds]
    test, val = tests[fold], tests[(fold + 1) % FOLDS]
    rest = torch.ones(len(labels), dtype=torch.bool)
    rest[torch.cat([test, val])] = False
    return {"train": rest.nonzero().squeeze(1), "val": val, "test": test}


def _prepared(graph: Data, options: Options) -> GraphBatch:
    """Return features and edges as the options ask for them."""
    x, edges = graph.x.float(), graph.edge_index
    if options.scales_rows:
        total = x.sum(1, keepdim=True)
        x = x / torch.where(total == 0, 1.0, total)
    if options.undirected:
        edges = import_geometric("utils").to_undirected(edges, num_nodes=len(x))
    return GraphBatch(x, edges, getattr(graph, "edge_weight", None))


def _node_parts(options: Options, graph: Data, prepared: GraphBatch) -> dict[str, Loader]:
    masks = {"train": graph.train_mask, "val": graph.val_mask, "test": graph.test_mask}
    places = {part: mask.nonzero().squeeze(1) for part, mask in masks.items() if mask.any()}
    return {
        part: NodeLoader(prepared, graph.y, nodes[options.subset(part, len(nodes))], _settings(options, part))
        for part, nodes in places.items()
    }


def _graph_parts(options: Options, data: GraphData, graphs: Sequence[GraphBatch]) -> dict[str, Loader]:
    labels = torch.cat([graph.y for graph in data.graphs])
    parts: dict[str, Loader] = {}
    for part, places in ten_folds(labels, options.split or 0).items():
        chosen = places[options.subset(part, len(places))]
        parts[part] = GraphLoader([graphs[i] for i in chosen.tolist()], labels[chosen], _settings(options, part))
    return parts


def _settings(options: Options, part: str) -> LoaderSettings:
    return options.settings(part, NO_STATISTICS)
