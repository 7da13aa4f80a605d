"""Facts of the layers on maps whose neighbours are fixed by place in a window."""

from functools import partial

from convnn.nn.registry import register_layer
from convnn.nn.windows.bands import InceptionDW2d
from convnn.nn.windows.large_kernel import RepLK2d, UniRepLK2d
from convnn.nn.windows.multi_kernel import MultiKernelDW2d
from convnn.nn.windows.neighborhood import NeighborhoodAttention2d
from convnn.systems import PUBLISHED, System, register_family, register_system

register_family(
    "windows",
    "Windows",
    "Layers on maps (B, C, H, W) whose neighbours are fixed by place in a window around each position. They differ in"
    " the weights.",
)
_fact = partial(System, family="windows", weighs="equally")
_register = partial(register_layer, fixed=("padding",))  # these layers continue the map by zeros, or not at all

_register(
    "NeighborhoodAttention2d",
    NeighborhoodAttention2d,
    _fact(
        number=68,
        name="TCSR: neighbourhood attention",
        published="Neighborhood attention, NATTEN",
        when="attention at a cost linear in the map",
        selects="the k x k window, shifted inwards at the border",
        weighs="softmax of the scaled inner products and a learned bias for each offset",
        aggregates="a sum in each head, then a linear layer",
        paper="arXiv 2303.14324, arXiv 2204.07143",
        checked=f"{PUBLISHED}, NATTEN's; the definition in loops; NonLocal, for a window as large as the map",
        where="convnn.nn.NeighborhoodAttention2d",
    ),
)
register_system(
    _fact(
        name="Spatial shift",
        selects="one of the eight adjacent positions, a different one for each eighth of the channels",
        aggregates="a copy of the neighbour",
        paper="arXiv 2307.16140",
        checked=f"{PUBLISHED}, that of the same author's SCNet",
        where="convnn.nn.SpatialShift2d",
    )
)
_register(
    "RepLK",
    RepLK2d,
    _fact(
        number=54,
        name="RepLKNet: large kernel",
        published="ReparamLargeKernelConv",
        when="a wide view at the cost of a depthwise kernel",
        selects="the k x k window, k up to 31",
        aggregates="a kernel for each channel, trained with a smaller one that it takes in, then a 1x1 convolution",
        paper="arXiv 2203.06717",
        checked=f"{PUBLISHED}; timm's layer with the same weights; merged and trained form",
        where="convnn.nn.RepLK2d",
    ),
)
_register(
    "UniRepLK",
    UniRepLK2d,
    _fact(
        number=8,
        name="UniRepLKNet: dilated branches",
        published="DilatedReparamBlock",
        when="a wide view whose kernel is trained in sparse parts",
        selects="the k x k window, k from 5 to 17",
        aggregates="a kernel for each channel, trained with dilated ones that it takes in, then a 1x1 convolution",
        paper="arXiv 2311.15599, arXiv 2410.08049",
        checked=f"{PUBLISHED}; the published kernel; merged and trained form",
        where="convnn.nn.UniRepLK2d",
    ),
)
_register(
    "InceptionDW",
    InceptionDW2d,
    _fact(
        number=4,
        name="InceptionNeXt: square and bands",
        published="InceptionDWConv2d",
        when="a long view that costs little: most channels are left as they are",
        selects="the square, the row or the column around the position, for three shares of the channels; itself",
        aggregates="a kernel for each channel of a share, then a 1x1 convolution",
        paper="arXiv 2303.16900",
        checked=f"{PUBLISHED}; timm's layer with the same weights; one large kernel",
        where="convnn.nn.InceptionDW2d",
    ),
)
_register(
    "MultiKernelDW",
    MultiKernelDW2d,
    _fact(
        number=9,
        name="MK-UNet: kernels of several sizes",
        published="MKDC and MKIR",
        when="details and surroundings together, in small networks",
        selects="windows of several sizes, usually 1, 3 and 5",
        aggregates="a kernel of each size for each channel, normalised, activated and summed, between 1x1 convolutions",
        paper="arXiv 2509.18493",
        checked=f"{PUBLISHED}, running statistics too; one kernel, before the activation; merged and trained form",
        where="convnn.nn.MultiKernelDW2d",
    ),
)
