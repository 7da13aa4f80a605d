"""Pictures and pages: neighbours that layers choose, receptive fields, curves of a run, and comparisons of runs."""

from convnn.viz.compare.plot import draw_comparison
from convnn.viz.curves import draw_curves
from convnn.viz.kernels import LayerKernel, draw_kernels, find_kernels
from convnn.viz.neighbors.layers import LayerNeighbors, choose_queries, find_neighbors
from convnn.viz.neighbors.page import write_page
from convnn.viz.neighbors.sheet import draw_neighbors
from convnn.viz.receptive_field import FieldSide, field_sides, receptive_field
from convnn.viz.statistics.measure import LayerStatistics, neighbor_statistics
from convnn.viz.statistics.plot import draw_statistics

__all__ = [
    "FieldSide",
    "LayerKernel",
    "LayerNeighbors",
    "LayerStatistics",
    "choose_queries",
    "draw_comparison",
    "draw_curves",
    "draw_kernels",
    "draw_neighbors",
    "draw_statistics",
    "field_sides",
    "find_kernels",
    "find_neighbors",
    "neighbor_statistics",
    "receptive_field",
    "write_page",
]
