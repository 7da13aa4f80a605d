"""Plain splatting: Gaussians each of which has parameters of its own, the same for all cameras."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.ops.gaussians import Gaussians
from convnn.tasks.surface.splats.anchors import NeuralGaussians, neighbor_distance


class FreeGaussians(nn.Module):
    """Gaussians with 14 numbers each: place, three scales, rotation, opacity and colour.

    Args:
        points: (N, 3) where they begin, as balls of the size of the distance to their neighbours.
        opacity: with which they begin.

    Raises:
        InputError: there are fewer than 4 points, or the opacity is not between 0 and 1.

    Reference:
        Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering", SIGGRAPH 2023, without the
        spherical harmonics of the colours.
    """

    def __init__(self, points: Tensor, *, opacity: float = 0.5) -> None:
        super().__init__()
        if not 0 < opacity < 1:
            raise InputError(f"opacity={opacity} must be between 0 and 1")
        count = points.shape[0]
        self.means = nn.Parameter(points.detach().clone())
        self.log_scales = nn.Parameter((0.5 * neighbor_distance(points)).log().unsqueeze(-1).repeat(1, 3))
        self.rotations = nn.Parameter(points.new_tensor([1, 0, 0, 0]).repeat(count, 1))
        self.logits = nn.Parameter(points.new_full((count,), opacity).logit())
        self.colors = nn.Parameter(points.new_zeros(count, 3))

    def forward(self, centre: Tensor) -> NeuralGaussians:
        """Return the Gaussians, whichever camera sees them."""
        strengths = self.logits.sigmoid()
        gaussians = Gaussians(self.means, self.log_scales.exp(), F.normalize(self.rotations, dim=-1), strengths)
        return NeuralGaussians(gaussians, self.colors.sigmoid(), strengths, torch.ones_like(strengths).bool())
