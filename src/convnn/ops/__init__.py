"""What a neighbourhood layer does, in three steps: `select` who, `weigh` how much, `aggregate` how."""

from convnn.ops import aggregate, select, weigh
from convnn.ops.neighbors import METRICS, Neighbors

__all__ = ["METRICS", "Neighbors", "aggregate", "select", "weigh"]
