"""Pairs of generated maps with known matches, and how many matches are right."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_positive
from convnn.ops.matches import cell_centers


def affine_flow(side: int, generator: torch.Generator, *, turn: float = 0.4, shift: float = 0.2) -> Tensor:
    """Return where the cells of a map go under a random turn, stretch and shift.

    Args:
        side: of the map.
        generator: of the random numbers.
        turn: largest angle, in radians.
        shift: largest shift along each axis, where the map is 2 wide.

    Returns:
        (1, 2, side, side), x and y from -1 to 1 between the edges.
    """
    angle, *rest = (2 * torch.rand(5, generator=generator) - 1).tolist()
    cos, sin = math.cos(turn * angle), math.sin(turn * angle)
    stretch = torch.diag(torch.tensor(rest[:2]).mul(0.2).exp())
    matrix = torch.tensor([[cos, -sin], [sin, cos]]) @ stretch
    centers = cell_centers(torch.empty(1, 1, side, side))
    moved = torch.einsum("ij,bjhw->bihw", matrix, centers)
    return moved + shift * torch.tensor(rest[2:]).reshape(1, 2, 1, 1)


def warp_pair(canvas: Tensor, flow: Tensor, noise: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the map that shows a canvas at the targets of a flow, and the canvas; with noise of its own on each.

    Args:
        canvas: (1, C, H, W), the target.
        flow: (1, 2, h, w) places in it; beyond its edge the canvas goes on as it ends.
        noise: standard deviation, at least 0.
        generator: of the random numbers.

    Returns:
        The source (1, C, h, w), and the target (1, C, H, W).
    """
    source = F.grid_sample(canvas, flow.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)
    source, target = (one + noise * torch.randn(one.shape, generator=generator) for one in (source, canvas))
    return source, target


def share_right(found: Tensor, flow: Tensor, within: float) -> float:
    """Return the share of cells whose target is found within a distance, of those whose target is on the map.

    Args:
        found, flow: (B, 2, H, W) x and y from -1 to 1.
        within: the distance, positive, where the map is 2 wide.

    Raises:
        InputError: shapes differ, the distance is not positive, or no target is on the map.
    """
    check_positive("within", within)
    if found.shape != flow.shape:
        raise InputError(f"found of shape {tuple(found.shape)} must have that of flow, {tuple(flow.shape)}")
    is_inside = (flow.abs() <= 1).all(1)
    if not bool(is_inside.any()):
        raise InputError("flow leads no cell to a place on the map, from -1 to 1; there is nothing to judge")
    return ((found - flow).norm(dim=1) < within)[is_inside].double().mean().item()
