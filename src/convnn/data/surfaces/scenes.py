"""Photographs without files: shapes whose distance is known, seen by cameras around them."""

from math import pi, sqrt

import torch

from convnn.data.surfaces.shapes import Shape
from convnn.errors import check_at_least, check_positive
from convnn.ops.photographs import Photographs
from convnn.ops.projection import Rig, look_at, pinhole, pixel_rays

STEPS = 64
"""Steps of a ray towards a surface, each as long as the distance from it."""
CLOSE = 1e-3
"""Distance at which a ray has arrived."""


def cameras_around(
    count: int, size: tuple[int, int], *, distance: float = 3.0, focal: float = 1.1, turn: float = 0.0
) -> Rig:
    """Return cameras on a spiral over a ball around the origin, at which they look, evenly spaced.

    Args:
        count: number of cameras.
        size: height and width of the images.
        distance: of the cameras from the origin.
        focal: focal length, as a share of the width of the image.
        turn: angle by which all are turned around the z axis, for other cameras of the same kind.

    Raises:
        InputError: there is no camera, or a length is not positive.
    """
    check_at_least("count", count, 1)
    check_positive("distance", distance)
    check_positive("focal", focal)
    number = torch.arange(count, dtype=torch.float64)
    height = 0.9 * (1 - (2 * number + 1) / count)  # never above the origin, where no side is up
    angle = turn + pi * (3 - sqrt(5)) * number
    across = (1 - height.square()).sqrt()
    places = distance * torch.stack([across * angle.cos(), across * angle.sin(), height], dim=1)
    pose = look_at(places, places.new_zeros(3), places.new_tensor([0, 0, 1]))
    return pinhole(pose, focal * size[1], size)


@torch.no_grad()
def photograph(shape: Shape, rig: Rig, *, background: float = 0.0, dtype: torch.dtype | None = None) -> Photographs:
    r"""Return what cameras see of a shape whose colour is that of its normal, :math:`(1 + n) / 2`.

    Rays go on by the distance from the shape until they arrive.

    Args:
        shape: the solid.
        rig: one rig of n cameras.
        background: grey of the pixels without it.
        dtype: type of the result; None is torch's default.
    """
    dtype = torch.get_default_dtype() if dtype is None else dtype
    rays = pixel_rays(rig)[0]
    to_world = torch.linalg.inv(rig.extrinsics[0])
    length = rays.norm(dim=-1, keepdim=True)
    ahead = torch.einsum("nij,npj->npi", to_world[:, :3, :3], rays / length).flatten(0, 1)
    start = to_world[:, None, :3, 3].expand(rays.shape).flatten(0, 1)
    gone = torch.zeros_like(ahead[:, :1])
    for _ in range(STEPS):
        gone = gone + shape.distance(start + gone * ahead).unsqueeze(1)
    places = start + gone * ahead
    arrived = (shape.distance(places).abs() < CLOSE) & (gone[:, 0] > 0)
    colors = torch.full_like(places, background)
    colors[arrived] = (1 + shape.normals(places[arrived])) / 2
    depths = torch.where(arrived, gone[:, 0] / length.flatten(), 0)
    shape_of = (rig.extrinsics.shape[1], *rig.image_size)
    images = colors.unflatten(0, shape_of).movedim(-1, 1)
    light = torch.full((3,), background, dtype=dtype)
    return Photographs(rig, images.to(dtype), depths.unflatten(0, shape_of).to(dtype), light)
