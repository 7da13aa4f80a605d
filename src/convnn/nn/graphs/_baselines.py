"""Facts of the layers that others on a graph are compared with; `_systems` imports them after its family."""

from functools import partial

from convnn.nn.graphs._deferred import Deferred
from convnn.nn.registry import register_layer
from convnn.systems import System

_fact = partial(System, family="graphs", checked="the layer is PyTorch Geometric's; the equation, on a small graph")

register_layer(
    "GCN",
    Deferred("baselines", "GCN"),
    _fact(
        name="Graph convolution",
        published="GCN",
        when="the baseline on graphs whose neighbours are alike",
        selects="the given neighbours, and the node itself",
        weighs="by the degrees, D^-1/2 (A + I) D^-1/2",
        aggregates="a sum, after one linear map",
        paper="arXiv 1609.02907",
        where="convnn.nn.graphs.GCN",
    ),
    reads="graphs",
)
register_layer(
    "SAGE",
    Deferred("baselines", "SAGE"),
    _fact(
        name="GraphSAGE",
        published="SAGE",
        when="a baseline that keeps a node apart from its neighbours",
        selects="the given neighbours",
        weighs="equally",
        aggregates="a mean, with a linear map of its own beside that of the node",
        paper="arXiv 1706.02216",
        where="convnn.nn.graphs.SAGE",
    ),
    reads="graphs",
)
register_layer(
    "GAT",
    Deferred("baselines", "GAT", attention_heads=1),
    _fact(
        name="Graph attention",
        published="GAT",
        when="neighbours of which some matter more",
        selects="the given neighbours, and the node itself",
        weighs="a softmax of additive scores",
        aggregates="a sum, after one linear map",
        paper="arXiv 1710.10903",
        where="convnn.nn.graphs.GAT",
    ),
    reads="graphs",
)
register_layer(
    "GIN",
    Deferred("baselines", "GIN"),
    _fact(
        name="Graph isomorphism network",
        published="GIN",
        when="the baseline for graphs as a whole",
        selects="the given neighbours, and the node itself",
        weighs="equally",
        aggregates="a sum, then two linear maps",
        paper="arXiv 1810.00826",
        where="convnn.nn.graphs.GIN",
    ),
    reads="graphs",
)
