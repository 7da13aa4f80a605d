"""Base classes of layers on tokens."""

from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_fraction
from convnn.nn._arguments import check_arguments
from convnn.ops import Neighbors, aggregate, check_backend, weigh
from convnn.words import counted

Self = TypeVar("Self", bound="TokenLayer")


class TokenLayer(nn.Module):
    """A layer from (B, T, D) to (B, T, D), for any T, that also takes a single sequence (T, D)."""

    def __new__(cls: type[Self], *widths: Any, **settings: Any) -> Self:
        """Check the arguments before the constructor does, to say what to write instead of a wrong one."""
        check_arguments(cls, widths, settings)
        return super().__new__(cls)

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        check_at_least("dim", dim, 1)
        check_at_least("num_heads", num_heads, 1)
        self.dim = dim
        self.num_heads = num_heads

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D).

        Raises:
            InputError: the input has another width, other axes or no floating type, or too few tokens.
        """
        self.check_input(x)
        return self._forward(x) if x.dim() == 3 else self._forward(x.unsqueeze(0)).squeeze(0)

    def check_input(self, x: Tensor) -> None:
        """Refuse what is not a sequence of this layer's tokens.

        Raises:
            InputError: naming its shape and type.
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
        """Return what `extra_repr` shows after width and heads: objects of settings, or texts, some of them empty."""
        return ()

    def extra_repr(self) -> str:
        """Show width, heads, and every setting that differs from its default."""
        return ", ".join(filter(None, [f"{self.dim}, {self.num_heads}", *map(str, self.settings())]))


class NeighborAttention(TokenLayer):
    r"""Attention of every token to some tokens: each head selects, weighs and aggregates.

    .. math:: y_i = W_o \sum_{k=1}^{K} \alpha_{ik} W_v x_{j_{ik}}, \qquad
        \alpha_i = \operatorname{softmax}_k \frac{W_q x_i \cdot W_k x_{j_{ik}}}{\sqrt{d}}

    with d the width of a head. Who :math:`j_{i1}, \dots, j_{iK}` are is what its kinds differ in: a subclass says at
    least `select`.

    Args:
        dim: width of the tokens, D.
        num_heads: heads, a divisor of dim unless their width is given.
        attention_dropout: probability of silencing a token in training, 0 to 1.
        bias: add learned constants to queries, keys, values and output.
        backend: what computes the neighbours: "auto", the fastest that can; or "cpu", "triton" or "reference".
        device: where the weights live.
        dtype: of the weights.
        head_width: d; dim / num_heads when None.
        extra_width: channels that aggregation makes beyond d in every head.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        attention_dropout: float = 0.1,
        bias: bool = False,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        head_width: int | None = None,
        extra_width: int = 0,
    ) -> None:
        super().__init__(dim, num_heads)
        check_fraction("attention_dropout", attention_dropout)
        check_backend(backend)
        self.head_width = share_of_a_head(dim, num_heads) if head_width is None else head_width
        self.attention_dropout = attention_dropout
        self.backend = backend
        inner, aggregated = num_heads * self.head_width, num_heads * (self.head_width + extra_width)
        self.query = nn.Linear(dim, inner, bias=bias, device=device, dtype=dtype)
        self.key = nn.Linear(dim, inner, bias=bias, device=device, dtype=dtype)
        self.value = nn.Linear(dim, inner, bias=bias, device=device, dtype=dtype)
        self.output = nn.Linear(aggregated, dim, bias=bias, device=device, dtype=dtype)

    def _forward(self, x: Tensor) -> Tensor:
        heads = self.attend(*self.project(x))
        return self.output(heads.transpose(1, 2).flatten(2))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of each head: (B, H, T, d) each."""
        return self.split_heads(self.query(x)), self.split_heads(self.key(x)), self.split_heads(self.value(x))

    def split_heads(self, x: Tensor) -> Tensor:
        """Split (B, T, H * d) into heads (B, H, T, d)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend in every head: (B, H, T, d)."""
        queries, keys, values = (one.flatten(0, 1) for one in (queries, keys, values))
        neighbors = self.weigh(self.select(queries, keys), queries, keys)
        return self.aggregate(values, neighbors).unflatten(0, (-1, self.num_heads))

    def select(self, queries: Tensor, keys: Tensor) -> Neighbors:
        """Return the neighbours of each query (B * H, T, d)."""
        raise NotImplementedError

    def weigh(self, neighbors: Neighbors, queries: Tensor, keys: Tensor) -> Neighbors:
        """Return the neighbours with their weights."""
        scaled = queries * self.head_width**-0.5
        return weigh.softmax(weigh.similarity(neighbors, scaled, keys, metric="matmul", backend=self.backend))

    def aggregate(self, values: Tensor, neighbors: Neighbors) -> Tensor:
        """Combine the values of the neighbours, (B * H, T, d)."""
        neighbors = weigh.dropout(neighbors, self.attention_dropout, training=self.training)
        return aggregate.weighted_sum(values, neighbors, backend=self.backend)

    def neighbors(self, x: Tensor) -> Neighbors:
        """Return the neighbours of every token of x (B, T, D) and their weights, (B * H, T, K), heads in a row."""
        self.check_input(x)
        x = x if x.dim() == 3 else x.unsqueeze(0)
        queries, keys, _ = (one.flatten(0, 1) for one in self.project(x))
        return self.weigh(self.select(queries, keys), queries, keys)


def share_of_a_head(dim: int, num_heads: int) -> int:
    """Return the width of each of the heads that share the channels.

    Raises:
        InputError: they do not divide them.
    """
    if dim % num_heads:
        raise InputError(f"dim={dim} must be a multiple of num_heads={num_heads}")
    return dim // num_heads


def check_enough_tokens(K: int, keys: Tensor) -> None:
    """Refuse more neighbours than there are keys (B, T, d).

    Raises:
        InputError: K is larger.
    """
    if keys.shape[1] < K:
        raise InputError(f"K={K} is more than the {counted(keys.shape[1], 'token')} of the input; lower K")
