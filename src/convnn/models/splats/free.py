"""Plain splatting: Gaussians each of which has parameters of its own, the same for all cameras."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.models.splats.anchors import NeuralGaussians, neighbor_distance
from convnn.nn._training import Training
from convnn.ops.gaussians import Gaussians


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

    trained: ClassVar[Mapping[str, Training]] = {
        "means": Training(factor=0.4),
        "logits": Training(factor=5.0),
        "colors": Training(factor=3.0),
    }

    def __init__(self, points: Tensor, *, opacity: float = 0.5) -> None:
        super().__init__()
        if not 0 < opacity < 1:
            raise InputError(f"opacity={opacity} must be between 0 and 1")
        count = points.shape[0]
        self.means = nn.Parameter(points.detach().clone())
        self.log_scales = nn.Parameter(_sizes(points))
        self.rotations = nn.Parameter(points.new_tensor([1, 0, 0, 0]).repeat(count, 1))
        self.logits = nn.Parameter(points.new_full((count,), opacity).logit())
        self.colors = nn.Parameter(points.new_zeros(count, 3))

    @torch.no_grad()
    def place(self, points: Tensor) -> None:
        """Move the Gaussians to other places (N, 3), and make them balls of the distances there."""
        self.means.copy_(points)
        self.log_scales.copy_(_sizes(self.means))

    def forward(self, centre: Tensor) -> NeuralGaussians:
        """Return the Gaussians, whichever camera sees them."""
        strengths = self.logits.sigmoid()
        gaussians = Gaussians(self.means, self.log_scales.exp(), F.normalize(self.rotations, dim=-1), strengths)
        return NeuralGaussians(gaussians, self.colors.sigmoid(), strengths, torch.ones_like(strengths).bool())


def _sizes(points: Tensor) -> Tensor:
    """Return the logarithms (N, 3) of half of the distances to neighbours."""
    return (0.5 * neighbor_distance(points)).log().unsqueeze(-1).repeat(1, 3)
