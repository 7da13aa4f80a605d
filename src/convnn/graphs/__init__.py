"""What is done to graphs: build, cluster, coarsen, describe, embed, fetch, sample, view (walks are in `ops.walks`)."""

import importlib
from typing import Any

from convnn.graphs.build import grid_graph, knn_graph, radius_graph

__all__ = [
    "cluster",
    "coarsen",
    "embed",
    "fetch",
    "grid_graph",
    "knn_graph",
    "radius_graph",
    "random_features",
    "sample",
    "views",
]

_PARTS = ("cluster", "coarsen", "embed", "fetch", "random_features", "sample", "views")


def __getattr__(name: str) -> Any:
    """Import a part at its first use: scikit-learn and scipy take a second."""
    if name not in _PARTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
