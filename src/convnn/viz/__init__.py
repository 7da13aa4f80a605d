"""Pictures and pages: whom the layers of a network choose, and how a training run went."""

from convnn.viz.curves import draw_curves
from convnn.viz.neighbors import LayerNeighbors, choose_queries, find_neighbors
from convnn.viz.page import write_page
from convnn.viz.sheet import draw_neighbors

__all__ = ["LayerNeighbors", "choose_queries", "draw_curves", "draw_neighbors", "find_neighbors", "write_page"]
