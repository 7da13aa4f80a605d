"""Boxes: their edges, and how far two of them overlap."""

import torch
from torch import Tensor


def corners(boxes: Tensor) -> Tensor:
    """Return centre, width and height (*S, 4) as left, upper, right and lower edge."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """Return the area that both boxes share over that of either, (*S), for edges (*S, 4); 0 if both have no area."""
    sizes = torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])
    shared = sizes.clamp_min(0).prod(-1)
    areas = [(one[..., 2:] - one[..., :2]).prod(-1) for one in (first, second)]
    union = areas[0] + areas[1] - shared
    return shared / torch.where(union == 0, 1, union)
