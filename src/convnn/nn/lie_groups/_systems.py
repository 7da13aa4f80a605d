"""Facts of the convolutions over matrix groups."""

from convnn.nn.lie_groups.layers import LieConv2d
from convnn.nn.registry import register_layer
from convnn.systems import PUBLISHED, System

register_layer(
    "LieConv",
    LieConv2d,
    System(
        family="windows",
        number=90,
        name="Lie groups: kernels moved by linear maps",
        published="LiftGConv2d and the group convolution, gl2 and sl2",
        when="objects that are turned, stretched or sheared",
        selects="the k x k window, moved by sampled elements of GL+(2, R) or SL(2, R)",
        weighs="equally",
        aggregates="a kernel that is a function of the moved coordinates, then the largest over the elements",
        paper="arXiv 2310.11366",
        checked=f"{PUBLISHED}, maps, samples and lifting; SciPy's polar factors; quarter turns, exactly",
        where="convnn.nn.LieConv2d convnn.nn.LiftConv2d convnn.nn.GroupConv2d",
    ),
    fixed=("padding", "bounds", "sample_inference"),
)
