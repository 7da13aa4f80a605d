"""Who the neighbours are: the nearest, those on a grid, those that share neighbours, and graphs that are learned.

`nearest` needs only torch; the other modules, one for each way to learn a graph, are imported with their first name.
"""

import importlib
from typing import TYPE_CHECKING, Any

from convnn.graphs.build.nearest import grid_graph, knn_graph, radius_graph

if TYPE_CHECKING:
    from convnn.graphs.build.consensus import GraphGenerator, pagerank_view
    from convnn.graphs.build.cut_off import (
        AdaptiveFilter,
        AdaptiveNeighbors,
        Quality,
        cut_edges,
        fit_filter,
        prefix_quality,
        quality_cut,
        relative_huber,
        symmetric_edges,
    )
    from convnn.graphs.build.deconvolution import (
        GDN,
        GDNLayer,
        best_threshold,
        edge_hinge,
        edge_nse,
        edge_se,
        to_edge_index,
        upper_triangle,
    )
    from convnn.graphs.build.structure import (
        Ranked,
        nearest_lists,
        reciprocal_neighbors,
        shared_neighbors,
        structure_space,
    )

_LEARNED = ("consensus", "cut_off", "deconvolution", "structure")

__all__ = [
    "GDN",
    "AdaptiveFilter",
    "AdaptiveNeighbors",
    "GDNLayer",
    "GraphGenerator",
    "Quality",
    "Ranked",
    "best_threshold",
    "cut_edges",
    "edge_hinge",
    "edge_nse",
    "edge_se",
    "fit_filter",
    "grid_graph",
    "knn_graph",
    "nearest_lists",
    "pagerank_view",
    "prefix_quality",
    "quality_cut",
    "radius_graph",
    "reciprocal_neighbors",
    "relative_huber",
    "shared_neighbors",
    "structure_space",
    "symmetric_edges",
    "to_edge_index",
    "upper_triangle",
]


def __getattr__(name: str) -> Any:
    """Import the learned graphs with the first of their names: scipy takes a second."""
    if name in __all__:
        for module in _LEARNED:
            found = importlib.import_module(f"{__name__}.{module}")
            if name in vars(found):
                return vars(found)[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
