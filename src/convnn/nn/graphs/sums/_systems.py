"""Facts of the layers that aggregate the features of the neighbours."""

from functools import partial

from convnn.nn.graphs import _family  # noqa: F401
from convnn.nn.graphs._deferred import Deferred, DeferredPlain
from convnn.nn.registry import register_layer
from convnn.systems import PUBLISHED, System

_fact = partial(System, family="graphs")
_register = partial(register_layer, reads="graphs")

_of_choices = partial(register_layer, reads="interactions", fixed=("dim", "std"))

_LEARNED = {"learn": False, "channels": 1}
_GENERALIZED = {
    "aggr": "softmax",
    "t": 1.0,
    "learn_t": False,
    "semi_grad": None,
    "p": 1.0,
    "learn_p": False,
    "y": 0.0,
    "learn_y": False,
}
_PNA = {"aggregators": "mean,max,min,std", "scalers": "identity,amplification,attenuation", "deg": None}

for _name in ("Sum", "Mean", "Max", "Min"):
    Deferred("aggregation", f"{_name}Aggregation")
for _name in ("Var", "Std"):
    Deferred("aggregation", f"{_name}Aggregation", semi_grad=False)
Deferred("aggregation", "SoftmaxAggregation", t=1.0, semi_grad=False, **_LEARNED)
Deferred("aggregation", "PowerMeanAggregation", p=1.0, clamp_min=1e-4, clamp_max=100.0, **_LEARNED)
_register(
    "SGC",
    Deferred("sums.propagation", "SGC", hops=2),
    _fact(
        number=34,
        name="Simple graph convolution",
        published="SGC",
        when="a strong linear baseline, quick: the propagation is computed once",
        selects="the nodes within K hops",
        weighs="by the degrees, D^-1/2 (A + I) D^-1/2",
        aggregates="a sum, K times, then one linear map",
        paper="arXiv 1902.07153",
        checked=f"{PUBLISHED}; training by Adam; SGConv of PyTorch Geometric; dense matrices and their spectrum",
        where="convnn.nn.graphs.SGC",
    ),
)
_register(
    "LGC",
    Deferred("sums.propagation", "LGC", hops=3),
    _fact(
        name="Light graph convolution",
        published="LGConv",
        when="SGC that keeps what is near: LightGCN's propagation as a layer",
        selects="the nodes within L hops",
        weighs="by the degrees, D^-1/2 A D^-1/2",
        aggregates="a sum, L times, and the mean over all depths, then one linear map",
        paper="arXiv 2002.02126",
        checked="LGConv of PyTorch Geometric; dense matrices",
        where="convnn.nn.graphs.LGC",
    ),
)
_register(
    "GEN",
    Deferred(
        "sums.generalized",
        "GENConv",
        **_GENERALIZED,
        msg_norm=False,
        learn_msg_scale=True,
        mlp_layers=2,
        norm="batch",
        edge_dim=None,
    ),
    _fact(
        number=31,
        name="DeeperGCN",
        published="GENConv, DeeperGCN",
        when="deep stacks, with DeeperGCN; between mean and maximum",
        selects="given edges",
        weighs="softmax of the features, or a power mean",
        aggregates="a sum in each channel, added to the node, through an MLP",
        paper="arXiv 2006.07739",
        checked=f"{PUBLISHED}, of layer and network; GENConv, MessageNorm and DeepGCNLayer of PyTorch Geometric",
        where="convnn.nn.graphs.GENConv convnn.nn.graphs.DeeperGCN",
    ),
    fixed=("semi_grad", "y", "norm", "edge_dim"),
)
_register(
    "PNA",
    Deferred(
        "sums.statistics", "PNAConv", **_PNA, edge_dim=None, towers=1, pre_layers=1, post_layers=1, divide_input=False
    ),
    _fact(
        number=102,
        name="Principal neighbourhood aggregation",
        published="PNA",
        when="what counts is the number of neighbours, and how they are spread",
        selects="given edges",
        weighs="equally; results by powers of the degree",
        aggregates="mean, maximum, minimum and standard deviation side by side, through linear maps",
        paper="arXiv 2004.05718",
        checked=f"{PUBLISHED}; PNAConv of PyTorch Geometric with that standard deviation; the definition in loops",
        where="convnn.nn.graphs.PNAConv convnn.nn.graphs.PNAConvSimple",
    ),
    fixed=("deg", "edge_dim"),
)
_register(
    "HGNN",
    Deferred("sums.hypergraph", "HGNNConv"),
    _fact(
        number=114,
        name="Hypergraph neural network",
        published="HGNN",
        when="edges that join many nodes, such as everybody in one group",
        selects="the members of the hyperedges that a node is in",
        weighs="by membership and by the degrees of nodes and hyperedges",
        aggregates="a sum from nodes to hyperedges, and back",
        paper="arXiv 1809.09401",
        checked=f"{PUBLISHED}, of layer, network and construction; HypergraphConv of PyTorch Geometric; dense matrices",
        where="convnn.nn.graphs.HGNNConv convnn.nn.graphs.HGNN convnn.nn.graphs.knn_hypergraph",
    ),
)
_of_choices(
    "LightGCN",
    DeferredPlain("sums.light_gcn", "LightGCN", dim=64, num_layers=3, keep_prob=1.0),
    _fact(
        number=81,
        name="LightGCN",
        published="LightGCN",
        when="embeddings of users and items for recommendation",
        selects="the users and items within L interactions",
        weighs="by the degrees, D^-1/2 A D^-1/2",
        aggregates="a sum, L times, and the mean over all depths",
        paper="arXiv 2002.02126",
        checked=f"{PUBLISHED}, of embeddings, loss and ranking; LightGCN of PyTorch Geometric; dense matrices",
        where="convnn.nn.graphs.LightGCN convnn.objectives.ranking.bpr_loss",
    ),
)
_of_choices(
    "UltraGCN",
    DeferredPlain("sums.ultra_gcn", "UltraGCN", dim=64, std=0.01),
    _fact(
        number=57,
        name="UltraGCN",
        published="UltraGCN",
        when="recommendation on large graphs, where propagation is the cost",
        selects="the items that a user chose, and the K items chosen together with each of them most often",
        weighs="in closed form by the degrees, as infinitely many layers would",
        aggregates="nothing: neighbours enter the loss, which pulls a user to them",
        paper="arXiv 2110.15114",
        checked=f"{PUBLISHED}, of constants, neighbours, loss and ranking; the limit of GCN of PyTorch Geometric",
        where="convnn.nn.graphs.UltraGCN convnn.objectives.infinite_layers.infinite_layers"
        " convnn.objectives.infinite_layers.ultra_loss",
    ),
)
_of_choices(
    "MF",
    DeferredPlain("_user_items", "UserItemEmbeddings", dim=64, std=0.1),
    _fact(
        name="Matrix factorisation",
        published="BPR-MF",
        when="what recommenders on graphs are compared with",
        selects="nobody: each user and item has a vector of its own",
        weighs="equally",
        aggregates="nothing",
        paper="arXiv 1205.2618",
        checked="LightGCN without layers",
        where="convnn.nn.graphs.UserItemEmbeddings",
    ),
)
# What has no --layer.
Deferred("sums.propagation", "propagations", edge_weight=None, hops=2, loops=1.0)
Deferred("sums.generalized", "generalized_aggregation", **_GENERALIZED)
Deferred(
    "sums.deeper_gcn",
    "DeeperGCN",
    hidden_channels=128,
    num_layers=3,
    layer=None,
    block="res+",
    norm="batch",
    dropout=0.5,
)
Deferred("sums.statistics", "DegreeScalerAggregation", deg=None)
Deferred("sums.statistics", "PNAConvSimple", **_PNA, post_layers=1)
Deferred("sums.hypergraph", "HGNN", hidden_channels=128, dropout=0.5)
Deferred("sums.hypergraph", "propagate_hyperedges", hyperedge_weight=None, incidence_weight=None)
Deferred("sums.hypergraph", "knn_hypergraph", k=10, prob=True, m_prob=1.0)
_register(
    "MixedOrders",
    Deferred("sums.orders", "MixedOrders", order=1, combine="concat", norm="layer", activated=True, dropout=0.0),
    _fact(
        name="Mixed orders of neighbours",
        published="High-order aggregator of GraphSAINT",
        when="large graphs in batches of subgraphs: own features stay apart from neighbours'",
        selects="the nodes within k hops",
        weighs="by the weights of the edges",
        aggregates="a sum o times for each order o, a linear map, ReLU and normalisation of each, joined or summed",
        paper="arXiv 1907.04931",
        checked=f"{PUBLISHED}, of the network",
        where="convnn.nn.graphs.MixedOrders convnn.nn.graphs.GraphSAINT",
    ),
)
_register(
    "AttentiveOrders",
    Deferred("sums.orders", "AttentiveOrders", order=1, heads=1, combine="concat", norm="layer", dropout=0.0),
    _fact(
        name="Mixed orders with attention",
        published="Attention aggregator of GraphSAINT",
        when="attention in batches of subgraphs, where neighbours are missing",
        selects="the nodes within k hops",
        weighs="by attention without a softmax, times the weights of the edges",
        aggregates="as mixed orders",
        paper="arXiv 1907.04931",
        checked="the definition in loops",
        where="convnn.nn.graphs.AttentiveOrders",
    ),
)
Deferred("sums.orders", "GraphSAINT", orders=(1, 0, 1), combine="concat", norm="layer", heads=0, dropout=0.0)

_known = partial(_fact, checked="the layer is PyTorch Geometric's; the equation, on a small graph")
_register(
    "GCN",
    Deferred("sums.baselines", "GCN"),
    _known(
        name="Graph convolution",
        published="GCN",
        when="the baseline on graphs whose neighbours are alike",
        selects="the given neighbours, and the node itself",
        weighs="by the degrees, D^-1/2 (A + I) D^-1/2",
        aggregates="a sum, after one linear map",
        paper="arXiv 1609.02907",
        where="convnn.nn.graphs.GCN",
    ),
)
_register(
    "SAGE",
    Deferred("sums.baselines", "SAGE"),
    _known(
        name="GraphSAGE",
        published="SAGE",
        when="a baseline that keeps a node apart from its neighbours",
        selects="the given neighbours",
        weighs="equally",
        aggregates="a mean, with a linear map of its own beside that of the node",
        paper="arXiv 1706.02216",
        where="convnn.nn.graphs.SAGE",
    ),
)
_register(
    "GAT",
    Deferred("sums.baselines", "GAT", attention_heads=1),
    _known(
        name="Graph attention",
        published="GAT",
        when="neighbours of which some matter more",
        selects="the given neighbours, and the node itself",
        weighs="a softmax of additive scores",
        aggregates="a sum, after one linear map",
        paper="arXiv 1710.10903",
        where="convnn.nn.graphs.GAT",
    ),
)
_register(
    "GIN",
    Deferred("sums.baselines", "GIN"),
    _known(
        name="Graph isomorphism network",
        published="GIN",
        when="the baseline for graphs as a whole",
        selects="the given neighbours, and the node itself",
        weighs="equally",
        aggregates="a sum, then two linear maps",
        paper="arXiv 1810.00826",
        where="convnn.nn.graphs.GIN",
    ),
)
Deferred("sums.encoder", "GCNEncoder", hidden=256, num_layers=2, act="prelu", skip=False)
