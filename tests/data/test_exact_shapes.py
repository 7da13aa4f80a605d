"""Shapes, their meshes and measures, against samples, volumes in closed form and searches over all pairs."""

import math
from pathlib import Path

import pytest
import torch
from scipy.spatial import cKDTree
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.tasks.surface import (
    SHAPES,
    Blend,
    Box,
    Cloud,
    Mesh,
    Sphere,
    Torus,
    View,
    draw_surfaces,
    extract_mesh,
    make_shape,
    measure_surface,
)


def _random(*shape: int) -> torch.Tensor:
    return 3 * torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.double) - 1.5


@pytest.mark.parametrize("name", SHAPES)
def test_distances_are_those_from_many_points_of_the_surface(name: str) -> None:
    shape = make_shape(name)
    surface = shape.sample(60_000, torch.Generator().manual_seed(0))
    assert shape.distance(surface.points).abs().max() < 1e-14
    points = _random(300, 3)
    nearest, _ = cKDTree(surface.points).query(points)
    assert (shape.distance(points).abs() - torch.from_numpy(nearest)).abs().max() < 0.02
    assert (shape.normals(points).norm(dim=1) - 1).abs().max() < 1e-12
    assert (shape.distance(shape.project(points))).abs().max() < 1e-12
    outward = shape.distance(surface.points + 1e-3 * surface.normals)
    assert (outward - 1e-3).abs().max() < 1e-12
    assert (surface.points.abs() <= torch.tensor(shape.reach, dtype=torch.double) + 1e-12).all()


def test_points_are_even_by_area() -> None:
    sphere = Sphere(0.5).sample(20_000, torch.Generator().manual_seed(0)).points
    assert sphere.mean(0).abs().max() < 0.01  # the height of a sphere is even too
    assert (sphere[:, 2].sort().values - torch.linspace(-0.5, 0.5, 20_000)).abs().max() < 0.01
    torus = Torus(0.75, 0.25).sample(20_000, torch.Generator().manual_seed(0)).points
    is_outer = torus[:, :2].norm(dim=1) > 0.75
    assert abs(is_outer.double().mean().item() - (0.5 + 0.25 / (math.pi * 0.75))) < 0.01


def test_noise_has_its_deviation_and_normals_keep_their_length() -> None:
    cloud = Sphere().sample(5000, torch.Generator().manual_seed(0), noise=0.1, normal_noise=0.2)
    radial = cloud.points.norm(dim=1) - (1 + 0.1**2)  # of the two coordinates across
    assert abs(radial.std().item() - 0.1) < 0.005
    assert (cloud.normals.norm(dim=1) - 1).abs().max() < 1e-12
    assert 0.9 < F.cosine_similarity(cloud.normals, cloud.points).mean() < 0.98


VOLUMES = {
    "sphere": 4 / 3 * math.pi,
    "torus": 2 * math.pi**2 * 0.75 * 0.25**2,
    "box": 8 * 0.9 * 0.6 * 0.4,
}


@pytest.mark.parametrize("name", VOLUMES)
def test_meshes_are_closed_and_have_the_volume_of_the_shape(name: str) -> None:
    pytest.importorskip("skimage")
    shape = make_shape(name)
    reach = torch.tensor(shape.reach, dtype=torch.double) + 0.1
    mesh = extract_mesh(shape.distance, -reach, reach, 0.07, inside="negative", bisections=8)
    assert mesh.volume == pytest.approx(VOLUMES[name], rel=0.02)
    assert shape.distance(mesh.vertices).abs().max() < 1e-5
    edges = torch.cat([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    pairs, counts = edges.sort(1).values.unique(dim=0, return_counts=True)
    assert (counts == 2).all()  # each edge has two triangles, which run along it in opposite directions
    assert len(edges.unique(dim=0)) == 2 * len(pairs)
    turned = extract_mesh(lambda x: 3 - shape.distance(x), -reach, reach, 0.07, level=3.0)
    assert turned.volume == pytest.approx(mesh.volume, rel=0.02)


def test_only_what_is_known_becomes_a_mesh() -> None:
    pytest.importorskip("skimage")
    seen: list[torch.Tensor] = []

    def field(points: torch.Tensor) -> torch.Tensor:
        seen.append(points)
        return 1 - points.norm(dim=1)

    ends = torch.full((3,), 1.2, dtype=torch.double)
    mesh = extract_mesh(field, -ends, ends, 0.1, known=lambda x: x[:, 2] > 0.05)
    assert mesh.vertices[:, 2].min() > 0.05
    assert torch.cat(seen)[:, 2].min() > 0.05
    assert mesh.areas.sum() == pytest.approx(2 * math.pi * 0.9, rel=0.02)


def test_points_of_a_mesh_are_even_and_lie_on_it() -> None:
    mesh = Mesh(torch.tensor([[0.0, 0, 1], [2, 0, 1], [0, 1, 1], [9, 9, 9]]), torch.tensor([[0, 1, 2], [3, 3, 3]]))
    cloud = mesh.sample(4000, torch.Generator().manual_seed(0))
    x, y, z = cloud.points.T
    assert (z == 1).all()
    assert (x / 2 + y <= 1 + 1e-6).all()
    torch.testing.assert_close(cloud.points.mean(0), torch.tensor([2 / 3, 1 / 3, 1]), rtol=0, atol=0.02)
    assert cloud.normals.equal(torch.tensor([[0.0, 0, 1]]).expand(4000, 3))
    assert mesh.vertex_normals[:3].equal(torch.tensor([[0.0, 0, 1]]).expand(3, 3))


def test_measures_are_those_of_all_pairs() -> None:
    found, true = (_random(2 * n, 3).split(n) for n in (40, 70))
    measures = measure_surface(Cloud(found[0], found[1]), Cloud(true[0], true[1]), 0.4)
    lengths = (found[0][:, None] - true[0]).square().sum(2).sqrt()
    cosines = (F.normalize(found[1]) @ F.normalize(true[1]).T).abs()
    there, back = lengths.min(1), lengths.min(0)
    precision, recall = ((one.values <= 0.4).double().mean() for one in (there, back))
    both = cosines[range(40), there.indices].mean() + cosines[back.indices, range(70)].mean()
    wanted = {
        "accuracy": there.values.mean(),
        "completeness": back.values.mean(),
        "chamfer": (there.values.mean() + back.values.mean()) / 2,
        "precision": precision,
        "recall": recall,
        "f_score": 2 / (1 / precision + 1 / recall),
        "normal_consistency": both / 2,
    }
    assert measures._asdict() == pytest.approx({name: value.item() for name, value in wanted.items()}, rel=1e-12)
    far = measure_surface(Cloud(found[0]), Cloud(true[0] + 100), 0.1)
    assert far.f_score == 0
    assert math.isnan(far.normal_consistency)


def test_surfaces_are_drawn(tmp_path: Path) -> None:
    mesh = Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]))
    cloud = Sphere().sample(50, torch.Generator().manual_seed(0))
    views = [View(mesh, "$ a", torch.arange(3.0), "m"), View(cloud, "b"), View(Cloud(cloud.points), "c")]
    assert draw_surfaces(views, tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match=r"values of shape \(2,\) must be \(3,\)"):
        draw_surfaces([View(mesh, "a", torch.ones(2))], tmp_path / "b.png")
    with pytest.raises(InputError, match="views="):
        draw_surfaces([], tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()


ENDS = torch.ones(3)
BAD = [
    (lambda: Sphere(0), "radius=0 must be a positive number"),
    (lambda: Torus(0.2, 0.3), "radius=0.2 must be above tube=0.3"),
    (lambda: Box((1, -1, 1)), "sides=-1 must be a positive number"),
    (lambda: Blend(0.2, 1, 0.1), "fillet=0.1 leaves a gap between balls of radius=0.2 at apart=1"),
    (lambda: make_shape("cube"), "shape='cube' is not one of sphere, torus, box, blend"),
    (lambda: Sphere().sample(0), "count=0 must be an integer of at least 1"),
    (lambda: Sphere().sample(3, noise=-1), "noise=-1 must be at least 0"),
    (lambda: Mesh(torch.eye(3), torch.ones(0, 3).long()).sample(3), "a mesh of 0 triangles and no area"),
    (lambda: measure_surface(Cloud(torch.eye(3)), Cloud(torch.eye(3)), 0), "threshold=0 must be a positive number"),
]
BAD_MESHES = [
    ({"step": 0}, "step=0 must be a positive number"),
    ({"step": 1e-4}, "step=0.0001 makes a grid of 20001 x 20001 x 20001 points; take a larger step"),
    ({"upper": -ENDS}, "must be above lower="),
    ({"inside": "left"}, "inside='left' is not one of positive, negative"),
    ({"level": 9.0}, "level=9.0 is crossed nowhere in the box"),
    ({"known": lambda x: x[:, 0] > 9}, "level=0.0 is crossed nowhere in the box"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=range(len(BAD)))
def test_bad_input_is_told_in_a_sentence(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(("settings", "message"), BAD_MESHES, ids=range(len(BAD_MESHES)))
def test_bad_meshes_are_told_in_a_sentence(settings, message: str) -> None:
    pytest.importorskip("skimage")
    wanted = {"lower": -ENDS, "upper": ENDS, "step": 0.2} | settings
    with pytest.raises(InputError, match=message):
        extract_mesh(lambda x: 0.5 - x.norm(dim=1), **wanted)
