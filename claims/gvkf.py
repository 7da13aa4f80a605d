"""GVKF: a surface from the opacity field of few Gaussians, which voxels store in few numbers."""

from functools import partial
from math import pi
from statistics import mean

import torch

from claims._experiment import Outcome, spread
from convnn.ops.gaussians import Gaussians
from convnn.ops.opacity_field import opacity_field
from convnn.tasks.surface import Sphere, splats

SYSTEM = "GVKF: Gaussians of voxels"
CLAIM = (
    "Kernel regression of the opacity of sparse Gaussians is a continuous field whose level is the surface, and"
    " Gaussians that a network makes from voxels render as well as plain ones that store more."
)
EXPERIMENT = (
    "Fixed: N flat Gaussians, evenly on the unit sphere, 12 cameras; in 400 directions, the mean distance of the"
    " field's level from the sphere, and of the sphere from the nearest middle. Trained: a sphere coloured by its"
    " normals, 10 photographs of 24 x 24, 300 steps on the absolute error, volumes and, in the second half, distortion;"
    " voxels of 0.35 with 4 slots and 8 channels, and plain Gaussians in as many slots, or with as many numbers; the"
    " peak signal-to-noise ratio for 6 new cameras."
)
SEEDS = (0, 1)
COUNTS = (50, 100, 200, 400)


def measure(seeds: list[int], quick: bool) -> Outcome:
    fixed = [even(count) for count in COUNTS]
    runs = [trained(seed, 2 if quick else 300) for seed in seeds]
    columns = {name: list(zip(*(run[name] for run in runs), strict=True)) for name in runs[0]}
    voxels, _, as_many = columns.values()
    form = "{}, fixed|||{:.3f}|{:.0f}|{:.3f}"
    rows = [form.format(n, *one).split("|") for n, one in zip(COUNTS, fixed, strict=True)]
    forms = (".0f", ".1f", ".3f", ".0f")
    rows += [[name, *map(spread, column, forms), ""] for name, column in columns.items()]
    return Outcome(
        [["", "numbers", "PSNR, dB", "distance of the level", "found, %", "of the nearest middle"], *rows],
        {
            "the level of fixed Gaussians is found in all directions": all(found == 100 for _, found, _ in fixed),
            "it is nearer than the nearest middle for all four numbers": all(a < c for a, _, c in fixed),
            "voxels render at least as well as plain ones with as many numbers": mean(voxels[1]) >= mean(as_many[1]),
            "their level is at least as near": mean(voxels[2]) <= mean(as_many[2]),
            "it is found in at least 95 % of the directions": mean(voxels[3]) >= 95,
        },
    )


def level_of(field, ways: torch.Tensor) -> tuple[float, float]:
    """Return the mean distance of the level from the sphere, and the percentage of directions in which it is found."""
    places, found = splats.first_crossing(field, 1.5 * ways, 0.3 * ways)
    return (places[found].norm(dim=1) - 1).abs().mean().item(), 100 * found.double().mean().item()


def even(count: int) -> tuple[float, float, float]:
    ways = Sphere().sample(400, torch.Generator().manual_seed(0)).points
    z, angle = 1 - (2 * torch.arange(count).double() + 1) / count, pi * (3 - 5**0.5) * torch.arange(count)
    x, y = (1 - z * z).sqrt() * angle.cos(), (1 - z * z).sqrt() * angle.sin()
    middles, wide = torch.stack([x, y, z], 1), 0.6 * (4 * pi / count) ** 0.5
    scales, turns = ways.new_tensor([wide, wide, 0.03]).repeat(count, 1), torch.stack([1 + z, -y, x, 0 * z], 1)
    cloud = Gaussians(middles, scales, turns, torch.full_like(z, 0.9))
    level = level_of(partial(opacity_field, cloud, splats.cameras_around(12, (64, 64))), ways)
    return *level, torch.cdist(ways, middles).amin(1).mean().item()


def trained(seed: int, steps: int) -> dict[str, tuple[float, ...]]:
    torch.manual_seed(seed)
    scene, new = (splats.photograph(Sphere(), splats.cameras_around(count, (24, 24))) for count in (10, 6))
    points, ways = (Sphere().sample(n, noise=noise).points.float() for n, noise in ((2000, 0.05), (400, 0)))
    voxels = splats.AnchorGaussians(splats.voxel_anchors(points, 0.35), channels=8, slots=4, hidden=16)
    size = lambda model: sum(tensor.numel() for tensor in model.parameters())  # noqa: E731
    counts = {"plain, as many slots": 4 * len(voxels.anchors), "plain, as many numbers": size(voxels) // 14}
    plain, found = {name: splats.FreeGaussians(points[:n]) for name, n in counts.items()}, {}
    for name, model in {"voxels": voxels, **plain}.items():
        splats.train(model, scene, steps=steps, seed=seed, rate=1e-2, dissimilarity=0.0, distortion=1.0)
        level = level_of(splats.model_field(model, scene.rig), ways)
        found[name] = (size(model), splats.signal_to_noise(model, new), *level)
    return found
