"""Facts of the layers on maps whose neighbours are fixed by place in a window."""

from functools import partial

from convnn.nn.registry import register_layer
from convnn.nn.windows.neighborhood import NeighborhoodAttention2d
from convnn.systems import PUBLISHED, System, register_family, register_system

register_family(
    "windows",
    "Windows",
    "Layers on maps (B, C, H, W) whose neighbours are fixed by place in a window around each position. They differ in"
    " the weights.",
)
_fact = partial(System, family="windows", weighs="equally")

register_layer(
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
    fixed=("padding",),  # it uses the map without padding
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
