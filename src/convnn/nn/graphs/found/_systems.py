"""Facts of the layers on a graph that a search finds, and of ConvNN on a given one."""

from functools import partial

from convnn.nn.graphs import _family  # noqa: F401
from convnn.nn.graphs.found import _forms  # noqa: F401
from convnn.nn.graphs.found.convnn import GraphConvNN, GraphConvNNAttn
from convnn.nn.registry import register_layer
from convnn.systems import PUBLISHED, System, register_system

_fact = partial(System, family="graphs")
_register = partial(register_layer, reads="graphs")


_register(
    "GraphConvNN",
    GraphConvNN,
    _fact(
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
)
_register(
    "GraphConvNN_Attn",
    GraphConvNNAttn,
    _fact(
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
)
register_system(
    _fact(
        number=83,
        name="UNet-GNN: a graph below a U-Net",
        selects="on the deepest map of a volume, the 26 voxels around, or the 10 with the most similar features",
        weighs="equally, or by a softmax of additive scores",
        aggregates="a mean, with a linear map of its own beside that of the voxel, four times, between convolutions",
        paper="arXiv 1908.08588",
        checked=f"{PUBLISHED}, of module, neighbours and network; GraphConv of PyTorch Geometric; the periodic graph as"
        " a circular convolution; the definition in loops",
        where="convnn.models.segmentation.GraphUNet3d convnn.models.segmentation.GraphBottleneck3d"
        " convnn.nn.GraphOnGrid3d",
    )
)
