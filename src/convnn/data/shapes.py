"""Generated scenes of shapes on a textured ground, and the class of each pixel."""

from math import pi, sqrt, tan

import torch
from torch import Tensor

from convnn.data.seeds import make_generator

SHAPE_CLASSES = ("ground", "disc", "cross", "triangle")
SHAPES_SIDE = 48
"""Pixels along each side of a scene."""

SHAPES_COUNTS = {"train": 800, "test": 200}
"""Scenes in each part."""

MOST_SHAPES = 2
STEEPEST = pi / 12
"""The largest angle by which crosses and triangles lean."""

ARM = 1 / 3
"""Width of the arms of a cross, as a share of its length."""

NOISE = 0.05
"""Standard deviation of the noise, of colours from 0 to 1."""


def make_shapes(count: int, generator: torch.Generator, side: int = SHAPES_SIDE) -> tuple[Tensor, Tensor]:
    """Make scenes of one or two shapes in front of a ground of waves; the second hides parts of the first.

    Centres, sizes, lean and colours are random, those of the waves too, so that nothing but its form tells the
    class of a shape.

    Args:
        count: number of scenes.
        generator: of the random numbers, on the CPU.
        side: pixels along each side.

    Returns:
        Images (count, 3, side, side) uint8, and classes (count, side, side) uint8, as in `SHAPE_CLASSES`.
    """
    pixels = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"), -1) + 0.5
    images = _waves(count, pixels / side, generator)
    classes = torch.zeros(count, side, side, dtype=torch.uint8)
    numbers = torch.randint(1, MOST_SHAPES + 1, (count, 1, 1), generator=generator)
    for number in range(MOST_SHAPES):
        kinds = torch.randint(1, len(SHAPE_CLASSES), (count, 1, 1), generator=generator)
        covered = _covered(kinds, pixels, generator) & (number < numbers)
        vivid = torch.randint(0, 2, (count, 3, 1, 1), generator=generator)
        colours = 0.7 * vivid + 0.3 * torch.rand(count, 3, 1, 1, generator=generator)
        images = torch.where(covered.unsqueeze(1), colours, images)
        classes = torch.where(covered, kinds.to(torch.uint8), classes)
    images += NOISE * torch.randn(images.shape, generator=generator)
    return (255 * images.clamp(0, 1)).round().to(torch.uint8), classes


def make_part(part: str) -> tuple[Tensor, Tensor]:
    """Make a part of the data set, which is the same whenever it is made."""
    return make_shapes(SHAPES_COUNTS[part], make_generator("shapes", part))


def _waves(count: int, places: Tensor, generator: torch.Generator) -> Tensor:
    """Return a greyish colour with waves of brightness, (count, 3, H, W), at places (H, W, 2) from 0 to 1."""
    colours = 0.4 + 0.2 * torch.rand(count, 3, 1, 1, generator=generator)
    angles, phases = 2 * pi * torch.rand(2, count, 1, 1, generator=generator)
    frequencies = 2 + 6 * torch.rand(count, 1, 1, generator=generator)
    along = angles.cos() * places[..., 0] + angles.sin() * places[..., 1]
    return colours + 0.08 * (2 * pi * frequencies * along + phases).sin().unsqueeze(1)


def _covered(kinds: Tensor, pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Return which pixels (H, W, 2) a shape of each scene covers, (count, H, W), for kinds (count, 1, 1).

    All three have the area of the disc.
    """
    count, side = len(kinds), pixels.shape[0]
    centres = side * (0.25 + 0.5 * torch.rand(count, 1, 1, 2, generator=generator))
    radii = side * (0.18 + 0.1 * torch.rand(count, 1, 1, generator=generator))
    turns = STEEPEST * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)  # triangles stand on a side
    offsets = pixels - centres
    along, across = (_along(offsets, turns + turn).abs() for turn in (0, pi / 2))
    reach = radii * sqrt(pi / (4 * ARM * (2 - ARM)))  # half of a cross's length
    cross = (torch.maximum(along, across) <= reach) & (torch.minimum(along, across) <= ARM * reach)
    inner = radii * sqrt(pi / 3 / tan(pi / 3))
    triangle = torch.stack([_along(offsets, turns + 2 * pi * corner / 3) for corner in range(3)]).amax(0) <= inner
    every = torch.stack([offsets.norm(dim=-1) <= radii, cross, triangle])
    return every.gather(0, (kinds - 1).expand(1, *every.shape[1:]))[0]


def _along(offsets: Tensor, angles: Tensor) -> Tensor:
    """Return how far offsets (count, H, W, 2) lead into directions (count, 1, 1, 1), (count, H, W)."""
    return (offsets * torch.cat([angles.cos(), angles.sin()], -1)).sum(-1)
