"""Non-local networks: all positions."""

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.nn._field import Field
from convnn.nn._grid import Grid, Sides
from convnn.nn._grouped import GroupedLinear
from convnn.nn._layer import UnpaddedLayer
from convnn.ops import Neighbors


class NonLocal2d(UnpaddedLayer):
    r"""Attention of every position to all, added to the position itself.

    .. math:: y_i = x'_i + W_z \sum_j \alpha_{ij} W_g x_j, \qquad
        \alpha_i = \operatorname{softmax}_j \left( W_\theta x_i \cdot W_\phi x_j \right)

    the embedded Gaussian form, in half of the channels; x' is x or, if the channels differ, a 1x1 projection of it.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        positional_size: side of the window of a positional encoding before the layer, an odd number; 0: none.
        groups: number of blocks of channels that do not mix; each has its own weights :math:`\alpha`.
        stride, padding, window_size, dilation: those of the convolution that it replaces; it computes the middle of
            each window, without padding.
        bias: add learned biases to all linear maps except the projection.
        backend: ignored; PyTorch's attention computes the layer.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, H, W) or (C_in, H, W); output (B, C_out, H', W').

    Raises:
        InputError: an argument is out of range.

    Reference:
        Wang et al., "Non-local Neural Networks", arXiv 1711.07971, equations 2 and 6 and figure 2.

    Example:
        >>> NonLocal2d(8, 16)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        positional_size: int = 0,
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
        self.heads = groups
        inner = groups * max(1, in_channels // groups // 2)
        self.query = GroupedLinear(in_channels, inner, groups, bias, device, dtype)
        self.key = GroupedLinear(in_channels, inner, groups, bias, device, dtype)
        self.value = GroupedLinear(in_channels, inner, groups, bias, device, dtype)
        self.output = GroupedLinear(inner, out_channels, groups, bias, device, dtype)
        is_same = in_channels == out_channels
        self.project = None if is_same else GroupedLinear(in_channels, out_channels, groups, False, device, dtype)

    def _rows(self, field: Field) -> Tensor:
        own = field.at_queries(field.features)
        values = self._split(self.value(field.features))
        out = F.scaled_dot_product_attention(self._split(self.query(own)), self._keys(field), values, scale=1.0)
        own = own if self.project is None else self.project(own)
        return own + self.output(out.transpose(1, 2).flatten(2))

    def _neighbors(self, field: Field) -> Neighbors:
        """Return all positions, with their weights for each position of the grid, (B * heads, N, T)."""
        queries = self._split(self.query(field.at_queries(field.features)))
        weights = (queries @ self._keys(field).mT).softmax(-1).flatten(0, 1)
        positions = torch.arange(weights.shape[-1], device=field.features.device)
        return Neighbors(positions.expand(weights.shape), weights)

    def _keys(self, field: Field) -> Tensor:
        return self._split(self.key(field.features))

    def _split(self, rows: Tensor) -> Tensor:
        """Split (B, T, C) into heads (B, heads, T, C / heads)."""
        return rows.unflatten(-1, (self.heads, -1)).transpose(1, 2)
