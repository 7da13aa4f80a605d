"""Matching: which place of one image, or which node of one graph, is which of another."""

from convnn.ops.assignment import match
from convnn.tasks.match.pairs import affine_flow, share_right, warp_pair
from convnn.tasks.match.picture import draw_matches
from convnn.tasks.match.sampling import Sample, balanced_sample

__all__ = [
    "Sample",
    "affine_flow",
    "balanced_sample",
    "draw_matches",
    "match",
    "share_right",
    "warp_pair",
]
