"""The family of all layers on graphs, in the guide."""

from convnn.systems import register_family

register_family(
    "graphs",
    "Graphs",
    "Layers on a given graph, by the conventions of PyTorch Geometric: features (N, C) of the nodes and edge_index"
    " (2, E). On maps and tokens `select` finds the graph.",
)
