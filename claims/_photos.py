"""Photographs in two resolutions."""

from functools import cache

import torch
from sklearn.datasets import load_sample_image
from torch import Tensor
from torch.nn import functional as F


def psnr(image: Tensor, truth: Tensor) -> float:
    return -10 * F.mse_loss(image.clamp(0, 1), truth).log10().item()


def bicubic(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bicubic")


@cache
def patches(name: str, seed: int, number: int) -> tuple[Tensor, Tensor]:
    """Return patches at half and at full resolution."""
    image = torch.from_numpy(load_sample_image(name).mean(2) / 255).float()
    generator = torch.Generator().manual_seed(seed)
    places = (torch.rand(number, 2, generator=generator) * (torch.tensor(image.shape) - 24)).long().tolist()
    large = torch.stack([image[row : row + 24, column : column + 24] for row, column in places]).unsqueeze(1)
    return F.avg_pool2d(large, 2), large
