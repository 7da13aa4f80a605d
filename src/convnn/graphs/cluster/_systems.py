"""Facts of clusters of nodes."""

from convnn.graphs import _systems as _family  # noqa: F401 (registers the family)
from convnn.systems import System, register_system

register_system(
    System(
        family="graph_tools",
        name="VGMGC",
        number=108,
        selects="pairs of nodes that a generator scores above a threshold, from the features of all views",
        weighs="all chosen alike, themselves included, with the gradient of their scores",
        aggregates="features propagated by that graph and by the view's own, encoded; all views side by side",
        paper="arXiv 2210.07011",
        checked="the published code, scores, graph, codes, parts of the loss and all gradients; torch.distributions,"
        " networkx, PyTorch Geometric",
        where="convnn.graphs.cluster.MultiViewGraphClustering convnn.graphs.build.GraphGenerator",
    )
)
