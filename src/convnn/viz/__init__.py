"""Pictures and pages: whom the layers of a network choose, how a training run went, and how several compare."""

from convnn.viz.compare import draw_comparison
from convnn.viz.curves import draw_curves
from convnn.viz.neighbors import LayerNeighbors, choose_queries, find_neighbors
from convnn.viz.page import write_page
from convnn.viz.runs import Run, read_runs
from convnn.viz.sheet import draw_neighbors
from convnn.viz.statistics import LayerStatistics, neighbor_statistics
from convnn.viz.statistics_plot import draw_statistics

__all__ = [
    "LayerNeighbors",
    "LayerStatistics",
    "Run",
    "choose_queries",
    "draw_comparison",
    "draw_curves",
    "draw_neighbors",
    "draw_statistics",
    "find_neighbors",
    "neighbor_statistics",
    "read_runs",
    "write_page",
]
