"""Kernels given as taps: tables of values by the lag, the number of positions back, and values between two of them."""

from typing import ClassVar

import torch
from torch import Tensor

from convnn.errors import check_at_least
from convnn.nn.kernels.function import KernelFunction


class TapsOfLags(KernelFunction):
    """A kernel for each channel and head, from values at the lags 0, 1, ..., and -1, -2, ... if it is two-sided.

    A subclass computes the values. The kernel is 0 beyond them; between two, it is interpolated linearly.

    Attributes:
        length: number of lags on either side.
        bidirectional: whether there are negative lags, positions to come.
    """

    unit: ClassVar[str] = "positions"

    def __init__(self, channels: int, heads: int, length: int, *, bidirectional: bool) -> None:
        super().__init__(1, channels * heads, 1)
        check_at_least("heads", heads, 1)
        self.channels, self.heads, self.length, self.bidirectional = channels, heads, length, bidirectional

    def values(self) -> Tensor:
        """Return the values (heads, channels, length) at the lags 0, 1, ...; after them, heads for -1, -2, ..."""
        raise NotImplementedError

    def table(self) -> Tensor:
        """Return the values by ascending offset, (channels heads, taps): from -length + 1 to 0, or to length."""
        past, *future = self.values().split(self.heads)
        sides = [past.flip(-1), *future]
        return torch.cat(sides, dim=-1).transpose(0, 1).flatten(0, 1)

    def forward(self, offsets: Tensor) -> Tensor:
        r"""Map offsets (\*P, 1) in positions to values (channels heads, 1, \*P)."""
        table = self.table()
        place = offsets.flatten() + (self.length - 1)
        rows = _taken(table, place) if not place.is_floating_point() else _interpolated(table, place)
        return self.as_kernel(rows, offsets.shape[:-1])

    def kept(self, places: Tensor, axis: int, step: float) -> Tensor | None:
        """Return which offsets (k,) have values."""
        return (places > -self.length) & (places < self.length + 1 if self.bidirectional else places < 1)


def _taken(table: Tensor, place: Tensor) -> Tensor:
    """Return the columns of a table at whole places, 0 beyond it."""
    inside = (place >= 0) & (place < table.shape[1])
    columns = table.index_select(1, place.clamp(0, table.shape[1] - 1))
    return columns * inside


def _interpolated(table: Tensor, place: Tensor) -> Tensor:
    low = place.floor()
    share = (place - low).to(table.dtype)
    return _taken(table, low.long()) * (1 - share) + _taken(table, low.long() + 1) * share
