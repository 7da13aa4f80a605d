"""Airways made on the spot: trees of dark branching tubes in noisy volumes, with round dark spots that are none.

They are for experiments of a few seconds, and no data set of `load_data`.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.data.seeds import make_generator
from convnn.errors import check_at_least, check_not_negative

FIRST_RADIUS, LAST_RADIUS = 2.3, 1.2
"""Radii in voxels of the first branch and of those of the last generation."""
DOWN, SHORTER = 0.85, 0.85
"""How far a straight path from root to tip would lead, as a share of the side, and how much a child is shorter."""
STEP = 0.25
"""Distance in voxels between the points that mark a centreline."""
LEAST_SIDE = 8
MARGIN = 1.5
"""Distance in voxels between the tree and what looks like it."""


class AirwayTrees(NamedTuple):
    """Trees in volumes.

    Attributes:
        volumes: (N, 1, D, H, W) float32, about 0 in tissue and -1 in air.
        masks: (N, D, H, W) int64, 1 inside of the tree and 0 elsewhere.
        branches: (N, D, H, W) int64, the number of the branch, from 1, on its centreline, and 0 elsewhere.
    """

    volumes: Tensor
    masks: Tensor
    branches: Tensor


@dataclass(frozen=True)
class _Tubes:
    """Straight tubes with round ends: starts and ends (S, 3) and radii (S,), in voxels."""

    starts: Tensor
    ends: Tensor
    radii: Tensor

    def depth(self, places: Tensor) -> Tensor:
        """Return how far places (T, 3) lie outside of the nearest tube, (T,); inside it is negative."""
        along = self.ends - self.starts
        offset = places[:, None] - self.starts
        share = ((offset * along).sum(2) / along.square().sum(1).clamp(min=1e-9)).clamp(0, 1)
        return ((offset - share[..., None] * along).norm(dim=2) - self.radii).amin(1)


def make_airways(
    number: int, *, side: int = 24, generations: int = 3, spots: int = 8, noise: float = 0.35, seed: int = 0
) -> AirwayTrees:
    """Make trees that grow down from the top of a cube, and split in two from generation to generation.

    Radii fall from 2.3 to 1.2 voxels. The volume is blurred before the noise. Each tree depends on the seed and on its
    own number alone.

    Args:
        number: N.
        side: voxels along each side of a volume, at least 8.
        generations: how many branches lie between the root and a tip, at least 1.
        spots: number of dark balls; they keep away from the tree.
        noise: standard deviation of what is added to each voxel.
        seed: seed of everything.

    Raises:
        InputError: a number is out of range.
    """
    check_at_least("number", number, 1)
    check_at_least("side", side, LEAST_SIDE)
    check_at_least("generations", generations, 1)
    check_at_least("spots", spots, 0)
    check_not_negative("noise", noise)
    made = [_make_one(side, generations, spots, noise, make_generator("airways", seed, i)) for i in range(number)]
    return AirwayTrees(*(torch.stack(parts) for parts in zip(*made, strict=True)))


def _make_one(
    side: int, generations: int, spots: int, noise: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    axis = torch.arange(side, dtype=torch.float32)
    places = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).flatten(0, 2)
    tubes = _grow(side, generations, generator)
    outside = tubes.depth(places)
    mask = outside < 0
    middles = side * torch.rand(spots, 3, generator=generator)
    balls = _Tubes(middles, middles, LAST_RADIUS + 1.3 * torch.rand(spots, generator=generator))
    is_dark = mask | ((balls.depth(places) < 0) & (outside > MARGIN)) if spots else mask
    volume = _blurred(-is_dark.float().view(1, 1, side, side, side))[0]
    volume = volume + noise * torch.randn(volume.shape, generator=generator)
    return volume, mask.long().view(side, side, side), _centrelines(tubes, side)


def _grow(side: int, generations: int, generator: torch.Generator) -> _Tubes:
    """Return the branches of a tree, parents before children; a branch that leaves the cube has no children."""
    start = side / 2 + side / 8 * (2 * torch.rand(3, generator=generator) - 1)
    start[0] = 0
    shares = torch.tensor([SHORTER**generation for generation in range(generations)])
    lengths = DOWN * side * shares / shares.sum()
    growing = [(start, torch.tensor([1.0, 0.0, 0.0]), 0)]
    tubes: list[tuple[Tensor, Tensor, float]] = []
    while growing:
        start, direction, generation = growing.pop(0)
        end = start + (0.85 + 0.3 * torch.rand((), generator=generator)) * lengths[generation] * direction
        share = generation / max(generations - 1, 1)
        tubes.append((start, end, FIRST_RADIUS ** (1 - share) * LAST_RADIUS**share))
        if generation + 1 < generations and bool(((end >= 1) & (end <= side - 2)).all()):
            growing += [(end, turned, generation + 1) for turned in _split(direction, generator)]
    starts, ends, radii = zip(*tubes, strict=True)
    return _Tubes(torch.stack(starts), torch.stack(ends), torch.tensor(radii))


def _split(direction: Tensor, generator: torch.Generator) -> list[Tensor]:
    """Return two directions, turned by 30 to 55 degrees to opposite sides of a random plane."""
    across = torch.linalg.cross(direction, torch.randn(3, generator=generator))
    across = across / across.norm()
    angles = torch.deg2rad(30 + 25 * torch.rand(2, generator=generator)).tolist()
    return [math.cos(a) * direction + sign * math.sin(a) * across for a, sign in zip(angles, (1, -1), strict=True)]


def _centrelines(tubes: _Tubes, side: int) -> Tensor:
    """Return the number of the branch on each voxel of its axis, 0 elsewhere; a voxel of several is the first's."""
    marked = torch.zeros(side, side, side, dtype=torch.long)
    for number in reversed(range(len(tubes.radii))):
        start, end = tubes.starts[number], tubes.ends[number]
        count = int((end - start).norm() / STEP) + 1
        points = (start + torch.linspace(0, 1, count)[:, None] * (end - start)).round().long()
        points = points[((points >= 0) & (points < side)).all(1)]
        marked[tuple(points.T)] = number + 1
    return marked


def _blurred(volume: Tensor) -> Tensor:
    """Return a volume (1, 1, D, H, W) whose voxels are means with both neighbours along each axis, of weights 1 2 1."""
    for axis in range(3):
        shape, padding = [1, 1, 1, 1, 1], [0] * 6
        shape[axis + 2], padding[4 - 2 * axis : 6 - 2 * axis] = 3, [1, 1]
        kernel = torch.tensor([0.25, 0.5, 0.25]).view(shape)
        volume = F.conv3d(F.pad(volume, padding, mode="replicate"), kernel)
    return volume
