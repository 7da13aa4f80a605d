"""How similar the positions of two maps are, and where the similar ones lead."""

import torch
from torch import Tensor
from torch.nn import functional as F


def correlation_pyramid(first: Tensor, second: Tensor, levels: int) -> list[Tensor]:
    r"""Return the similarity of every position of one map to all positions of another, at several resolutions.

    .. math:: V[p, q] = \langle f_1(p), f_2(q) \rangle / \sqrt{C}

    Each level is the mean of 2 x 2 positions q of the one before.

    Args:
        first, second: maps (B, C, H, W).
        levels: number of resolutions.

    Returns:
        For each level l, a map (B * H * W, 1, H / 2^l, W / 2^l), rounded down.

    Reference:
        RAFT, arXiv 2003.12039, section 3.2.
    """
    channels, height, width = first.shape[1:]
    volume = first.flatten(2).transpose(1, 2) @ second.flatten(2) / channels**0.5
    pyramid = [volume.reshape(-1, 1, height, width)]
    for _ in range(levels - 1):
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    return pyramid


def look_up(pyramid: list[Tensor], places: Tensor, radius: int) -> Tensor:
    """Return the similarity of every position to those around a place, interpolated between positions, 0 outside.

    Args:
        pyramid: as `correlation_pyramid` returns it.
        places: for every position, x and y on the finest level, (B, 2, H, W).
        radius: r; offsets go from -r to r along both axes, on the grid of each level.

    Returns:
        (B, levels * (2 r + 1)^2, H, W); the offset of x is the outer one, as published.
    """
    height, width = places.shape[2:]
    side = torch.arange(-radius, radius + 1, dtype=places.dtype, device=places.device)
    offsets = torch.stack(torch.meshgrid(side, side, indexing="ij"), dim=-1)
    centres = places.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2)
    found = []
    for level, volume in enumerate(pyramid):
        size = places.new_tensor([volume.shape[3], volume.shape[2]])
        # A pixel's middle is at +1/2 here, so that maps of a single position have no division by zero.
        grid = (2 * (centres / 2**level + offsets) + 1) / size - 1
        found.append(F.grid_sample(volume, grid, align_corners=False).reshape(-1, height, width, len(side) ** 2))
    return torch.cat(found, dim=-1).permute(0, 3, 1, 2)


def grid_of(x: Tensor) -> Tensor:
    """Return x and y of every position of a map (B, C, H, W), as (B, 2, H, W)."""
    height, width = x.shape[2:]
    rows, columns = (torch.arange(n, dtype=x.dtype, device=x.device) for n in (height, width))
    y, x_ = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x_, y]).expand(x.shape[0], -1, -1, -1)


def convex_upsample(flow: Tensor, mask: Tensor, factor: int = 8) -> Tensor:
    """Enlarge a flow: every pixel is a weighted mean of the 3 x 3 positions around its own, 0 outside.

    Args:
        flow: (B, 2, H, W), in positions; it is multiplied by the factor, into pixels.
        mask: logits of the weights, (B, 9 * factor^2, H, W).
        factor: number of pixels of a position along each axis.

    Returns:
        (B, 2, factor * H, factor * W).

    Reference:
        RAFT, arXiv 2003.12039, section 3.3.
    """
    height, width = flow.shape[2:]
    weights = mask.unflatten(1, (1, 9, factor, factor)).softmax(2)
    around = F.unfold(factor * flow, 3, padding=1).reshape(-1, 2, 9, 1, 1, height, width)
    pixels = (weights * around).sum(2)  # (B, 2, factor, factor, H, W)
    return pixels.permute(0, 1, 4, 2, 5, 3).reshape(-1, 2, factor * height, factor * width)
