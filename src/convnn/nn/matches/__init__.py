"""Layers in the space of matches, (B, C, H, W, H', W') for a source and a target map, or with two axes of scales."""

from convnn.nn.matches.centre_pivot import CentrePivotConv4d
from convnn.nn.matches.classes import SHARINGS, pair_classes
from convnn.nn.matches.hough import CHM4d, CHM6d

__all__ = ["SHARINGS", "CHM4d", "CHM6d", "CentrePivotConv4d", "pair_classes"]
