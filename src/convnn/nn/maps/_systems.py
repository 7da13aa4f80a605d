"""Layers on maps whose positions choose, and the convolution that they begin with."""

from functools import partial

from torch import nn

from convnn.errors import check_at_least
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
    "Layers on maps (B, C, H, W) in which every position says who its neighbours are, and the convolution, in which its"
    " place says it. Each goes where a convolution was.",
)
_fact = partial(System, family="maps", paper="arXiv 2511.14137")


def _conv2d(in_channels: int, out_channels: int, *, kernel_size: int = 3) -> nn.Conv2d:
    check_at_least("kernel_size", kernel_size, 1)
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding="same")


register_layer(
    "Conv2d",
    _conv2d,
    _fact(
        name="Convolution",
        selects="the k x k window",
        weighs="alike",
        aggregates="a weight for each place and pair of channels",
        paper="PyTorch's",
        checked="it is PyTorch's own",
        where="torch.nn.Conv2d",
    ),
)
# The maps of these two keep their size: the setting `padding` is for those that search the whole map.
register_layer(
    "Conv2d_New",
    Conv2dNew,
    _fact(
        name="Convolution with coordinates",
        selects="the k x k window, of a map whose pixels may be shuffled",
        weighs="alike",
        aggregates="a weight for each place and pair of channels, coordinates among them",
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
        selects="the K most similar positions of the map, itself first",
        weighs="alike",
        aggregates="a weight for each rank and pair of channels",
        checked=f"{PUBLISHED}; the definition in loops; chosen by place it is the convolution",
        where="convnn.nn.ConvNN2d",
    ),
)
register_layer(
    "ConvNN_Pos",
    ConvNNPos2d,
    _fact(
        name="ConvNN by direction",
        selects="one position in each direction, for half of the channels the most similar",
        weighs="alike",
        aggregates="a weight for each direction and pair of channels",
        paper="ours",
        checked="the definition in loops; without reach it is the convolution",
        where="convnn.nn.ConvNNPos2d",
    ),
    fixed=("padding",),
)
register_layer(
    "ConvNN_Attn",
    ConvNNAttn2d,
    _fact(
        name="ConvNN with attention weights",
        selects="the K most similar positions by learned projections, itself first",
        weighs="softmax of the similarities",
        aggregates="a weight for each rank and channel, then a 1x1 convolution",
        checked=f"{PUBLISHED}; the definition in loops; with every position it is dense attention",
        where="convnn.nn.ConvNNAttn2d",
    ),
)
register_layer(
    "Branching",
    Branching2d.with_convnn,
    _fact(
        name="Branching",
        selects="the K most similar positions, and the k x k window, for a share of the channels each",
        weighs="alike",
        aggregates="ConvNN beside a convolution, mixed by a 1x1 convolution",
        checked=f"{PUBLISHED}; at either end of the share it is one layer and the mix",
        where="convnn.nn.Branching2d",
    ),
    ConvNN2d,
)
register_layer(
    "Branching_Attn",
    Branching2d.with_attention,
    _fact(
        name="Branching with attention weights",
        selects="the K most similar positions by learned projections, and the k x k window",
        weighs="softmax of the similarities, and alike",
        aggregates="ConvNN with attention weights beside a convolution, mixed by a 1x1 convolution",
        checked=f"{PUBLISHED}; at either end of the share it is one layer and the mix",
        where="convnn.nn.Branching2d",
    ),
    ConvNNAttn2d,
)
