"""Matching: which place of one image, or which node of one graph, is which of another."""

from convnn.data.motions import smooth_maps
from convnn.nn.matches.hough_matcher import HoughMatcher
from convnn.nn.matches.refiner import WarpRefiner, refine
from convnn.nn.matches.regression import KernelRegressionMatcher, nearest_places
from convnn.nn.matches.transfer import expected_targets, transfer_keypoints
from convnn.tasks.match.assignment import match
from convnn.tasks.match.pairs import affine_flow, share_right, warp_pair
from convnn.tasks.match.picture import draw_matches
from convnn.tasks.match.sampling import Sample, balanced_sample

__all__ = [
    "HoughMatcher",
    "KernelRegressionMatcher",
    "Sample",
    "WarpRefiner",
    "affine_flow",
    "balanced_sample",
    "draw_matches",
    "expected_targets",
    "match",
    "nearest_places",
    "refine",
    "share_right",
    "smooth_maps",
    "transfer_keypoints",
    "warp_pair",
]
