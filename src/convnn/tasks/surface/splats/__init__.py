"""Surfaces from photographs: Gaussians, their images, and the level of their opacity."""

from convnn.data.surfaces.scenes import cameras_around, photograph
from convnn.models.splats.anchors import AnchorGaussians, NeuralGaussians, voxel_anchors
from convnn.models.splats.free import FreeGaussians
from convnn.models.splats.losses import SplatLoss, depth_normals, splat_loss, structural_similarity
from convnn.models.splats.rendering import model_field, render, signal_to_noise
from convnn.ops.photographs import Photographs
from convnn.tasks.surface.splats.crossing import first_crossing
from convnn.tasks.surface.splats.picture import draw_splats
from convnn.tasks.surface.splats.scene_mesh import scene_mesh
from convnn.tasks.surface.splats.training import train

__all__ = [
    "AnchorGaussians",
    "FreeGaussians",
    "NeuralGaussians",
    "Photographs",
    "SplatLoss",
    "cameras_around",
    "depth_normals",
    "draw_splats",
    "first_crossing",
    "model_field",
    "photograph",
    "render",
    "scene_mesh",
    "signal_to_noise",
    "splat_loss",
    "structural_similarity",
    "train",
    "voxel_anchors",
]
