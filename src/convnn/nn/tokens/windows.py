"""Attention to tokens chosen by place, whose neighbours are fixed."""

from collections.abc import Iterable
from math import isqrt

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice
from convnn.nn._settings import unless_usual, written
from convnn.nn.tokens._layer import NeighborAttention
from convnn.nn.tokens._rotary import rotated, speeds_of
from convnn.nn.tokens.attention import all_tokens, attend_to_all
from convnn.ops import Neighbors, select
from convnn.words import counted

SPARSE_MODES = ("all", "local", "strided")


class NeighborhoodAttention(NeighborAttention):
    r"""Attention to a window around each token, shifted inwards at the border.

    .. math:: y_i = W_o \sum_{j \in w(i)} \operatorname{softmax}_j
        \left( \frac{W_q x_i \cdot W_k x_j}{\sqrt{d}} \right) W_v x_j

    Args:
        dim: embedding dimension D of the tokens.
        num_heads: number of heads, a divisor of dim; d = dim / num_heads.
        K: length of the window on the sequence, or its rows and columns on a grid in raster order.
        size: rows and columns of that grid; None is a square.
        attention_dropout: probability of dropping a token in training, 0 to 1.
        bias: add learned biases to queries, keys, values and output.
        backend: implementation of the operations: "auto" (the fastest available), "cpu", "triton" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input and output (B, T, D) or (T, D), any T that the window fits in.

    Raises:
        InputError: an argument is out of range; in forward: another width, a window larger than the sequence or grid,
            or a number of tokens that does not fit the grid.
        UnsupportedError: in forward: the named backend cannot compute this.

    Reference:
        Hassani et al., "Neighborhood Attention Transformer", arXiv 2204.07143, equations 1 to 4.

    Example:
        >>> NeighborhoodAttention(24, 3, K=(3, 5))(torch.randn(2, 49, 24)).shape
        torch.Size([2, 49, 24])
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        K: int | tuple[int, int] = 9,
        size: tuple[int, int] | None = None,
        attention_dropout: float = 0.1,
        bias: bool = False,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            dim, num_heads, attention_dropout=attention_dropout, bias=bias, backend=backend, device=device, dtype=dtype
        )
        self.window = rows_and_columns("K", K) if isinstance(K, tuple) else (K,)
        self.size = None if size is None else rows_and_columns("size", size)
        check_at_least("K", self.window[0], 1)
        if self.size is not None and len(self.window) == 1:
            raise InputError(f"size={size} is read with rows and columns of a window; give K={(K, K)}")

    def select(self, queries: Tensor, keys: Tensor) -> Neighbors:
        """Return the window around each token."""
        length = keys.shape[1]
        size = (length,) if len(self.window) == 1 else self._grid(length)
        if any(k > n for k, n in zip(self.window, size, strict=True)):
            raise InputError(f"K={_plain(self.window)} is more than the {_plain(size)} tokens of the input; lower K")
        return select.window(size, self.window, device=keys.device).for_each_of(keys.shape[0])

    def _grid(self, length: int) -> tuple[int, ...]:
        side = round(length**0.5)
        rows, columns = self.size or (side, side)
        if rows * columns != length:
            raise InputError(f"size={self.size} must be rows and columns of the {counted(length, 'token')}")
        return rows, columns

    def settings(self) -> Iterable[object]:
        """Return window and grid."""
        return written(K=_plain(self.window)), unless_usual(size=(self.size, None))


class LocalAttention(NeighborAttention):
    r"""Attention to the tokens at most `window_size` away, with rotary positions.

    .. math:: y_i = W_o \sum_{|i - j| \le w} \operatorname{softmax}_j
        \left( \frac{R_{i + w} W_q x_i \cdot R_j W_k x_j}{\sqrt{d}} \right) W_v x_j

    where :math:`R_t` rotates each pair of channels (c, c + d / 2) by :math:`t \cdot 10000^{-2c / d}`. The additional
    rotation of the query by w is that of the referenced package.

    Args:
        dim: embedding dimension D of the tokens.
        num_heads: heads.
        window_size: largest distance, w.
        head_width: width of a head, d, even.
        attention_dropout: probability of dropping a token in training, 0 to 1.
        bias: add learned biases to queries, keys, values and output.
        backend: implementation of the operations: "auto" (the fastest available), "cpu", "triton" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input and output (B, T, D) or (T, D), any T.

    Raises:
        InputError: an argument is out of range; in forward: another width.
        UnsupportedError: in forward: the named backend cannot compute this.

    Reference:
        the package local-attention with exact_windowsize, autopad, look_backward = look_forward = 1 and every token
        valid; rotary positions: Su et al., "RoFormer", arXiv 2104.09864, equation 34.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        window_size: int = 128,
        head_width: int = 64,
        attention_dropout: float = 0.1,
        bias: bool = False,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_at_least("window_size", window_size, 1)
        check_at_least("head_width", head_width, 2)
        if head_width % 2:
            raise InputError(f"head_width={head_width} must be even: rotary positions turn pairs of channels")
        super().__init__(
            dim,
            num_heads,
            attention_dropout=attention_dropout,
            bias=bias,
            backend=backend,
            device=device,
            dtype=dtype,
            head_width=head_width,
        )
        self.window_size = window_size

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of each head: (B, H, T, d) each, the first two rotated."""
        queries, keys, values = super().project(x)
        places = torch.arange(queries.shape[2], device=x.device)
        speeds = speeds_of(self.head_width, 10000, x.device)  # float32, as in the package
        return rotated(queries, places + self.window_size, speeds), rotated(keys, places, speeds), values

    def select(self, queries: Tensor, keys: Tensor) -> Neighbors:
        """Return the tokens at most `window_size` away."""
        return select.within(keys.shape[1], self.window_size, device=keys.device).for_each_of(keys.shape[0])

    def settings(self) -> Iterable[object]:
        """Return the window, and the width of the heads."""
        return (written(window_size=self.window_size, head_width=self.head_width),)


class SparseAttention(NeighborAttention):
    r"""Masked attention: to all tokens, to nearby tokens, or to those a multiple of a stride away.

    .. math:: y_i = W_o \sum_{j \in m(i)} \operatorname{softmax}_j
        \left( \frac{W_q x_i \cdot W_k x_j}{\sqrt{d}} \right) W_v x_j

    Args:
        dim: embedding dimension D of the tokens.
        num_heads: number of heads, a divisor of dim; d = dim / num_heads.
        sparse_mode: m(i): "all"; "local": at most floor(sparse_context_window / 2) away on either side; "strided": a
            multiple of sparse_context_window away.
        sparse_context_window: width of the window, or stride.
        attention_dropout: probability of dropping a token in training, 0 to 1.
        bias: add learned biases to queries, keys, values and output.
        backend: implementation of the operations: "auto" (the fastest available), "cpu", "triton" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input and output (B, T, D) or (T, D), any T.

    Raises:
        InputError: an argument is out of range; in forward: another width.
        UnsupportedError: in forward: the named backend cannot compute this.

    Reference:
        Child et al., "Generating Long Sequences with Sparse Transformers", arXiv 1904.10509, section 4.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        sparse_mode: str = "all",
        sparse_context_window: int = 128,
        attention_dropout: float = 0.1,
        bias: bool = False,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_choice("sparse_mode", sparse_mode, SPARSE_MODES)
        check_at_least("sparse_context_window", sparse_context_window, 1)
        super().__init__(
            dim, num_heads, attention_dropout=attention_dropout, bias=bias, backend=backend, device=device, dtype=dtype
        )
        self.sparse_mode = sparse_mode
        self.sparse_context_window = sparse_context_window

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend in every head: (B, H, T, d)."""
        if self.sparse_mode == "all":
            return attend_to_all(self, queries, keys, values)
        return super().attend(queries, keys, values)

    def select(self, queries: Tensor, keys: Tensor) -> Neighbors:
        """Return the tokens that the mask admits for each token."""
        length, context = keys.shape[1], self.sparse_context_window
        if self.sparse_mode == "all":
            return all_tokens(keys)
        if self.sparse_mode == "local":
            neighbors = select.within(length, context // 2, device=keys.device)
        else:
            neighbors = select.strided(length, context, device=keys.device)
        return neighbors.for_each_of(keys.shape[0])

    def settings(self) -> Iterable[object]:
        """Return the mask."""
        width = {} if self.sparse_mode == "all" else {"sparse_context_window": self.sparse_context_window}
        return (written(sparse_mode=self.sparse_mode, **width),)


def rows_and_columns(argument: str, sides: tuple[int, int]) -> tuple[int, ...]:
    """Return two sides of at least 1.

    Raises:
        InputError: they are something else.
    """
    if not isinstance(sides, tuple) or len(sides) != 2:
        raise InputError(f"{argument}={sides} must be two numbers, rows and columns")
    for side in sides:
        check_at_least(argument, side, 1)
    return sides


def grid_of_patches(size: tuple[int, ...] | None, tokens: int) -> tuple[int, int]:
    """Return rows and columns of the patches among so many tokens: `size`, or the largest square that they fill.

    Raises:
        InputError: `size` has more patches.
    """
    rows, columns = size or (isqrt(tokens), isqrt(tokens))
    if rows * columns > tokens:
        raise InputError(f"size={size} has more patches than the {counted(tokens, 'token')} of the input")
    return rows, columns


def _plain(sides: tuple[int, ...]) -> int | tuple[int, ...]:
    """Return a length as a number."""
    return sides[0] if len(sides) == 1 else sides
