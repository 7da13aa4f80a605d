"""Layers in which every position chooses its neighbours.

A convolution looks at the k x k window, attention looks everywhere with soft weights, a ConvNN layer picks the K most
similar positions of the whole map and convolves them. The three differ in who the neighbours are (`ops.select`), how
much each counts (`ops.weigh`) and how they are put together (`ops.aggregate`).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convnn import models, nn, ops
    from convnn.nn import replace_layers

__version__ = "0.1.0"

__all__ = ["__version__", "models", "nn", "ops", "replace_layers"]


def __getattr__(name: str) -> Any:
    """Import a part of the package at its first use: torch takes seconds, in which signals must be answered."""
    if name not in __all__:
        raise AttributeError(f"module 'convnn' has no attribute {name!r}")
    if name == "replace_layers":
        return importlib.import_module("convnn.nn").replace_layers
    return importlib.import_module(f"convnn.{name}")
