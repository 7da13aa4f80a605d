"""A vehicle on the ground with cameras all around it, whose calibration may deviate from the truth."""

from math import cos, pi, radians, sin, tan

import torch

from convnn.errors import check_at_least, check_not_negative, check_positive
from convnn.ops.projection import Rig

IMAGE = (48, 80)
"""Rows and columns of the images for which the cameras are calibrated."""

MAP = (12, 20)
"""Rows and columns of what networks read of them."""

METRES = (12.0, 12.0)
"""Sides of the ground that is seen from above."""


def surround_rig(cameras: int = 4, *, height: float = 2.0, pitch: float = 30.0, field: float = 100.0) -> Rig:
    """Return cameras in the middle of the vehicle that look in equally spaced directions, the first one ahead.

    Args:
        cameras: their number.
        height: of the cameras above the ground, in metres.
        pitch: by how many degrees they look down.
        field: degrees that an image spans from left to right, below 180.

    Raises:
        InputError: there is no camera, or it is not above the ground.
    """
    check_at_least("cameras", cameras, 1)
    check_positive("height", height)
    down = radians(pitch)
    focal = IMAGE[1] / 2 / tan(radians(field) / 2)
    intrinsics = torch.tensor([[focal, 0, IMAGE[1] / 2], [0, focal, IMAGE[0] / 2], [0, 0, 1]])
    poses = []
    for camera in range(cameras):
        yaw = 2 * pi * camera / cameras
        forward = torch.tensor([cos(yaw) * cos(down), sin(yaw) * cos(down), -sin(down)])
        right = torch.tensor([sin(yaw), -cos(yaw), 0.0])
        rotation = torch.stack([right, torch.linalg.cross(forward, right), forward])
        pose = torch.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation, -rotation @ torch.tensor([0, 0, height])
        poses.append(pose)
    return Rig(intrinsics.expand(1, cameras, 3, 3), torch.stack(poses).unsqueeze(0), IMAGE)


def deviating(rig: Rig, number: int, degrees: float, generator: torch.Generator) -> Rig:
    """Return rigs whose cameras are turned around their axes by normally distributed angles, one rig for each scene."""
    check_not_negative("degrees", degrees)
    cameras = rig.extrinsics.shape[1]
    x, y, z = (torch.randn(3, number, cameras, generator=generator) * radians(degrees)).unbind()
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    turn = torch.eye(4).repeat(number, cameras, 1, 1)
    turn[..., :3, :3] = torch.linalg.matrix_exp(cross)
    return rig._replace(
        intrinsics=rig.intrinsics.expand(number, -1, -1, -1),
        extrinsics=turn @ rig.extrinsics,
    )
