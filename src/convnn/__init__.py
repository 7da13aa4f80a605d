"""Layers in which every position chooses its neighbours.

A convolution looks at the k x k window, attention looks everywhere with soft weights, a ConvNN layer picks the K most
similar positions of the whole map and convolves them. The three differ in who the neighbours are (`ops.select`), how
much each counts (`ops.weigh`) and how they are put together (`ops.aggregate`).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convnn import data, export, graphs, hub, models, nn, ops, study, train, viz
    from convnn.nn import merge, reduce_tokens, replace_depthwise, replace_layers, share_kernels
    from convnn.train import load

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "data",
    "export",
    "graphs",
    "hub",
    "load",
    "merge",
    "models",
    "nn",
    "ops",
    "reduce_tokens",
    "replace_depthwise",
    "replace_layers",
    "share_kernels",
    "study",
    "train",
    "viz",
]

_FUNCTIONS = {
    "merge": "convnn.nn",
    "reduce_tokens": "convnn.nn",
    "replace_depthwise": "convnn.nn",
    "replace_layers": "convnn.nn",
    "share_kernels": "convnn.nn",
    "load": "convnn.train",
}
"""What the package offers by itself, and the modules that have it."""


def __getattr__(name: str) -> Any:
    """Import a part of the package at its first use: torch takes seconds, in which signals must be answered."""
    if name not in __all__:
        advice = "; layers are in convnn.nn" if name[:1].isupper() else ""
        raise AttributeError(f"module 'convnn' has no attribute {name!r}{advice}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    return importlib.import_module(f"convnn.{name}")


def __dir__() -> list[str]:
    """List what there is, whether it has been imported yet or not."""
    return sorted(__all__)
