"""Tangent kernels: what a network is like as a kernel machine, and which samples its predictions come from."""

from convnn.tangent.explicit import layered_kernels
from convnn.tangent.graphons import GraphonSample, StepGraphon, gntk_spectrum, graphon_sample
from convnn.tangent.graphs import Covariances, gntk, gntk_of_graphs
from convnn.tangent.jacobian import tangent_jacobian
from convnn.tangent.kernel import tangent_features, tangent_kernel
from convnn.tangent.measures import alignment, effective_rank, kronecker_error, spectrum
from convnn.tangent.projection import Projection
from convnn.tangent.regression import tangent_regression
from convnn.tangent.report import LayerPart, TangentReport, tangent_report
from convnn.tangent.surrogate import TangentSurrogate, faithfulness

__all__ = [
    "Covariances",
    "GraphonSample",
    "LayerPart",
    "Projection",
    "StepGraphon",
    "TangentReport",
    "TangentSurrogate",
    "alignment",
    "effective_rank",
    "faithfulness",
    "gntk",
    "gntk_of_graphs",
    "gntk_spectrum",
    "graphon_sample",
    "kronecker_error",
    "layered_kernels",
    "spectrum",
    "tangent_features",
    "tangent_jacobian",
    "tangent_kernel",
    "tangent_regression",
    "tangent_report",
]
