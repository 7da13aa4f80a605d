"""What every layer on a map has in common."""

import math
from typing import ClassVar

from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_choice
from convnn.nn._field import Field
from convnn.nn._grid import Grid
from convnn.nn._grouped import check_groups
from convnn.nn._search import Search
from convnn.nn._shuffle import shuffle_in, shuffled_channels
from convnn.nn.functional import AGGREGATION_TYPES
from convnn.ops import Neighbors, check_backend


def reset_as_conv(weight: Tensor, bias: Tensor | None) -> None:
    """Draw weight (C_out, C_in, ...) and bias as `torch.nn.Conv2d` does: uniform, bounded by the fan-in."""
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(weight[0].numel())
        nn.init.uniform_(bias, -bound, bound)


class MapLayer(nn.Module):
    """A layer from (B, C_in, *S) to (B, C_out, *S') that also takes a single map (C_in, *S)."""

    spatial_dims: ClassVar[int]

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

    def extra_repr(self) -> str:
        """Channels."""
        return f"{self.in_channels}, {self.out_channels}"


class ChoosingLayer(MapLayer):
    """A layer on a map whose positions have neighbours, and that can say whom.

    Attributes:
        heads: how many choose for themselves.
    """

    heads: int = 1

    def field(self, x: Tensor) -> Field:
        """The positions of x (B, C, *S): those that can be neighbours, and those of them that have some."""
        raise NotImplementedError

    def neighbors(self, x: Tensor) -> Neighbors:
        """Whom every position of x (B, C, *S) that is computed looks at, those of each image's heads in a row.

        `field(x).places(indices)` says where they are.
        """
        raise NotImplementedError


class ShufflingLayer(MapLayer):
    """A layer on a map that may see coordinates, and may work on shuffled pixels.

    Attributes:
        grid: the positions that it computes, and the padding around the map.
        groups: blocks of channels that do not mix.
        inside_channels: what its weights read, unshuffled and coordinate channels included.
        outside_channels: what its weights make, ahead of the last shuffle.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        grid: Grid,
        groups: int,
        aggregation_type: str,
        shuffle_pattern: str,
        shuffle_scale: int,
    ) -> None:
        super().__init__(in_channels, out_channels)
        check_choice("aggregation_type", aggregation_type, AGGREGATION_TYPES)
        self.grid = grid
        self.groups = groups
        self.aggregation_type = aggregation_type
        self.shuffle_pattern = shuffle_pattern
        self.shuffle_scale = shuffle_scale
        inside, self.outside_channels = shuffled_channels(
            in_channels, out_channels, self.spatial_dims, shuffle_pattern, shuffle_scale
        )
        self.inside_channels = inside + (self.spatial_dims if aggregation_type == "Loc_Col" else 0)
        check_groups(groups, self.inside_channels, self.outside_channels)

    def extra_repr(self) -> str:
        """Channels, and every setting that is not a default."""
        parts = [super().extra_repr(), *filter(None, self._geometry())]
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.aggregation_type != "Col":
            parts.append(f"aggregation_type={self.aggregation_type!r}")
        if self.shuffle_pattern != "NA":
            parts.append(f"shuffle_pattern={self.shuffle_pattern!r}, shuffle_scale={self.shuffle_scale}")
        return ", ".join(parts)

    def _geometry(self) -> tuple[str, ...]:
        """What it looks at, for `extra_repr`."""
        return (str(self.grid),)


class SearchingLayer(ShufflingLayer, ChoosingLayer):
    """A layer on a map that looks for neighbours, and can say whom it chose."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        search: Search,
        grid: Grid,
        groups: int,
        aggregation_type: str,
        shuffle_pattern: str,
        shuffle_scale: int,
        backend: str,
    ) -> None:
        super().__init__(in_channels, out_channels, grid, groups, aggregation_type, shuffle_pattern, shuffle_scale)
        check_backend(backend)
        self.search = search
        self.backend = backend

    def field(self, x: Tensor) -> Field:
        """The positions among which neighbours are looked for: those of x (B, C, *S), unshuffled and padded."""
        return Field.of(shuffle_in(x, self.shuffle_pattern, self.shuffle_scale), self.grid)

    def extra_repr(self) -> str:
        """Channels, and every setting that is not a default."""
        return super().extra_repr() + (f", backend={self.backend!r}" if self.backend != "auto" else "")

    def _geometry(self) -> tuple[str, ...]:
        return str(self.search), str(self.grid)
