r"""Gaussians in space and rays through them: where each is densest on a ray, and how much of it a ray meets."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.ops.projection import in_frame
from convnn.ops.rows import take_rows

DENSEST = 0.99
"""The largest opacity of one Gaussian, so that some light passes and every gradient is finite."""


class Gaussians(NamedTuple):
    r"""N Gaussians in space, :math:`o \, e^{-|S^{-1} R^\top (x - m)|^2 / 2}`, with the maximum o in their middle m.

    Attributes:
        means: (N, 3).
        scales: (N, 3) standard deviations along the axes of each, the diagonal of S, positive.
        rotations: (N, 4) quaternions (w, x, y, z) of any length but 0: R turns the axes into those of space.
        opacities: (N,) above 0, up to 1.
    """

    means: Tensor
    scales: Tensor
    rotations: Tensor
    opacities: Tensor

    def check(self) -> None:
        """Check shapes and ranges.

        Raises:
            InputError: a shape is not that above, or a number is not finite or out of its range.
        """
        count = self.means.shape[0] if self.means.dim() else 0
        for name, shape in (("means", (3,)), ("scales", (3,)), ("rotations", (4,)), ("opacities", ())):
            tensor = getattr(self, name)
            if tensor.shape != (count, *shape) or not tensor.is_floating_point():
                found = f"shape {tuple(tensor.shape)} and {tensor.dtype}"
                raise InputError(f"{name} of {found} must be floating, of shape {(count, *shape)}")
            if not tensor.isfinite().all():
                raise InputError(f"{name} must be finite; {name}[{_first(~tensor.isfinite())}] is not")
        if (self.scales <= 0).any():
            where = _first(self.scales <= 0)
            raise InputError(f"scales[{where}]={self.scales[where].tolist()} must be positive")
        if ((self.opacities <= 0) | (self.opacities > 1)).any():
            where = _first((self.opacities <= 0) | (self.opacities > 1))
            raise InputError(f"opacities[{where}]={self.opacities[where].item()} must be above 0 and at most 1")
        if (lengthless := self.rotations.norm(dim=-1) == 0).any():
            raise InputError(f"rotations[{_first(lengthless)}] is 0 and must be a quaternion of another length")


def _first(wrong: Tensor) -> int:
    """Return the first row with a wrong entry."""
    return int(wrong.nonzero()[0, 0])


def rotation_matrices(quaternions: Tensor) -> Tensor:
    r"""Return the rotations (\*, 3, 3) of quaternions (\*, 4), in the order (w, x, y, z) and of any length but 0."""
    w, x, y, z = F.normalize(quaternions, dim=-1).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


class View(NamedTuple):
    r"""Gaussians in the frame of a camera.

    Attributes:
        means: (N, 3) middles m.
        whitening: (N, 3, 3) matrices A from directions of the camera to standard deviations along a Gaussian's axes, so
            that :math:`A^\top A` is its inverse covariance.
        opacities: (N,).
    """

    means: Tensor
    whitening: Tensor
    opacities: Tensor

    @classmethod
    def of(cls, gaussians: Gaussians, extrinsics: Tensor) -> "View":
        """Return Gaussians as a camera with the extrinsics (4, 4), from the world to it, has them."""
        to_world = torch.linalg.inv(extrinsics)[:3, :3]
        axes = rotation_matrices(gaussians.rotations).mT / gaussians.scales.unsqueeze(-1)
        return cls(in_frame(gaussians.means, extrinsics), axes @ to_world, gaussians.opacities)

    def take(self, indices: Tensor) -> "View":
        """Return the Gaussians with these indices, of any shape."""
        return View(*(take_rows(one, indices) for one in (self.means, self.whitening, self.opacities)))


class Crossing(NamedTuple):
    r"""Where rays from the camera cross Gaussians.

    Attributes:
        depths: (P, K) t, where a Gaussian is densest on the ray :math:`t \, d`.
        along: (P, K, 3) :math:`A d`, the ray in the standard deviations of the Gaussian.
        middles: (P, K, 3) :math:`A m`.
        opacities: (P, K).
    """

    depths: Tensor
    along: Tensor
    middles: Tensor
    opacities: Tensor

    def opacity_at(self, depths: Tensor) -> Tensor:
        r"""Return the Gaussians' values at depths z on the rays.

        .. math:: \min(0.99, \; o \, e^{-|A (z d - m)|^2 / 2})
        """
        distances = (self.along * depths.unsqueeze(-1) - self.middles).square().sum(-1)
        return (self.opacities * (-distances / 2).exp()).clamp(max=DENSEST)


def cross(view: View, directions: Tensor) -> Crossing:
    r"""Return where rays cross Gaussians: the maximum of each on the ray.

    .. math:: t = \frac{d^\top A^\top A m}{|A d|^2}

    Args:
        view: N Gaussians, the same for all rays, or (P, K) for each ray its own.
        directions: (P, 3) in the camera's frame, with depth 1.

    Reference:
        Yu, Sattler and Geiger, "Gaussian Opacity Fields", SIGGRAPH Asia 2024, equation 6.
    """
    along = torch.einsum("...kij,...j->...ki", view.whitening, directions)
    middles = (view.whitening @ view.means.unsqueeze(-1)).squeeze(-1)
    depths = (along * middles).sum(-1) / along.square().sum(-1)
    return Crossing(depths, along, middles.expand_as(along), view.opacities.expand_as(depths))
