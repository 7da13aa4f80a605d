"""Facts of the layers whose kernel is a function of the offset."""

from functools import partial

from convnn.nn.generated.dense import CKConv2d, FlexConv2d, SMPConv2d
from convnn.nn.generated.long import LongConv2d, SGConv2d
from convnn.nn.generated.separable import CCNNConv2d
from convnn.nn.registry import register_layer
from convnn.systems import PUBLISHED, System, register_family, register_system

register_family(
    "generated",
    "Generated kernels",
    "Layers on maps whose kernel is a function of the offset, so that the same weights serve any length and resolution."
    " Everything within reach is selected; they differ in the function.",
)
_fact = partial(System, family="generated", weighs="equally")
_register = partial(register_layer, fixed=("padding",))  # these layers continue the map by zeros

_register(
    "CKConv",
    CKConv2d,
    _fact(
        number=1,
        name="CKConv: continuous kernel",
        published="CKConv",
        when="signals of any length and sampling rate; smooth kernels as long as the map",
        selects="every position within the horizon, up to the whole map",
        aggregates="a kernel for each pair of channels, which a small network of the offset computes",
        paper="arXiv 2102.02611",
        checked=f"{PUBLISHED}, in both forms; the definition in loops; a direct convolution and one by FFT",
        where="convnn.nn.CKConv2d",
    ),
)
_register(
    "SMPConv",
    SMPConv2d,
    _fact(
        number=2,
        name="SMPConv: moving points",
        published="SMPConv",
        when="large kernels with few weights that are nothing in most places",
        selects="the positions that the points of an output reach, up to the whole map",
        aggregates="a kernel for each pair of channels, interpolated from points with learned places and radii",
        paper="arXiv 2304.02330",
        checked=f"{PUBLISHED}, in both forms; the definition in loops; depthwise weights, for points on the grid",
        where="convnn.nn.SMPConv2d convnn.nn.PointsAndSmall",
    ),
)
_register(
    "FlexConv",
    FlexConv2d,
    _fact(
        number=91,
        name="FlexConv: learned size",
        published="FlexConv, with MAGNet",
        when="kernels of unknown size, which cost as much as the size that they learn",
        selects="the positions at which a learned Gaussian is above a threshold",
        aggregates="a kernel for each pair of channels, from products of Gabor filters, times the Gaussian",
        paper="arXiv 2110.08059",
        checked=f"{PUBLISHED}; the definition in loops; the inner part of the kernel that is not cut off",
        where="convnn.nn.FlexConv2d",
    ),
)
_register(
    "CCNNConv",
    CCNNConv2d,
    _fact(
        number=20,
        name="CCNN: one layer for any axes",
        published="SeparableFlexConv",
        when="wide layers of continuous kernels; one network for signals, images and volumes",
        selects="the positions at which a learned Gaussian is above a threshold",
        aggregates="a kernel for each channel, from products of Gabor filters, times the Gaussian; a 1x1 convolution",
        paper="arXiv 2301.10540",
        checked=f"{PUBLISHED}, on one, two and three axes; the definition in loops",
        where="convnn.nn.CCNNConv2d",
    ),
)
register_system(
    _fact(
        name="CCNN: points in space",
        selects="the nearest points",
        weighs="by a Gaussian of the distance",
        aggregates="a kernel for each channel, which a network of the offset computes, then a linear layer",
        paper="arXiv 2301.10540",
        checked=f"{PUBLISHED}, corrected where it multiplies the wrong point",
        where="convnn.nn.PointConv",
    )
)
_register(
    "SGConv",
    SGConv2d,
    _fact(
        number=65,
        name="SGConv: growing blocks",
        published="GConv; no relation to the SGConv of graphs",
        when="signals of thousands of positions, with few weights",
        selects="every position, in raster order",
        aggregates="a kernel for each channel of blocks that grow and decay with the distance, then a 1x1 convolution",
        paper="arXiv 2210.09298",
        checked=f"{PUBLISHED}; the definition in loops",
        where="convnn.nn.SGConv2d convnn.nn.LagConv",
    ),
)
_register(
    "LongConv",
    LongConv2d,
    _fact(
        number=76,
        name="Long convolution: squashed taps",
        published="LongConv",
        when="signals of known length, where nothing is known about the kernel",
        selects="every position, in raster order",
        aggregates="a kernel of free taps for each channel, small ones squashed to 0, then a 1x1 convolution",
        paper="arXiv 2302.06646",
        checked=f"{PUBLISHED}, in both forms; the definition in loops; FFT by butterfly matrices",
        where="convnn.nn.LongConv2d convnn.nn.LagConv",
    ),
)
