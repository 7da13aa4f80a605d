"""Attention to all tokens, and to the K tokens with the highest scores."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.nn._search import Search
from convnn.nn.tokens._layer import NeighborAttention, check_enough_tokens
from convnn.ops import Neighbors, select


class Attention(NeighborAttention):
    r"""Attention to every token, through `torch.nn.functional.scaled_dot_product_attention`.

    .. math:: y_i = W_o \sum_j \operatorname{softmax}_j \left( \frac{W_q x_i \cdot W_k x_j}{\sqrt{d}} \right) W_v x_j

    Args:
        dim: embedding dimension D of the tokens.
        num_heads: number of heads, a divisor of dim; d = dim / num_heads.
        attention_dropout: probability of dropping a token in training, 0 to 1.
        bias: add learned biases to queries, keys, values and output.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input and output (B, T, D) or (T, D), any T.

    Raises:
        InputError: an argument is out of range; in forward: the input has another width.

    Reference:
        Vaswani et al., "Attention Is All You Need", arXiv 1706.03762, equation 1.

    Example:
        >>> Attention(24, 3)(torch.randn(2, 10, 24)).shape
        torch.Size([2, 10, 24])
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        attention_dropout: float = 0.1,
        bias: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(dim, num_heads, attention_dropout=attention_dropout, bias=bias, device=device, dtype=dtype)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend in every head: (B, H, T, d)."""
        return attend_to_all(self, queries, keys, values)

    def select(self, queries: Tensor, keys: Tensor) -> Neighbors:
        """Return all keys; only `neighbors` calls this."""
        return all_tokens(keys)


class KvtAttention(NeighborAttention):
    r"""Attention to the K tokens with the highest scores; all others are masked before the softmax.

    .. math:: y_i = W_o \sum_{k=1}^{K} \operatorname{softmax}_k \left( s_{i j_{ik}} \right) W_v x_{j_{ik}}, \qquad
        j_{i1}, \dots, j_{iK} = \operatorname{top}_K s_i, \qquad s_{ij} = \frac{W_q x_i \cdot W_k x_j}{\sqrt{d}}

    Args:
        dim: embedding dimension D of the tokens.
        num_heads: number of heads, a divisor of dim; d = dim / num_heads.
        K: number of tokens that each token attends to; itself only if it is among them.
        search: "exact", or "clustered", which finds most of the neighbours in a fraction of the time on long sequences.
        recall: share of the neighbours that the clustered search should find, above 0 and at most 1.
        probes: clusters that each token searches, instead of a recall; -1: as many as the recall needs.
        lists: number of clusters, fewer for few tokens; -1: twice the square root of the number of candidates.
        attention_dropout: probability of dropping a token in training, 0 to 1.
        bias: add learned biases to queries, keys, values and output.
        backend: implementation of the operations: "auto" (the fastest available), "cpu", "triton" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input and output (B, T, D) or (T, D), any T of at least K.

    Raises:
        InputError: an argument is out of range; in forward: another width, or fewer than K tokens.
        UnsupportedError: in forward: the named backend cannot compute this.

    Reference:
        Wang et al., "KVT: k-NN Attention for Boosting Vision Transformers", arXiv 2106.00515, equation 3.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        K: int = 9,
        search: str = "exact",
        recall: float = 0.95,
        probes: int = -1,
        lists: int = -1,
        attention_dropout: float = 0.1,
        bias: bool = False,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            dim, num_heads, attention_dropout=attention_dropout, bias=bias, backend=backend, device=device, dtype=dtype
        )
        self.search = Search(K, metric="matmul", search=search, recall=recall, probes=probes, lists=lists)

    def select(self, queries: Tensor, keys: Tensor) -> Neighbors:
        """Return the K keys with the highest scores."""
        check_enough_tokens(self.search.K, keys)
        return self.search.nearest(queries, keys, backend=self.backend)

    def settings(self) -> Iterable[object]:
        """Return the search."""
        return (self.search.changed_from(Search(metric="matmul")),)


def attend_to_all(layer: NeighborAttention, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Compute dense attention of all heads (B, H, T, d), with the dropout of the layer."""
    dropout = layer.attention_dropout if layer.training else 0.0
    return F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout)


def all_tokens(keys: Tensor) -> Neighbors:
    """Return all keys (B * H, T, d) as the neighbours of each."""
    length = keys.shape[1]
    return select.window([length], [length], device=keys.device).for_each_of(keys.shape[0])
