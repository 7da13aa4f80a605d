"""Graphs by name, with the labels of their nodes; published ones are read from files that are not in the repository."""

import os
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from claims._experiment import ROOT
from convnn.data import GraphData, load_graph

DATA = Path(os.environ.get("CONVNN_DATA", ROOT.parent / "shared" / "data"))
"""The folder that holds planetoid/Cora/raw and tu/PROTEINS/raw."""


@cache
def published(name: str) -> GraphData:
    """Return a data set of graphs as it was published, with binary features."""
    return load_graph(name, DATA)


def citations(name: str, *, scaled: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Return features (N, F), edges (2, E) both ways and labels (N,) of Cora or CiteSeer.

    Features are 0 and 1, or scaled to rows that add up to 1.
    """
    graph = published(name).graph
    x = graph.x / graph.x.sum(1, keepdim=True).clamp_min(1) if scaled else graph.x
    return x, graph.edge_index, graph.y


def public_split(name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return the places of the nodes that train, validate and test, of Cora or CiteSeer."""
    graph = published(name).graph
    return tuple(torch.where(mask)[0] for mask in (graph.train_mask, graph.val_mask, graph.test_mask))


def labelled_graph(name: str, nodes: int | None = None) -> tuple[csr_array, np.ndarray]:
    """Return the adjacency (n, n) and the labels (n,) of a graph of `load_graph`, or of its first nodes alone."""
    graph = published(name).graph
    n = graph.num_nodes if nodes is None else nodes
    edges = graph.edge_index[:, (graph.edge_index < n).all(0)].numpy()
    return csr_array((np.ones(edges.shape[1]), tuple(edges)), shape=(n, n)), graph.y.numpy()[:n]


def largest_component(adjacency: csr_array, labels: np.ndarray) -> tuple[csr_array, np.ndarray]:
    """Return the nodes that most others can be reached from, and their labels."""
    _, component = connected_components(adjacency)
    kept = component == np.bincount(component).argmax()
    return csr_array(adjacency[kept][:, kept]), labels[kept]
