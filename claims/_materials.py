"""Images of a few materials under smooth light, with a disc whose colours are changed, as data for harmonisation."""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

SIDE, MATERIALS = 16, 4


def scenes(count: int, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw inputs (B, 3 + materials, H, W), with changed colours in the mask (B, 1, H, W), and the images before."""
    normal, uniform = partial(torch.randn, generator=draw), partial(torch.rand, generator=draw)
    areas = F.interpolate(normal(count, MATERIALS, 5, 5), SIDE, mode="bilinear", align_corners=True).argmax(1)
    one_hot = F.one_hot(areas, MATERIALS).permute(0, 3, 1, 2).float()
    light = F.interpolate(0.75 + 0.5 * uniform(count, 1, 2, 2), SIDE, mode="bilinear", align_corners=True)
    images = light * torch.einsum("bkhw,bkc->bchw", one_hot, 0.2 + 0.6 * uniform(count, MATERIALS, 3))
    grid = torch.stack(torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij"))
    away = grid - torch.randint(5, SIDE - 5, (count, 2, 1, 1), generator=draw)
    mask = (away.square().sum(1, keepdim=True) <= 16).float()
    gain, offset = (scale * (2 * uniform(count, 3, 1, 1) - 1) for scale in (0.45, 0.1))
    composite = images + mask * (gain * images + offset)
    return torch.cat([composite, one_hot + 0.15 * normal(one_hot.shape)], 1), mask, images
