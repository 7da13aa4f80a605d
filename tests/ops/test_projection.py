"""Projected windows: against loops over points and cameras, and what they refuse."""

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch

from convnn.errors import InputError
from convnn.ops.projection import (
    Rig,
    ground_points,
    look_at,
    pinhole,
    pixel_rays,
    project,
    project_windows,
    rays,
)
from convnn.ops.surround import surround_rig

SIZE = (7, 11)


def _rig(cameras: int = 3) -> Rig:
    rig = surround_rig(cameras)
    return rig._replace(intrinsics=rig.intrinsics.double(), extrinsics=rig.extrinsics.double())


@pytest.mark.parametrize("kernel_size", [(1, 1), (3, 2), (7, 1), (1, 15)])
def test_windows_are_those_of_the_definition(kernel_size: tuple[int, int]) -> None:
    rig, points = _rig(), ground_points((4, 5), (12.3, 10.7), height=0.3, ahead=0.1, dtype=torch.float64)
    found = project_windows(points, rig, SIZE, kernel_size)
    height, width = SIZE
    seen = 0
    for q, point in enumerate(points.flatten(1).T.numpy()):
        indices, absent = [], []
        for camera in range(3):
            pose, lens = rig.extrinsics[0, camera].numpy(), rig.intrinsics[0, camera].numpy()
            x, y, depth = lens @ (pose[:3, :3] @ point + pose[:3, 3])
            a, e = x / max(depth, 1e-5) / 80, y / max(depth, 1e-5) / 48
            visible = depth > 1e-5 and 0 < a < 1 and 0 < e < 1
            seen += visible
            for dy in range(kernel_size[0]):
                for dx in range(kernel_size[1]):
                    row = np.clip(np.round(e * height) + dy - kernel_size[0] // 2, 0, height - 1)
                    column = np.clip(np.round(a * width) + dx - kernel_size[1] // 2, 0, width - 1)
                    indices.append(camera * height * width + int(row) * width + int(column))
                    absent.append(not visible)
        assert found.indices[0, q].tolist() == indices
        assert found.absent[0, q].tolist() == absent
    assert 0 < seen < 60


def test_corners_of_the_grid_are_those_of_the_area() -> None:
    points = ground_points((3, 2), (8.0, 6.0), height=1.5, ahead=0.25)
    assert points[0].tolist() == [[6, 6], [2, 2], [-2, -2]]
    assert points[1].tolist() == [[3, -3]] * 3
    assert (points[2] == 1.5).all()


def test_rays_lead_back_to_their_pixels() -> None:
    rig = _rig()
    ends, centres = rays(rig, SIZE)
    for camera in range(3):
        one = Rig(rig.intrinsics[:, camera : camera + 1], rig.extrinsics[:, camera : camera + 1], rig.image_size)
        places, _ = project(ends[0, camera, :, :3].T, one)
        rows, columns = torch.meshgrid(torch.linspace(0, 1, 7), torch.linspace(0, 1, 11), indexing="ij")
        torch.testing.assert_close(places[0, 0], torch.stack([columns, rows], -1).flatten(0, 1).double())
        seen = rig.extrinsics[0, camera] @ centres[0, camera]
        torch.testing.assert_close(seen, seen.new_tensor([0, 0, 0, 1]))


def test_pinhole_cameras_look_at_their_target_and_see_the_middles_of_pixels() -> None:
    places = torch.tensor([[2.0, 0.5, 0.3], [-1.0, 1.5, -0.4]], dtype=torch.float64)
    target, up = places.new_tensor([0.1, 0.2, 0.3]), places.new_tensor([0, 0, 1])
    pose = look_at(places, target, up)
    for extrinsics, place in zip(pose, places, strict=True):
        turn = extrinsics[:3, :3]
        torch.testing.assert_close(turn @ turn.T, torch.eye(3).double())
        torch.testing.assert_close(torch.linalg.det(turn), turn.new_ones(()))
        torch.testing.assert_close(turn @ target + extrinsics[:3, 3], turn.new_tensor([0, 0, (target - place).norm()]))
        assert (turn @ up)[1] < 0  # up in space is up in the image, whose rows go down
    rig = pinhole(pose, torch.tensor([[5.0, 6.0], [7.0, 7.0]]), (3, 4))
    for camera, directions in enumerate(pixel_rays(rig)[0]):
        to_world = torch.linalg.inv(pose[camera])
        ends = 2.5 * directions @ to_world[:3, :3].T + to_world[:3, 3]
        shares, visible = project(ends.T, rig)
        assert visible[0, camera].all()
        wanted = [[(column + 0.5) / 4, (row + 0.5) / 3] for row in range(3) for column in range(4)]
        torch.testing.assert_close(shares[0, camera], shares.new_tensor(wanted))


SINGULAR = torch.zeros(1, 3, 3, 3)
WRONG: list[tuple[Callable[[Rig, torch.Tensor], object], str]] = [
    (
        lambda rig, p: project_windows(p, rig._replace(intrinsics=torch.eye(4).expand(1, 3, 4, 4)), SIZE, (1, 1)),
        "intrinsics of shape (1, 3, 4, 4) and torch.float32 must be floating and (B, cameras, 3, 3)",
    ),
    (
        lambda rig, p: project_windows(p, rig._replace(extrinsics=rig.extrinsics[..., :3, :]), SIZE, (1, 1)),
        "extrinsics of shape (1, 3, 3, 4) and torch.float64 must be floating and (B, cameras, 4, 4)",
    ),
    (
        lambda rig, p: project_windows(p, rig._replace(extrinsics=rig.extrinsics[:, :2]), SIZE, (1, 1)),
        "must be of the same rigs and cameras",
    ),
    (
        lambda rig, p: rays(rig._replace(intrinsics=SINGULAR), SIZE),
        f"intrinsics[0, 0]={[[0.0] * 3] * 3} must be a finite matrix that has an inverse",
    ),
    (lambda rig, p: rays(rig._replace(extrinsics=rig.extrinsics * float("nan")), SIZE), "must be a finite matrix"),
    (lambda rig, p: rays(rig._replace(image_size=(0, 80)), SIZE), "image_size[0]=0 must be an integer of at least 1"),
    (lambda rig, p: rays(rig, (1, 5)), "map_size=(1, 5) must be at least (2, 2), with the corners of the image"),
    (lambda rig, p: project_windows(p, rig, SIZE, (0, 1)), "kernel_size[0]=0 must be an integer of at least 1"),
    (lambda rig, p: project_windows(p, rig, (7,), (1, 1)), "map_size=(7,) must be two numbers, of rows and columns"),
    (lambda rig, p: project_windows(p[:2], rig, SIZE, (1, 1)), "points of shape (2, 4, 5) must be (3, Q) or (3, H, W)"),
    (lambda rig, p: ground_points((1, 4), (3, 3)), "size=(1, 4) must have at least 2 rows, which are those of two bor"),
    (lambda rig, p: ground_points((4, 1), (3, 3)), "size=(4, 1) must have at least 2 columns"),
]


@pytest.mark.parametrize(("call", "message"), WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_bad_input_is_refused(call: Callable[[Rig, torch.Tensor], object], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        call(_rig(), ground_points((4, 5), (12.0, 12.0)))
