"""Splatting and the field of opacity: against loops over pixels and Gaussians, scipy's densities, and each other."""

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from scipy.stats import multivariate_normal
from sklearn.metrics.pairwise import rbf_kernel
from torch import Tensor

from convnn.errors import InputError
from convnn.ops import splatting
from convnn.ops.gaussians import Gaussians, View, cross, rotation_matrices
from convnn.ops.opacity_field import opacity_field, seen_opacities, signed_opacity
from convnn.ops.projection import Rig, look_at, pinhole, pixel_rays
from convnn.ops.splatting import splat

SIZE = (5, 7)


def _cloud(count: int, *, opacity: float = 0.8, spread: float = 0.5, seed: int = 0) -> tuple[Gaussians, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    means = spread * (2 * draw(count, 3) - 1)
    rotations = 2 * draw(count, 4) - 1
    return Gaussians(means, 0.05 + 0.3 * draw(count, 3), rotations, 0.1 + (opacity - 0.1) * draw(count)), draw(count, 2)


def _rig(distance: float = 2.0, cameras: int = 2) -> Rig:
    places = distance * torch.tensor([[1.0, 0.3, 0.2], [-0.4, 0.9, 0.5]], dtype=torch.float64)[:cameras]
    pose = look_at(places, torch.zeros(3, dtype=torch.float64), torch.tensor([0.0, 0, 1], dtype=torch.float64))
    return pinhole(pose, torch.tensor([6.0, 5.0]), SIZE)


def _by_loops(cloud: Gaussians, colors: Tensor, rig: Rig, camera: int, pixel: tuple[int, int]) -> list[float]:
    """One pixel by the definition: covariances, one Gaussian after the other."""
    pose, lens = rig.extrinsics[0, camera].numpy(), rig.intrinsics[0, camera].numpy()
    ray = np.linalg.inv(lens) @ [pixel[1] + 0.5, pixel[0] + 0.5, 1]
    turns = Rotation.from_quat(cloud.rotations.numpy()[:, [1, 2, 3, 0]]).as_matrix()
    middles = cloud.means.numpy() @ pose[:3, :3].T + pose[:3, 3]
    passed, median, layers = 1.0, 0.0, []
    for i in np.argsort(middles[:, 2], kind="stable"):
        axes = pose[:3, :3] @ turns[i]
        inverse = axes @ np.diag(cloud.scales[i].numpy() ** -2.0) @ axes.T
        m = middles[i]
        t = (ray @ inverse @ m) / (ray @ inverse @ ray)
        q = m @ inverse @ m - (ray @ inverse @ m) ** 2 / (ray @ inverse @ ray)
        alpha = min(0.99, cloud.opacities[i].item() * math.exp(-max(q, 0) / 2))
        if m[2] <= 0.2 or t <= 0.2 or alpha < 1 / 255:
            continue
        if passed * (1 - alpha) < 1e-4:
            break
        median = t if passed > 0.5 else median
        normal = -inverse @ ray / math.sqrt(np.sum((inverse @ ray) ** 2) + 1e-7)
        place = (100 * t - 20) / (99.8 * t)
        layers.append((alpha * passed, place, [*colors[i].tolist(), *normal]))
        passed *= 1 - alpha
    total = sum((w * np.array(values) for w, _, values in layers), np.zeros(5))
    spread = sum(w * v * (a - b) ** 2 for w, a, _ in layers for v, b, _ in layers) / 2
    light = [0.3 * passed, 0.6 * passed, 0, 0, 0]
    return [*(total + light), median, 1 - passed, spread / ((1 - passed) ** 2 + 1e-7)]


CLOUDS = [(14, 0.8, 0.5, 2.0), (60, 1.0, 0.4, 2.0), (40, 1.0, 1.5, 0.5), (1, 0.9, 0.1, 2.0)]


@pytest.mark.parametrize(("count", "opacity", "spread", "distance"), CLOUDS, ids=["thin", "opaque", "inside", "one"])
def test_pixels_are_those_of_loops(count: int, opacity: float, spread: float, distance: float) -> None:
    cloud, colors = _cloud(count, opacity=opacity, spread=spread)
    rig, light = _rig(distance), torch.tensor([0.3, 0.6], dtype=torch.float64)
    seen = splat(cloud, colors, rig, light)
    maps = torch.cat([seen.colors, seen.normals, *(one.unsqueeze(1) for one in seen[2:])], dim=1)
    assert maps.shape == (2, 8, *SIZE)
    for camera in range(2):
        for pixel in np.ndindex(*SIZE):
            found, wanted = maps[camera, :, pixel[0], pixel[1]], _by_loops(cloud, colors, rig, camera, pixel)
            torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), atol=1e-10, rtol=1e-9)
    assert seen.opacities.max() > 0.3


def test_a_ray_ends_before_it_is_opaque() -> None:
    dense, colors = _cloud(60, opacity=1.0, spread=0.1)
    dense = dense._replace(opacities=torch.ones_like(dense.opacities))
    rig = _rig()
    view = View.of(dense, rig.extrinsics[0, 0])
    rays = pixel_rays(rig)[0, 0]
    ends, all_of_them = (splatting.gaussians_on_rays(view, rays, until_opaque=is_so) for is_so in (True, False))
    assert ends.K < all_of_them.K
    assert (1 - splat(dense, colors, rig).opacities).min() >= 1e-4


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for numbers in (2**22, 400):
        monkeypatch.setattr(splatting, "NUMBERS", numbers)
        cloud, colors = _cloud(14)
        leaves = [one.clone().requires_grad_() for one in (*cloud, colors)]
        seen = splat(Gaussians(*leaves[:4]), leaves[4], _rig())
        upstream = [torch.rand(one.shape, generator=torch.Generator().manual_seed(0)).double() for one in seen]
        results.append([*seen, *torch.autograd.grad(seen, leaves, upstream)])
    for whole, pieces in zip(*results, strict=True):
        torch.testing.assert_close(pieces, whole, atol=1e-12, rtol=1e-10)


def test_gradients_are_those_of_differences() -> None:
    cloud, colors = _cloud(4)
    rig = _rig(cameras=1)._replace(image_size=(2, 3))

    def render(*parts: Tensor) -> tuple[Tensor, ...]:
        return tuple(splat(Gaussians(*parts[:4]), parts[4], rig, parts[5]))

    inputs = [one.requires_grad_() for one in (*cloud, colors, torch.tensor([0.3, 0.6], dtype=torch.float64))]
    assert torch.autograd.gradcheck(render, inputs, fast_mode=True)


def test_the_field_has_gradients_too() -> None:
    cloud, _ = _cloud(4)
    points = 0.3 * torch.rand(3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    field = lambda *parts: opacity_field(Gaussians(*parts[:4]), _rig(), parts[4])  # noqa: E731
    inputs = [one.requires_grad_() for one in (*cloud, points)]
    assert torch.autograd.gradcheck(field, inputs, fast_mode=True)


def test_no_gaussians_show_the_background_and_free_space() -> None:
    cloud, colors = _cloud(14)
    none = Gaussians(*(one[:0] for one in cloud))
    seen = splat(none, colors[:0], _rig(), torch.tensor([0.3, 0.6], dtype=torch.float64))
    assert seen.colors[:, 1].unique().tolist() == [0.6]
    assert all(one.eq(0).all() for one in (seen.normals, seen.depths, seen.opacities, seen.distortion))
    assert opacity_field(none, _rig(), torch.zeros(1, 3, dtype=torch.float64)).tolist() == [20]


def test_a_crossing_is_the_densest_place_on_the_ray() -> None:
    cloud, _ = _cloud(3)
    rig = _rig()
    crossing = cross(View.of(cloud, rig.extrinsics[0, 0]), pixel_rays(rig)[0, 0])
    to_world = torch.linalg.inv(rig.extrinsics[0, 0])
    turns = rotation_matrices(cloud.rotations)
    covariances = turns @ torch.diag_embed(cloud.scales.square()) @ turns.mT
    for pixel in (0, 17, 34):
        depths = torch.linspace(0.5, 4, 3001, dtype=torch.float64)
        places = depths[:, None] * pixel_rays(rig)[0, 0, pixel] @ to_world[:3, :3].T + to_world[:3, 3]
        for i in range(3):
            normal = multivariate_normal(cloud.means[i].numpy(), covariances[i].numpy())
            density = torch.from_numpy(normal.pdf(places.numpy()) / normal.pdf(cloud.means[i].numpy()))
            assert crossing.depths[pixel, i].item() == pytest.approx(depths[density.argmax()].item(), abs=1.5e-3)
            found = crossing.opacity_at(depths[::500, None, None].expand(-1, 35, 3))[:, pixel, i]
            torch.testing.assert_close(found, cloud.opacities[i] * density[::500])


def test_the_field_is_a_regression_by_one_sided_kernels() -> None:
    """Round Gaussians in front of a single camera: scikit-learn's kernel at the crossing or before it."""
    cloud, _ = _cloud(12)
    round_ones = cloud._replace(scales=torch.full_like(cloud.scales, 0.25))
    rig = _rig(cameras=1)
    pose = rig.extrinsics[0, 0].numpy()
    points = 2.4 * torch.rand(60, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64) - 1.2
    opacities, seen = seen_opacities(round_ones, rig, points)
    assert seen.sum() > 20
    assert not seen.all()
    middles = round_ones.means.numpy() @ pose[:3, :3].T + pose[:3, 3]
    for q in seen[0].nonzero()[:, 0].tolist():
        place = pose[:3, :3] @ points[q].numpy() + pose[:3, 3]
        along = np.minimum(middles @ place / (place @ place), 1)  # of round Gaussians, the nearest place on the ray
        kernel = np.diag(rbf_kernel(along[:, None] * place, middles, gamma=1 / (2 * 0.25**2)))
        values = np.minimum(0.99, round_ones.opacities.numpy() * kernel)
        values[values < 1 / 255] = 0
        assert opacities[0, q].item() == pytest.approx(1 - np.prod(1 - values), rel=1e-9)
    assert (opacities[~seen] == 0).all()


def test_opacity_never_falls_along_a_ray_and_ends_as_the_rendered_one() -> None:
    cloud, colors = _cloud(14)
    rig = _rig(cameras=1)
    to_world = torch.linalg.inv(rig.extrinsics[0, 0])
    rays = pixel_rays(rig)[0, 0] @ to_world[:3, :3].T
    opacities = torch.stack(
        [seen_opacities(cloud, rig, depth * rays + to_world[:3, 3])[0][0] for depth in (0.5, 1, 1.5, 2, 2.5, 3, 50)]
    )
    assert (opacities.diff(dim=0) >= -1e-14).all()
    assert (opacities[-1] > opacities[0] + 0.1).any()
    torch.testing.assert_close(opacities[-1], splat(cloud, colors, rig).opacities.flatten())


def test_the_field_is_the_freest_view_and_solid_where_nobody_looks() -> None:
    cloud, _ = _cloud(14)
    rig = _rig()
    outside = torch.tensor([[4.0, 4, 0]], dtype=torch.float64)
    points = torch.cat([cloud.means, outside])
    opacities, seen = seen_opacities(cloud, rig, points)
    found = opacity_field(cloud, rig, points)
    assert not seen[:, -1].any()
    assert found[-1] == -10
    for q, value in enumerate(found[:-1].tolist()):
        seeing = opacities[seen[:, q], q].tolist()
        assert value == pytest.approx(max(math.log(1 / p - 1) - 0.15 if p else 20 for p in seeing), abs=1e-9)
    assert signed_opacity(torch.tensor([0, 1 / (1 + math.exp(0.15)), 1])).tolist() == pytest.approx(
        [20, 0, -20], abs=1e-6
    )


CLOUD, COLORS = _cloud(3)
POSES = torch.eye(4).unsqueeze(0)
WRONG: list[tuple[Callable[[], object], str]] = [
    (
        lambda: splat(CLOUD._replace(scales=-CLOUD.scales), COLORS, _rig()),
        r"scales\[0\]=\[-.*\] must be positive",
    ),
    (
        lambda: opacity_field(CLOUD._replace(opacities=torch.tensor([0.5, 1.5, 1]).double()), _rig(), CLOUD.means),
        r"opacities\[1\]=1.5 must be above 0 and at most 1",
    ),
    (
        lambda: splat(CLOUD._replace(opacities=torch.tensor([0.5, 0, 1]).double()), COLORS, _rig()),
        r"opacities\[1\]=0.0 must be above 0 and at most 1",
    ),
    (
        lambda: splat(CLOUD._replace(rotations=torch.zeros(3, 4).double()), COLORS, _rig()),
        r"rotations\[0\] is 0 and must be a quaternion of another length",
    ),
    (
        lambda: splat(CLOUD._replace(means=CLOUD.means / 0), COLORS, _rig()),
        r"means must be finite; means\[0\] is not",
    ),
    (
        lambda: splat(CLOUD._replace(scales=CLOUD.scales[:2]), COLORS, _rig()),
        r"scales of shape \(2, 3\) and torch.float64 must be floating, of shape \(3, 3\)",
    ),
    (lambda: splat(CLOUD, COLORS[:2], _rig()), r"colors of shape \(2, 2\) must be \(3, C\)"),
    (lambda: splat(CLOUD, COLORS, _rig(), torch.zeros(3)), r"background of shape \(3,\) must be \(2,\)"),
    (
        lambda: splat(CLOUD, COLORS, Rig(torch.zeros(1, 0, 3, 3), torch.zeros(1, 0, 4, 4), SIZE)),
        r"extrinsics of shape \(1, 0, 4, 4\) must be \(1, n, 4, 4\): one rig, with cameras",
    ),
    (lambda: opacity_field(CLOUD, _rig(), CLOUD.means[:, :2]), r"points of shape \(3, 2\) must be \(Q, 3\)"),
    (lambda: pinhole(POSES, 0.0, SIZE), r"focal=\[\[0.0, 0.0\]\] must have positive numbers only"),
    (
        lambda: pinhole(POSES[:0], 1.0, SIZE),
        r"world_to_camera of shape \(0, 4, 4\) must be \(n, 4, 4\), with at least one camera",
    ),
    (
        lambda: look_at(torch.tensor([[0.0, 0, 2]]), torch.zeros(3), torch.tensor([0.0, 0, 1])),
        re.escape("centres=[[0.0, 0.0, 2.0]] must be away from the target, and not above or below it along up"),
    ),
]


@pytest.mark.parametrize(("call", "message"), WRONG, ids=[message[:24] for _, message in WRONG])
def test_bad_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        call()
