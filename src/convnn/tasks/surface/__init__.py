"""Surfaces: from points to a mesh."""

from convnn.data.surfaces.mesh import Mesh, extract_mesh
from convnn.data.surfaces.ply import read_cloud, read_mesh, write_cloud, write_mesh
from convnn.data.surfaces.shapes import SHAPES, Blend, Box, Shape, Sphere, Torus, make_shape
from convnn.ops.cloud import Cloud
from convnn.tasks.surface.measures import SurfaceMeasures, measure_surface
from convnn.tasks.surface.picture import View, draw_surfaces
from convnn.tasks.surface.reconstruct import NeuralKernelSurface

__all__ = [
    "SHAPES",
    "Blend",
    "Box",
    "Cloud",
    "Mesh",
    "NeuralKernelSurface",
    "Shape",
    "Sphere",
    "SurfaceMeasures",
    "Torus",
    "View",
    "draw_surfaces",
    "extract_mesh",
    "make_shape",
    "measure_surface",
    "read_cloud",
    "read_mesh",
    "write_cloud",
    "write_mesh",
]
