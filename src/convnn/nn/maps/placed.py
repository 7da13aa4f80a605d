"""ConvNN by direction: one neighbour in each direction."""

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import check_at_least, check_choice, check_fraction
from convnn.nn import functional as F
from convnn.nn._field import Field
from convnn.nn._grid import Grid, Sides, check_sides, each_side
from convnn.nn._layer import MapLayer
from convnn.nn._reset import reset_as_conv
from convnn.nn._search import Search
from convnn.nn._settings import unless_usual, written
from convnn.nn._shuffle import Shuffle
from convnn.nn.functional import PREFERENCES
from convnn.nn.maps._channels import channels_of_weights
from convnn.ops import Neighbors, check_backend, weigh


class ConvNNPos(MapLayer):
    r"""A convolution in which outer slots of half of the channels take the most similar position in their direction.

    .. math:: y_{io} = b_o + \sum_{c} \sum_{k} W_{ock} \, x_{j_{ik} c}, \qquad
        j_{ik} = \operatorname*{arg\,max}_{j \in S_k(i)} \pm s(x_i, x_j)

    where :math:`S_k(i)` are the positions whose offset from i, clamped to the kernel's window, is that of slot k: the
    place of the slot itself, and `reach` more beyond it along each axis in which it is an outer slot; zeros in the
    padding only if the slot's own place is there. A slot thus has a known direction, as in a convolution, and its
    neighbour is found by content, as in ConvNN. With reach=0 or choosing=0 there is no choice, and the layer is the
    convolution. The choice carries no gradient.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        kernel_size: number of slots along each axis; or one for each axis, as the next three.
        reach: how much farther the outer slots search, in positions along each axis.
        choosing: share of the output channels whose slots choose, 0 to 1.
        prefer: whether a slot takes the position most "like" its own, or most "unlike" it.
        stride, padding, dilation: as in `torch.nn.Conv2d`, of the kernel's window; with "same" the map keeps its size.
        groups: number of blocks of channels that do not mix; all of them have the same neighbours.
        padding_mode: values in the padding: "zeros", "reflect", "replicate" or "circular".
        metric: "cosine", "euclidean" or "matmul", the inner product.
        aggregation_type: convolve features ("Col") or features and coordinates ("Loc_Col").
        shuffle_pattern, shuffle_scale: as in `ConvNN`.
        bias: add a learned bias to the output.
        backend: implementation of the operations: "auto" (the fastest available), "cpu", "triton" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, \*S) or (C_in, \*S), any size and floating type; output (B, C_out, \*S'), S' as for a
        convolution; weight (C_out, C' / groups, \*kernel_size), as for a convolution; bias (C_out,).

    Raises:
        InputError: an argument is out of range; in forward: the shuffle does not divide the map, or the window does
            not fit in it.
        UnsupportedError: in forward: the named backend cannot compute this.

    Reference:
        This library. Its parts are those of ConvNN, arXiv 2511.14137; docs/place.md has the ablation.
    """

    heads: int = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: Sides = 3,
        reach: int = 1,
        choosing: float = 0.5,
        prefer: str = "like",
        stride: Sides = 1,
        padding: Sides | str = "same",
        dilation: Sides = 1,
        groups: int = 1,
        padding_mode: str = "zeros",
        metric: str = "matmul",
        aggregation_type: str = "Col",
        shuffle_pattern: str = "NA",
        shuffle_scale: int = 0,
        bias: bool = True,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_sides("kernel_size", kernel_size, 1)
        check_at_least("reach", reach, 0)
        check_fraction("choosing", choosing)
        check_choice("prefer", prefer, PREFERENCES)
        sides = each_side("kernel_size", kernel_size, self.spatial_dims)
        slots = torch.Size(sides).numel()
        super().__init__(in_channels, out_channels)
        self.search = Search(slots, metric=metric, raster_order=True)
        self.grid = Grid(kernel_size, stride, padding, dilation, padding_mode)
        self.groups = groups
        self.aggregation_type = aggregation_type
        self.shuffle = Shuffle(shuffle_pattern, shuffle_scale)
        self.backend = backend
        inside, outside = channels_of_weights(
            in_channels, out_channels, self.spatial_dims, groups, aggregation_type, self.shuffle
        )
        check_backend(backend)
        self.reach = reach
        self.choosing = choosing
        self.prefer = prefer
        shape = (outside, inside // groups, *sides)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(shape[0], device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias as `torch.nn.Conv2d` does."""
        reset_as_conv(self.weight, self.bias)

    def _forward(self, x: Tensor) -> Tensor:
        return F.convnn_pos(
            x,
            self.weight,
            self.bias,
            reach=self.reach,
            choosing=self.choosing,
            prefer=self.prefer,
            metric=self.search.metric,
            grid=self.grid,
            aggregation_type=self.aggregation_type,
            shuffle_pattern=self.shuffle.pattern,
            shuffle_scale=self.shuffle.scale,
            backend=self.backend,
        )

    def field(self, x: Tensor) -> Field:
        """Return the positions among which slots choose: those of x (B, C, *S), unshuffled and padded."""
        return Field.of(self.shuffle.before(x), self.grid.widened(self.weight.shape[2:], self.reach))

    def neighbors(self, x: Tensor) -> Neighbors:
        """Return the neighbour of every slot at every position of x (B, C_in, *S), with their similarities."""
        field, metric = self.field(x), self.search.metric
        chosen = F.one_in_each_direction(
            field, self.weight.shape[2:], self.reach, self.prefer, metric, backend=self.backend
        )
        return weigh.similarity(
            chosen, field.at_queries(field.features), field.features, metric=metric, backend=self.backend
        )

    def settings(self) -> Iterable[object]:
        """Return window, reach, choice, geometry, groups, aggregation, shuffle and backend."""
        sides, metric = self.grid.window_size, (self.search.metric, "matmul")
        yield written(kernel_size=sides, reach=self.reach)
        yield unless_usual(choosing=(self.choosing, 0.5), prefer=(self.prefer, "like"), metric=metric)
        yield self.grid.changed_from(Grid(sides, padding="same"))
        yield unless_usual(groups=(self.groups, 1), aggregation_type=(self.aggregation_type, "Col"))
        yield from (self.shuffle, unless_usual(backend=(self.backend, "auto")))


class ConvNNPos1d(ConvNNPos):
    """`ConvNNPos` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1


class ConvNNPos2d(ConvNNPos):
    """`ConvNNPos` on images: (B, C, H, W). It replaces a `torch.nn.Conv2d`.

    Example:
        >>> layer = ConvNNPos2d(3, 8, kernel_size=3, reach=1)
        >>> layer(torch.randn(2, 3, 16, 20)).shape
        torch.Size([2, 8, 16, 20])
    """

    spatial_dims: ClassVar[int] = 2


class ConvNNPos3d(ConvNNPos):
    """`ConvNNPos` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3
