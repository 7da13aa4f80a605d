"""Surfaces: from points to a mesh."""

from convnn.tasks.surface.cloud import Cloud
from convnn.tasks.surface.measures import SurfaceMeasures, measure_surface
from convnn.tasks.surface.mesh import Mesh, extract_mesh
from convnn.tasks.surface.picture import View, draw_surfaces
from convnn.tasks.surface.ply import read_cloud, read_mesh, write_cloud, write_mesh
from convnn.tasks.surface.shapes import SHAPES, Blend, Box, Shape, Sphere, Torus, make_shape

__all__ = [
    "SHAPES",
    "Blend",
    "Box",
    "Cloud",
    "Mesh",
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
