"""Facts of what is done to graphs."""

from convnn.systems import System, register_family, register_system

register_family(
    "graph_tools",
    "What is done to graphs",
    "A graph is sampled, walked, embedded or made smaller, before or beside the layers that read it.",
)
register_system(
    System(
        family="graph_tools",
        name="GraphSAINT",
        number=30,
        selects="the neighbours within a drawn subgraph: nodes or edges by degree, random walks, or a moving frontier",
        weighs="by how often the node was drawn for each time that the edge was, over the degree",
        aggregates="a sum that is unbiased, and a loss that is too",
        paper="arXiv 1907.04931",
        checked="the published code, draws, weights, batches and network with all gradients; sums over the counted"
        " subgraphs are those of the whole graph, exactly",
        where="convnn.graphs.sample.GraphSAINTSampler convnn.nn.graphs.GraphSAINT",
    )
)
register_system(
    System(
        family="graph_tools",
        name="k-core embedding",
        number=46,
        selects="the k-core, which is embedded; then, layer by layer, nodes with an embedded neighbour",
        weighs="by the weight of the edge",
        aggregates="the weighted mean of the neighbours, solved for a whole layer or repeated",
        paper="About Graph Degeneracy, Representation Learning and Scalability",
        checked="the published code, counts of walks, walks and propagation; networkx; the equations in loops",
        where="convnn.graphs.embed.KCoreEmbedding convnn.graphs.embed.CoreWalk",
    )
)
register_system(
    System(
        family="graph_tools",
        name="GraphVite",
        number=92,
        selects="pairs of nodes that a random walk passes within a few steps, by blocks; wrong tails by degree",
        weighs="by the slope of the logistic loss of each pair",
        aggregates="a step of both rows, pair after pair; blocks without a common row at once",
        paper="GraphVite, WWW 2019",
        checked="the published code, alias tables, pools and steps; the gradient of the loss; loops",
        where="convnn.graphs.embed.GraphVite convnn.graphs.sample.AugmentedSampler convnn.ops.walks.RandomWalks",
    )
)
register_system(
    System(
        family="graph_tools",
        name="Coarsening by kernel k-means",
        number=89,
        selects="for each node the supernode whose mean is nearest in a kernel of the graph",
        weighs="by the node's share of the supernode's weight",
        aggregates="a weighted mean of features, a sum of edges",
        paper="ICML 2023, PMLR 202",
        checked="the published code, starts, labels and all matrices; the plan of transport and its bounds in loops",
        where="convnn.graphs.coarsen.GWCoarsen",
    )
)
register_system(
    System(
        family="graph_tools",
        name="GRFs",
        number=12,
        selects="the nodes that random walks pass until they halt by chance",
        weighs="by a load that makes up for the chances of the steps",
        aggregates="a sparse row for each node; inner products of rows of independent walks estimate a kernel",
        paper="arXiv 2305.00156",
        checked="the published code, walks, features and kernels; loops over the numbers; dense inverses",
        where="convnn.graphs.random_features.GraphRandomFeatures convnn.ops.halting.HaltingWalks",
    )
)
register_system(
    System(
        family="graph_tools",
        name="u-GRFs",
        number=7,
        selects="the nodes that random walks pass until they halt by chance",
        weighs="by the load times a number of its own, or learned, for each number of steps",
        aggregates="a sparse row for each node; inner products estimate the power series of the numbers' convolution",
        paper="arXiv 2310.04859",
        checked="the published code, walks, features and kernels; dense exponentials; all numbers 1 are GRFs, exactly",
        where="convnn.graphs.random_features.GraphRandomFeatures convnn.graphs.random_features.deconvolved",
    )
)
