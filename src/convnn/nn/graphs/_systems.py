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

Deferred("anisotropic", "PairConv", aggr="sum")
register_layer(
    "SIRGCN",
    Deferred(
        "anisotropic",
        "SIRGCN",
        hidden_channels=None,
        edge_activation="relu",
        aggr="sum",
        edge_dim=None,
        dropout=0.0,
        inner_bias=True,
        outer_bias=True,
    ),
    System(
        number=13,
        family="graphs",
        name="SIR-GCN: contextualised messages",
        published="SIRConv",
        when="answers that depend on a node and its neighbour together, such as looking up",
        selects="the neighbours",
        weighs="equally, or by the degrees of both ends",
        aggregates="a sum, mean or maximum of messages, each an activation of both ends' linear maps together",
        paper="arXiv 2403.12529",
        checked=f"{PUBLISHED}; EdgeConv, GCNConv, SAGEConv, GINConv and GATv2Conv as special cases",
        where="convnn.nn.graphs.SIRGCN convnn.nn.graphs.PairConv",
    ),
    reads="graphs",
    fixed=("edge_dim", "dropout", "inner_bias", "outer_bias"),
)
register_layer(
    "SINCGCN",
    Deferred(
        "anisotropic",
        "SINCGCN",
        context_aggr="sum",
        hidden_channels=None,
        edge_activation="relu",
        aggr="sum",
        dropout=0.0,
        inner_bias=True,
        outer_bias=True,
    ),
    System(
        number=36,
        family="graphs",
        name="SINC-GCN: messages that see the neighbourhood",
        published="SINCConv",
        when="answers that compare a neighbour with all neighbours together",
        selects="the neighbours",
        weighs="equally, or by the degrees of both ends",
        aggregates="as SIR-GCN, with the aggregated neighbourhood of the target in every message",
        paper="arXiv 2511.11046",
        checked=f"{PUBLISHED}; SIR-GCN and EdgeConv on widened features; a solution by hand",
        where="convnn.nn.graphs.SINCGCN",
    ),
    reads="graphs",
    fixed=("dropout", "inner_bias", "outer_bias"),
)
register_layer(
    "CatGCN",
    Deferred(
        "interaction",
        "CatGCN",
        hops=1,
        latent_channels=64,
        global_hidden=(),
        local_hidden=(),
        probe=1.0,
        balance=0.5,
        dropout=0.5,
    ),
    System(
        number=24,
        family="graphs",
        name="CatGCN: interactions of categories",
        published="CatGCN",
        when="nodes that are sets of categories, as the first layer",
        selects="all categories of the node, then the nodes within L hops",
        weighs="alike, a category itself by 1 + rho; then by the degrees, D^-1/2 (A + I) D^-1/2",
        aggregates="the mean of ReLU rows, and the products of all pairs, through an MLP each; then a sum, L times",
        paper="arXiv 2009.05303",
        checked=f"{PUBLISHED}; loops over pairs; GCNConv on the complete graph and SGConv of PyTorch Geometric",
        where="convnn.nn.graphs.CatGCN convnn.nn.graphs.CategoricalEncoder",
    ),
    reads="graphs",
    fixed=("global_hidden", "local_hidden", "dropout"),
)
Deferred(
    "interaction",
    "CategoricalEncoder",
    latent_channels=64,
    global_hidden=(),
    local_hidden=(),
    probe=1.0,
    balance=0.5,
    dropout=0.5,
)
register_layer(
    "GKEDM",
    Deferred("attention", "GKEDM", heads=4, head_channels=8),
    System(
        number=44,
        family="graphs",
        name="GKEDM: attention that enhances and teaches",
        published="GKEDM",
        when="on top of a small graph network, taught by a large one",
        selects="the neighbours and the node itself",
        weighs="softmax of the scaled inner products, in each head",
        aggregates="a sum and a linear map of the node itself, then a linear map",
        paper="arXiv 2403.15419",
        checked="numbers of its definition, since no code is public; TransformerConv of PyTorch Geometric; loops",
        where="convnn.nn.graphs.GKEDM convnn.objectives.attention_distillation"
        " convnn.objectives.distilled_cross_entropy",
    ),
    reads="graphs",
)
Deferred("composition", "Para", widths=(None, None))
Deferred("composition", "GCNN", activation=None)
Deferred("composition", "check_laws")
register_system(
    System(
        number=15,
        family="graphs",
        name="Composition on one graph",
        selects="the neighbours, once for all layers",
        weighs="any real A, which has a gradient",
        aggregates="A x W and an activation in each layer; composition hands A to all",
        paper="arXiv 2212.00542",
        checked="numbers of its definition, since there is no code; its laws; stacked GCNConv of PyTorch Geometric",
        where="convnn.nn.graphs.Para convnn.nn.graphs.GCNN convnn.nn.graphs.check_laws",
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
