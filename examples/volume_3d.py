"""Classify volumes in three dimensions: a ball, a plate or a rod anywhere in noise."""

import torch
from torch import nn
from torch.nn import functional as F

from convnn.nn import ConvNN3d

SIDE = 8


def make_volumes(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Make noisy volumes (B, 1, D, H, W), with labels (B,), of shapes of 25 to 33 voxels unless cut off."""
    grid = torch.stack(torch.meshgrid(*[torch.arange(SIDE)] * 3, indexing="ij"))
    labels = torch.randint(3, (count,))
    volumes = 0.3 * torch.randn(count, 1, SIDE, SIDE, SIDE)
    for volume, label in zip(volumes, labels.tolist(), strict=True):
        offset = (grid - torch.randint(2, SIDE - 2, (3, 1, 1, 1))).roll(int(torch.randint(3, ())), dims=0)
        ball = offset.square().sum(0) <= 4
        plate = (offset[0] == 0) & (offset[1:].abs().amax(0) <= 2)
        rod = ((offset[:2] == 0) | (offset[:2] == 1)).all(0)
        volume[0] += (ball, plate, rod)[label]
    return volumes, labels


torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv3d(1, 12, kernel_size=3, padding=1),
    nn.BatchNorm3d(12),
    nn.ReLU(),
    ConvNN3d(12, 24, K=8, padding=0, similarity_type="Loc_Col"),  # similar voxels nearby
    nn.BatchNorm3d(24),
    nn.ReLU(),
    nn.AdaptiveMaxPool3d(1),
    nn.Flatten(),
    nn.Linear(24, 3),
)
optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
for _ in range(80):
    volumes, labels = make_volumes(32)
    optimizer.zero_grad()
    F.cross_entropy(network(volumes), labels).backward()
    optimizer.step()

network.eval()
volumes, labels = make_volumes(256)
with torch.no_grad():
    accuracy = (network(volumes).argmax(1) == labels).float().mean()
print(f"test accuracy {accuracy:.3f}")
