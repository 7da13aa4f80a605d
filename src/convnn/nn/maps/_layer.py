"""What layers on a map that may be shuffled have in common."""

from torch import Tensor

from convnn.errors import check_choice
from convnn.nn._field import Field
from convnn.nn._grid import Grid
from convnn.nn._grouped import check_groups
from convnn.nn._layer import ChoosingLayer, MapLayer
from convnn.nn._search import Search
from convnn.nn._shuffle import shuffle_in, shuffled_channels
from convnn.nn.functional import AGGREGATION_TYPES
from convnn.ops import check_backend


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
