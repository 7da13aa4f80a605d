"""Rows of features fetched for a sampler: gathered from the host, ahead of their use; and how many lines that reads."""

from convnn.graphs.fetch.features import HostFeatures, rows_of
from convnn.graphs.fetch.plan import GatherPlan, gather_plan, lines_of_rows, thread_block
from convnn.graphs.fetch.prefetch import Prefetcher

__all__ = ["GatherPlan", "HostFeatures", "Prefetcher", "gather_plan", "lines_of_rows", "rows_of", "thread_block"]
