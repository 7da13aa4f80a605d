"""`convnn surface`: whole results, and what is wrong in a sentence."""

import json
from pathlib import Path

import pytest
import torch

from convnn.cli import main
from convnn.tasks.surface import Cloud, Sphere, read_mesh, write_cloud

QUICK = "--voxel_size 0.4 --depth 2 --resolution 1"


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """Return a file of points of a sphere."""
    cloud = Sphere().sample(200, torch.Generator().manual_seed(0))
    write_cloud(tmp_path / "points.ply", cloud)
    write_cloud(tmp_path / "bare.ply", Cloud(cloud.points))
    write_cloud(tmp_path / "zero.ply", Cloud(cloud.points, torch.zeros_like(cloud.points)))
    return tmp_path / "points.ply"


def reconstruct(words: str, folder: Path) -> int:
    return main(["surface", "reconstruct", *words.replace("@", f"{folder}/").split()])


def test_points_become_a_mesh_and_a_picture(points: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("skimage")
    words = f"@points.ply --out @mesh.ply --picture @a.png --json {QUICK}"
    assert reconstruct(words, points.parent) == 0
    told = json.loads(capsys.readouterr().out)
    mesh = read_mesh(points.parent / "mesh.ply")
    assert (len(mesh.vertices), len(mesh.faces)) == (told["vertices"], told["triangles"])
    assert (mesh.vertices.norm(dim=1) - 1).abs().mean() < 0.05
    assert told["converged"]
    assert (points.parent / "a.png").read_bytes().startswith(b"\x89PNG")
    assert reconstruct(words, points.parent) == 2
    assert "would replace" in capsys.readouterr().err
    assert reconstruct(f"@points.ply --out @mesh.ply --overwrite --text --max_iter 2 {QUICK}", points.parent) == 0
    assert "allow more by --max_iter" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("@nowhere.ply --out @mesh.ply", "cannot be read: No such file"),
        ("@bare.ply --out @mesh.ply", "has no normals nx, ny, nz"),
        ("@zero.ply --out @mesh.ply", "normals are 0, or cancel each other"),
        ("@zero.ply --out @mesh.ply --normals_at points", "normals are 0, or cancel each other"),
        ("@points.ply --out @mesh.obj", "mesh.obj must end in .ply"),
        ("@points.ply --out @mesh.ply --voxel_size 0", "--voxel_size=0.0 must be a positive number"),
        ("@points.ply --out @mesh.ply --depth 0", "--depth=0 must be an integer of at least 1"),
        ("@points.ply --out @mesh.ply --normals_at x", "--normals_at='x' is not one of voxels, points"),
        (f"@points.ply --out @mesh.ply {QUICK} --resolution 0", "--resolution=0 must be an integer of at least 1"),
        ("@points.ply --out @mesh.ply --picture @points.ply", "exists; choose another, or pass --overwrite"),
        (f"@points.ply --out @mesh.ply --picture @a.gif {QUICK}", "a.gif must end in .png, .pdf or .svg"),
    ],
)
def test_bad_words_are_told_in_a_sentence(
    words: str, message: str, points: Path, capsys: pytest.CaptureFixture
) -> None:
    assert reconstruct(words, points.parent) == 2
    assert message in capsys.readouterr().err
    assert not (points.parent / "mesh.ply").exists()
