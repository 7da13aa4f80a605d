"""Graphs made smaller: nodes that look alike to a kernel become one, by weighted k-means (ICML 2023)."""

from convnn.graphs.coarsen.coarsening import Coarsening
from convnn.graphs.coarsen.dense_kmeans import multilevel_labels
from convnn.graphs.coarsen.estimator import GWCoarsen
from convnn.graphs.coarsen.kernels import graph_kernel

__all__ = ["Coarsening", "GWCoarsen", "graph_kernel", "multilevel_labels"]
