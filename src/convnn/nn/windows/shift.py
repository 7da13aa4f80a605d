"""A neighbour for every channel, without parameters."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least
from convnn.nn._layer import MapLayer

OFFSETS = ((-1, 0), (1, 0), (0, -1), (0, 1), (1, 1), (1, -1), (-1, 1), (-1, -1))


class SpatialShift2d(MapLayer):
    r"""A shift of each eighth of the channels by one of the eight directions, with zeros outside the map.

    .. math:: y_{ic} = x_{i + s d(c), c}

    with the offsets d up, down, left, right, and the four corners, for consecutive eighths of the channels.

    Args:
        channels: of input and output, a multiple of 8.
        step: s, how many positions away.

    Shapes:
        input and output (B, C, H, W) or (C, H, W).

    Raises:
        InputError: the channels are not a multiple of 8, or the step is below 1.

    Reference:
        The feed-forward network of Wang et al., arXiv 2303.14324, has a parameter-free spatial shift; this is that of
        Wu et al., "Fully 1x1 Convolutional Network for Lightweight Image Super-Resolution", arXiv 2307.16140.
    """

    spatial_dims: ClassVar[int] = 2

    def __init__(self, channels: int, *, step: int = 1) -> None:
        super().__init__(channels, channels)
        if channels % len(OFFSETS):
            raise InputError(f"channels={channels} must be a multiple of {len(OFFSETS)}, one share for each direction")
        check_at_least("step", step, 1)
        self.step = step

    def _forward(self, x: Tensor) -> Tensor:
        (height, width), s = x.shape[2:], self.step
        shares = F.pad(x, [s, s, s, s]).chunk(len(OFFSETS), dim=1)
        moved = [
            share[:, :, s + s * down : s + s * down + height, s + s * right : s + s * right + width]
            for share, (down, right) in zip(shares, OFFSETS, strict=True)
        ]
        return torch.cat(moved, dim=1)
