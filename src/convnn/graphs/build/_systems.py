"""Facts of graphs that are learned."""

from convnn.graphs import _systems as _family  # noqa: F401 (registers the family)
from convnn.systems import System, register_system

register_system(
    System(
        family="graph_tools",
        name="Ada-NETS",
        number=50,
        selects="of the nearest by feature those that share most neighbours, as many as a filter finds worth it",
        weighs="by the share of common neighbours and the cosine; the clustering network weighs all alike",
        aggregates="a mean over the node, twice, and its neighbours; what then is near is one cluster",
        paper="arXiv 2202.03800",
        checked="the published code, sets, lists, cut-offs and graphs, network and losses with all gradients; sets in"
        " loops; SAGEConv of PyTorch Geometric",
        where="convnn.graphs.build.AdaptiveNeighbors convnn.graphs.build.AdaptiveFilter"
        " convnn.graphs.cluster.ClusteringGCN",
    )
)
register_system(
    System(
        family="graph_tools",
        name="GDN",
        number=93,
        selects="pairs of nodes whose score after unrolled proximal steps is above a threshold",
        weighs="by that score",
        aggregates="nothing: a graph becomes a graph",
        paper="arXiv 2205.09575",
        checked="the published code, layer, network and losses with all gradients; proximal steps by autograd and their"
        " closed form; loops",
        where="convnn.graphs.build.GDN convnn.graphs.build.GDNLayer",
    )
)
