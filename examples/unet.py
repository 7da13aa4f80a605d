"""Train MK-UNet to tell discs from squares, and draw what it finds: `unet.py segments.png`."""

import sys

import torch
from torch.nn import functional as F

from convnn.models.segmentation import mkunet_t

SIDE = 48


def make_scenes(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Make noisy images (B, 3, H, W) of a disc and a square, and their classes (B, H, W): ground, disc, square."""
    grid = torch.stack(torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij"))
    images, classes = torch.zeros(count, 3, SIDE, SIDE), torch.zeros(count, SIDE, SIDE, dtype=torch.long)
    for image, labels in zip(images, classes, strict=True):
        for label, column in zip((1, 2), torch.tensor([12, 35])[torch.randperm(2)], strict=True):
            centre = torch.stack([torch.randint(10, SIDE - 10, ()), column])
            offset = (grid - centre[:, None, None]).abs()
            shape = offset.square().sum(0) <= 81 if label == 1 else offset.amax(0) <= 8
            image[:, shape] = torch.rand(3, 1)
            labels[shape] = label
    return images + 0.1 * torch.randn_like(images), classes


def draw(images: torch.Tensor, classes: torch.Tensor, found: torch.Tensor, path: str) -> None:
    """Draw images, classes and what was found, a row each."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, len(images), figsize=(2 * len(images), 6), squeeze=False)
    rows = {"image": images.permute(0, 2, 3, 1).clamp(0, 1), "classes": classes, "found": found}
    for (title, pictures), row in zip(rows.items(), axes, strict=True):
        for picture, axis in zip(pictures, row, strict=True):
            axis.imshow(picture, vmin=0, vmax=2)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(title)
    figure.savefig(path, bbox_inches="tight")


torch.manual_seed(0)
network = mkunet_t(num_classes=3)
steps = 150
optimizer = torch.optim.AdamW(network.parameters(), lr=2e-2)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-2, total_steps=steps)
for _ in range(steps):
    images, classes = make_scenes(16)
    optimizer.zero_grad()
    F.cross_entropy(network(images), classes).backward()
    optimizer.step()
    scheduler.step()

network.eval()
images, classes = make_scenes(64)
with torch.no_grad():
    found = network(images).argmax(1)
if len(sys.argv) > 1:
    draw(images[:6], classes[:6], found[:6], sys.argv[1])
shares = [((found == c) & (classes == c)).sum() / ((found == c) | (classes == c)).sum() for c in (1, 2)]
print(f"mean intersection over union of both shapes {sum(shares) / 2:.3f}")
