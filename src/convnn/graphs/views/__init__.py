"""Views of a graph: some edges, some features, or two halves of the edges that are complements of each other."""

from convnn.graphs.views.edges import complementary_views, drop_edges
from convnn.graphs.views.features import drop_features

__all__ = ["complementary_views", "drop_edges", "drop_features"]
