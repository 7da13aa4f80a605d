"""What is done to graphs: build, coarsen, sample, embed, view; the walks that two take are `convnn.ops.walks`."""

import importlib
from typing import Any

from convnn.graphs.build import grid_graph, knn_graph, radius_graph

__all__ = ["coarsen", "embed", "grid_graph", "knn_graph", "radius_graph", "sample", "views"]

_PARTS = ("coarsen", "embed", "sample", "views")


def __getattr__(name: str) -> Any:
    """Import a part at its first use: scikit-learn and scipy take a second."""
    if name not in _PARTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
