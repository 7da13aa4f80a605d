"""The positions at which a layer computes its output: the geometry of a convolution, in its terms."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_choice
from convnn.nn._settings import changed
from convnn.words import counted

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
Sides = int | tuple[int, ...]
"""One number for every axis, or one each."""


@dataclass(frozen=True)
class Axis:
    """One axis of a padded map, and the windows along it.

    Attributes:
        real: extent without padding.
        before: number of padded positions before the real ones.
        after: number of padded positions after them.
        window: number of positions in a window.
        dilation: distance between them.
        stride: distance between windows.
        spare: number of positions at the end that no window may cover.
    """

    real: int
    before: int = 0
    after: int = 0
    window: int = 1
    dilation: int = 1
    stride: int = 1
    spare: int = 0

    @property
    def size(self) -> int:
        """The extent including padding."""
        return self.real + self.before + self.after

    @property
    def first(self) -> int:
        """The centre of the first window; the first of the two middle positions if its size is even."""
        return self.dilation * ((self.window - 1) // 2)

    @property
    def count(self) -> int:
        """The number of windows."""
        return (self.size - self.spare - self.dilation * (self.window - 1) - 1) // self.stride + 1

    def without_padding(self) -> "Axis":
        """Return the axis without padding, with the same centres of windows."""
        first = self.first - self.before  # negative where the middle of the first window is padding
        covered = self.dilation * (self.window - 1) + 1 - self.before - self.after
        return Axis(self.real, window=2 * first + 1, stride=self.stride, spare=covered - 2 * first - 1)


@dataclass(frozen=True)
class Grid:
    """The positions that choose neighbours: the centres of the windows of a convolution on the padded map.

    Every setting has its meaning in `torch.nn.Conv2d`, and is a number, or a tuple with a number for each axis.

    Attributes:
        window_size: side of the windows; None is 2 * padding + 1, so that the map keeps its size.
        stride: distance between windows.
        padding: number of positions added on every side of the map, which can be chosen; or "same", which makes one
            window for every `stride` positions of the map, with one more after than before it if their sum is odd.
        dilation: distance between the positions under a window.
        padding_mode: values in the padding: "zeros", or the map continued by "reflect", "replicate" or "circular".

    Raises:
        InputError: a setting is unknown or out of range.
    """

    window_size: Sides | None = None
    stride: Sides = 1
    padding: Sides | str = 1
    dilation: Sides = 1
    padding_mode: str = "zeros"

    def __post_init__(self) -> None:
        check_choice("padding_mode", self.padding_mode, PADDING_MODES)
        check_sides("stride", self.stride, 1)
        check_sides("dilation", self.dilation, 1)
        if self.window_size is not None:
            check_sides("window_size", self.window_size, 1)
        if not isinstance(self.padding, str):
            check_sides("padding", self.padding, 0)
        elif self.padding != "same":
            raise InputError(f"padding={self.padding!r} must be whole numbers or 'same'")
        elif self.window_size is None:
            raise InputError("padding='same' fits a window; give its window_size")
        if self.window_size is None and self.dilation != 1:
            raise InputError(f"dilation={self.dilation} spreads the positions of a window; give its window_size")

    def __str__(self) -> str:
        """Return the settings that differ from their defaults."""
        return self.changed_from(Grid())

    def changed_from(self, default: "Grid") -> str:
        """Return the settings that differ from those of another grid."""
        return changed(self, default)

    def widened(self, kernel_size: Sequence[int], reach: int) -> "Grid":
        """Return the same positions, with windows that are `reach` places wider on every side."""
        window = tuple(side + 2 * reach for side in kernel_size)
        if isinstance(self.padding, str):
            return WideGrid(window, self.stride, self.padding, self.dilation, self.padding_mode)
        n = len(window)
        margins, dilations = each_side("padding", self.padding, n), each_side("dilation", self.dilation, n)
        padding = tuple(m + reach * d for m, d in zip(margins, dilations, strict=True))
        return WideGrid(window, self.stride, padding, self.dilation, self.padding_mode)

    def axes(self, size: Sequence[int], window: str = "window_size") -> tuple[Axis, ...]:
        """Return the axes of a map of some size; `window` is the name of the windows in errors.

        Raises:
            InputError: a setting is for another number of axes, or a window is larger than the padded map.
        """
        n = len(size)
        strides, dilations = each_side("stride", self.stride, n), each_side("dilation", self.dilation, n)
        windows, margins = self._windows(n), self._margins(size)
        axes = tuple(
            Axis(real, *margin, window, dilation, stride)
            for real, margin, window, dilation, stride in zip(size, margins, windows, dilations, strides, strict=True)
        )
        if any(axis.count < 1 for axis in axes) and all(size):
            raise InputError(
                f"{window}={windows} with dilation={dilations} does not fit the {tuple(size)} map with"
                f" padding={self.padding!r}; enlarge the map or its padding"
            )
        return axes

    def axes_without_padding(self, size: Sequence[int]) -> tuple[Axis, ...]:
        """Return the axes of a map without padding, which only determines where the windows are.

        Raises:
            InputError: as for `axes`; or the middle of a window lies in the padding.
        """
        axes = tuple(axis.without_padding() for axis in self.axes(size))
        if any(axis.first < 0 for axis in axes):
            raise InputError(
                f"padding={self.padding!r} is wider than half of window_size={self._windows(len(size))}, so that a"
                " window's middle lies outside of the map; lower it"
            )
        return axes

    def check(self, size: Sequence[int], window: str) -> None:
        """Refuse a map that cannot be padded, or is too small for the windows; `window` is their name in errors.

        Raises:
            InputError: the map is refused; the message names the setting, its value and the size.
        """
        self.axes(size, window)
        self._check_margins(size, self._margins(size))

    def pad(self, x: Tensor) -> Tensor:
        """Pad a map (B, C, *S).

        Raises:
            InputError: the map is too small to be continued that far.
        """
        margins = self._margins(x.shape[2:])
        self._check_margins(x.shape[2:], margins)
        return self._continue(x, margins)

    def _check_margins(self, size: Sequence[int], margins: Sequence[tuple[int, int]]) -> None:
        if not all(self._can_continue(n, max(margin)) for n, margin in zip(size, margins, strict=True)):
            raise InputError(
                f"padding={self.padding!r} with padding_mode={self.padding_mode!r} is too wide for a map of"
                f" {tuple(size)} positions; lower it, or use padding_mode='zeros'"
            )

    def _longest(self, n: int) -> int:
        """Return by how many positions torch can continue an axis of n on either side, other than with zeros."""
        if self.padding_mode == "replicate":
            return sys.maxsize if n else 0
        return max(n - 1, 0) if self.padding_mode == "reflect" else n

    def _can_continue(self, n: int, margin: int) -> bool:
        return self.padding_mode == "zeros" or margin <= self._longest(n)

    def _continue(self, x: Tensor, margins: Sequence[tuple[int, int]]) -> Tensor:
        sides = [side for margin in reversed(margins) for side in margin]
        if not any(sides):
            return x
        return F.pad(x, sides, mode="constant" if self.padding_mode == "zeros" else self.padding_mode)

    def _windows(self, n: int) -> tuple[int, ...]:
        if self.window_size is not None:
            return each_side("window_size", self.window_size, n)
        assert not isinstance(self.padding, str)  # refused by the constructor
        return tuple(2 * side + 1 for side in each_side("padding", self.padding, n))

    def _margins(self, size: Sequence[int]) -> list[tuple[int, int]]:
        """Return the positions added before and after a map of some size, along each axis."""
        n = len(size)
        if not isinstance(self.padding, str):
            return [(side, side) for side in each_side("padding", self.padding, n)]
        strides, dilations = each_side("stride", self.stride, n), each_side("dilation", self.dilation, n)
        margins = []
        for real, window, stride, dilation in zip(size, self._windows(n), strides, dilations, strict=True):
            last = (real - 1) // stride * stride  # where the last window begins
            missing = max(last + dilation * (window - 1) + 1 - real, 0)
            margins.append((missing // 2, missing - missing // 2))
        return margins


class WideGrid(Grid):
    """A grid of windows wider than those of its convolution; maps are continued as far as they need."""

    def _can_continue(self, n: int, margin: int) -> bool:
        return self.padding_mode == "zeros" or not margin or self._longest(n) > 0

    def _continue(self, x: Tensor, margins: Sequence[tuple[int, int]]) -> Tensor:
        if self.padding_mode == "zeros":
            return super()._continue(x, margins)
        while any(side for margin in margins for side in margin):
            limits = [self._longest(n) for n in x.shape[2:]]
            now = [(min(a, limit), min(b, limit)) for (a, b), limit in zip(margins, limits, strict=True)]
            x = super()._continue(x, now)
            margins = [(a - c, b - d) for (a, b), (c, d) in zip(margins, now, strict=True)]
        return x


def check_sides(name: str, value: Sides, least: int) -> None:
    """Refuse a number, or a tuple of them, unless each is an integer of at least `least`.

    Raises:
        InputError: a number is refused; the message names it and the argument.
    """
    for side in _sides(value):
        check_at_least(name, side, least)


def _sides(value: Sides) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def each_side(name: str, value: Sides, n: int) -> tuple[int, ...]:
    """Return a number for each of n axes.

    Raises:
        InputError: there are more or fewer than n.
    """
    values = value if isinstance(value, tuple) else (value,) * n
    if len(values) != n:
        raise InputError(f"{name}={value} must be one number, or {n} for the {counted(n, 'axis', 'axes')} of the map")
    return values
