"""Hierarchical networks by name, and one of each family for quick tests."""

from convnn.models._registry import _MODELS
from convnn.models.hierarchical._skeleton import HierarchicalNetwork

HIERARCHICAL = [name for name, entry in _MODELS.items() if issubclass(entry.network, HierarchicalNetwork)]
SMALLEST = [
    "inceptionnext_tiny",
    "van_b0",
    "lsknet_t",
    "replknet_31b",
    "unireplknet_a",
    "shiftwise_tiny",
    "shiftwise_v1_tiny",
    "recnext_m0",
    "recnext_a0",
]


def is_usual(name: str) -> bool:
    """Return whether quick tests include a network: one of each family, because the others differ only in size."""
    return name not in HIERARCHICAL or name in SMALLEST
