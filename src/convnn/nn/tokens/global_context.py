"""Attention within windows of patches, whose queries may be those of the whole image."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_at_most, check_choice, check_fraction
from convnn.nn._layer import TokenLayer
from convnn.nn._settings import unless_usual, written
from convnn.nn.tokens._layer import share_of_a_head
from convnn.nn.tokens.windows import grid_of_patches, rows_and_columns

SCOPES_OF_QUERIES = ("global", "local")
SQUEEZE = 4
"""Factor by which squeeze and excitation narrows the channels."""


class GatedConvolution(nn.Module):
    r"""A depthwise convolution whose channels are gated by their means over the map, added to the map.

    .. math:: y = x + W (g \odot u), \qquad u = \operatorname{GELU}(k * x), \qquad
        g = \operatorname{sigmoid}(W_2 \operatorname{GELU}(W_1 \operatorname{mean} u))

    with a 3x3 kernel k for each channel, and no biases.

    Args:
        channels: number of channels.
        squeezed: number of rows of W_1; None is a quarter of the channels.
        device: device of the weights.
        dtype: data type of the weights.

    Raises:
        InputError: no channel is left.
    """

    def __init__(
        self,
        channels: int,
        squeezed: int | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        squeezed = channels // SQUEEZE if squeezed is None else squeezed
        if squeezed < 1:
            raise InputError(f"channels={channels} must be at least {SQUEEZE}: gates are computed from a quarter")

        def pointwise(before: int, after: int) -> nn.Conv2d:
            return nn.Conv2d(before, after, 1, bias=False, device=device, dtype=dtype)

        self.depthwise = nn.Conv2d(
            channels, channels, 3, padding=1, groups=channels, bias=False, device=device, dtype=dtype
        )
        self.squeeze, self.excite = pointwise(channels, squeezed), pointwise(squeezed, channels)
        self.pointwise = pointwise(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        u = F.gelu(self.depthwise(x))
        gates = self.excite(F.gelu(self.squeeze(u.mean((2, 3), keepdim=True)))).sigmoid()
        return x + self.pointwise(gates * u)


class GlobalQueries(nn.Module):
    """One query of the whole image for each place in a window: `GatedConvolution` and 3x3 maximum, halving the map.

    Args:
        channels: number of channels.
        poolings: how often the map is halved, 0 or more; a `GatedConvolution` without a maximum stands for 0. The
            published number is log2(side of the map / side of the window).
        squeezed: see `GatedConvolution`.
        device: device of the weights.
        dtype: data type of the weights.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        poolings: int,
        squeezed: int | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_at_least("query_poolings", poolings, 0)
        self.poolings = poolings
        self.convolutions = nn.ModuleList(
            GatedConvolution(channels, squeezed, device=device, dtype=dtype) for _ in range(max(1, poolings))
        )

    def forward(self, x: Tensor, sides: tuple[int, int]) -> Tensor:
        """Map (B, C, H, W) to queries (B, *sides, C) for windows of these sides.

        Where halving ends at other sides, which no published network does, the map is interpolated.
        """
        for convolution in self.convolutions:
            x = convolution(x)
            if self.poolings:
                x = F.max_pool2d(x, 3, stride=2, padding=1)
        if x.shape[2:] != sides:
            x = F.interpolate(x, sides, mode="bilinear")
        return x.permute(0, 2, 3, 1)


class WindowAttention(nn.Module):
    r"""Attention within windows that do not overlap, by queries of their own or by given ones, the same in each window.

    .. math:: y_i = W_o \sum_{j \in w(i)} \operatorname{softmax}_j
        \left( \frac{q_i \cdot W_k x_j}{\sqrt{d}} + b_{i - j} \right) W_v x_j

    with a learned b for each head and offset, and :math:`q_i = W_q x_i` if `scope` is "local"; if it is "global",
    :math:`q_i` is the given query for the place of i in its window. Maps that are no whole number of windows are
    continued by positions that are nobody's neighbours, and maps smaller than a window are one window. With a `shift`
    the first windows end after so many rows and columns, so that layers in turn join what the other keeps apart.

    Args:
        dim: number of channels.
        num_heads: number of heads, a divisor of dim; d = dim / num_heads.
        side: side of the windows.
        scope: whose queries: "local" or "global".
        shift: rows and columns of the windows at the upper and the left border, below `side`; 0: whole windows.
        attention_dropout: probability of dropping a neighbour in training, 0 to 1.
        qkv_bias: add learned biases to queries, keys and values.
        output_bias: add a learned bias to the output.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        x and output (B, H, W, C); queries (B, min(side, H), min(side, W), C); relative_bias (heads, 2 side - 1,
        2 side - 1).

    Raises:
        InputError: an argument is out of range; in forward: queries are missing, not read, or of another shape.

    Reference:
        Hatamizadeh et al., "Global Context Vision Transformers", arXiv 2206.09959; shifts: Liu et al., "Swin
        Transformer", arXiv 2103.14030, section 3.2, whose cyclic shift computes the same.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        side: int,
        *,
        scope: str,
        shift: int = 0,
        attention_dropout: float = 0.0,
        qkv_bias: bool = True,
        output_bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_at_least("window_side", side, 1)
        check_choice("scope", scope, SCOPES_OF_QUERIES)
        check_fraction("attention_dropout", attention_dropout)
        share_of_a_head(dim, num_heads)
        check_at_least("shift", shift, 0)
        check_at_most("shift", shift, side - 1)
        self.num_heads, self.side, self.scope, self.attention_dropout = num_heads, side, scope, attention_dropout
        self.shift = shift
        parts = 3 if scope == "local" else 2
        self.qkv = nn.Linear(dim, parts * dim, bias=qkv_bias, device=device, dtype=dtype)
        self.output = nn.Linear(dim, dim, bias=output_bias, device=device, dtype=dtype)
        sides = (num_heads, 2 * side - 1, 2 * side - 1)
        self.relative_bias = nn.Parameter(torch.empty(sides, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the bias for each offset from a normal distribution of deviation 0.02, truncated at 2."""
        nn.init.trunc_normal_(self.relative_bias, std=0.02)

    def sides(self, height: int, width: int) -> tuple[int, int]:
        """Return the sides of the windows on a map."""
        return min(self.side, height), min(self.side, width)

    def forward(self, x: Tensor, queries: Tensor | None = None) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        sides = self.sides(*x.shape[1:3])
        self._check(x, queries, sides)
        before = self._before(sides)
        windows = split_windows(x, sides, before)
        *own, keys, values = self.qkv(windows).chunk(3 if queries is None else 2, dim=-1)
        asked = own[0] if queries is None else queries.flatten(1, 2).unsqueeze(1).expand(-1, windows.shape[1], -1, -1)
        dropout = self.attention_dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(
            self._heads(asked).to(keys.dtype),
            self._heads(keys),
            self._heads(values),
            attn_mask=self._bias(x, sides, before).to(keys.dtype),
            dropout_p=dropout,
        )
        out = out.unflatten(1, (-1, self.num_heads)).transpose(2, 3).flatten(3)
        return join_windows(self.output(out), sides, x.shape[1:3], before)

    def _before(self, sides: tuple[int, int]) -> tuple[int, int]:
        """Return the rows and columns that the first windows lack."""
        down, right = (side - self.shift % side if self.shift % side else 0 for side in sides)
        return down, right

    def _check(self, x: Tensor, queries: Tensor | None, sides: tuple[int, int]) -> None:
        if (queries is None) != (self.scope == "local"):
            given = "queries=None" if queries is None else f"queries of shape {tuple(queries.shape)}"
            wanted = "must be those of the image" if queries is None else "are not read"
            raise InputError(f"{given} {wanted}, since scope={self.scope!r}")
        if queries is not None and queries.shape != (x.shape[0], *sides, x.shape[3]):
            shape = (x.shape[0], *sides, x.shape[3])
            raise InputError(f"queries of shape {tuple(queries.shape)} must be {shape}, one for each place in a window")

    def _heads(self, x: Tensor) -> Tensor:
        """Split (B, n, s, C) into heads, those of a window after each other: (B, n * heads, s, d)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(2, 3).flatten(1, 2)

    def _bias(self, x: Tensor, sides: tuple[int, int], before: tuple[int, int]) -> Tensor:
        """Return what is added to the scores, (n * heads, s, s): minus infinity where nobody is."""
        rows, columns = (torch.arange(n, device=x.device) for n in sides)
        down, right = (places[:, None] - places + self.side - 1 for places in (rows, columns))
        bias = self.relative_bias[:, down[:, None, :, None], right[None, :, None, :]].flatten(3).flatten(1, 2)
        there = split_windows(x.new_ones(1, *x.shape[1:3], 1, dtype=torch.bool), sides, before)[0]  # (n, s, 1)
        return torch.where(there.view(-1, 1, 1, there.shape[1]), bias, float("-inf")).flatten(0, 1)


class GlobalContext(TokenLayer):
    r"""Attention of patches within a window by queries of the whole image, `GlobalQueries` for `WindowAttention`.

    Query i of a window is place i of the image, pooled until it is as small as a window; it is the same in every
    window, so that each position receives what the image asks of its window. With `scope` "local" every patch has
    its own query. Published networks alternate both (`convnn.models.GCViT`). Tokens before the patches, such as a
    class token, have no place in a window: each receives the mean over all patches, as in `LKCAttention`.

    Args:
        dim: embedding dimension D of the tokens, at least 4 for queries of the image.
        num_heads: number of heads, a divisor of dim.
        window_side: side of the windows, in patches.
        scope: whose queries: "global", those of the image, or "local", those of the patches.
        query_poolings: how often the image is halved for its queries.
        size: rows and columns of the patches; None is the largest square that the tokens fill.
        attention_dropout: probability of dropping a patch in training, 0 to 1.
        bias: add learned biases to queries, keys, values and output.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input and output (B, T, D) or (T, D), any T.

    Raises:
        InputError: an argument is out of range; in forward: another width, or fewer tokens than `size` has patches.

    Reference:
        Hatamizadeh et al., "Global Context Vision Transformers", arXiv 2206.09959, section 3. Its code refuses maps
        that are no whole number of windows, or no window times a power of two; see `WindowAttention` and
        `GlobalQueries` for them.

    Example:
        >>> GlobalContext(24, 3, window_side=4)(torch.randn(2, 1 + 64, 24)).shape
        torch.Size([2, 65, 24])
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        window_side: int = 7,
        scope: str = "global",
        query_poolings: int = 1,
        size: tuple[int, int] | None = None,
        attention_dropout: float = 0.1,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(dim, num_heads)
        if scope == "global" and dim < SQUEEZE:
            raise InputError(f"dim={dim} must be at least {SQUEEZE} for scope='global', which computes gates")
        self.size = None if size is None else rows_and_columns("size", size)
        self.attention = WindowAttention(
            dim,
            num_heads,
            window_side,
            scope=scope,
            attention_dropout=attention_dropout,
            qkv_bias=bias,
            output_bias=bias,
            device=device,
            dtype=dtype,
        )
        self.queries = GlobalQueries(dim, query_poolings, device=device, dtype=dtype) if scope == "global" else None

    def _forward(self, x: Tensor) -> Tensor:
        rows, columns = grid_of_patches(self.size, x.shape[1])
        others = x.shape[1] - rows * columns
        patches = x[:, others:].unflatten(1, (rows, columns))
        queries = None
        if self.queries is not None:
            queries = self.queries(patches.permute(0, 3, 1, 2), self.attention.sides(rows, columns))
        out = self.attention(patches, queries).flatten(1, 2)
        if others:
            out = torch.cat([out.mean(dim=1, keepdim=True).expand(-1, others, -1), out], dim=1)
        return out

    def settings(self) -> Iterable[object]:
        """Return windows, scope, poolings and grid."""
        poolings = 1 if self.queries is None else self.queries.poolings
        yield written(window_side=self.attention.side, scope=self.attention.scope)
        yield unless_usual(query_poolings=(poolings, 1), size=(self.size, None))


def split_windows(x: Tensor, sides: tuple[int, int], before: tuple[int, int] = (0, 0)) -> Tensor:
    """Cut (B, H, W, C) into windows (B, n, s, C) in raster order.

    The map is continued by zeros: `before` rows above it and columns to its left, and below and to the right as many as
    whole windows lack.
    """
    down, right = (-(n + more) % side for n, more, side in zip(x.shape[1:3], before, sides, strict=True))
    if down or right or any(before):
        x = F.pad(x, (0, 0, before[1], right, before[0], down))
    cut = x.unflatten(2, (-1, sides[1])).unflatten(1, (-1, sides[0]))
    return cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def join_windows(
    x: Tensor, sides: tuple[int, int], size: tuple[int, int] | torch.Size, before: tuple[int, int] = (0, 0)
) -> Tensor:
    """Put windows (B, n, s, C) together, the reverse of `split_windows`: (B, *size, C)."""
    (top, left), (height, width) = before, size
    rows, columns = (-(-(n + more) // side) for n, more, side in zip(size, before, sides, strict=True))
    cut = x.unflatten(1, (rows, columns)).unflatten(3, sides).transpose(2, 3)
    return cut.flatten(3, 4).flatten(1, 2)[:, top : top + height, left : left + width]
