"""Graphs by name as sparse matrices, with the labels of their nodes; the files of Cora are not in the repository."""

import os
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from claims._experiment import ROOT
from convnn.data import load_graph

DATA = Path(os.environ.get("CONVNN_DATA", ROOT.parent / "shared" / "data"))
"""The folder that holds planetoid/Cora/raw."""


def labelled_graph(name: str, nodes: int | None = None) -> tuple[csr_array, np.ndarray]:
    """Return the adjacency (n, n) and the labels (n,) of a graph of `load_graph`, or of its first nodes alone."""
    graph = load_graph(name, DATA).graph
    n = graph.num_nodes if nodes is None else nodes
    edges = graph.edge_index[:, (graph.edge_index < n).all(0)].numpy()
    return csr_array((np.ones(edges.shape[1]), tuple(edges)), shape=(n, n)), graph.y.numpy()[:n]


def largest_component(adjacency: csr_array, labels: np.ndarray) -> tuple[csr_array, np.ndarray]:
    """Return the nodes that most others can be reached from, and their labels."""
    _, component = connected_components(adjacency)
    kept = component == np.bincount(component).argmax()
    return csr_array(adjacency[kept][:, kept]), labels[kept]
