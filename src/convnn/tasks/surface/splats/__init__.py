"""Surfaces from photographs: Gaussians, their images, and the level of their opacity."""

from convnn.tasks.surface.splats.anchors import AnchorGaussians, NeuralGaussians, voxel_anchors
from convnn.tasks.surface.splats.crossing import first_crossing
from convnn.tasks.surface.splats.free import FreeGaussians
from convnn.tasks.surface.splats.losses import SplatLoss, depth_normals, splat_loss, structural_similarity
from convnn.tasks.surface.splats.picture import draw_splats
from convnn.tasks.surface.splats.scenes import Photographs, cameras_around, photograph
from convnn.tasks.surface.splats.training import model_field, render, signal_to_noise, train

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
    "signal_to_noise",
    "splat_loss",
    "structural_similarity",
    "train",
    "voxel_anchors",
]
