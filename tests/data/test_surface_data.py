"""Clouds of PLY files, and photographs as NeRF lists them."""

import json
from math import atan
from pathlib import Path

import pytest
import torch
from PIL import Image

from convnn.data import load_data
from convnn.data.surfaces.clouds import read_clouds
from convnn.data.surfaces.mesh import Mesh
from convnn.data.surfaces.photographs import read_transforms
from convnn.data.surfaces.ply import write_cloud, write_mesh
from convnn.data.surfaces.scenes import cameras_around, photograph
from convnn.data.surfaces.shapes import Sphere
from convnn.errors import InputError, UnsupportedError
from convnn.models import create_model
from convnn.ops.cloud import Cloud
from convnn.ops.photographs import Photographs

BALL = Sphere(0.7)


def write_scene(folder: Path, name: str = "transforms.json", count: int = 4, **more: object) -> Photographs:
    """Write what cameras see of a ball, as NeRF does, and return it."""
    scene = photograph(BALL, cameras_around(count, (12, 16), focal=0.8))
    frames = []
    for number, (image, pose) in enumerate(zip(scene.images, scene.rig.extrinsics[0], strict=True)):
        pixels = (255 * image.permute(1, 2, 0)).round().to(torch.uint8)
        clear = torch.where(scene.depths[number] > 0, 255, 0).to(torch.uint8)
        (folder / "images").mkdir(exist_ok=True)
        Image.fromarray(torch.cat([pixels, clear.unsqueeze(-1)], 2).numpy()).save(folder / f"images/{number}.png")
        matrix = torch.linalg.inv(pose)
        matrix[:, 1:3] *= -1  # NeRF's cameras look along their negative third axis
        frames.append({"file_path": f"./images/{number}", "transform_matrix": matrix.tolist()})
    document = {"camera_angle_x": 2 * atan(0.5 / 0.8), "frames": frames}
    (folder / name).write_text(json.dumps(document | more))
    return scene


def test_photographs_of_transforms_are_those_that_were_written(tmp_path: Path) -> None:
    scene = write_scene(tmp_path)
    write_cloud(tmp_path / "points.ply", BALL.sample(50))
    document = json.loads((tmp_path / "transforms.json").read_text()) | {"ply_file_path": "points.ply"}
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    parts = read_transforms(tmp_path)
    assert {part: len(found.images) for part, found in parts.items()} == {"train": 3, "test": 1}
    found = parts["train"]
    torch.testing.assert_close(found.rig.intrinsics, scene.rig.intrinsics[:, 1:])
    torch.testing.assert_close(found.rig.extrinsics, scene.rig.extrinsics[:, 1:])
    is_seen = (scene.depths[1:] > 0).unsqueeze(1)
    wanted = torch.where(is_seen, scene.images[1:], 1.0)  # transparent pixels lie on white
    torch.testing.assert_close(found.images, wanted, atol=3e-3, rtol=0)
    assert found.background.tolist() == [1, 1, 1]
    assert found.points.shape == (50, 3)
    half = read_transforms(tmp_path, side=8)["test"]
    assert half.images.shape == (1, 3, 6, 8)
    torch.testing.assert_close(half.rig.intrinsics[0, 0, :2], scene.rig.intrinsics[0, 0, :2] / 2)


def test_three_files_are_three_parts_and_batches_have_their_cameras(tmp_path: Path) -> None:
    for part, count in {"train": 4, "val": 2, "test": 3}.items():
        scene = write_scene(tmp_path, f"transforms_{part}.json", count)
    data = load_data("transforms", tmp_path, batch_size=2)
    assert {name: part.num_samples for name, part in data.parts.items()} == {"train": 4, "val": 2, "test": 3}
    assert (data.input_shape, data.kind, data.task) == ((3, 12, 16), "photograph", "modelling")
    last = list(data.test)[1]
    torch.testing.assert_close(last.inputs.rig.extrinsics[0, 0], scene.rig.extrinsics[0, 2].float())
    assert last.labels.tolist() == [0]
    (tmp_path / "transforms_test.json").unlink()
    with pytest.raises(InputError, match=r"has no transforms_test\.json, but transforms_train\.json"):
        read_transforms(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": []}, "has no list frames"),
        ({"camera_angle_x": 4.0}, r"has no lens for frames\[0\]; give camera_angle_x, from 0 to pi, or fl_x"),
        ({"k1": 0.1}, r"has k1=0\.1, a lens that distorts"),
        ({"frames": [{"file_path": 3}]}, r"frames\[0\]\.file_path=3; it must be the path of a picture"),
        ({"frames": [{"file_path": "images/9"}]}, r"cannot read the image .*9\.png"),
        ({"frames": [{"file_path": "images/0", "transform_matrix": [[1]]}]}, "must be a 4 x 4 matrix with an inverse"),
    ],
)
def test_broken_transforms_are_told_in_a_sentence(change: dict[str, object], message: str, tmp_path: Path) -> None:
    write_scene(tmp_path, **change)
    with pytest.raises((InputError, UnsupportedError), match=message):
        read_transforms(tmp_path)


def test_clouds_of_files_have_points_of_their_true_surfaces(tmp_path: Path) -> None:
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]).double()
    for part in ("train", "test"):
        (tmp_path / part / "truth").mkdir(parents=True)
        write_cloud(tmp_path / part / "a.ply", BALL.sample(40))
        write_cloud(tmp_path / part / "b.ply", BALL.sample(50))
        write_mesh(tmp_path / part / "truth" / "b.ply", Mesh(corners, torch.tensor([[0, 1, 2]])))
    data = load_data("ply", tmp_path, length=30, batch_size=2)
    assert data.input_shape == (6, 3, 30)
    first, second = next(iter(data.test)).inputs
    points, normals = first[:3].flatten(1).T, first[3:].flatten(1).T
    torch.testing.assert_close(points.norm(dim=1), torch.full((90,), 0.7))
    torch.testing.assert_close(normals, points / 0.7, atol=1e-5, rtol=0)
    assert len(first[:3, 0].T.unique(dim=0)) == 30
    torch.testing.assert_close(second[:3, 0].norm(dim=0), torch.full((30,), 0.7))
    assert not second[2, 1:].any()  # those of the triangle
    assert (second[5, 1:] == 1).all()
    with pytest.raises(InputError, match=r"a\.ply' has 40 points, fewer than length=41; lower that"):
        read_clouds(tmp_path / "train", 41)
    write_cloud(tmp_path / "test" / "c.ply", Cloud(torch.ones(40, 3)))
    with pytest.raises(InputError, match=r"c\.ply' has no normals nx, ny, nz"):
        read_clouds(tmp_path / "test", 30)


def test_generated_clouds_are_of_closed_shapes_and_the_same_each_time() -> None:
    one, other = (next(iter(load_data("clouds", length=50, batch_size=8, limit_test=8).test)).inputs for _ in range(2))
    assert torch.equal(one, other)
    assert one.shape == (8, 6, 3, 50)
    torch.testing.assert_close(one[:, 3:].norm(dim=1), torch.ones(8, 3, 50))
    flux = (one[:, :3, 1:] * one[:, 3:, 1:]).sum(1).mean((1, 2))  # three volumes by the area
    assert (flux > 0.05).all()


def test_networks_take_examples_of_the_shapes_and_no_samples() -> None:
    for name, shape in {"kernel_field": (6, 3, 40), "splats": (3, 8, 10)}.items():
        network = create_model(name, **({"num_gaussians": 8} if name == "splats" else {"num_layers": 2}))
        answer = network(network.example(shape, 2))
        assert {value.shape for value in answer.figures.values()} == {(2,)}
        x = network.example(shape, 1)
        nothing = network(x[:0] if name == "kernel_field" else x.select(slice(0)))
        sum(nothing.terms.values()).backward()
        assert {value.shape for value in nothing.figures.values()} == {(0,)}
        assert sum(nothing.terms.values()) == 0
        with pytest.raises(InputError, match=r"x of shape \(1, 2\) must be"):
            network(torch.ones(1, 2))


def test_gaussians_begin_at_points_of_the_scene_or_before_the_cameras() -> None:
    network = create_model("splats", splat_kind="free", num_gaussians=10)
    x = network.example((3, 8, 8))
    network.prepare(x)
    assert network.gaussians.means.abs().max() <= 1  # a third of the distance of the camera
    points = 5 + torch.rand(30, 3)
    network.prepare(x._replace(points=points))
    assert (network.gaussians.means.unsqueeze(1) == points).all(2).any(1).all()
    assert len(network.gaussians.means.unique(dim=0)) == 10
    network.prepare(x._replace(points=points[:4]))
    assert ((network.gaussians.means > 5) & (network.gaussians.means < 6)).all()
