"""Networks for scene graphs: objects with boxes, and the relations between them."""

from convnn.models.scene_graphs.denoiser import EDMPrecond, SceneGraphDenoiser
from convnn.models.scene_graphs.diffusion import SceneGraphDiffusion
from convnn.models.scene_graphs.network import SceneGraphNetwork, diffusesg

__all__ = ["EDMPrecond", "SceneGraphDenoiser", "SceneGraphDiffusion", "SceneGraphNetwork", "diffusesg"]
