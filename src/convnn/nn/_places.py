"""Which positions a layer of a window computes: those of the convolution that it replaces."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from torch import Tensor

from convnn.errors import InputError
from convnn.nn._grid import Grid, each_side

ANY_SIDE = 2**30
"""A side of a map on which every window fits, as a stand-in for maps that are not there yet."""


@dataclass(frozen=True)
class Places:
    """The positions of a grid, for maps of so many axes.

    Attributes:
        grid: the windows of a convolution, whose middles are computed.
        axes: the number of axes.
    """

    grid: Grid
    axes: int

    def __str__(self) -> str:
        """Write the settings of the grid that differ from those of a layer that computes every position."""
        return self.grid.changed_from(Grid(padding=0))

    @property
    def stride(self) -> tuple[int, ...]:
        """Stride with which a convolution with a middle computes exactly these positions; 1 where none does."""
        return each_side("stride", self.grid.stride, self.axes) if self._are_regular() else (1,) * self.axes

    def of(self, x: Tensor) -> Tensor:
        """Return the positions of a map (B, C, *S) that is computed everywhere.

        Raises:
            InputError: the middle of a window lies in the padding, or a window does not fit.
        """
        if self._are_regular() and prod(self.stride) == 1:
            return x
        axes = self.grid.axes_without_padding(x.shape[2:])
        computed = [slice(a.first, a.first + a.stride * (a.count - 1) + 1, a.stride) for a in axes]
        index = (slice(None), slice(None), *computed)
        return x[index]

    def computed(self, size: Sequence[int]) -> list[tuple[int, int, int]]:
        """Return the first, the number and the stride of the positions along each axis of a map of some size.

        Raises:
            InputError: the middle of a window lies in the padding, or a window does not fit.
        """
        if self._are_regular():
            return [(0, (n - 1) // stride + 1, stride) for n, stride in zip(size, self.stride, strict=True)]
        return [(axis.first, axis.count, axis.stride) for axis in self.grid.axes_without_padding(size)]

    def left_of(self, x: Tensor) -> Tensor:
        """Return the positions of a map that was computed with `stride`."""
        return x if self._are_regular() else self.of(x)

    def _are_regular(self) -> bool:
        """Return whether they are 0, s, 2 s, ... up to the end of every map, for the stride s."""
        if isinstance(self.grid.padding, str) and prod(each_side("stride", self.grid.stride, self.axes)) > 1:
            return False  # where they begin depends on the map
        try:
            axes = self.grid.axes_without_padding((ANY_SIDE,) * self.axes)
        except InputError:  # said of the map in `of`
            return False
        return all(axis.first == axis.spare == 0 for axis in axes)
