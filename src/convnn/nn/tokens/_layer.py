"""The base class of attention to some of the tokens."""

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_fraction
from convnn.nn._layer import TokenLayer
from convnn.ops import Neighbors, aggregate, check_backend, weigh
from convnn.words import counted


class NeighborAttention(TokenLayer):
    r"""Attention of every token to some of the tokens: each head selects, weighs and aggregates.

    .. math:: y_i = W_o \sum_{k=1}^{K} \alpha_{ik} W_v x_{j_{ik}}, \qquad
        \alpha_i = \operatorname{softmax}_k \frac{W_q x_i \cdot W_k x_{j_{ik}}}{\sqrt{d}}

    with d the width of a head. Subclasses differ in the neighbours :math:`j_{i1}, \dots, j_{iK}`, and define at least
    `select`.

    Args:
        dim: embedding dimension D of the tokens.
        num_heads: number of heads, a divisor of dim unless `head_width` is given.
        attention_dropout: probability of dropping a token in training, 0 to 1.
        bias: add learned biases to queries, keys, values and output.
        backend: implementation of the operations: "auto" (the fastest available), "cpu", "triton" or "reference".
        device: device of the weights.
        dtype: data type of the weights.
        head_width: d; None is dim / num_heads.
        extra_width: number of channels that the aggregation adds to d in every head.

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
        """Return the neighbours of every token of x (B, T, D) and their weights, (B * H, T, K), head by head."""
        self.check_input(x)
        x = x if x.dim() == 3 else x.unsqueeze(0)
        queries, keys, _ = (one.flatten(0, 1) for one in self.project(x))
        return self.weigh(self.select(queries, keys), queries, keys)


def share_of_a_head(dim: int, num_heads: int) -> int:
    """Return the width of each of the heads that share the channels.

    Raises:
        InputError: the channels are not divisible by the heads.
    """
    if dim % num_heads:
        raise InputError(f"dim={dim} must be a multiple of num_heads={num_heads}")
    return dim // num_heads


def check_enough_tokens(K: int, keys: Tensor) -> None:
    """Refuse more neighbours than keys (B, T, d).

    Raises:
        InputError: K is larger.
    """
    if keys.shape[1] < K:
        raise InputError(f"K={K} is more than the {counted(keys.shape[1], 'token')} of the input; lower K")
