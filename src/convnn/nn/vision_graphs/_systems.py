"""Layers on maps whose neighbours form a graph, and what papers put around them."""

from functools import partial

from convnn.nn.registry import register_layer
from convnn.nn.vision_graphs.adaptive import AdaptiveNeighborhoods2d
from convnn.nn.vision_graphs.axial import MGC2d, SVGA2d
from convnn.nn.vision_graphs.edge_conv import EdgeConv2d
from convnn.nn.vision_graphs.near_axial import DAGC2d
from convnn.nn.vision_graphs.non_local import NonLocal2d
from convnn.nn.vision_graphs.vig import ViG2d
from convnn.systems import PUBLISHED, System, register_family, register_system

register_family(
    "vision_graphs",
    "Graphs on maps",
    "Layers on maps (B, C, H, W) whose neighbours form a graph: nearest by feature, along the row and column, as many"
    " as each position wishes for, or everybody. Each goes where a convolution was.",
)
_fact = partial(System, family="vision_graphs", weighs="alike")
_register = partial(register_layer, fixed=("padding",))  # they work on the map as it is

RELATIVE = "the most that a neighbour has more, channel by channel, beside the own features, in a 1x1 convolution"

_register(
    "ViG",
    ViG2d,
    _fact(
        name="Vision GNN",
        selects="every d-th of the K d positions nearest by feature, of length 1",
        aggregates=RELATIVE,
        paper="arXiv 2206.00272",
        checked=f"{PUBLISHED}; the definition in loops; the aggregator of PyTorch Geometric on the same lists",
        where="convnn.nn.ViG2d",
    ),
)
_register(
    "EdgeConv",
    EdgeConv2d,
    _fact(
        name="EdgeConv",
        selects="every d-th of the K d positions nearest by feature",
        aggregates="the largest of an MLP of the own features and the difference to a neighbour",
        paper="arXiv 1801.07829",
        checked=f"{PUBLISHED}, of ViG's form; the definition in loops; EdgeConv of PyTorch Geometric on the same lists",
        where="convnn.nn.EdgeConv2d",
    ),
)
_register(
    "SVGA",
    SVGA2d,
    _fact(
        name="MobileViG: SVGA",
        selects="every s-th position of the own row and column",
        aggregates=RELATIVE.replace("more", "less"),
        paper="arXiv 2307.00395",
        checked=f"{PUBLISHED}; the definition in loops; rolled maps",
        where="convnn.nn.SVGA2d",
    ),
)
_register(
    "MGC",
    MGC2d,
    _fact(
        number=106,
        name="MobileViGv2: MGC",
        selects="the four positions s away in the own row and column",
        aggregates=RELATIVE,
        paper="arXiv 2406.05850",
        checked=f"{PUBLISHED}, of operator, Grapher and block; the definition in loops; rolled maps",
        where="convnn.nn.MGC2d",
    ),
)
_register(
    "DAGC",
    DAGC2d,
    _fact(
        number=29,
        name="GreedyViG: DAGC",
        selects="those of every s-th position of the own row and column that are close by feature",
        aggregates=RELATIVE,
        paper="arXiv 2405.06849",
        checked=f"{PUBLISHED}, of operator, Grapher and block; the definition in loops; rolled maps",
        where="convnn.nn.DAGC2d",
    ),
)
_register(
    "NonLocal",
    NonLocal2d,
    _fact(
        name="Non-local block",
        selects="every position",
        weighs="softmax of the inner products",
        aggregates="a sum, through a 1x1 convolution, beside the own features",
        paper="arXiv 1711.07971",
        checked="the definition in loops; neighbourhood attention in a window as large as the map",
        where="convnn.nn.NonLocal2d",
    ),
)
_register(
    "AdaptiveNeighborhoods",
    AdaptiveNeighborhoods2d,
    _fact(
        number=84,
        name="Adaptive neighbourhoods",
        selects="as many of the best of the k x k window as each position wishes for",
        weighs="a learned score of the edge, fading out at the wished number",
        aggregates="the weighted mean, or the largest weighted difference, beside the own features",
        paper="arXiv 2307.09065",
        checked="the published code, weights of the graph and all gradients; the definition in loops",
        where="convnn.nn.AdaptiveNeighborhoods2d convnn.nn.EdgeRanker convnn.nn.DegreeEstimator",
    ),
)
register_system(
    _fact(
        name="Grapher",
        selects="as the layer within",
        weighs="as the layer within",
        aggregates="as the layer within, between two 1x1 convolutions with batch normalisation",
        paper="arXiv 2206.00272",
        checked=f"{PUBLISHED}, around ViG, SVGA, MGC and DAGC",
        where="convnn.nn.Grapher2d",
    )
)
