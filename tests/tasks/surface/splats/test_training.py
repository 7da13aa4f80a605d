"""From photographs to a surface: what cameras see, training, the level of the field, and the picture."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from convnn.errors import InputError
from convnn.ops.gaussians import Gaussians
from convnn.ops.opacity_field import opacity_field
from convnn.tasks.surface import Mesh, Sphere
from convnn.tasks.surface.splats import (
    AnchorGaussians,
    FreeGaussians,
    cameras_around,
    draw_splats,
    first_crossing,
    model_field,
    photograph,
    render,
    signal_to_noise,
    train,
    voxel_anchors,
)

BALL = Sphere(0.8)
SCENE = photograph(BALL, cameras_around(4, (12, 14)))
POINTS = BALL.sample(600, torch.Generator().manual_seed(0), dtype=torch.float32).points


def test_photographs_show_where_rays_meet_the_ball() -> None:
    """The nearer root of the quadratic equation of a ray and a sphere."""
    rig = SCENE.rig
    for camera, row, column in np.ndindex(2, 12, 14):
        pose = torch.linalg.inv(rig.extrinsics[0, camera])
        pixel = rig.intrinsics.new_tensor([column + 0.5, row + 0.5, 1])
        ray = pose[:3, :3] @ torch.linalg.inv(rig.intrinsics[0, camera]) @ pixel
        a, b, c = ray @ ray, ray @ pose[:3, 3], pose[:3, 3] @ pose[:3, 3] - 0.64
        root = b * b - a * c
        if abs(root) < 0.05:
            continue  # rays that graze it
        depth = ((-b - root.sqrt()) / a).item() if root > 0 else 0
        assert SCENE.depths[camera, row, column].item() == pytest.approx(depth, abs=5e-3)
        color = (1 + (pose[:3, 3] + depth * ray) / 0.8) / 2 if root > 0 else torch.zeros(3)
        torch.testing.assert_close(SCENE.images[camera, :, row, column].double(), color.double(), atol=5e-3, rtol=0)


@pytest.mark.parametrize("kind", ["voxels", "plain"])
def test_it_learns_and_begins_the_same_for_the_same_seed(kind: str) -> None:
    losses = []
    anchors = voxel_anchors(POINTS, 0.5)
    for _ in range(2):
        torch.manual_seed(0)
        model = AnchorGaussians(anchors, channels=8, slots=2) if kind == "voxels" else FreeGaussians(POINTS[:80])
        before = signal_to_noise(model, SCENE)
        losses.append(train(model, SCENE, steps=2, rate=1e-2, distortion=1.0, normals=0.02))
    assert losses[0] == losses[1]
    train(model, SCENE, steps=48, rate=1e-2)
    assert signal_to_noise(model, SCENE) > before + 1.5
    if kind == "voxels":
        assert torch.equal(model.anchors, anchors)


def test_the_level_of_flat_gaussians_on_a_ball_is_near_it() -> None:
    middles = POINTS[:200]
    cloud = Gaussians(
        middles,
        torch.tensor([0.12, 0.12, 0.02]).repeat(200, 1),
        torch.stack([0.8 + middles[:, 2], -middles[:, 1], middles[:, 0], torch.zeros(200)], 1),  # turns z to the normal
        torch.full((200,), 0.9),
    )
    rig = cameras_around(6, (16, 16))
    ways = torch.nn.functional.normalize(POINTS[:20])
    places, found = first_crossing(lambda x: opacity_field(cloud, rig, x), 1.0 * ways, 0.6 * ways, steps=16)
    assert found.all()
    assert (places.norm(dim=1) - 0.8).abs().mean() < 0.06


def test_the_field_of_a_model_is_that_of_its_gaussians() -> None:
    model = FreeGaussians(POINTS[:40])
    points = POINTS[40:60] * 1.1
    wanted = opacity_field(model(torch.zeros(3)).gaussians, SCENE.rig, points)
    torch.testing.assert_close(model_field(model, SCENE.rig)(points), wanted)
    assert render(model, SCENE.rig, SCENE.background).colors.shape == (4, 3, 12, 14)


def test_crossings_of_a_known_field() -> None:
    starts, ends = (
        torch.tensor([[0.0, 0, 2], [0, 2, 0], [3, 0, 2]]),
        torch.tensor([[0.0, 0, 0], [0, 1.5, 0], [3, 0, 0]]),
    )
    places, found = first_crossing(BALL.distance, starts, ends)
    assert found.tolist() == [True, False, False]
    torch.testing.assert_close(places[0], torch.tensor([0, 0, 0.8]), atol=1e-6, rtol=0)
    assert torch.equal(places[1], starts[1])


def test_the_picture_has_five_panels(tmp_path: Path) -> None:
    corner = torch.tensor([[0.0, 0, 0.8], [0.7, 0, -0.4], [-0.4, 0.6, -0.4], [-0.4, -0.6, -0.4]])
    mesh = Mesh(corner, torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]]))
    path = draw_splats(FreeGaussians(POINTS[:40]), SCENE, tmp_path / "seen.png", camera=1, mesh=mesh)
    picture = imread(path)
    assert picture.shape[1] > 4 * picture.shape[0]
    last = picture[:, -picture.shape[1] // 5 :, :3]
    clay = (last[..., 2] > last[..., 0] + 0.05).mean()
    assert 0.03 < clay < 0.6
    with pytest.raises(InputError, match=r"^camera=4 must be one of the 4, from 0$"):
        draw_splats(FreeGaussians(POINTS[:40]), SCENE, tmp_path / "seen.png", camera=4, mesh=mesh)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match=r"^steps=0 must be an integer of at least 1$"):
        train(FreeGaussians(POINTS[:40]), SCENE, steps=0)
    with pytest.raises(InputError, match=r"^count=0 must be an integer of at least 1$"):
        cameras_around(0, (8, 8))
    with pytest.raises(InputError, match=r"^distortion=-1 must be at least 0$"):
        train(FreeGaussians(POINTS[:40]), SCENE, steps=1, distortion=-1)
    with pytest.raises(InputError, match=r"^starts of shape \(3,\) and ends of \(3,\) must both be \(N, 3\)$"):
        first_crossing(BALL.distance, torch.zeros(3), torch.zeros(3))
