"""Networks for scene graphs: objects with boxes, and the relations between them."""

from convnn.models.scene_graphs.denoiser import EDMPrecond, SceneGraphDenoiser

__all__ = ["EDMPrecond", "SceneGraphDenoiser"]
