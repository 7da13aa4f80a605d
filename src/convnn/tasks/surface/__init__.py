"""Surfaces: from points to a mesh."""

from convnn.tasks.surface.cloud import Cloud
from convnn.tasks.surface.field import Fit, KernelField
from convnn.tasks.surface.hierarchy import Hierarchy, choose_voxel_size
from convnn.tasks.surface.measures import SurfaceMeasures, measure_surface
from convnn.tasks.surface.mesh import Mesh, extract_mesh
from convnn.tasks.surface.picture import View, draw_surfaces
from convnn.tasks.surface.ply import read_cloud, read_mesh, write_cloud, write_mesh
from convnn.tasks.surface.reconstruct import NeuralKernelSurface
from convnn.tasks.surface.shapes import SHAPES, Blend, Box, Shape, Sphere, Torus, make_shape
from convnn.tasks.surface.spline_kernel import Interpolator, SplineKernel

__all__ = [
    "SHAPES",
    "Blend",
    "Box",
    "Cloud",
    "Fit",
    "Hierarchy",
    "Interpolator",
    "KernelField",
    "Mesh",
    "NeuralKernelSurface",
    "Shape",
    "Sphere",
    "SplineKernel",
    "SurfaceMeasures",
    "Torus",
    "View",
    "choose_voxel_size",
    "draw_surfaces",
    "extract_mesh",
    "make_shape",
    "measure_surface",
    "read_cloud",
    "read_mesh",
    "write_cloud",
    "write_mesh",
]
