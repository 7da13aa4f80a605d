"""Discs and squares on noise, of a colour and stripes for each class, as data for segmentation."""

import torch
from torch import Tensor

SIDE = 20
COLOURS = torch.tensor([[0.9, 0.3, 0.3], [0.3, 0.9, 0.3], [0.3, 0.4, 0.9], [0.9, 0.8, 0.2], [0.8, 0.3, 0.9]])


def scenes(count: int, objects: list[int], each: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw images (B, 3, H, W) with so many objects of some classes, and labels (B, H, W)."""
    grid = torch.stack(torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij"))
    images = 0.5 + 0.15 * torch.randn(count, 1, SIDE, SIDE, generator=draw).expand(-1, 3, -1, -1).clone()
    labels = torch.zeros(count, SIDE, SIDE, dtype=torch.long)
    for image, label in zip(images, labels, strict=True):
        for _ in range(each):
            kind = objects[int(torch.randint(len(objects), (), generator=draw))]
            centre = torch.randint(3, SIDE - 3, (2, 1, 1), generator=draw)
            away, reach = (grid - centre).abs(), int(torch.randint(3, 5, (), generator=draw))
            inside = away.square().sum(0) <= reach**2 if torch.rand((), generator=draw) < 0.5 else away.amax(0) < reach
            stripes = 0.15 * torch.sin(grid[kind % 2] * (1.0 + 0.5 * kind))
            image[:, inside] = (COLOURS[kind - 1, :, None, None] + stripes)[:, inside]
            label[inside] = kind
    cast = 0.8 + 0.4 * torch.rand(count, 3, 1, 1, generator=draw)
    return cast * images + 0.05 * torch.randn(images.shape, generator=draw), labels
