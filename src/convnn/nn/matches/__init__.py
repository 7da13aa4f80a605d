"""Layers in the space of matches, (B, C, H, W, H', W') or with two axes of scales, and the matchers around them."""

from convnn.nn.matches.centre_pivot import CentrePivotConv4d
from convnn.nn.matches.classes import SHARINGS, pair_classes
from convnn.nn.matches.hough import CHM4d, CHM6d
from convnn.nn.matches.hough_matcher import HoughMatcher
from convnn.nn.matches.refiner import WarpRefiner, refine
from convnn.nn.matches.regression import KernelRegressionMatcher, nearest_places
from convnn.nn.matches.transfer import expected_targets, transfer_keypoints

__all__ = [
    "SHARINGS",
    "CHM4d",
    "CHM6d",
    "CentrePivotConv4d",
    "HoughMatcher",
    "KernelRegressionMatcher",
    "WarpRefiner",
    "expected_targets",
    "nearest_places",
    "pair_classes",
    "refine",
    "transfer_keypoints",
]
