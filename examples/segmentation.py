"""Train a segmentation head to find the pixels with the colour of the marked ones, at any distance."""

import torch
from torch import nn
from torch.nn import functional as F

from convnn.nn import ConvNN2d

SIDE = 16


def make_scenes(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Make images (B, 4, H, W) of colours and a mark, and masks (B, 1, H, W) of the disc in the marked colour."""
    grid = torch.stack(torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij"))
    images, masks = torch.zeros(count, 4, SIDE, SIDE), torch.zeros(count, 1, SIDE, SIDE)
    for image, mask in zip(images, masks, strict=True):
        colours = torch.eye(3)[torch.randperm(3)[:2]]
        for column, colour in zip((6, 12), colours[torch.randperm(2)], strict=True):
            centre = torch.tensor([int(torch.randint(4, SIDE - 4, ())), column])
            disc = (grid - centre[:, None, None]).square().sum(0) <= 7
            image[:3, disc] = colour[:, None]
            mask[0, disc] = float(torch.equal(colour, colours[0]))
        image[:3, 4:12, 0] = colours[0][:, None]
        image[3, 4:12, 0] = 0.1  # small, so that a marked pixel stays most similar to pixels of its colour
    images[:, :3] += 0.1 * torch.randn(count, 3, SIDE, SIDE)
    return images, masks


torch.manual_seed(0)
# No window of a small convolution holds both a disc and the mark. The 32 most similar pixels have the same colour: if
# some of them are marked, the layer tells all of them.
network = nn.Sequential(
    ConvNN2d(4, 32, K=32, metric="euclidean"),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.Conv2d(32, 32, kernel_size=1),
    nn.ReLU(),
    nn.Conv2d(32, 1, kernel_size=1),
)
optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
for _ in range(80):
    images, masks = make_scenes(16)
    optimizer.zero_grad()
    F.binary_cross_entropy_with_logits(network(images), masks).backward()
    optimizer.step()

network.eval()
images, masks = make_scenes(128)
with torch.no_grad():
    found, target = network(images) > 0, masks > 0
print(f"intersection over union {(found & target).sum() / (found | target).sum():.3f}")
