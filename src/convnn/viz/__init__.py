"""Pictures and pages: neighbours that layers choose, receptive fields, curves of a run, and comparisons of runs."""

from convnn.viz.compare.plot import draw_comparison
from convnn.viz.curves import draw_curves
from convnn.viz.fields.field import FieldSide, field_sides, receptive_field
from convnn.viz.fields.layers import LayerField, layer_fields
from convnn.viz.fields.plot import draw_fields
from convnn.viz.graphs import draw_graph
from convnn.viz.kernels import LayerKernel, draw_kernels, find_kernels
from convnn.viz.neighbors.layers import LayerNeighbors, choose_queries, find_neighbors
from convnn.viz.neighbors.leaving import find_leaving, reduced_blocks
from convnn.viz.neighbors.page import write_page
from convnn.viz.neighbors.sheet import draw_neighbors
from convnn.viz.statistics.measure import LayerStatistics, neighbor_statistics
from convnn.viz.statistics.plot import draw_statistics
from convnn.viz.statistics.shape_bias import ShapeBias, shape_bias
from convnn.viz.tangents.attribution import draw_attribution
from convnn.viz.tangents.plot import draw_tangents
from convnn.viz.tangents.table import TangentRun
from convnn.viz.text import draw_text

__all__ = [
    "FieldSide",
    "LayerField",
    "LayerKernel",
    "LayerNeighbors",
    "LayerStatistics",
    "ShapeBias",
    "TangentRun",
    "choose_queries",
    "draw_attribution",
    "draw_comparison",
    "draw_curves",
    "draw_fields",
    "draw_graph",
    "draw_kernels",
    "draw_neighbors",
    "draw_statistics",
    "draw_tangents",
    "draw_text",
    "field_sides",
    "find_kernels",
    "find_leaving",
    "find_neighbors",
    "layer_fields",
    "neighbor_statistics",
    "receptive_field",
    "reduced_blocks",
    "shape_bias",
    "write_page",
]
