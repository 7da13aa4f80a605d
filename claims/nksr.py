"""NKSR: fitting gradients is robust, and kernels of compact support scale."""

import torch

from claims._experiment import Outcome, is_above, spread
from convnn.models.surfaces.field import KernelField
from convnn.models.surfaces.hierarchy import Hierarchy
from convnn.ops.implicit import SparseSolver
from convnn.tasks.surface import Cloud, Sphere

SYSTEM = "NKSR: neural kernel surface reconstruction"
CLAIM = (
    "A field of kernels on sparse voxels that is fitted by its gradient finds surfaces from noisy points better than"
    " one that is fitted by values beside them; compact support keeps the system sparse and easy as scenes grow."
)
EXPERIMENT = (
    "B-spline kernel, 3 depths, finest voxels of 0.1. Robust: 2000 points of the unit sphere with deviations of points"
    " and normals; mean distance from 1, in thousandths, of the crossings nearest to it on 500 rays (0.7 to 1.3),"
    " and share of rays with several. Values: 0 at the points and -eps, eps beside them, in the same voxels at the same"
    " weight. Large: k spheres of radius 0.4, of 1000 points each."
)
SEEDS = (0, 1, 2)
NOISES = ((0.0, 0.0), (0.02, 0.1), (0.05, 0.3))
WAYS = {"gradients": None, "values, eps 0.05": 0.05, "values, eps 0.01": 0.01}


def measure(seeds: list[int], quick: bool) -> Outcome:
    count, copies = (300, (1, 2)) if quick else (2000, (1, 2, 4, 8))
    found = {(noise, way): [on_rays(way, noise, seed, count) for seed in seeds] for noise in NOISES for way in WAYS}
    errors, several = ({key: [one[i] for one in ones] for key, ones in found.items()} for i in (0, 1))
    rows = [[way, f"{n}, {m}", spread(errors[(n, m), way]), spread(several[(n, m), way])] for (n, m), way in found]
    sizes = {k: solve_many(k, seeds[0]) for k in copies}
    rows += [[f"k = {k}", str(n), f"{nonzeros:.0f}", str(steps)] for k, (n, nonzeros, steps) in sizes.items()]
    pairs = [((noise, way), (noise, "gradients")) for noise in NOISES for way in list(WAYS)[1:]]
    (_, few, first), (_, many, last) = sizes[copies[0]], sizes[copies[-1]]
    return Outcome(
        [["way or k", "noise, or unknowns", "error, or nonzeros a row", "several, %, or steps"], *rows],
        {
            "gradients have less error at every noise": all(is_above(errors[a], errors[b]) for a, b in pairs),
            "at the largest noise fewer of their rays have several crossings": all(
                is_above(several[a], several[b]) for a, b in pairs if a[0] == NOISES[-1]
            ),
            "nonzeros a row grow by less than a tenth": many < 1.1 * few,
            "the steps of the solver do not grow": last <= first,
        },
    )


def fitted(cloud: Cloud, eps: float | None, size: float = 0.1) -> KernelField:
    points, normals, weight = cloud.points, cloud.normals, 1e4 / len(cloud)
    field = KernelField(Hierarchy.of_points(points, size, 3))
    if eps is None:
        return field.fit(points, points, normals, pos_weight=weight, normal_weight=weight * size**2)
    beside = torch.cat([points, points + eps * normals, points - eps * normals])
    kernels, gram = field.values(beside), field.gram(points).to_scipy()
    matrix = weight * kernels.to_scipy().T @ kernels.to_scipy() + gram
    right = kernels.T @ torch.tensor([0, -eps, eps], dtype=points.dtype).repeat_interleave(len(points))
    alpha = SparseSolver(matrix.tocsr(), tol=1e-5, max_iter=2000).solve(weight * right).x[:, 0]
    field.alpha = list(alpha.split([len(grid) for grid in field.hierarchy.grids]))
    return field


def on_rays(way: str, noise: tuple[float, float], seed: int, count: int) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(seed)
    cloud = Sphere().sample(count, generator, noise=noise[0], normal_noise=noise[1])
    field, rays = fitted(cloud, WAYS[way]), Sphere().sample(500, generator).points
    radii = torch.linspace(0.7, 1.3, 121, dtype=torch.double)
    values = field((rays.unsqueeze(1) * radii.unsqueeze(1)).flatten(0, 1))[0].unflatten(0, (500, -1))
    before, after = values[:, :-1], values[:, 1:]
    is_crossing = (before > 0) != (after > 0)
    roots = radii[:-1] + (radii[1] - radii[0]) * before / (before - after).where(is_crossing, 1)
    nearest = (roots - 1).abs().where(is_crossing, 0.3).amin(1)
    return 1000 * nearest.mean().item(), 100 * (is_crossing.sum(1) > 1).double().mean().item()


def solve_many(k: int, seed: int) -> tuple[int, float, int]:
    clouds = [Sphere(0.4).sample(1000, torch.Generator().manual_seed(seed + i)) for i in range(k)]
    points = torch.cat([one.points + 3.2 * torch.tensor([i % 2, i // 2 % 2, i // 4]) for i, one in enumerate(clouds)])
    solved = fitted(Cloud(points, torch.cat([one.normals for one in clouds])), None).solved
    return solved.unknowns, solved.entries / solved.unknowns, solved.steps
