"""Facts of the layers on maps in which positions choose, and of the convolution, their baseline."""

from functools import partial

from torch import nn

from convnn.nn.kernels.convolution import same_convolution
from convnn.nn.maps.attention import ConvNNAttn2d
from convnn.nn.maps.branching import Branching2d
from convnn.nn.maps.conv_new import Conv2dNew
from convnn.nn.maps.convnn import ConvNN2d
from convnn.nn.maps.placed import ConvNNPos2d
from convnn.nn.registry import register_layer
from convnn.systems import PUBLISHED, System, register_family

register_family(
    "maps",
    "Positions that choose",
    "Layers on maps (B, C, H, W) in which every position chooses its neighbours, and the convolution, whose neighbours"
    " are fixed by place. Each of them can replace a convolution.",
)
_fact = partial(System, family="maps", paper="arXiv 2511.14137")


register_layer(
    "Conv2d",
    partial(same_convolution, nn.Conv2d),
    _fact(
        name="Convolution",
        published="Conv2d",
        when="the baseline, and tasks for which place alone is enough",
        selects="the k x k window",
        weighs="equally",
        aggregates="a weight for each place in the window and pair of channels",
        paper="PyTorch",
        checked="the layer is PyTorch's",
        where="torch.nn.Conv2d",
    ),
)
# Convolutions keep the size of the map: the setting `padding` is for layers that search the whole map.
register_layer(
    "Conv2d_New",
    Conv2dNew,
    _fact(
        name="Convolution with coordinates",
        published="Conv2d_New",
        when="a baseline with coordinates, or on shuffled pixels",
        selects="the k x k window, of a map whose pixels may be shuffled",
        weighs="equally",
        aggregates="a weight for each place and pair of channels, including two of coordinates",
        checked=f"{PUBLISHED}; the definition in loops",
        where="convnn.nn.Conv2dNew",
    ),
    fixed=("padding",),
)
register_layer(
    "ConvNN",
    ConvNN2d,
    _fact(
        name="ConvNN",
        published="ConvNN, Conv2d_NN",
        when="neighbours by content, from anywhere on the map",
        selects="the K most similar positions of the map, the position itself first",
        weighs="equally",
        aggregates="a weight for each rank and pair of channels",
        checked=f"{PUBLISHED}; the definition in loops; the convolution, for neighbours chosen by place",
        where="convnn.nn.ConvNN2d",
    ),
)
register_layer(
    "ConvNN_Pos",
    ConvNNPos2d,
    _fact(
        name="ConvNN by direction",
        published="not published",
        when="neighbours by content with a known direction; can keep a convolution's weights",
        selects="one position in each direction; for half of the channels, the most similar one there",
        weighs="equally",
        aggregates="a weight for each direction and pair of channels",
        paper="this library",
        checked="the definition in loops; the convolution, for reach=0",
        where="convnn.nn.ConvNNPos2d",
    ),
    fixed=("padding",),
)
register_layer(
    "ConvNN_Attn",
    ConvNNAttn2d,
    _fact(
        name="ConvNN with attention weights",
        published="ConvNN attention, Conv2d_NN_Attn",
        when="learned similarity and soft weights",
        selects="the K most similar positions by learned projections, the position itself first",
        weighs="softmax of the similarities",
        aggregates="a weight for each rank and channel, then a 1x1 convolution",
        checked=f"{PUBLISHED}; the definition in loops; dense attention, for K of all positions",
        where="convnn.nn.ConvNNAttn2d",
    ),
)
register_layer(
    "Branching",
    Branching2d.with_convnn,
    _fact(
        name="Branching",
        published="Branching, Conv2d_Branching",
        when="content for a share of the channels, place for the rest",
        selects="the K most similar positions for a share of the channels, the k x k window for the rest",
        weighs="equally",
        aggregates="ConvNN and a convolution in parallel, mixed by a 1x1 convolution",
        checked=f"{PUBLISHED}; one branch and the mixing convolution, for branch_ratio 0 or 1",
        where="convnn.nn.Branching2d",
    ),
    ConvNN2d,
)
register_layer(
    "Branching_Attn",
    Branching2d.with_attention,
    _fact(
        name="Branching with attention weights",
        published="Branching, Conv2d_Attn_Branching",
        when="as Branching, with learned similarity",
        selects="the K most similar positions by learned projections, and the k x k window",
        weighs="softmax of the similarities, or equally",
        aggregates="ConvNN with attention weights and a convolution in parallel, mixed by a 1x1 convolution",
        checked=f"{PUBLISHED}; one branch and the mixing convolution, for branch_ratio 0 or 1",
        where="convnn.nn.Branching2d",
    ),
    ConvNNAttn2d,
)
