"""What every layer on a map has in common, and those that work without padding."""

from collections.abc import Iterable
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least
from convnn.nn._arguments import check_arguments
from convnn.nn._field import Field, like
from convnn.nn._grid import Grid
from convnn.nn._grouped import check_groups
from convnn.nn._settings import unless_usual, written
from convnn.nn.positional import PositionalEncoding2d
from convnn.ops import Neighbors, check_backend

Self = TypeVar("Self", bound="MapLayer")


class MapLayer(nn.Module):
    """A layer from (B, C_in, *S) to (B, C_out, *S') that also takes a single map (C_in, *S)."""

    spatial_dims: ClassVar[int]

    def __new__(cls: type[Self], *widths: Any, **settings: Any) -> Self:
        """Check the arguments, so that a mistake is answered by what to write instead."""
        check_arguments(cls, widths, settings)
        return super().__new__(cls)

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        check_at_least("in_channels", in_channels, 1)
        check_at_least("out_channels", out_channels, 1)
        self.in_channels = in_channels
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, *S) to (B, C_out, *S').

        Raises:
            InputError: the input has other channels or axes, or too few positions: at least one.
        """
        axes = self.spatial_dims
        if x.dim() not in (axes + 1, axes + 2) or x.shape[-axes - 1] != self.in_channels:
            sides = ", ".join("DHW"[-axes:])
            raise InputError(
                f"input of shape {tuple(x.shape)} must be (B, {self.in_channels}, {sides})"
                f" for {type(self).__name__}({self.in_channels}, {self.out_channels})"
            )
        if not all(x.shape[-axes:]):
            raise InputError(f"input of shape {tuple(x.shape)} must have at least one position along every axis")
        if x.dim() == axes + 1:
            return self._forward(x.unsqueeze(0)).squeeze(0)
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        """The layer on a batch of maps of the right shape."""
        raise NotImplementedError

    def settings(self) -> Iterable[object]:
        """What `extra_repr` shows beside the channels: objects of settings, or texts, some of them empty."""
        return ()

    def extra_repr(self) -> str:
        """Channels, and every setting that is not a default."""
        return ", ".join(filter(None, [f"{self.in_channels}, {self.out_channels}", *map(str, self.settings())]))


@runtime_checkable
class ChoosingLayer(Protocol):
    """A layer on maps whose positions have neighbours, and that can say whom: every one that has these.

    Attributes:
        spatial_dims: axes of its maps.
        heads: how many choose for themselves.
    """

    spatial_dims: ClassVar[int]
    heads: int

    def field(self, x: Tensor) -> Field:
        """The positions of x (B, C, *S): those that can be neighbours, and those of them that have some."""
        ...

    def neighbors(self, x: Tensor) -> Neighbors:
        """Whom every position of x (B, C, *S) that is computed looks at, those of each image's heads in a row.

        `field(x).places(indices)` says where they are.
        """
        ...


class UnpaddedLayer(MapLayer):
    """A layer on images that works on the map as it is: (B, C_in, H, W) to (B, C_out, H', W').

    Nobody stands in the padding. The grid says which positions it computes: those in the middle of
    the windows of such a convolution, so that it goes where that was. Where asked for, a positional encoding stands in
    front of it: many of them cannot tell one place from another.

    Attributes:
        positional: the encoding, or None.
        heads: how many choose for themselves.

    Raises:
        InputError: an argument is out of range.
    """

    spatial_dims: ClassVar[int] = 2
    heads: int = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        grid: Grid,
        positional_size: int = 0,
        groups: int = 1,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels)
        check_groups(groups, in_channels, out_channels)
        check_backend(backend)
        self.grid = grid
        self.positional: PositionalEncoding2d | None = None
        if positional_size:
            self.positional = PositionalEncoding2d(in_channels, kernel_size=positional_size, device=device, dtype=dtype)
        self.groups = groups
        self.backend = backend

    def field(self, x: Tensor) -> Field:
        """The positions of x (B, C, H, W), all of which can be neighbours; those of the grid have some."""
        return Field(x.flatten(2).transpose(1, 2), self.grid.axes_without_padding(x.shape[2:]))

    def neighbors(self, x: Tensor) -> Neighbors:
        """Whom every position of x (B, C, H, W) that is computed looks at, those of each image's heads in a row."""
        return self._neighbors(self.field(self._encoded(x)))

    def _forward(self, x: Tensor) -> Tensor:
        field = self.field(self._encoded(x))
        return like(x, field.to_map(self._rows(field)))

    def _encoded(self, x: Tensor) -> Tensor:
        return x if self.positional is None else self.positional(x)

    def _neighbors(self, field: Field) -> Neighbors:
        """Whom the positions of the grid look at, on the encoded map."""
        raise NotImplementedError

    def _rows(self, field: Field) -> Tensor:
        """What it computes at the positions of the grid of the encoded map, (B, N, C_out)."""
        raise NotImplementedError

    def settings(self) -> Iterable[object]:
        """Encoding, geometry, groups and backend."""
        encoding = written(positional_size=self.positional.kernel_size[0]) if self.positional else ""
        others = unless_usual(groups=(self.groups, 1), backend=(self.backend, "auto"))
        return encoding, self.grid.beside(Grid(padding=0)), others
