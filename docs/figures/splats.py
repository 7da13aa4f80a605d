"""The figure of splatting: `PYTHONPATH=docs python -m figures.splats`; it stands in docs/images as splats.png."""

import sys
from pathlib import Path

import torch

from convnn.tasks.surface import extract_mesh, make_shape
from convnn.tasks.surface.splats import (
    AnchorGaussians,
    cameras_around,
    draw_splats,
    model_field,
    photograph,
    signal_to_noise,
    train,
    voxel_anchors,
)


def draw(path: Path, steps: int = 400) -> None:
    """Train voxels on photographs of a torus, and draw what another camera sees."""
    torch.manual_seed(0)
    shape = make_shape("torus")
    scene, new = (photograph(shape, cameras_around(count, (40, 40), focal=1.3)) for count in (16, 5))
    points = shape.sample(4000, noise=0.03, dtype=torch.float32).points
    model = AnchorGaussians(voxel_anchors(points, 0.2), channels=8, slots=4, hidden=16)
    train(model, scene, steps=steps, rate=1e-2, distortion=1.0, normals=0.02)
    print(f"{len(model.anchors)} voxels, {signal_to_noise(model, new):.1f} dB for new cameras")
    corner = torch.tensor([1.2, 1.2, 0.5])
    mesh = extract_mesh(model_field(model, scene.rig), -corner, corner, 0.04, inside="negative", bisections=1)
    draw_splats(model, new, path, camera=1, mesh=mesh)


if __name__ == "__main__":
    draw(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images") / "splats.png")
