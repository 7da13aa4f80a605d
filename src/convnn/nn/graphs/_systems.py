"""Facts of the layers on a given graph.

This module does not import them, since they need PyTorch Geometric: `Deferred` names the module and the settings.
"""

import importlib

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
