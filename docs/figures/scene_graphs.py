"""The figure of scene graphs: `PYTHONPATH=docs python -m figures.scene_graphs`; it stands in docs/images."""

import sys
from pathlib import Path

import torch

from convnn.data.scene_graphs import make_scene_graphs
from convnn.models.scene_graphs import SceneGraphDiffusion
from convnn.ops.edm import EDMSampler
from convnn.tasks.generate.scene_graphs import draw_scene_graphs, train

STEPS = 3000


def draw(path: Path) -> None:
    """Train on generated scene graphs, for some minutes, and draw samples."""
    graphs = make_scene_graphs(8000, inside=False)
    torch.manual_seed(0)
    settings = {"dim": 32, "depths": (2,), "heads": (4,), "window": 4, "mlp_ratio": 2, "noise_channels": 64}
    model = SceneGraphDiffusion(graphs, code="scalar", iou="none", **settings)
    train(model, graphs, steps=STEPS, lr=4e-3)
    samples = model.sample(6, EDMSampler(steps=24, churn=0), torch.Generator().manual_seed(0))
    draw_scene_graphs(samples, path, title=f"Six samples, after {STEPS:,} steps of training")


if __name__ == "__main__":
    draw(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images") / "scene-graphs.png")
