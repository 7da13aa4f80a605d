"""MobileViG and MobileViGv2: fixed positions in the row and column of each position."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from convnn.errors import check_at_least
from convnn.nn._field import Field
from convnn.nn._grid import Grid, Sides
from convnn.nn._layer import UnpaddedLayer
from convnn.nn._reset import reset_as_conv
from convnn.nn._settings import written
from convnn.nn.vision_graphs._axial import down_and_right, itself_and_shifted, one_step
from convnn.nn.vision_graphs._edges import edge_linear, edge_parameters
from convnn.ops import Neighbors, aggregate


class SVGA2d(UnpaddedLayer):
    r"""Sparse vision graph attention: every s-th position of its row and column.

    .. math:: y_i = W_1 x'_i + W_2 \max \left( 0, \max_{j \in N(i)} (x'_i - x'_j) \right) + b

    with N(i) the positions s, 2 s, ... up the column and to the left in the row, wrapping around, as far as the
    map extends; note the sign, which is that of the published code. Arguments, shapes and errors are those of `MGC2d`.

    Reference:
        Munir et al., "MobileViG: Graph-Based Sparse Attention for Mobile Vision Applications", arXiv 2307.00395.

    Example:
        >>> SVGA2d(8, 16, step=2)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        step: int = 2,
        positional_size: int = 7,
        groups: int = 1,
        stride: Sides = 1,
        padding: Sides | str = 0,
        window_size: Sides | None = None,
        dilation: Sides = 1,
        bias: bool = True,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_at_least("step", step, 1)
        super().__init__(
            in_channels,
            out_channels,
            grid=Grid(window_size, stride, padding, dilation),
            positional_size=positional_size,
            groups=groups,
            backend=backend,
            device=device,
            dtype=dtype,
        )
        self.step = step
        self.weight, self.bias = edge_parameters(
            in_channels, out_channels, groups=groups, bias=bias, device=device, dtype=dtype
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias as a 1x1 `torch.nn.Conv2d` of 2 * C_in channels does."""
        reset_as_conv(self.weight, self.bias)

    def _rows(self, field: Field) -> Tensor:
        own = field.at_queries(field.features)
        return edge_linear(own, self.relative_max(field, own), self.weight, self.bias)

    def shifts(self, size: Sequence[int], device: torch.device | None = None) -> Tensor:
        """Return distances (K, 2) on a map of some height and width: down and to the right, in steps."""
        return down_and_right(size, self.step, device)

    def relative_max(self, field: Field, own: Tensor) -> Tensor:
        """Return the maximum of x_i - x_j over the neighbours j of each position i, (B, N, C)."""
        return aggregate.maximum(-field.features, self._neighbors(field), -own, backend=self.backend)

    def _neighbors(self, field: Field) -> Neighbors:
        chosen = itself_and_shifted(field, self.shifts(field.size, field.features.device))
        return Neighbors(chosen).for_each_of(field.features.shape[0])

    def settings(self) -> Iterable[object]:
        """Return the step, and what all layers without padding show."""
        return written(step=self.step), *super().settings()


class MGC2d(UnpaddedLayer):
    r"""Mobile graph convolution: the four positions a step away in its row and column.

    .. math:: y_i = W_1 x'_i + W_2 \max \left( 0, \max_{j \in N(i)} (x'_j - x'_i) \right) + b, \qquad x' = x + P * x

    with N(i) the positions s up, down, left and right, around the border, and P a depthwise convolution, the
    conditional positional encoding. Nothing is searched.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        step: s; an axis of at most s positions contributes no neighbours.
        positional_size: side of the window of P, an odd number; 0: no encoding.
        groups: number of blocks of channels that do not mix.
        stride, padding, window_size, dilation: those of the convolution that it replaces; it computes the middle of
            each window, without padding.
        bias: add a learned bias to the output.
        backend: implementation of the operations: "auto" (the fastest available), "cpu", "triton" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, H, W) or (C_in, H, W); output (B, C_out, H', W'); weight (C_out, 2, C_in / groups).

    Raises:
        InputError: an argument is out of range.

    Reference:
        Avery et al., "Scaling Graph Convolutions for Mobile Vision", arXiv 2406.05850.

    Example:
        >>> MGC2d(8, 16, step=2)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        step: int = 2,
        positional_size: int = 7,
        groups: int = 1,
        stride: Sides = 1,
        padding: Sides | str = 0,
        window_size: Sides | None = None,
        dilation: Sides = 1,
        bias: bool = True,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_at_least("step", step, 1)
        super().__init__(
            in_channels,
            out_channels,
            grid=Grid(window_size, stride, padding, dilation),
            positional_size=positional_size,
            groups=groups,
            backend=backend,
            device=device,
            dtype=dtype,
        )
        self.step = step
        self.weight, self.bias = edge_parameters(
            in_channels, out_channels, groups=groups, bias=bias, device=device, dtype=dtype
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias as a 1x1 `torch.nn.Conv2d` of 2 * C_in channels does."""
        reset_as_conv(self.weight, self.bias)

    def _rows(self, field: Field) -> Tensor:
        own = field.at_queries(field.features)
        return edge_linear(own, self.relative_max(field, own), self.weight, self.bias)

    def shifts(self, size: Sequence[int], device: torch.device | None = None) -> Tensor:
        """Return distances (K, 2) on a map of some size: a step either way along each axis that is longer."""
        return one_step(size, self.step, device)

    def relative_max(self, field: Field, own: Tensor) -> Tensor:
        """Return the maximum of x_j - x_i over the neighbours j of each computed position i, (B, N, C)."""
        return aggregate.maximum(field.features, self._neighbors(field), own, backend=self.backend)

    def _neighbors(self, field: Field) -> Neighbors:
        chosen = itself_and_shifted(field, self.shifts(field.size, field.features.device))
        return Neighbors(chosen).for_each_of(field.features.shape[0])

    def settings(self) -> Iterable[object]:
        """Return the step, and what all layers without padding show."""
        return written(step=self.step), *super().settings()
