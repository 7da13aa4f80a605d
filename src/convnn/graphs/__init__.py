"""What is done to graphs: build, prune, coarsen, sample, walk, cluster, embed."""

from convnn.graphs.build import grid_graph, knn_graph, radius_graph

__all__ = ["grid_graph", "knn_graph", "radius_graph"]
