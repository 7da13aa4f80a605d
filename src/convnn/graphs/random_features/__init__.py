"""Sparse features of the nodes of a graph, whose inner products are unbiased for kernels of the graph."""

from convnn.graphs.random_features.estimator import GraphRandomFeatures
from convnn.graphs.random_features.modulations import (
    MODULATIONS,
    deconvolved,
    diffusion,
    random_walk,
    regularized,
)
from convnn.graphs.random_features.scaling import scaled_weights
from convnn.graphs.random_features.walking import FeatureWalks, Loads

__all__ = [
    "MODULATIONS",
    "FeatureWalks",
    "GraphRandomFeatures",
    "Loads",
    "deconvolved",
    "diffusion",
    "random_walk",
    "regularized",
    "scaled_weights",
]
