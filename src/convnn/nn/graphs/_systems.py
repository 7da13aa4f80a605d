"""Facts of the layers on a given graph.

This module does not import them, since they need PyTorch Geometric: `Deferred` names the module and the settings.
"""

import importlib

from convnn.nn.graphs import _forms  # noqa: F401
from convnn.nn.graphs._deferred import Deferred
from convnn.nn.graphs.convnn import GraphConvNN, GraphConvNNAttn
from convnn.nn.registry import register_layer
from convnn.systems import PUBLISHED, System, register_family

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
register_layer(
    "MixedOrders",
    Deferred("orders", "MixedOrders", order=1, combine="concat", norm="layer", activated=True, dropout=0.0),
    System(
        family="graphs",
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
    reads="graphs",
)
register_layer(
    "AttentiveOrders",
    Deferred("orders", "AttentiveOrders", order=1, heads=1, combine="concat", norm="layer", dropout=0.0),
    System(
        family="graphs",
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
    reads="graphs",
)
Deferred("orders", "GraphSAINT", orders=(1, 0, 1), combine="concat", norm="layer", heads=0, dropout=0.0)
