"""Points on the surfaces of solids (P, 3), made on the spot.

`load_data("solids")` has mixtures of Gaussians that are fitted to them.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from convnn.data.seeds import make_generator
from convnn.errors import check_at_least, check_fraction, check_not_negative

SOLIDS = ("sphere", "cube", "torus", "cylinder")
"""The classes, in the order of their labels; each fits into a cube of side 2."""
RING, TUBE = 0.7, 0.3
"""Radii of the torus."""


class Solids(NamedTuple):
    """Solids as points (N, P, 3) float32, and labels (N,) int64."""

    points: Tensor
    labels: Tensor


def make_solids(number: int, *, points: int = 256, stretch: float = 0.2, noise: float = 0.02, seed: int = 0) -> Solids:
    """Make random points on spheres, cubes, tori and cylinders, each stretched along its axes and then rotated.

    Args:
        number: N; the classes are drawn.
        points: P.
        stretch: the sides are multiplied by uniform numbers that differ from 1 by at most this, 0 to 1.
        noise: standard deviation of what is added to the places.
        seed: seed of everything.

    Returns:
        Points and labels.

    Raises:
        InputError: an argument is out of range.

    Example:
        >>> points, labels = make_solids(3, points=100)
        >>> points.shape, labels.shape
        (torch.Size([3, 100, 3]), torch.Size([3]))
    """
    check_at_least("number", number, 1)
    check_at_least("points", points, 1)
    check_fraction("stretch", stretch)
    check_not_negative("noise", noise)
    generator = make_generator("solids", seed)
    labels = torch.randint(len(SOLIDS), (number,), generator=generator)
    draws = torch.rand(number, points, 3, generator=generator)
    every = torch.stack([surface(draws) for surface in (_sphere, _cube, _torus, _cylinder)], 1)
    places = every[torch.arange(number), labels]
    places = places * (1 + stretch * (2 * torch.rand(number, 1, 3, generator=generator) - 1))
    turns = random_turns(number, generator)
    return Solids(places @ turns + noise * torch.randn(places.shape, generator=generator), labels)


def random_turns(number: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return random rotations (number, 3, 3)."""
    turns = torch.linalg.qr(torch.randn(number, 3, 3, generator=generator, dtype=dtype))[0]
    return turns * torch.linalg.det(turns)[:, None, None]  # no reflections


def _circle(turn: Tensor) -> tuple[Tensor, Tensor]:
    return (2 * math.pi * turn).cos(), (2 * math.pi * turn).sin()


def _sphere(draws: Tensor) -> Tensor:
    """Map uniform numbers (..., 3) to points, of which equal areas have as many."""
    (x, y), z = _circle(draws[..., 0]), 2 * draws[..., 1] - 1
    around = (1 - z**2).sqrt()
    return torch.stack([around * x, around * y, z], -1)


def _cube(draws: Tensor) -> Tensor:
    face = (6 * draws[..., 2:]).floor().clamp_max(5)  # the first three are at 1, the others at -1
    free = 2 * draws - 1
    place = torch.stack([torch.where(face < 3, 1.0, -1.0)[..., 0], free[..., 0], free[..., 1]], -1)
    order = (torch.arange(3) + face.long() % 3) % 3
    return place.gather(-1, order)


def _torus(draws: Tensor) -> Tensor:
    (x, y), (out, z) = _circle(draws[..., 0]), _circle(draws[..., 1])
    around = RING + TUBE * out  # turns of the tube are uniform, so that the inner side has more
    return torch.stack([around * x, around * y, TUBE * z], -1)


def _cylinder(draws: Tensor) -> Tensor:
    """Put two thirds on the side, whose area is twice that of the ends, and the rest on these."""
    (x, y), height, which = _circle(draws[..., 0]), 2 * draws[..., 1] - 1, draws[..., 2]
    is_side = which < 2 / 3
    around = torch.where(is_side, 1.0, draws[..., 1].sqrt())
    z = torch.where(is_side, height, torch.where(which < 5 / 6, 1.0, -1.0))
    return torch.stack([around * x, around * y, z], -1)
