"""Who the neighbours are: the nearest, those on a grid, those that share neighbours, and graphs that are learned.

`nearest` needs only torch; the other modules, one for each way to learn a graph, are imported with their first name.
"""

import importlib
from typing import Any

from convnn.graphs.build.nearest import grid_graph, knn_graph, radius_graph

_LEARNED = {
    "structure": ("Ranked", "nearest_lists", "reciprocal_neighbors", "shared_neighbors", "structure_space"),
    "cut_off": (
        "AdaptiveFilter",
        "AdaptiveNeighbors",
        "Quality",
        "cut_edges",
        "fit_filter",
        "prefix_quality",
        "quality_cut",
        "relative_huber",
        "symmetric_edges",
    ),
    "deconvolution": (
        "GDN",
        "GDNLayer",
        "best_threshold",
        "edge_hinge",
        "edge_nse",
        "edge_se",
        "to_edge_index",
        "upper_triangle",
    ),
    "consensus": ("GraphGenerator", "pagerank_view"),
}
_HOMES = {name: module for module, names in _LEARNED.items() for name in names}

__all__ = ["grid_graph", "knn_graph", "radius_graph", *_HOMES]


def __getattr__(name: str) -> Any:
    """Import a module at the first use of a name in it: scipy takes a second."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
