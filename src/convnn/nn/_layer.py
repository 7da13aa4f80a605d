"""Base classes of layers on maps, with and without padding, and of layers on tokens."""

from collections.abc import Iterable
from inspect import Signature
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least
from convnn.nn._arguments import check_arguments, constructor_signature
from convnn.nn._field import Field, like
from convnn.nn._grid import Grid
from convnn.nn._grouped import check_groups
from convnn.nn._settings import unless_usual, written
from convnn.nn.positional import PositionalEncoding2d
from convnn.ops import Neighbors, check_backend

Self = TypeVar("Self", bound="MapLayer")
TokenSelf = TypeVar("TokenSelf", bound="TokenLayer")


class MapLayer(nn.Module):
    """A layer from (B, C_in, *S) to (B, C_out, *S') that also takes a single map (C_in, *S)."""

    spatial_dims: ClassVar[int]
    __signature__: ClassVar[Signature]

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        cls.__signature__ = constructor_signature(cls)  # before Python 3.11.4, that of `__new__` would be shown

    def __new__(cls: type[Self], *widths: Any, **settings: Any) -> Self:
        """Check the arguments before the constructor, so that an error can say what to write instead."""
        check_arguments(cls, widths, settings)
        return super().__new__(cls)

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        check_at_least("in_channels", in_channels, 1)
        check_at_least("out_channels", out_channels, 1)
        self.in_channels = in_channels
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, *S) to (B, C_out, *S').

        Raises:
            InputError: the input has other channels or axes, is not floating-point, or has no position.
        """
        axes = self.spatial_dims
        if x.dim() not in (axes + 1, axes + 2) or x.shape[-axes - 1] != self.in_channels:
            sides = ", ".join("DHW"[-axes:])
            raise InputError(
                f"input of shape {tuple(x.shape)} must be (B, {self.in_channels}, {sides})"
                f" for {type(self).__name__}({self.in_channels}, {self.out_channels})"
            )
        if not x.is_floating_point():
            raise InputError(f"input of {x.dtype} must be floating; pass x.float(), scaled as the layer was trained")
        if not all(x.shape[-axes:]):
            raise InputError(f"input of shape {tuple(x.shape)} must have at least one position along every axis")
        if x.dim() == axes + 1:
            return self._forward(x.unsqueeze(0)).squeeze(0)
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        """Apply the layer to a batch of maps of the right shape."""
        raise NotImplementedError

    def settings(self) -> Iterable[object]:
        """Return what `extra_repr` shows after the channels: settings as objects or strings, some of them empty."""
        return ()

    def extra_repr(self) -> str:
        """Return the channels, and every setting that differs from its default."""
        return ", ".join(filter(None, [f"{self.in_channels}, {self.out_channels}", *map(str, self.settings())]))


@runtime_checkable
class ChoosingLayer(Protocol):
    """A layer on maps that can return the neighbours of its positions.

    Attributes:
        spatial_dims: axes of its maps.
        heads: number of heads, each with its own neighbours.
    """

    spatial_dims: ClassVar[int]
    heads: int

    def field(self, x: Tensor) -> Field:
        """Return the positions of x (B, C, *S): those that can be neighbours, and which of them choose."""
        ...

    def neighbors(self, x: Tensor) -> Neighbors:
        """Return the neighbours of every computed position of x (B, C, *S); the heads of an image are consecutive.

        `field(x).places(indices)` returns their places on the map.
        """
        ...


class UnpaddedLayer(MapLayer):
    """A layer on images that uses the map without padding: (B, C_in, H, W) to (B, C_out, H', W').

    Padding cannot be chosen. The grid determines the computed positions: the centres of the windows of a
    convolution, which the layer can therefore replace. An optional positional encoding precedes the layer, because
    many of these layers cannot distinguish positions.

    Attributes:
        positional: the encoding, or None.
        heads: number of heads, each with its own neighbours.

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
        """Return the positions of x (B, C, H, W), all of which can be neighbours; those of the grid choose."""
        return Field(x.flatten(2).transpose(1, 2), self.grid.axes_without_padding(x.shape[2:]))

    def neighbors(self, x: Tensor) -> Neighbors:
        """Return the neighbours of every computed position of x (B, C, H, W); the heads of an image are consecutive."""
        return self._neighbors(self.field(self._encoded(x)))

    def _forward(self, x: Tensor) -> Tensor:
        field = self.field(self._encoded(x))
        return like(x, field.to_map(self._rows(field)))

    def _encoded(self, x: Tensor) -> Tensor:
        return x if self.positional is None else self.positional(x)

    def _neighbors(self, field: Field) -> Neighbors:
        """Return the neighbours of the positions of the grid, on the encoded map."""
        raise NotImplementedError

    def _rows(self, field: Field) -> Tensor:
        """Compute the output at the positions of the grid, from the encoded map, (B, N, C_out)."""
        raise NotImplementedError

    def settings(self) -> Iterable[object]:
        """Return encoding, geometry, groups and backend."""
        encoding = written(positional_size=self.positional.kernel_size[0]) if self.positional else ""
        others = unless_usual(groups=(self.groups, 1), backend=(self.backend, "auto"))
        return encoding, self.grid.changed_from(Grid(padding=0)), others


class TokenLayer(nn.Module):
    """A layer from (B, T, D) to (B, T, D), for any T, that also takes a single sequence (T, D)."""

    __signature__: ClassVar[Signature]

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        cls.__signature__ = constructor_signature(cls)  # before Python 3.11.4, that of `__new__` would be shown

    def __new__(cls: type[TokenSelf], *widths: Any, **settings: Any) -> TokenSelf:
        """Check the arguments before the constructor, so that an error can say what to write instead."""
        check_arguments(cls, widths, settings)
        return super().__new__(cls)

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        check_at_least("dim", dim, 1)
        check_at_least("num_heads", num_heads, 1)
        self.dim = dim
        self.num_heads = num_heads

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D).

        Raises:
            InputError: the input has another width, other axes, no floating type, or too few tokens.
        """
        self.check_input(x)
        return self._forward(x) if x.dim() == 3 else self._forward(x.unsqueeze(0)).squeeze(0)

    def check_input(self, x: Tensor) -> None:
        """Refuse an input that is not a sequence of tokens of this layer.

        Raises:
            InputError: the input is refused; the message names its shape and type.
        """
        if x.dim() not in (2, 3) or x.shape[-1] != self.dim or not x.shape[-2] or not x.is_floating_point():
            raise InputError(
                f"input of shape {tuple(x.shape)} and {x.dtype} must be floating and (B, T, {self.dim}) with T of at"
                f" least 1 for {type(self).__name__}"
            )

    def _forward(self, x: Tensor) -> Tensor:
        """Apply the layer to a batch of sequences of the right width."""
        raise NotImplementedError

    def settings(self) -> Iterable[object]:
        """Return what `extra_repr` shows after width and heads: settings as objects or strings, some of them empty."""
        return ()

    def extra_repr(self) -> str:
        """Return width, heads, and every setting that differs from its default."""
        return ", ".join(filter(None, [f"{self.dim}, {self.num_heads}", *map(str, self.settings())]))
