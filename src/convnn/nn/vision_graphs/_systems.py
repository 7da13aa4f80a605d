"""Facts of the layers on maps whose neighbours form a graph, and of the blocks that papers put around them."""

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
    "Layers on maps (B, C, H, W) whose neighbours form a graph: nearest by feature, along the row and column, in a"
    " learned number, or all positions. Each of them can replace a convolution.",
)
_fact = partial(System, family="vision_graphs", weighs="equally")
_register = partial(register_layer, fixed=("padding",))  # these layers do not pad the map

DIFFERENCE = "the maximum of x_j - x_i over the neighbours, with the position's features, through a 1x1 convolution"
OPPOSITE = DIFFERENCE.replace("x_j - x_i", "x_i - x_j")

_register(
    "ViG",
    ViG2d,
    _fact(
        name="Vision GNN",
        published="MRConv of ViG",
        when="graphs by feature, inexpensive: a maximum and a 1x1 convolution",
        selects="every d-th of the K d positions nearest by feature, scaled to length 1",
        aggregates=DIFFERENCE,
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
        published="EdgeConv of DGCNN",
        when="an MLP for every edge",
        selects="every d-th of the K d positions nearest by feature",
        aggregates="the maximum of an MLP of the position's features and the difference to each neighbour",
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
        published="SVGA",
        when="no search at all: a fixed graph for mobile devices",
        selects="every s-th position of its row and column",
        aggregates=OPPOSITE,
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
        published="MGC",
        when="the smallest graph: four neighbours",
        selects="the four positions s away in its row and column",
        aggregates=DIFFERENCE,
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
        published="DAGC",
        when="a fixed graph without dissimilar neighbours",
        selects="every s-th position of its row and column that is close by feature",
        aggregates=DIFFERENCE,
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
        published="Non-local block",
        when="small maps, on which every position matters",
        selects="every position",
        weighs="softmax of the inner products",
        aggregates="a sum through a 1x1 convolution, added to the position's features",
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
        published="Adaptive neighbourhoods",
        when="a number of neighbours that differs between positions",
        selects="the best of the k x k window, in a learned number for each position",
        weighs="a learned score of the edge, fading out at the learned number",
        aggregates="the weighted mean, or the largest weighted difference, with the position's features",
        paper="arXiv 2307.09065",
        checked="the published code, graph weights and all gradients; the definition in loops",
        where="convnn.nn.AdaptiveNeighborhoods2d convnn.nn.EdgeRanker convnn.nn.DegreeEstimator",
    ),
)
register_system(
    _fact(
        name="Grapher",
        selects="as the inner layer",
        weighs="as the inner layer",
        aggregates="as the inner layer, between two 1x1 convolutions with batch normalisation",
        paper="arXiv 2206.00272",
        checked=f"{PUBLISHED}, around ViG, SVGA, MGC and DAGC",
        where="convnn.nn.Grapher2d",
    )
)
