"""Surfaces: from points to a mesh."""

from convnn.data.surfaces.mesh import Mesh, extract_mesh
from convnn.data.surfaces.ply import read_cloud, read_mesh, write_cloud, write_mesh
from convnn.data.surfaces.shapes import SHAPES, Blend, Box, Shape, Sphere, Torus, make_shape
from convnn.models.surfaces.field import Fit, KernelField
from convnn.models.surfaces.hierarchy import Hierarchy, choose_voxel_size
from convnn.models.surfaces.spline_kernel import Interpolator, SplineKernel
from convnn.ops.cloud import Cloud
from convnn.tasks.surface.measures import SurfaceMeasures, measure_surface
from convnn.tasks.surface.picture import View, draw_surfaces
from convnn.tasks.surface.reconstruct import NeuralKernelSurface

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
