"""The three steps of a neighbourhood layer: `select` the neighbours, `weigh` them, `aggregate` their values.

Where neighbours are fixed by place, `windows` and `sliding` take the three steps at once.
"""

from convnn.ops import aggregate, blocks, edges, projection, ragged, scan, select, triangular, weigh, windows
from convnn.ops._dispatch import BACKEND_CHOICES, backend_report, check_backend
from convnn.ops.neighbors import METRICS, Neighbors
from convnn.ops.sliding import REDUCTIONS, sliding_conv, sliding_reduce

__all__ = [
    "BACKEND_CHOICES",
    "METRICS",
    "REDUCTIONS",
    "Neighbors",
    "aggregate",
    "backend_report",
    "blocks",
    "check_backend",
    "edges",
    "projection",
    "ragged",
    "scan",
    "select",
    "sliding_conv",
    "sliding_reduce",
    "triangular",
    "weigh",
    "windows",
]
