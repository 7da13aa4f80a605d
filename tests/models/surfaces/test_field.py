"""Kernel fields: SciPy's B-splines, grid sampling, dense solves, and gradients through the solution."""

import pytest
import torch
from scipy.interpolate import BSpline
from torch import nn
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.models.surfaces.field import KernelField
from convnn.models.surfaces.hierarchy import Hierarchy, choose_voxel_size
from convnn.models.surfaces.spline_kernel import Interpolator, SplineKernel, bspline, bspline_slope
from convnn.ops.implicit import Entries, SparseSolver, attach_gradient
from convnn.ops.voxels import Voxels, offsets
from convnn.tasks.surface import NeuralKernelSurface, Sphere
from convnn.tasks.surface.reconstruct import splat_normals

SIZE = 0.4


def _draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def _evenly(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.double)


def _cloud(count: int = 30):
    return Sphere(0.5).sample(count, torch.Generator().manual_seed(0))


def _learned(depth: int = 2, channels: int = 3) -> KernelField:
    torch.manual_seed(0)
    hierarchy = Hierarchy.of_points(_cloud().points, SIZE, depth)
    features = [_draw(len(grid), channels, seed=level) for level, grid in enumerate(hierarchy.grids)]
    return KernelField(hierarchy, features, [Interpolator(channels, 5, 1).double() for _ in range(depth)])


def test_the_spline_is_that_of_scipy() -> None:
    ours = torch.linspace(-2, 2, 401, dtype=torch.double)
    theirs = BSpline.basis_element([-1.5, -0.5, 0.5, 1.5], extrapolate=False)
    for found, wanted in ((bspline(ours), theirs), (bspline_slope(ours), theirs.derivative())):
        expected = torch.from_numpy(2 * wanted(ours.numpy())).nan_to_num()
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


def test_features_are_interpolated_as_grid_sample_does() -> None:
    side = 4
    voxels, z = Voxels(offsets(*range(side))), _draw(side**3, 2)
    points = 0.3 * (0.5 + (side - 1) * _evenly(20, 3))
    found, _ = SplineKernel(voxels, 0.3, z)._features_at(z, points / 0.3 - 0.5, False)
    image = z.T.reshape(1, 2, side, side, side).permute(0, 1, 4, 3, 2)  # grid_sample has x last
    places = (2 * (points / 0.3 - 0.5) / (side - 1) - 1).reshape(1, 20, 1, 1, 3)
    wanted = F.grid_sample(image, places, align_corners=True).reshape(2, 20).T
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [_learned, lambda: KernelField(Hierarchy.of_points(_cloud().points, SIZE, 3))])
def test_the_solution_is_that_of_dense_equations(make) -> None:
    field, cloud = make(), _cloud()
    more = 0.7 * _draw(12, 3, seed=5)
    field.fit(cloud.points, more, more, pos_weight=3.0, normal_weight=0.5, reg_weight=0.2, tol=1e-13)
    assert field.solved.converged
    with torch.no_grad():
        at = torch.cat([_dense(kernel, cloud.points) for kernel in field.kernels], 1)
    slope = torch.cat([_dense_slopes(kernel, more) for kernel in field.kernels], 1)
    gram = torch.block_diag(*[_dense_gram(kernel) for kernel in field.kernels])
    matrix = 3 * at.T @ at + 0.5 * slope.T @ slope + 0.2 * gram
    wanted = torch.linalg.solve(matrix, -0.5 * slope.T @ more.flatten())
    torch.testing.assert_close(torch.cat(field.alpha).detach(), wanted, rtol=0, atol=1e-9 * wanted.abs().max().item())
    value, turned = field(more, grad=True)
    full = torch.cat([_dense(kernel, more) for kernel in field.kernels], 1)
    torch.testing.assert_close(value.detach(), (full @ wanted).detach(), rtol=0, atol=1e-8)
    torch.testing.assert_close(turned.detach().flatten(), slope @ wanted, rtol=0, atol=1e-7)
    assert field(more + 100)[0].abs().max() == 0  # far from all voxels


def _dense(kernel: SplineKernel, points: torch.Tensor) -> torch.Tensor:
    """The kernel between all points and all voxels."""
    t = points.unsqueeze(1) / kernel.size - 0.5 - kernel.voxels.ijk
    spline = torch.where(t.abs() < 0.5, 1.5 - 2 * t * t, F.relu(1.5 - t.abs()) ** 2).prod(2)
    if kernel.features is None:
        return spline
    hat = F.relu(1 - t.abs()).prod(2)
    seen = hat @ kernel.features
    for number, layer in enumerate(kernel.interpolator.layers):
        seen = layer(seen.relu() if number else seen)
    return spline * (seen @ kernel.features.T)


def _dense_slopes(kernel: SplineKernel, points: torch.Tensor) -> torch.Tensor:
    jacobian = torch.autograd.functional.jacobian(lambda x: _dense(kernel, x).sum(0), points)  # (V, P, 3)
    return jacobian.permute(1, 2, 0).flatten(0, 1)


def _dense_gram(kernel: SplineKernel) -> torch.Tensor:
    apart = (kernel.voxels.ijk.unsqueeze(1) - kernel.voxels.ijk).abs()
    spline = torch.tensor([1.5, 0.25, 0])[apart.clamp(max=2)].double().prod(2)
    return spline if kernel.features is None else spline * (kernel.features @ kernel.features.T)


def test_gradients_go_through_the_solution() -> None:
    cloud, query = _cloud(8), 0.5 * _draw(5, 3, seed=3)
    hierarchy = Hierarchy.of_points(cloud.points, 0.9, 1)

    def solve(z: torch.Tensor, normals: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        mapped = Map(*weights)
        field = KernelField(hierarchy, [z], [mapped])
        field.fit(cloud.points, cloud.points, normals, pos_weight=2.0, normal_weight=0.5, tol=1e-14)
        value, slope = field(query, grad=True)
        return torch.cat([value, slope.flatten()])

    inputs = [_draw(len(hierarchy.grids[0]), 2), cloud.normals, _draw(3, 2, seed=1), _draw(2, 3, seed=2)]
    assert torch.autograd.gradcheck(solve, [one.requires_grad_() for one in inputs], fast_mode=True)


class Map(nn.Module):
    """An interpolator whose weights are given, so that gradients with respect to them can be checked."""

    def __init__(self, first: torch.Tensor, second: torch.Tensor) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, z: torch.Tensor, slopes: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        hidden = z @ self.first.T
        moved = (
            None if slopes is None else self.second @ ((1 - hidden.tanh() ** 2).unsqueeze(2) * (self.first @ slopes))
        )
        return hidden.tanh() @ self.second.T, moved


def test_an_implicit_gradient_is_that_of_a_dense_solve() -> None:
    root, b = _draw(6, 6).requires_grad_(), _draw(6, seed=1).requires_grad_()
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")
    upstream = _draw(6, seed=2)

    def matrix() -> torch.Tensor:
        return root @ root.T + torch.eye(6)

    wanted = torch.autograd.grad(torch.linalg.solve(matrix(), b), (root, b), upstream)
    entries = Entries(rows.flatten(), columns.flatten(), matrix().flatten(), (6, 6))
    solver = SparseSolver(entries.to_scipy(), tol=1e-14, max_iter=100)
    x = solver.solve(b.detach()).x[:, 0]
    found = torch.autograd.grad(attach_gradient(x, b - entries @ x, solver), (root, b), upstream)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_learned_kernels_train() -> None:
    cloud, field = _cloud(), _learned(1)
    z = field.kernels[0].features.requires_grad_()
    optimizer = torch.optim.Adam([z, *field.interpolators.parameters()], 0.05)
    query = Sphere(0.5).sample(100, torch.Generator().manual_seed(1))
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        field.fit(cloud.points, cloud.points, cloud.normals, pos_weight=200.0, normal_weight=20.0)
        value, slope = field(query.points, grad=True)
        loss = value.abs().mean() + (slope + query.normals).norm(dim=1).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_flat_places_keep_their_coarse_voxels() -> None:
    points = _evenly(400, 3) * torch.tensor([4, 4, 0])
    normals = torch.tensor([[0.0, 0, 1]], dtype=torch.double).repeat(400, 1)
    is_bent = points[:, 0] > 3
    normals[is_bent] = F.normalize(_draw(int(is_bent.sum()), 3))
    found = Hierarchy.adaptive(points, normals, 0.25, 3, adaptive_depth=3, tau=0.2)
    full = Hierarchy.of_points(points, 0.25, 3)
    assert len(found.grids[2]) == len(full.grids[2])
    assert found.centers[0][:, 0].min() > 1.9
    assert (full.grids[0].find(found.grids[0].ijk) >= 0).all()
    flat = Hierarchy.adaptive(points[~is_bent], normals[~is_bent], 0.25, 3, adaptive_depth=3, tau=0.2)
    assert flat.grids[:2] == (None, None)
    assert KernelField(flat).fit(points, points, normals, pos_weight=1, normal_weight=1).alpha[0] is None


@pytest.mark.parametrize("settings", [{}, {"normals_at": "points"}, {"adaptive_depth": 2}])
def test_a_noisy_sphere_is_found(settings: dict) -> None:
    pytest.importorskip("skimage")
    cloud = Sphere().sample(600, torch.Generator().manual_seed(0), noise=0.01, normal_noise=0.05)
    surface = NeuralKernelSurface(0.25, depth=3, **settings).fit(cloud.points.numpy(), cloud.normals.numpy())
    assert surface.field_.solved.converged
    mesh = surface.mesh(1)
    assert (mesh.vertices.norm(dim=1) - 1).abs().mean() < 0.01
    assert mesh.volume == pytest.approx(4.19, abs=0.15)  # a mesh of chords is smaller
    assert (surface.predict(0.9 * cloud.points) > 0).all()
    assert (surface.predict(1.1 * cloud.points) < 0).all()
    assert surface.get_params()["depth"] == 3


def test_sizes_and_normals_of_voxels() -> None:
    cloud = _cloud(2000)
    size = choose_voxel_size(cloud.points, 4.0)
    held = 2000 / len((cloud.points / size).floor().unique(dim=0))
    assert 3.9 < held < 4.1
    hierarchy = Hierarchy.of_points(cloud.points, size, 2)
    places, normals = splat_normals(hierarchy, cloud.points, cloud.normals, 2)
    assert len(places) <= sum(map(len, hierarchy.grids))
    assert F.cosine_similarity(places, normals).quantile(0.05) > 0.8


ONES = torch.ones(3, 3)
GRID = Hierarchy.of_points(ONES, 1.0, 2)
WEIGHTS = {"pos_weight": 1.0, "normal_weight": 1.0}
BAD = [
    (lambda: Hierarchy.of_points(ONES, 0, 1), "voxel_size=0 must be a positive number"),
    (lambda: Hierarchy.of_points(ONES, 1, 0), "depth=0 must be an integer of at least 1"),
    (lambda: Hierarchy.of_points(ONES[:0], 1, 1), r"points of shape \(0, 3\)"),
    (lambda: Hierarchy.of_points(ONES * torch.nan, 1, 1), r"points\[0\]=.* must be finite"),
    (lambda: Hierarchy.adaptive(ONES, ONES[:2], 1, 2, adaptive_depth=1, tau=0), "normals of shape"),
    (lambda: Hierarchy.adaptive(ONES, ONES, 1, 2, adaptive_depth=1, tau=-1), "tau=-1 must be at least 0"),
    (lambda: Hierarchy(1.0, (None, None)), "must have voxels at one depth at least"),
    (lambda: KernelField(GRID, [None]), "features of 1 depths must have one for each of 2"),
    (lambda: KernelField(GRID, [torch.ones(3, 2), None]), r"features of shape \(3, 2\) must be \(8, C\)"),
    (lambda: KernelField(GRID)(ONES), "the field has no alpha; call fit first"),
    (lambda: KernelField(GRID).fit(ONES, ONES, ONES[:2], **WEIGHTS), "normals of shape"),
    (lambda: KernelField(GRID).fit(ONES, ONES[:, :2], ONES, **WEIGHTS), r"normal_points of shape \(3, 2\)"),
    (lambda: KernelField(GRID).fit(ONES, ONES, ONES, **WEIGHTS | {"pos_weight": 0}), "pos_weight=0 must be a positive"),
    (lambda: KernelField(GRID).fit(ONES, ONES, ONES, **WEIGHTS, reg_weight=-1), "reg_weight=-1 must be a positive"),
    (lambda: Interpolator(0), "channels=0 must be an integer of at least 1"),
    (lambda: choose_voxel_size(ONES, 2), "points must not all be at one place"),
    (lambda: choose_voxel_size(0.1 * ONES.repeat(7, 1), 2), "points must not all be at one place"),
    (lambda: choose_voxel_size(ONES, 3), "points_per_voxel=3 must be above 1 and below the 3 points"),
    (lambda: NeuralKernelSurface(1.0, normals_at="x").fit(ONES, ONES), "normals_at='x' is not one of voxels, points"),
    (lambda: NeuralKernelSurface(1.0, reg_weight=0).fit(ONES, ONES), "reg_weight=0 must be a positive number"),
    (lambda: NeuralKernelSurface(1.0).fit(ONES, ONES[:1]), "normals of shape"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=range(len(BAD)))
def test_bad_input_is_told_in_a_sentence(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
