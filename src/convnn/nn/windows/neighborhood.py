"""Neighbourhood attention transformer: the window around each position, shifted inwards at the border."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_odd
from convnn.nn._field import Field
from convnn.nn._grid import Grid, Sides
from convnn.nn._grouped import GroupedLinear
from convnn.nn._layer import UnpaddedLayer
from convnn.nn._settings import unless_usual, written
from convnn.ops import Neighbors, aggregate, select, weigh


class NeighborhoodAttention2d(UnpaddedLayer):
    r"""Attention of every position to the k x k window around it, shifted inwards at the border.

    .. math:: y_i = W_o \sum_{j \in w(i)} \alpha_{ij} W_v x_j, \qquad
        \alpha_i = \operatorname{softmax}_j \left( s \, W_q x_i \cdot W_k x_j + \beta_{j - i} \right), \qquad
        s = \frac{1}{\sqrt{d}}

    with a learned bias :math:`\beta` for each offset in every head. A map smaller than the window is padded on the
    right and below with zeros, which have queries, keys and values like the others.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        kernel_size: side of the window, an odd number.
        head_channels: d, smallest number of channels per head; the number of heads is the largest that divides the
            channels, at least one.
        relative_bias: learn the bias for each offset.
        attention_dilation: distance between the positions of a window, which is shifted inwards in multiples of it.
        qk_scale: s, above 0; None is 1 / sqrt(d).
        positional_size: side of the window of a positional encoding before the layer, an odd number; 0: none.
        groups: number of blocks of channels that do not mix; every head is within one.
        stride, padding, window_size, dilation: those of the convolution that it replaces; it computes the middle of
            each window, without padding.
        bias: add learned biases to queries, keys, values and output.
        backend: implementation of the operations: "auto" (the fastest available), "cpu", "triton" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, H, W) or (C_in, H, W); output (B, C_out, H', W'); relative_bias (heads, 2 k - 1, 2 k - 1).

    Raises:
        InputError: an argument is out of range.
        UnsupportedError: in forward: the named backend cannot compute this.

    Reference:
        Hassani et al., "Neighborhood Attention Transformer", arXiv 2204.07143, equations 1 to 4; as a layer for images:
        Wang et al., arXiv 2303.14324; dilation: Hassani and Shi, arXiv 2209.15001.

    Example:
        >>> NeighborhoodAttention2d(32, 64, kernel_size=7)(torch.randn(2, 32, 14, 14)).shape
        torch.Size([2, 64, 14, 14])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        head_channels: int = 32,
        relative_bias: bool = True,
        attention_dilation: int = 1,
        qk_scale: float | None = None,
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
        check_odd("kernel_size", kernel_size)
        check_at_least("attention_dilation", attention_dilation, 1)
        if qk_scale is not None and not qk_scale > 0:
            raise InputError(f"qk_scale={qk_scale} must be above 0, or None for one over the square root of the width")
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
        self.kernel_size = kernel_size
        self.attention_dilation = attention_dilation
        self.qk_scale = qk_scale
        self.heads = groups * _heads(in_channels // groups, head_channels)
        self.qkv = GroupedLinear(in_channels, 3 * in_channels, groups, bias, device, dtype)
        self.output = GroupedLinear(in_channels, out_channels, groups, bias, device, dtype)
        sides = (self.heads, 2 * kernel_size - 1, 2 * kernel_size - 1)
        self.relative_bias = nn.Parameter(torch.empty(sides, device=device, dtype=dtype)) if relative_bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the bias for each offset from a normal distribution of deviation 0.02, truncated at 2."""
        if self.relative_bias is not None:
            nn.init.trunc_normal_(self.relative_bias, std=0.02)

    def _rows(self, field: Field) -> Tensor:
        neighbors, values = self._attend(field)
        out = aggregate.weighted_sum(values, neighbors, backend=self.backend).unflatten(0, (-1, self.heads))
        return self.output(out.transpose(1, 2).flatten(2))

    def _neighbors(self, field: Field) -> Neighbors:
        """Return the window of every position of the grid with its weights, (B * heads, N, k k)."""
        return self._attend(field)[0]

    def field(self, x: Tensor) -> Field:
        """Return the positions of x (B, C, H, W), on a map that the window fits in; those of the grid choose."""
        axes = self.grid.axes_without_padding(x.shape[2:])
        missing = [max(0, self.kernel_size * self.attention_dilation - axis.real) for axis in axes]
        padded = F.pad(x, [0, missing[1], 0, missing[0]]) if any(missing) else x
        axes = tuple(replace(a, after=n, spare=a.spare + n) for a, n in zip(axes, missing, strict=True))
        return Field(padded.flatten(2).transpose(1, 2), axes)

    def _attend(self, field: Field) -> tuple[Neighbors, Tensor]:
        """Return the neighbours of each head with weights, and values of all positions (B * heads, T, d)."""
        queries, keys, values = self._split(self.qkv(field.features))
        queries = field.at_queries(queries) * (queries.shape[-1] ** -0.5 if self.qk_scale is None else self.qk_scale)
        sides, apart = [self.kernel_size] * 2, [self.attention_dilation] * 2
        whole = select.window(field.size, sides, apart, device=queries.device)
        windows = whole.indices[:, field.queries()]
        neighbors = Neighbors(windows).for_each_of(queries.shape[0])
        neighbors = weigh.similarity(neighbors, queries, keys, metric="matmul", backend=self.backend)
        assert neighbors.scores is not None
        if self.relative_bias is not None:
            by_head = neighbors.scores.unflatten(0, (-1, self.heads)) + self._bias_of(field, windows)
            neighbors = neighbors._replace(scores=by_head.flatten(0, 1))
        return weigh.softmax(neighbors), values

    def _split(self, qkv: Tensor) -> list[Tensor]:
        """Split (B, T, 3 C) into queries, keys and values of each head, (B * heads, T, d)."""
        by_head = qkv.unflatten(-1, (self.groups, 3, self.heads // self.groups, -1)).permute(3, 0, 2, 4, 1, 5)
        return [one.flatten(0, 2) for one in by_head]

    def _bias_of(self, field: Field, windows: Tensor) -> Tensor:
        """Return the learned bias of each offset from a position to those of its window, (heads, N, k k)."""
        assert self.relative_bias is not None
        away = field.places(windows[0]) - field.places(field.queries()).unsqueeze(1)
        offsets = away // self.attention_dilation + self.kernel_size - 1
        return self.relative_bias[:, offsets[..., 0], offsets[..., 1]]

    def settings(self) -> Iterable[object]:
        """Return window, heads and bias; dilation and scale where they differ from the defaults."""
        has_bias = self.relative_bias is not None
        yield written(kernel_size=self.kernel_size, heads=self.heads, relative_bias=has_bias)
        yield unless_usual(attention_dilation=(self.attention_dilation, 1), qk_scale=(self.qk_scale, None))
        yield from super().settings()


def _heads(channels: int, head_channels: int) -> int:
    """Return the largest number of heads that divides the channels into at least `head_channels` each, or one."""
    check_at_least("head_channels", head_channels, 1)
    return next(heads for heads in range(max(1, channels // head_channels), 0, -1) if channels % heads == 0)
