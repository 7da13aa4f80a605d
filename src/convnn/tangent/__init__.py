"""Tangent kernels: what a network is as a kernel machine, in the limit of infinite width or as it stands."""

from convnn.tangent.graphons import GraphonSample, StepGraphon, gntk_spectrum, graphon_sample
from convnn.tangent.graphs import Covariances, gntk, gntk_of_graphs

__all__ = [
    "Covariances",
    "GraphonSample",
    "StepGraphon",
    "gntk",
    "gntk_of_graphs",
    "gntk_spectrum",
    "graphon_sample",
]
