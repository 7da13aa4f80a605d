"""The three steps of a neighbourhood layer: `select` the neighbours, `weigh` them, `aggregate` their values.

from convnn.ops import aggregate, blocks, scan, select, triangular, weigh
Where neighbours are fixed by place, and each channel has its own kernel, `windows` takes the three steps at once.
"""

from convnn.ops import aggregate, blocks, edges, ragged, scan, select, weigh, windows
from convnn.ops._dispatch import BACKEND_CHOICES, backend_report, check_backend
from convnn.ops.neighbors import METRICS, Neighbors

__all__ = [
    "BACKEND_CHOICES",
    "METRICS",
    "Neighbors",
    "aggregate",
    "backend_report",
    "blocks",
    "check_backend",
    "edges",
    "ragged",
    "scan",
    "select",
    "triangular",
    "weigh",
    "windows",
]
