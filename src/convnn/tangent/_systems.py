"""Facts of tangent kernels."""

from convnn.systems import System, register_system

register_system(
    System(
        family="learners",
        name="Tangent kernel of graph networks",
        number=3,
        selects="the nodes within some hops of both nodes",
        weighs="by powers of the adjacency over the number of nodes, which has a limit: a graphon",
        aggregates="a sum over both neighbourhoods in each layer, then the mean of random units, for every weight",
        paper="arXiv 2301.10808",
        checked="numbers of the published kernel of graphs, and of the formulas; wide networks of PyTorch Geometric;"
        " linear ones; the limits of block models",
        where="convnn.tangent.gntk convnn.tangent.gntk_of_graphs convnn.tangent.graphon_sample",
    )
)
