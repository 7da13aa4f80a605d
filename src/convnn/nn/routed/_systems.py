"""Facts of the layers whose kernel depends on the input, and of kernels that layers share."""

from functools import partial

from convnn.nn.registry import register_layer
from convnn.nn.routed.experts import CondConv2d
from convnn.nn.routed.frequency import FDConv2d
from convnn.systems import PUBLISHED, System, register_family, register_system

register_family(
    "routed",
    "Kernels chosen by the input",
    "Convolutions whose kernel is mixed anew for every image, and kernels that several layers share.",
)
_fact = partial(System, family="routed", selects="the k x k window")

register_layer(
    "CondConv",
    CondConv2d,
    _fact(
        number=35,
        name="CondConv: mixed experts",
        published="CondConv2d, with its routing",
        when="more capacity at the cost of one convolution",
        weighs="a share of each expert, a sigmoid of the mean of the map",
        aggregates="a weight for each place and pair of channels, mixed of those of the experts",
        paper="arXiv 1904.04971",
        checked=f"{PUBLISHED}, timm's; timm's layer with the same weights; the mixture of the experts' outputs",
        where="convnn.nn.CondConv2d",
    ),
    fixed=("padding",),
)
register_layer(
    "FDConv",
    FDConv2d,
    _fact(
        number=107,
        name="FDConv: mixed frequencies",
        published="FDConv",
        when="kernels and bands of the map weighted by frequency, in dense tasks",
        weighs="a factor of each group of frequencies of the kernel; of each band of the map, by position",
        aggregates="a weight for each place and pair of channels, mixed of groups of frequencies",
        paper="arXiv 2503.18783",
        checked=f"{PUBLISHED}, kernels and weighted map too; the definition in loops; a convolution, for factors of 1",
        where="convnn.nn.FDConv2d",
    ),
    fixed=("padding",),
)
register_system(
    _fact(
        number=71,
        name="GKNet: kernels of pixels",
        selects="the cells of the background that match a pixel best; then the k x k window",
        weighs="softmax of the scaled inner products; then a kernel predicted for each pixel",
        aggregates="a sum, then a sum in each channel",
        paper="arXiv 2305.11676",
        checked="another implementation, with all gradients; a depthwise convolution; PyTorch's masked attention",
        where="convnn.nn.PixelKernels2d convnn.nn.pixel_kernel_conv",
    )
)
register_system(
    _fact(
        number=59,
        name="PKL: kernels updated by prototypes",
        selects="the pixels that a class claims in this image",
        weighs="softmax over the classes; then a gate for each channel",
        aggregates="a mean, which becomes part of the class's kernel; further classes join as prototypes",
        paper="arXiv 2308.04952",
        checked="another implementation, with all gradients; a 1x1 convolution; loops",
        where="convnn.nn.PrototypicalKernelHead convnn.nn.novel_kernel"
        " convnn.tasks.segment.foreground.ForegroundPerception",
    )
)
register_system(
    _fact(
        number=55,
        name="Kernel sharing",
        selects="the layers of one shape in a stage of a network",
        weighs="equally",
        aggregates="the gradients of all uses of one kernel, in a sum",
        paper="arXiv 2210.14151",
        checked=f"{PUBLISHED}, in ConvMixer and SE-ResNet; the sum of the gradients of separate kernels",
        where="convnn.nn.share_kernels",
    )
)
