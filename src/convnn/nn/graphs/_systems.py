"""Facts of the layers on a given graph.

This module does not import them, since they need PyTorch Geometric: `Deferred` names the module and the settings.
"""

from convnn.nn.graphs._deferred import Deferred
from convnn.nn.registry import register_layer
from convnn.systems import PUBLISHED, System, register_family, register_system

register_family(
    "graphs",
    "Graphs",
    "Layers on a given graph, by the conventions of PyTorch Geometric: features (N, C) of the nodes and edge_index"
    " (2, E). On maps and tokens `select` finds the graph.",
)

_LEARNED = {"learn": False, "channels": 1}
for _name in ("Sum", "Mean", "Max", "Min"):
    Deferred("aggregation", f"{_name}Aggregation")
for _name in ("Var", "Std"):
    Deferred("aggregation", f"{_name}Aggregation", semi_grad=False)
Deferred("aggregation", "SoftmaxAggregation", t=1.0, semi_grad=False, **_LEARNED)
Deferred("aggregation", "PowerMeanAggregation", p=1.0, clamp_min=1e-4, clamp_max=100.0, **_LEARNED)

register_layer(
    "SGC",
    Deferred("propagation", "SGC", hops=2),
    System(
        number=34,
        family="graphs",
        name="Simple graph convolution",
        published="SGC",
        when="a strong linear baseline, quick: the propagation is computed once",
        selects="the nodes within K hops",
        weighs="by the degrees, D^-1/2 (A + I) D^-1/2",
        aggregates="a sum, K times, then one linear map",
        paper="arXiv 1902.07153",
        checked=f"{PUBLISHED}; SGConv of PyTorch Geometric",
        where="convnn.nn.graphs.SGC",
    ),
    reads="graphs",
)

register_layer(
    "TV",
    Deferred("total_variation", "GTVConv", delta=1.0, eps=1e-3, act="relu"),
    System(
        number=73,
        family="graphs",
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
Deferred("total_variation", "DenseGTVConv", delta=1.0, eps=1e-3, act="relu")
Deferred("total_variation", "total_variation_loss", edge_weight=None, batch=None)

register_system(
    System(
        family="graphs",
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
Deferred(
    "balanced_cut",
    "AsymCheegerCutPool",
    mlp_activation="relu",
    totvar_coeff=1.0,
    balance_coeff=1.0,
    return_selection=True,
    return_pooled_graph=True,
)
Deferred("cut_network", "TVGNN", hidden=32, delta=2.0, act="relu", totvar_coeff=0.5, balance_coeff=0.5)
Deferred("balanced_cut", "dense_asym_cheeger_cut_pool", mask=None)
Deferred("balanced_cut", "asymmetric_balance_loss", batch=None)

register_layer(
    "Fisher",
    Deferred(
        "mixture",
        "FisherEmbedding",
        num_mixtures=8,
        heads=1,
        residual=True,
        projection="kernel",
        kernel="exp",
        sigma=0.5,
        use_degree=False,
        attention="softmax",
    ),
    System(
        number=75,
        family="graphs",
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
Deferred(
    "mixture",
    "FisherPooling",
    num_mixtures=8,
    heads=1,
    residual=True,
    projection="kernel",
    kernel="exp",
    sigma=0.5,
    attention="softmax",
)
Deferred("kernel_projection", "KernelProjection", kernel="exp", sigma=0.5)
Deferred("clustering", "spherical_kmeans", generator=None, start=None, rounds=100)
Deferred(
    "fisher_networks",
    "FIENet",
    hidden=64,
    num_layers=3,
    num_mixtures=8,
    heads=1,
    kernel="exp",
    sigma=0.5,
    concat=True,
)
Deferred(
    "fisher_networks",
    "SupFIENet",
    hidden=64,
    num_layers=4,
    num_mixtures=8,
    heads=1,
    projection="kernel",
    kernel="exp",
    sigma=0.5,
    dropout=0.0,
)

register_layer(
    "SPEN",
    Deferred("ego_networks", "SPENConv", hops=1, ego_sizes="1"),
    System(
        number=116,
        family="graphs",
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
Deferred("ego_networks", "SubgraphEquivariantConv", rep_in=21, rep_out=21, sizes=(1,))
Deferred("ego_networks", "EgoNetworks")
Deferred("ego_networks", "pair_features", edge_weight=None)
Deferred("equivariant_maps", "EquivariantMap")
Deferred("spen", "SPEN", hidden=64, num_layers=5, hops=1, sizes=(1,), dropout=0.5)
