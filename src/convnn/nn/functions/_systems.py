"""Facts of the layers whose kernel is a function of the offset."""

from functools import partial

from convnn.nn.functions.dense import CKConv2d
from convnn.nn.registry import register_layer
from convnn.systems import PUBLISHED, System, register_family

register_family(
    "functions",
    "Kernels that are functions",
    "Layers on maps whose kernel is a function of the offset, so that the same weights serve any length and resolution."
    " Everything within reach is selected; they differ in the function.",
)
_fact = partial(System, family="functions", weighs="equally")
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
