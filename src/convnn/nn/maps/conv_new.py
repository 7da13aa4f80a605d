"""A convolution with coordinate channels and pixel shuffling: the published `Conv2d_New`."""

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from convnn.nn import functional as F
from convnn.nn._grid import Grid, Sides, check_sides, each_side
from convnn.nn._layer import MapLayer
from convnn.nn._reset import reset_as_conv
from convnn.nn._settings import unless_usual, written
from convnn.nn._shuffle import Shuffle
from convnn.nn.maps._channels import channels_of_weights


class ConvNew(MapLayer):
    r"""A convolution with optional coordinate channels ("Loc_Col") and optional pixel shuffling.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        kernel_size: side of the window; a number, or one for each axis, as the next three.
        stride, padding, dilation: as in `torch.nn.Conv2d`; with "same" the map keeps its size.
        groups: number of blocks of channels that do not mix.
        padding_mode: values in the padding: "zeros", "reflect", "replicate" or "circular".
        aggregation_type: convolve features ("Col") or features and coordinates ("Loc_Col").
        shuffle_pattern, shuffle_scale: as in `ConvNN`.
        bias: add a learned bias to the output.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, \*S) or (C_in, \*S); output (B, C_out, \*S'), shuffled by pattern.

    Raises:
        InputError: an argument is out of range; in forward: the shuffle does not divide the map, or the
            window does not fit in it.

    Reference:
        Kang and Farias Sales Rocha Neto, arXiv 2511.14137.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: Sides = 3,
        stride: Sides = 1,
        padding: Sides | str = "same",
        dilation: Sides = 1,
        groups: int = 1,
        padding_mode: str = "zeros",
        aggregation_type: str = "Col",
        shuffle_pattern: str = "NA",
        shuffle_scale: int = 0,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_sides("kernel_size", kernel_size, 1)
        sides = each_side("kernel_size", kernel_size, self.spatial_dims)
        super().__init__(in_channels, out_channels)
        self.grid = Grid(kernel_size, stride, padding, dilation, padding_mode)
        self.groups = groups
        self.aggregation_type = aggregation_type
        self.shuffle = Shuffle(shuffle_pattern, shuffle_scale)
        inside, outside = channels_of_weights(
            in_channels, out_channels, self.spatial_dims, groups, aggregation_type, self.shuffle
        )
        shape = (outside, inside // groups, *sides)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(shape[0], device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias as `torch.nn.Conv2d` does."""
        reset_as_conv(self.weight, self.bias)

    def _forward(self, x: Tensor) -> Tensor:
        return F.conv_new(
            x,
            self.weight,
            self.bias,
            grid=self.grid,
            aggregation_type=self.aggregation_type,
            shuffle_pattern=self.shuffle.pattern,
            shuffle_scale=self.shuffle.scale,
        )

    def settings(self) -> Iterable[object]:
        """Return window, geometry, groups, aggregation and shuffle."""
        sides = self.grid.window_size
        mixed = unless_usual(groups=(self.groups, 1), aggregation_type=(self.aggregation_type, "Col"))
        return written(kernel_size=sides), self.grid.changed_from(Grid(sides, padding="same")), mixed, self.shuffle


class Conv1dNew(ConvNew):
    """`ConvNew` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1


class Conv2dNew(ConvNew):
    """`ConvNew` on images: (B, C, H, W)."""

    spatial_dims: ClassVar[int] = 2


class Conv3dNew(ConvNew):
    """`ConvNew` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3
