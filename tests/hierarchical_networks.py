"""Hierarchical networks by name, one of each family for quick tests, and tiny ones of each."""

from functools import partial
from typing import Any

from convnn.models import (
    VAN,
    InceptionNeXt,
    LSKNet,
    RecNeXt,
    RecNeXtA,
    RepLKNet,
    Shiftwise,
    ShiftwiseV1,
    SMPConvNet,
    UniRepLKNet,
)
from convnn.models._registry import _MODELS
from convnn.models.hierarchical._skeleton import HierarchicalNetwork
from convnn.nn import layer_factory

HIERARCHICAL = [name for name, entry in _MODELS.items() if issubclass(entry.network, HierarchicalNetwork)]
SMALLEST = [
    "inceptionnext_tiny",
    "van_b0",
    "lsknet_t",
    "replknet_31b",
    "smpconv_t",
    "unireplknet_a",
    "shiftwise_tiny",
    "shiftwise_v1_tiny",
    "recnext_m0",
    "recnext_a0",
    "gcvit_xxtiny",
]

DEPTHS, CHANNELS, BANDS = (1, 1, 2, 1), (8, 12, 16, 24), (11, 9, 7, 5)
TINY = {
    "InceptionNeXt": partial(InceptionNeXt, DEPTHS, CHANNELS),
    "VAN": partial(VAN, DEPTHS, CHANNELS, (4, 4, 2, 2)),
    "LSKNet": partial(LSKNet, DEPTHS, CHANNELS, (4, 4, 2, 2)),
    "RepLKNet": partial(RepLKNet, DEPTHS, CHANNELS, (9, 9, 7, 5), 1.5),
    "SMPConvNet": partial(SMPConvNet, DEPTHS, CHANNELS, (9, 9, 7, 5), 1),
    "UniRepLKNet": partial(UniRepLKNet, CHANNELS, [[3], [7], [9, 3], [13]]),
    "Shiftwise": partial(Shiftwise, DEPTHS, CHANNELS, BANDS),
    "ShiftwiseV1": partial(ShiftwiseV1, DEPTHS, CHANNELS, BANDS),
    "RecNeXt": partial(RecNeXt, DEPTHS, (6, 12, 24, 48), 2),
    "RecNeXtA": partial(RecNeXtA, DEPTHS, (6, 12, 24, 48), 1.3),
}
"""By the class: a network of four blocks or so, for settings of any layer and of the network."""


def tiny(family: str, layer: str | None = None, *, settings: dict[str, Any] | None = None, **of_network: Any) -> Any:
    """Build a tiny network of a family; None is its own layer."""
    build = TINY[family]
    return build(layer_factory(layer or build.func.default_layer, **settings or {}), num_classes=5, **of_network)


def is_usual(name: str) -> bool:
    """Return whether quick tests include a network: one of each family, because the others differ only in size."""
    return name not in HIERARCHICAL or name in SMALLEST
