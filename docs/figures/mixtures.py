"""The figure of mixtures: `PYTHONPATH=docs python -m figures.mixtures`; it stands in docs/images as mixtures.png."""

import math
import sys
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from convnn.ops.mixtures import Mixture, convolve, evaluate, fit_images, rectify, reduce

DIGIT, GAUSSIANS, REDUCED = 10, 12, 20
SIDE = 4.5
"""How far the pictures reach from the middle, in pixels."""


def edge_kernel() -> Mixture:
    """Return a kernel of two components, which is positive on the left and negative on the right."""
    mean = torch.tensor([[-0.8, 0.0], [0.8, 0.0]])
    return Mixture(torch.tensor([[[1.0, -1.0]]]), mean[None, None], 0.25 * torch.eye(2).expand(1, 1, 2, 2, 2))


def show(axes: Axes, mixture: Mixture, title: str) -> None:
    """Draw the field, red above 0 and blue below, and an ellipse of one standard deviation for each component."""
    line = torch.linspace(-SIDE, SIDE, 180)
    y, x = torch.meshgrid(line, line, indexing="ij")
    values = evaluate(mixture, torch.stack([x, y], -1).flatten(0, 1)).view(180, 180)
    picture(axes, values, title)
    for weight, mean, cov in zip(mixture.weight[0, 0], mixture.mean[0, 0], mixture.cov[0, 0], strict=True):
        lengths, directions = torch.linalg.eigh(cov)
        angle = math.degrees(math.atan2(directions[1, 1], directions[0, 1]))
        sides = (2 * lengths.flip(0).sqrt()).tolist()
        color = "#a63c06" if weight > 0 else "#1f4e8c"
        share = (weight.abs() / mixture.weight.abs().max()).item()
        axes.add_patch(Ellipse(mean.tolist(), *sides, angle=angle, fill=False, color=color, lw=0.3 + 1.2 * share))


def picture(axes: Axes, values: Tensor, title: str) -> None:
    """Draw values on a square, 0 in white."""
    most = values.abs().max().item()
    reach = SIDE if values.shape[0] > 8 else 4
    axes.imshow(values, cmap="RdBu_r", vmin=-1.4 * most, vmax=1.4 * most, extent=(-reach, reach, reach, -reach))
    axes.set(xlim=(-SIDE, SIDE), ylim=(SIDE, -SIDE), xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)


@torch.no_grad()
def draw(path: Path) -> None:
    """Draw a digit, its mixture, the convolution with an edge kernel, and the ReLU of that."""
    image = torch.from_numpy(load_digits().images[DIGIT]).float()
    found = fit_images(image[None, None], GAUSSIANS, steps=50, generator=torch.Generator().manual_seed(3))
    edges = reduce(convolve(found, edge_kernel()), REDUCED)
    figure = Figure(figsize=(8.4, 2.4), layout="constrained", dpi=100)
    panels = figure.subplots(1, 4)
    picture(panels[0], image, "a digit, 8 x 8 pixels")
    show(panels[1], found, f"as {GAUSSIANS} Gaussians")
    show(panels[2], edges, f"convolved: {2 * GAUSSIANS}, merged to {REDUCED}")
    show(panels[3], rectify(edges), "its ReLU, fitted")
    figure.savefig(path)
    Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images") / "mixtures.png")
