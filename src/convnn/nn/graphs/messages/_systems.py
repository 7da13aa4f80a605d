"""Facts of the layers whose messages are more than features, and of composition."""

from functools import partial

from convnn.nn.graphs import _family  # noqa: F401
from convnn.nn.graphs._deferred import Deferred
from convnn.nn.registry import register_layer
from convnn.systems import PUBLISHED, System, register_system

_fact = partial(System, family="graphs")

Deferred("messages.anisotropic", "PairConv", aggr="sum")
register_layer(
    "SIRGCN",
    Deferred(
        "messages.anisotropic",
        "SIRGCN",
        hidden_channels=None,
        edge_activation="relu",
        aggr="sum",
        edge_dim=None,
        dropout=0.0,
        inner_bias=True,
        outer_bias=True,
    ),
    _fact(
        number=13,
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
        "messages.anisotropic",
        "SINCGCN",
        context_aggr="sum",
        hidden_channels=None,
        edge_activation="relu",
        aggr="sum",
        dropout=0.0,
        inner_bias=True,
        outer_bias=True,
    ),
    _fact(
        number=36,
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
        "messages.interaction",
        "CatGCN",
        hops=1,
        latent_channels=64,
        global_hidden=(),
        local_hidden=(),
        probe=1.0,
        balance=0.5,
        dropout=0.5,
    ),
    _fact(
        number=24,
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
    "messages.interaction",
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
    Deferred("messages.attention", "GKEDM", heads=4, head_channels=8),
    _fact(
        number=44,
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
Deferred("messages.composition", "Para", widths=(None, None))
Deferred("messages.composition", "GCNN", activation=None)
Deferred("messages.composition", "check_laws")
register_system(
    _fact(
        number=15,
        name="Composition on one graph",
        selects="the neighbours, once for all layers",
        weighs="any real A, which has a gradient",
        aggregates="A x W and an activation in each layer; composition hands A to all",
        paper="arXiv 2212.00542",
        checked="numbers of its definition, since there is no code; its laws; stacked GCNConv of PyTorch Geometric",
        where="convnn.nn.graphs.Para convnn.nn.graphs.GCNN convnn.nn.graphs.check_laws",
    )
)
