"""The figure of surfaces: `PYTHONPATH=docs python -m figures.surfaces`; it stands in docs/images as surfaces.png."""

import sys
from pathlib import Path

import torch
from PIL import Image

from convnn.tasks.surface import NeuralKernelSurface, Torus, View, draw_surfaces


def draw(path: Path) -> None:
    """Reconstruct noisy points of a shape, and draw points, mesh and error."""
    shape = Torus()
    cloud = shape.sample(3000, torch.Generator().manual_seed(0), noise=0.01, normal_noise=0.1)
    surface = NeuralKernelSurface(points_per_voxel=6).fit(cloud.points, cloud.normals)
    mesh = surface.mesh(2)
    error = shape.distance(mesh.vertices).abs()
    views = [
        View(cloud, f"{len(cloud):,} points"),
        View(mesh, f"found, {surface.field_.solved.unknowns:,} unknowns"),
        View(mesh, f"error, {error.mean().item():.4f} in the mean", error, "distance from the true surface"),
    ]
    draw_surfaces(views, path, elevation=40)
    with Image.open(path) as picture:  # shading takes many colours, a page few
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images") / "surfaces.png")
