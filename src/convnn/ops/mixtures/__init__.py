"""Fields that are mixtures of Gaussians: their values, convolution, reduction and ReLU, and how to fit them."""

from convnn.ops.mixtures.convolve import convolve
from convnn.ops.mixtures.fit import fit_images, fit_points
from convnn.ops.mixtures.largest import absorb, keep_largest
from convnn.ops.mixtures.mixture import Mixture, evaluate
from convnn.ops.mixtures.rectify import rectify
from convnn.ops.mixtures.reduce import group, merge, reduce

__all__ = [
    "Mixture",
    "absorb",
    "convolve",
    "evaluate",
    "fit_images",
    "fit_points",
    "group",
    "keep_largest",
    "merge",
    "rectify",
    "reduce",
]
