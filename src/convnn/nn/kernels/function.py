r"""A kernel as a function of the offset: what every generator of kernels does, and where its kernel is sampled.

A layer computes

.. math:: y_{ot} = b_o + \sum_{i, d} K_{oi}(d) \, x_{i, t + d}

where the offset d runs over the positions within reach. A `KernelFunction` is K. A `Horizon` says how far the kernel
reaches on a map of some size, and which place, in the units of the function, belongs to each offset.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import floor
from typing import ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_odd
from convnn.nn._grid import Sides, each_side

WHOLE = ("same", "full")
"""Horizons that grow with the map: as many taps as it has positions, or all offsets between two of its positions."""
ROUNDING = 1e-9


class KernelFunction(nn.Module):
    """A learned function from offsets to the values of a kernel.

    Attributes:
        axes: number of axes of an offset.
        out_channels, in_channels: the leading sides of the kernel, C_out and C_in / groups.
        unit: unit of the offsets: "extent", in which the kernel reaches from -1 to 1, or "positions" of the map of
            training.
    """

    unit: ClassVar[str] = "extent"

    def __init__(self, axes: int, out_channels: int, in_channels: int) -> None:
        super().__init__()
        check_at_least("out_channels", out_channels, 1)
        check_at_least("in_channels", in_channels, 1)
        self.axes, self.out_channels, self.in_channels = axes, out_channels, in_channels

    def forward(self, offsets: Tensor) -> Tensor:
        r"""Map offsets (\*P, axes) to values (C_out, C_in / groups, \*P)."""
        raise NotImplementedError

    def kept(self, places: Tensor, axis: int, step: float) -> Tensor | None:
        """Return which of the places (k,) along an axis, with `step` between two taps, are not masked; None: all."""
        return None

    def as_kernel(self, rows: Tensor, places: Sequence[int]) -> Tensor:
        """Arrange rows (C_out C_in / groups, P), outputs first, as (C_out, C_in / groups, *places)."""
        return rows.reshape(self.out_channels, self.in_channels, *places)


@dataclass(frozen=True)
class Taps:
    """The offsets of a kernel along one axis, and their places in the units of its function.

    Attributes:
        first: the smallest offset, at most 0.
        last: the largest offset.
        start: the place of offset 0.
        step: the distance between the places of two neighbouring offsets; 0: offsets are places.
        gain: factor of the values, which keeps sums equal at another sampling rate.
    """

    first: int
    last: int
    start: float
    step: float
    gain: float = 1.0

    def places(self, offsets: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the places of whole or fractional offsets."""
        if self.step == 0:
            return offsets
        return self.start + self.step * offsets.to(dtype)

    @property
    def distance(self) -> float:
        """The distance between the places of two neighbouring offsets."""
        return self.step or 1.0

    def within(self, reach: int) -> "Taps":
        """Return the taps whose offset is at most `reach` on either side."""
        return replace(self, first=max(self.first, -reach), last=min(self.last, reach))


def as_horizon(value: Sides | str) -> Sides | str:
    """Return a horizon from text, as a flag has it: "33", "same" or "full"."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


@dataclass(frozen=True)
class Horizon:
    """How far a kernel reaches.

    Attributes:
        sides: number of taps, or one for each axis, at the sampling rate of training; odd if they are centred. "same":
            as many as the map has positions, "full": from one end of it to the other, on both sides.
        causal: only offsets up to 0, as on signals whose future is unknown.
        unit: the unit of the kernel function.
        oldest_first: at another rate, sample a causal kernel from its oldest tap on, as the published code of CKConv
            does. A sample then meets the tap of an offset other than 0, by up to a sample of training.

    Raises:
        InputError: the sides are neither such numbers nor such words.
    """

    sides: Sides | str = "same"
    causal: bool = False
    unit: str = "extent"
    oldest_first: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.sides, str):
            usable = ("same",) if self.causal else WHOLE
            if self.sides not in usable:
                words = " or ".join(map(repr, usable))
                raise InputError(f"horizon={self.sides!r} must be a number of taps, or {words}")
            return
        for side in self.sides if isinstance(self.sides, tuple) else (self.sides,):
            check_at_least("horizon", side, 1) if self.causal else check_odd("horizon", side)

    def taps(self, size: Sequence[int], rate: float = 1.0) -> tuple[Taps, ...]:
        """Return the taps along each axis of a map of some size, at `rate` times the sampling rate of training."""
        n = len(size)
        sides: tuple[int | str, ...] = (
            (self.sides,) * n if isinstance(self.sides, str) else each_side("horizon", self.sides, n)
        )
        return tuple(self._along(length, side, rate) for length, side in zip(size, sides, strict=True))

    def _along(self, length: int, side: int | str, rate: float) -> Taps:
        taps = self._causal(length, side, rate) if self.causal else self._centred(length, side, rate)
        if self.unit == "positions":
            first = 1 - length if self.causal and side == "same" else taps.first
            return replace(taps, first=first, start=0.0, step=0.0 if rate == 1 else 1 / rate)
        return taps

    def _centred(self, length: int, side: int | str, rate: float) -> Taps:
        if isinstance(side, str):
            half = length // 2 if side == "same" else length - 1
            return Taps(-half, half, 0.0, 1 / max(half, 1), 1 / rate)
        reach = rate * (side // 2)
        half = floor(reach + ROUNDING)
        return Taps(-half, half, 0.0, 1 / reach if reach else 1.0, 1 / rate)

    def _causal(self, length: int, side: int | str, rate: float) -> Taps:
        if side == "same" and rate != 1 and self.oldest_first:
            return self._oldest_first(length, rate)
        reach = max(length - rate if isinstance(side, str) else rate * (side - 1), 0)
        return Taps(-floor(reach + ROUNDING), 0, 1.0, 2 / reach if reach else 1.0, 1 / rate)

    @staticmethod
    def _oldest_first(length: int, rate: float) -> Taps:
        """Return taps that are samples of those of training: every r-th, or r between two of them, from the past on."""
        trained = max(round(length / rate), 2)
        slower = 1 / rate > 1
        ratio = round(1 / rate) if slower else 1 / max(round(rate), 1)
        unit = 2 / (trained - 1)
        spare = -((trained - 1) % ratio) if slower else ((length - 1) % round(rate)) * ratio
        return Taps(1 - length, 0, 1 + spare * unit, (2 + spare * unit) / max(length - 1, 1), float(ratio))


def grid_of(taps: Sequence[Taps], device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Return the places along each axis, ascending."""
    return [tap.places(torch.arange(tap.first, tap.last + 1, device=device), dtype) for tap in taps]


def mesh(places: Sequence[Tensor]) -> Tensor:
    """Return the points of a grid, (*k, axes), from its places along each axis."""
    return torch.stack(torch.meshgrid(*places, indexing="ij"), dim=-1)
