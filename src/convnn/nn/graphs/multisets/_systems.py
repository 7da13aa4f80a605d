"""Facts of layers and networks that read all neighbours at once."""

from functools import partial

from convnn.nn.graphs import _family  # noqa: F401
from convnn.nn.graphs._deferred import Deferred
from convnn.nn.registry import register_layer
from convnn.systems import PUBLISHED, System, register_system

_fact = partial(System, family="graphs")

_STEP = {"delta": 1.0, "eps": 1e-3, "act": "relu"}
register_layer(
    "TV",
    Deferred("multisets.total_variation", "GTVConv", **_STEP),
    _fact(
        number=73,
        name="Total variation: GTVConv",
        published="GTVConv of TVGNN",
        when="features that differ sharply between parts of the graph",
        selects="the nodes that edges lead to",
        weighs="by the inverse of the distance of their features, w / max(|Z_i - Z_j|, eps)",
        aggregates="a step down the total variation: the weighted differences are subtracted",
        paper="arXiv 2211.06218",
        checked=f"{PUBLISHED}; the derivative of the total variation; the heat step; its dense form",
        where="convnn.nn.graphs.GTVConv convnn.nn.graphs.DenseGTVConv convnn.nn.graphs.total_variation_loss",
    ),
    reads="graphs",
)
Deferred("multisets.total_variation", "DenseGTVConv", **_STEP)
Deferred("multisets.total_variation", "total_variation_loss", edge_weight=None, batch=None)

register_system(
    _fact(
        name="Total variation: balanced pooling",
        selects="all nodes of a graph",
        weighs="by the assignment to K clusters, softmax of an MLP, trained to cut few edges and to be balanced",
        aggregates="a sum in each cluster, of features and of edges",
        paper="arXiv 2211.06218",
        checked=f"{PUBLISHED}; partitions whose losses are known; graphs padded and not",
        where="convnn.nn.graphs.AsymCheegerCutPool convnn.nn.graphs.dense_asym_cheeger_cut_pool"
        " convnn.nn.graphs.asymmetric_balance_loss convnn.nn.graphs.TVGNN",
    )
)
_LOSSES = {"totvar_coeff": 1.0, "balance_coeff": 1.0}
_RESULTS = {"return_selection": True, "return_pooled_graph": True}
Deferred("multisets.balanced_cut", "AsymCheegerCutPool", mlp_activation="relu", **_LOSSES, **_RESULTS)
Deferred("multisets.balanced_cut", "dense_asym_cheeger_cut_pool", mask=None)
Deferred("multisets.balanced_cut", "asymmetric_balance_loss", batch=None)
Deferred("multisets.cut_network", "TVGNN", hidden=32, delta=2.0, act="relu", totvar_coeff=0.5, balance_coeff=0.5)

_MIXTURE = {"num_mixtures": 8, "num_heads": 1}
_KERNEL = {"kernel": "exp", "sigma": 0.5}
_EMBEDDING = _MIXTURE | {"subtract_mean": True, "projection": "kernel"} | _KERNEL | {"attention": "softmax"}
register_layer(
    "Fisher",
    Deferred("multisets.mixture", "FisherEmbedding", **_EMBEDDING, use_degree=False),
    _fact(
        number=75,
        name="Fisher information embedding",
        published="FIE",
        when="neighbours whose mean says little; it starts well without labels",
        selects="the nodes whose edges lead here",
        weighs="by the softmax, over the neighbours, of their posterior for each component of a mixture",
        aggregates="the weighted mean for each component, less that of the component, through a kernel projection",
        paper="arXiv 2305.07580",
        checked=f"{PUBLISHED}; GaussianMixture of scikit-learn; the definition in loops",
        where="convnn.nn.graphs.FisherEmbedding convnn.nn.graphs.FisherPooling convnn.nn.graphs.FIENet"
        " convnn.nn.graphs.SupFIENet convnn.nn.graphs.KernelProjection convnn.nn.graphs.spherical_kmeans",
    ),
    reads="graphs",
)
Deferred("multisets.mixture", "FisherPooling", **_EMBEDDING)
Deferred("multisets.kernel_projection", "KernelProjection", **_KERNEL)
Deferred("multisets.clustering", "spherical_kmeans", generator=None, start=None, rounds=100)
Deferred("multisets.fisher_networks", "FIENet", hidden=64, num_layers=3, **_MIXTURE, **_KERNEL, concat=True)
Deferred(
    "multisets.fisher_networks",
    "SupFIENet",
    hidden=64,
    num_layers=4,
    **_MIXTURE,
    projection="kernel",
    **_KERNEL,
    dropout=0.0,
)

register_layer(
    "SPEN",
    Deferred("multisets.ego_networks", "SPENConv", hops=1, ego_sizes="1"),
    _fact(
        number=116,
        name="Ego networks: SPEN",
        published="SPEN",
        when="what matters is how the neighbours are linked among each other",
        selects="all pairs of nodes in each ego network, the nodes within some hops of one",
        weighs="equally; a coefficient for each of the 15 equivariant maps of a matrix",
        aggregates="the equivariant maps within each ego network, then the mean over those that have the node",
        paper="arXiv 2111.11840",
        checked=f"{PUBLISHED}, of maps, layer and network; relabelled graphs; counts of index partitions",
        where="convnn.nn.graphs.SPENConv convnn.nn.graphs.SubgraphEquivariantConv convnn.nn.graphs.EquivariantMap"
        " convnn.nn.graphs.EgoNetworks convnn.nn.graphs.SPEN",
    ),
    reads="graphs",
)
Deferred("multisets.ego_networks", "SubgraphEquivariantConv", rep_in=21, rep_out=21, sizes=(1,))
Deferred("multisets.ego_networks", "EgoNetworks")
Deferred("multisets.ego_networks", "pair_features", edge_weight=None)
Deferred("multisets.equivariant_maps", "EquivariantMap")
Deferred("multisets.spen", "SPEN", hidden=64, num_layers=5, hops=1, sizes=(1,), dropout=0.5)

_FILTERS = {"filters": 8, "filter_nodes": 4, "max_step": 3, "hops": 1}
register_system(
    _fact(
        name="Random-walk kernel",
        selects="the nodes within some hops of each, and learned graphs of a few nodes",
        weighs="by the walks of up to P steps that both have in common",
        aggregates="a mean over pairs of nodes and over steps, one value for each learned graph",
        paper="arXiv 2201.00491",
        checked="the definition in loops; its numbers, with all gradients",
        where="convnn.nn.graphs.RandomWalkKernelConv convnn.nn.graphs.RandomWalkKernelNetwork convnn.nn.graphs.CoCo",
    )
)
Deferred("multisets.random_walk_kernel", "RandomWalkKernelConv", **_FILTERS)
Deferred("multisets.random_walk_kernel", "RandomWalkKernelNetwork", hidden=32, num_layers=2, **_FILTERS)
Deferred("multisets.random_walk_kernel", "CoCo", out_channels=16, hidden=32, num_layers=2, kernel_layers=2, **_FILTERS)
