"""ConvNN attention in its transformer form: a learned kernel over the K most similar tokens."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import check_choice
from convnn.nn._field import Field
from convnn.nn._reset import reset_as_conv
from convnn.nn._search import Search, find_candidates, is_sampled
from convnn.nn._settings import unless_usual
from convnn.nn.tokens._layer import NeighborAttention, check_enough_tokens
from convnn.ops import Neighbors, aggregate, weigh

CONVOLUTION_TYPES = ("standard", "depthwise", "depthwise-separable")


class ConvNNAttention(NeighborAttention):
    r"""Attention of every token to the K most similar tokens, which are weighed and convolved.

    .. math:: y_i = W_o \sum_{k=1}^{K} w_k \, \alpha_{ik} W_v x_{j_{ik}}, \qquad
        \alpha_i = \operatorname{softmax}_k s(W_k x_i, W_q x_{j_{ik}})

    with s the inner product over :math:`\sqrt d`, the cosine, or minus the distance, and :math:`j_{i1}, \dots, j_{iK}`
    the K best by s, best first. With K = T, a kernel of ones and the inner product it is `Attention`. If
    candidates are sampled, the token itself comes first, with s = 1. The choice carries no gradient; the weights do.

    Args:
        dim: embedding dimension D of the tokens.
        num_heads: number of heads, a divisor of dim; d = dim / num_heads.
        K: number of tokens that each token attends to.
        sampling_type: candidates: "all" tokens; "random": num_samples of them, drawn for every batch in training
            and fixed in evaluation; "spatial": num_samples of them, evenly spaced along the sequence.
        num_samples: -1, or more than there are tokens, means all.
        sample_padding: distance of spatial samples from both ends, in tokens.
        metric: s: "matmul", "cosine" or "euclidean".
        search: "exact", or "clustered", which finds most of the neighbours in a fraction of the time on long sequences.
        recall: share of the neighbours that the clustered search should find, above 0 and at most 1.
        probes: clusters that each token searches, instead of a recall; -1: as many as the recall needs.
        lists: number of clusters, fewer for few tokens; -1: twice the square root of the number of candidates.
        convolution_type: kernel over the K: "depthwise" (initialised to ones), "standard", or "depthwise-separable".
        softmax_topk_val: weigh by the softmax of s; otherwise values are multiplied by s, or divided by the distance
            plus 1e-8.
        coordinate_encoding: append the coordinate along the sequence, -1 to 1, to queries, keys and values.
        attention_dropout: dropout probability before the output projection, 0 to 1.
        bias: add learned biases to queries, keys, values and output.
        backend: implementation of the operations: "auto" (the fastest available), "cpu", "triton" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input and output (B, T, D) or (T, D), any T of at least K. With d' = d, or d + 1 with coordinates, weight is
        (d', 1, K), or (d, d', K) with the standard kernel; the heads share it.

    Raises:
        InputError: an argument is out of range; in forward: another width, fewer than K tokens or K - 1 samples.
        UnsupportedError: in forward: the named backend cannot compute this.

    Reference:
        Kang and Farias Sales Rocha Neto, arXiv 2511.14137, the transformer form.

    Example:
        >>> ConvNNAttention(24, 3, K=9)(torch.randn(2, 10, 24)).shape
        torch.Size([2, 10, 24])
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        K: int = 9,
        sampling_type: str = "all",
        num_samples: int = -1,
        sample_padding: int = 0,
        metric: str = "matmul",
        search: str = "exact",
        recall: float = 0.95,
        probes: int = -1,
        lists: int = -1,
        convolution_type: str = "depthwise",
        softmax_topk_val: bool = True,
        coordinate_encoding: bool = False,
        attention_dropout: float = 0.1,
        bias: bool = False,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_choice("convolution_type", convolution_type, CONVOLUTION_TYPES)
        is_depthwise = convolution_type == "depthwise"
        extra = int(coordinate_encoding and is_depthwise)  # a depthwise kernel has as many outputs as inputs
        super().__init__(
            dim,
            num_heads,
            attention_dropout=attention_dropout,
            bias=bias,
            backend=backend,
            device=device,
            dtype=dtype,
            extra_width=extra,
        )
        inside, outside = self.head_width + int(coordinate_encoding), self.head_width + extra
        self.search = Search(
            K=K,
            sampling_type=sampling_type,
            num_samples=num_samples,
            sample_padding=sample_padding,
            metric=metric,
            search=search,
            recall=recall,
            probes=probes,
            lists=lists,
        )
        self.convolution_type = convolution_type
        self.softmax_topk_val = softmax_topk_val
        self.coordinate_encoding = coordinate_encoding
        shape = (outside, inside, K) if convolution_type == "standard" else (inside, 1, K)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        is_separable = convolution_type == "depthwise-separable"
        self.pointwise = nn.Linear(inside, outside, False, device, dtype) if is_separable else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set a depthwise kernel to ones, so that training starts from plain attention; the rest as torch does."""
        for layer in (self.query, self.key, self.value, self.output, self.pointwise):
            if layer is not None:
                layer.reset_parameters()
        if self.convolution_type == "depthwise":
            nn.init.ones_(self.weight)
        else:
            reset_as_conv(self.weight, None)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of each head: (B, H, T, d') each."""
        # Published: row t scores candidate j by s(k_t, q_j), so the keys are the queries of the search.
        heads = [self.split_heads(projection(x)) for projection in (self.key, self.query, self.value)]
        if self.coordinate_encoding:
            heads = [_with_coordinates(one) for one in heads]
        return heads[0], heads[1], heads[2]

    def select(self, queries: Tensor, keys: Tensor) -> Neighbors:
        """Return the K most similar; of sampled candidates, the token itself and the K - 1 most similar."""
        check_enough_tokens(self.search.K, keys)
        candidates = find_candidates(Field.of_tokens(keys), self.search, training=self.training)
        positions = None if candidates is None else torch.arange(keys.shape[1], device=keys.device)
        return self.search.nearest(queries, keys, positions=positions, candidates=candidates, backend=self.backend)

    def weigh(self, neighbors: Neighbors, queries: Tensor, keys: Tensor) -> Neighbors:
        """Weigh by the softmax of the scores, or by the scores themselves."""
        metric = self.search.metric
        if metric == "matmul":
            queries = queries * self.head_width**-0.5
        neighbors = weigh.similarity(neighbors, queries, keys, metric=metric, backend=self.backend)
        if metric == "euclidean":
            neighbors = weigh.root(neighbors) if self.softmax_topk_val else weigh.inverse(weigh.root(neighbors))
        if is_sampled(Field.of_tokens(keys), self.search):
            neighbors = weigh.first_slot(neighbors, 1.0)
        return weigh.softmax(neighbors) if self.softmax_topk_val else neighbors

    def aggregate(self, values: Tensor, neighbors: Neighbors) -> Tensor:
        """Convolve the K values, (B * H, T, d)."""
        groups = values.shape[-1] // self.weight.shape[1]
        out = aggregate.convolve(values, neighbors, self.weight, groups=groups, backend=self.backend)
        if self.pointwise is not None:
            out = self.pointwise(out)
        return F.dropout(out, self.attention_dropout, self.training)

    def settings(self) -> Iterable[object]:
        """Return the search, and every other setting that differs from its default."""
        searched = self.search.changed_from(Search(metric="matmul"))
        others = unless_usual(
            convolution_type=(self.convolution_type, "depthwise"),
            softmax_topk_val=(self.softmax_topk_val, True),
            coordinate_encoding=(self.coordinate_encoding, False),
        )
        return searched, others


def _with_coordinates(heads: Tensor) -> Tensor:
    """Append the coordinate of every token, -1 to 1, to its features (B, H, T, d)."""
    places = Field.of_tokens(heads[:, 0]).coordinates(heads.dtype)
    return torch.cat([heads, places.expand(*heads.shape[:2], -1, -1)], dim=-1)
