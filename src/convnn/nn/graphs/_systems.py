"""Facts of the layers on a given graph.

This module does not import them, since they need PyTorch Geometric: `Deferred` names the module and the settings.
"""

import importlib
from functools import partial

from convnn.nn.graphs import _forms  # noqa: F401
from convnn.nn.graphs._deferred import Deferred
from convnn.nn.graphs.convnn import GraphConvNN, GraphConvNNAttn
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

_fact = partial(System, family="graphs")
_register = partial(register_layer, reads="graphs")

_register(
    "SGC",
    Deferred("propagation", "SGC", hops=2),
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
    Deferred("propagation", "LGC", hops=3),
    _fact(
        number=81,
        name="LightGCN",
        published="LightGCN",
        when="embeddings of users and items; as a layer, SGC that keeps what is near",
        selects="the nodes within L hops",
        weighs="by the degrees, D^-1/2 A D^-1/2",
        aggregates="a sum, L times, and the mean over all depths",
        paper="arXiv 2002.02126",
        checked=f"{PUBLISHED}, of embeddings, loss and ranking; LightGCN of PyTorch Geometric; dense matrices",
        where="convnn.nn.graphs.LGC convnn.nn.graphs.LightGCN convnn.objectives.ranking.bpr_loss",
    ),
)
_register(
    "GEN",
    Deferred(
        "generalized",
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
    Deferred("statistics", "PNAConv", **_PNA, edge_dim=None, towers=1, pre_layers=1, post_layers=1, divide_input=False),
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
    Deferred("hypergraph", "HGNNConv"),
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

# What has no --layer.
Deferred("propagation", "propagations", edge_weight=None, hops=2, loops=1.0)
Deferred("light_gcn", "LightGCN", dim=64, num_layers=3, keep_prob=1.0)
Deferred("generalized", "generalized_aggregation", **_GENERALIZED)
Deferred(
    "deeper_gcn",
    "DeeperGCN",
    hidden_channels=128,
    num_layers=3,
    layer=None,
    block="res+",
    norm="batch",
    dropout=0.5,
)
Deferred("statistics", "DegreeScalerAggregation", deg=None)
Deferred("statistics", "PNAConvSimple", **_PNA, post_layers=1)
Deferred("hypergraph", "HGNN", hidden_channels=128, dropout=0.5)
Deferred("hypergraph", "propagate_hyperedges", hyperedge_weight=None, incidence_weight=None)
Deferred("hypergraph", "knn_hypergraph", k=10, prob=True, m_prob=1.0)

_GIBBS = {"mu": 3.0, "xi": 4.0, "stigma": 0.5, "heta": 2.0}
_SERIES = {"hops": 10, "damping": "jackson", **_GIBBS, "homophily": "auto"}
register_layer(
    "ChebGibbs",
    Deferred("chebyshev", "ChebGibbs", **_SERIES),
    System(
        number=63,
        family="graphs",
        name="ChebGibbsNet: damped Chebyshev filter",
        published="ChebGibbsProp",
        when="filters of high order that do not oscillate, as the last layer",
        selects="the nodes within K hops",
        weighs="by the degrees, with plus where neighbours are alike and minus where they differ",
        aggregates="a Chebyshev series of the adjacency, learned coefficients times fixed damping factors",
        paper="arXiv 2412.01789",
        checked=f"{PUBLISHED}; ChebConv of PyTorch Geometric; its response on every eigenvector",
        where="convnn.nn.graphs.ChebGibbs convnn.nn.graphs.ChebGibbsProp convnn.nn.graphs.ChebGibbsNet"
        " convnn.nn.graphs.gibbs_damping",
    ),
    reads="graphs",
)
Deferred("chebyshev", "ChebGibbsProp", **_SERIES)
Deferred("chebyshev", "ChebGibbsNet", hidden=32, dropout=0.1, hops=10)
Deferred("chebyshev", "gibbs_damping", damping="jackson", **_GIBBS)
Deferred("chebyshev", "node_homophily")

register_layer(
    "Holo",
    Deferred(
        "holomorphic",
        "Holo",
        hops=3,
        out_weight=0.5,
        learn_out_weight=False,
        degree_exponent=-0.25,
        power_damping="exp",
        zero_order=False,
        holo_basis="powers",
    ),
    System(
        number=61,
        family="graphs",
        name="HoloNets: holomorphic filters",
        published="FaberConv",
        when="directed graphs, in which in- and out-neighbours mean different things",
        selects="the nodes within K hops along the edges, and against them",
        weighs="by the product of both ends' degrees to a power",
        aggregates="a polynomial of the adjacency for either direction, or of its resolvent",
        paper="arXiv 2310.02232",
        checked=f"{PUBLISHED}; DirGNNConv, TAGConv and GCNConv of PyTorch Geometric; Cauchy's integral",
        where="convnn.nn.graphs.Holo convnn.nn.graphs.HoloNet",
    ),
    reads="graphs",
)
Deferred(
    "holomorphic",
    "HoloNet",
    hidden=64,
    layers=3,
    jump="max",
    slope=-1.0,
    normalize=False,
    dropout=0.0,
    learn_out_weight=False,
)

_BJORCK = {"bjorck_order": 2, "bjorck_steps": 25, "bjorck_beta": 0.5}
register_layer(
    "GCORN",
    Deferred("orthonormal", "GCORN", orthonormal="bjorck", **_BJORCK),
    System(
        number=85,
        family="graphs",
        name="GCORN: orthonormal weights",
        published="GCORN",
        when="features that somebody may tamper with",
        selects="the nodes that edges lead from, and the node itself",
        weighs="by the degrees, D^-1/2 (A + I) D^-1/2",
        aggregates="a sum, then a linear map that is kept orthonormal, so that it enlarges no difference",
        paper="arXiv 2404.17947",
        checked=f"{PUBLISHED}; the polar factor of the weight, and its gradient; GCNConv of PyTorch Geometric",
        where="convnn.nn.graphs.GCORN convnn.nn.graphs.GCORNNet convnn.nn.graphs.Bjorck convnn.nn.graphs.bjorck"
        " convnn.nn.graphs.expected_robustness convnn.nn.graphs.robustness_bound",
    ),
    reads="graphs",
)
Deferred("orthonormal", "GCORNNet", hidden=16, dropout=0.5)
Deferred("polar", "Bjorck", order=2, steps=25, beta=0.5)
Deferred("polar", "bjorck", order=2, steps=25, beta=0.5)
Deferred("polar", "OrthonormalLinear", orthonormal="bjorck", order=2, steps=25, beta=0.5)
Deferred("robustness", "expected_robustness", samples=100, generator=None)
Deferred("robustness", "robustness_bound", edge_weight=None)
Deferred("robustness", "in_balls")
Deferred("robustness", "distances")
Deferred("robustness", "noise_attack", generator=None)
Deferred("robustness", "gradient_attack", steps=20, nodes=None)

register_system(
    System(
        number=21,
        family="graphs",
        name="InvGC: inverse convolution of embeddings",
        selects="the K points of a bank with the largest inner products, or all",
        weighs="by the inner product, less its mean where all are chosen",
        aggregates="a sum, subtracted from the point, which is then scaled to length 1",
        paper="arXiv 2310.13276",
        checked=f"{PUBLISHED}; SimpleConv of PyTorch Geometric on the same edges; points that are their own bank",
        where="convnn.nn.graphs.inverse_convolution convnn.nn.graphs.InvGC convnn.nn.graphs.InvGCRetrieval",
    )
)
Deferred("inverse", "inverse_convolution", K=None, center=None, normalize=True)
Deferred("inverse", "share_of")
Deferred("inverse", "InvGC", K=None, rate=None, center=None, normalize=True)
Deferred("inverse", "InvGCRetrieval", K=None, rate=None, center=None)

register_layer(
    "PDF",
    Deferred(
        "decomposition",
        "PDF",
        exponents="-0.3,-0.35,-0.4",
        hops=2,
        support="sparse",
        support_hops=1,
        normalize_bases=False,
        linear_filter=False,
        shared_filter=False,
        edge_softmax=True,
    ),
    System(
        number=49,
        family="graphs",
        name="PDF: decomposition and filter learned together",
        published="PDF",
        when="graphs of a few hundred nodes, whose best normalisation is not known",
        selects="the nodes within some hops, or all",
        weighs="a learned function of the entries of several matrices' powers at the pair, for each channel",
        aggregates="a sum, with an MLP beside it",
        paper="arXiv 2305.06102",
        checked=f"{PUBLISHED}; TAGConv, ChebConv and GCNConv of PyTorch Geometric; dense matrices",
        where="convnn.nn.graphs.PDF convnn.nn.graphs.PDFConv convnn.nn.graphs.PDFFilter convnn.nn.graphs.PDFNet"
        " convnn.nn.graphs.pdf_bases convnn.nn.graphs.PDFBases",
    ),
    reads="graphs",
)
Deferred(
    "decomposition",
    "PDFFilter",
    linear=False,
    shared=False,
    hidden=None,
    batch_norm=True,
    last_activation=True,
    edge_softmax=True,
    dropout=0.0,
)
Deferred("decomposition", "PDFConv", activation="gelu", batch_norm=True, dropout=0.0)
Deferred(
    "decomposition",
    "PDFNet",
    hidden=256,
    layers=4,
    pool="max",
    activation="gelu",
    batch_norm=True,
    edge_softmax=True,
    dropout=0.0,
)
Deferred("decomposition", "PDFBases")
Deferred("decomposition", "filtered_sum", nodes=None)
_OF_BASES = {"degree_exponents": (), "support": "dense", "hops": None, "normalize": False, "self_loops": True}
Deferred("pair_bases", "pdf_bases", **_OF_BASES)
importlib.import_module("convnn.nn.graphs._baselines")  # after the family, of which they are
importlib.import_module("convnn.nn.graphs._multisets")
for _facts in ("_baselines", "_messages"):
    importlib.import_module(f"convnn.nn.graphs.{_facts}")  # after the family, of which they are
register_layer(
    "GraphConvNN",
    GraphConvNN,
    System(
        family="graphs",
        name="ConvNN on a graph",
        published="ConvNN",
        when="graphs whose edges come in an order, such as nearest first",
        selects="the first K neighbours, in the order of the edges",
        weighs="by the weights of the edges",
        aggregates="a weight for each rank and pair of channels",
        paper="arXiv 2511.14137",
        checked="the definition in loops; ConvNN on maps, on the graph that it finds",
        where="convnn.nn.graphs.GraphConvNN",
    ),
    reads="graphs",
)
register_layer(
    "GraphConvNN_Attn",
    GraphConvNNAttn,
    System(
        family="graphs",
        name="ConvNN attention on a graph",
        published="ConvNN attention",
        when="graphs whose edges come in an order, with weights by similarity",
        selects="the first K neighbours, in the order of the edges",
        weighs="softmax of the cosine or distance of projections",
        aggregates="a weight for each rank and channel, then a 1x1 convolution",
        paper="arXiv 2511.14137",
        checked="the definition in loops; ConvNN attention on maps, on the graph that it finds",
        where="convnn.nn.graphs.GraphConvNNAttn",
    ),
    reads="graphs",
)
