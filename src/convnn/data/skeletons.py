"""Moving skeletons (C, T, V) made on the spot: points in an order that changes, and bodies whose limbs swing.

They are for experiments of a few seconds, and no data set of `load_data`.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from convnn.data.seeds import make_generator
from convnn.errors import check_at_least

POINTS, TAG_SIZE = 6, 3.0
"""Number of points of a cloud, and the standard deviation of what they are known by, in each of three channels."""

BODY_BONES = (
    *((1, 0), (2, 1), (3, 2), (4, 3), (5, 1), (6, 5), (7, 6)),
    *((8, 0), (9, 8), (10, 9), (11, 0), (12, 11), (13, 12)),
)
"""The outer and the inner joint of each bone of a body: hips 0, neck 1, and three joints for each arm and each leg."""

BODY_JOINTS = 14


class Skeletons(NamedTuple):
    """Skeletons in motion: values (N, C, T, V) float32, and labels (N,) int64."""

    values: Tensor
    labels: Tensor


def make_points(number: int, *, frames: int = 8, noise: float = 0.2, seed: int = 0) -> Skeletons:
    r"""Make clouds of six points, in another order in every frame; each keeps or flips its sign from frame to frame.

    A point has three channels by which it is known, the same in all clouds, and its sign in a fourth: class 0 keeps the
    sign, class 1 flips it in every frame. Who follows the points sees which; one channel of one place does not tell.

    Args:
        number: N.
        frames: T.
        noise: standard deviation of what is added to all channels.
        seed: seed of everything but the first three channels.

    Returns:
        Values (N, 4, T, 6) and labels.

    Raises:
        InputError: a number is less than 1.
    """
    check_at_least("number", number, 1)
    check_at_least("frames", frames, 1)
    tags = TAG_SIZE * torch.randn(POINTS, 3, generator=make_generator("tags"))
    generator = make_generator("points", seed)
    labels = torch.randint(2, (number,), generator=generator)
    sign = 2.0 * torch.randint(2, (number, 1, POINTS), generator=generator) - 1
    flips = 1 - 2.0 * labels.view(-1, 1, 1) * (torch.arange(frames) % 2).view(1, -1, 1)
    values = torch.cat([tags.T.view(1, 3, 1, POINTS).expand(number, 3, frames, POINTS), (sign * flips).unsqueeze(1)], 1)
    values = values + noise * torch.randn(values.shape, generator=generator)
    order = torch.rand(number, 1, frames, POINTS, generator=generator).argsort(3)
    return Skeletons(values.gather(3, order.expand_as(values)), labels)


def make_limbs(number: int, *, frames: int = 16, noise: float = 0.02, seed: int = 0) -> Skeletons:
    """Make bodies in the plane whose limbs swing: both arms together, class 0, or one against the other, class 1.

    Frequency and phase are random, and the legs swing as they like, so that no limb alone tells the class.

    Args:
        number: N.
        frames: T.
        noise: standard deviation of what is added to the places.
        seed: seed of everything.

    Returns:
        Values (N, 2, T, 14), the place of each joint, whose bones are `BODY_BONES`, and labels.

    Raises:
        InputError: a number is less than 1.
    """
    check_at_least("number", number, 1)
    check_at_least("frames", frames, 1)
    generator = make_generator("limbs", seed)
    labels = torch.randint(2, (number,), generator=generator)
    turns = torch.rand(number, 4, generator=generator)
    turns[:, 1] = turns[:, 0] + labels / 2
    times = (0.5 + torch.rand(number, 1, generator=generator)) * torch.linspace(0, 2, frames)
    swing = 0.6 * (2 * math.pi * (times.unsqueeze(1) + turns.unsqueeze(2))).sin()  # (N, limbs, T)
    out = torch.tensor([1.0, -1.0, 0.3, -0.3]).view(1, 4, 1) * (1 + swing)  # angle from straight down
    steps = torch.stack([out.sin(), -out.cos()], 1).unsqueeze(-1) * torch.tensor([1.0, 2.0, 3.0])
    start = torch.tensor([[0.0, 0.0], [0.0, 2.0]]).T.view(1, 2, 2, 1)  # of hips and neck
    limbs = start[:, :, [1, 1, 0, 0]].unsqueeze(-1) + steps  # (N, 2, limbs, T, 3)
    places = torch.cat([start.expand(number, 2, 2, frames).mT, limbs.transpose(2, 3).flatten(3)], 3)
    return Skeletons(places + noise * torch.randn(places.shape, generator=generator), labels)
