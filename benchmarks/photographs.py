"""What layers see in practice: features of photographs, which have near and far, as random numbers have not."""

import torch
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.nn import functional as F


def photographs(count: int, side: int) -> Tensor:
    """Square parts of the two photographs that scikit-learn bundles, scaled down to a side, (count, 3, side, side)."""
    crops = []
    for i in range(count):
        image = torch.tensor(load_sample_images().images[i % 2]).permute(2, 0, 1) / 255
        width = min(image.shape[1:])
        left = (image.shape[2] - width) * (i // 2) // max(1, (count - 1) // 2)
        crops.append(F.interpolate(image[None, :, :width, left : left + width], (side, side), mode="area"))
    return torch.cat(crops)


def photographic_features(count: int, channels: int, side: int) -> Tensor:
    """Photographs after a random convolution and a ReLU, (count, channels, side, side)."""
    kernel = torch.randn(channels, 3, 3, 3, generator=torch.Generator().manual_seed(0)) / 27**0.5
    return F.conv2d(photographs(count, side) * 2 - 1, kernel, padding=1).relu()
