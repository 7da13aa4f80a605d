"""Skip-gram with negative samples, by blocks that can be trained at once (GraphVite)."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_not_negative
from convnn.graphs.sample.augmented import Partition
from convnn.ops.skip_gram import skip_gram
from convnn.ops.walks import Stream


class SkipGram(nn.Module):
    r"""Two embeddings of nodes: of heads, which is the result, and of tails.

    .. math:: L = -\log \sigma(v_h \cdot c_t) - w \sum_n \log \sigma(-v_h \cdot c_n)

    divided by the sum of the weights. `forward` returns it for any optimiser, with sparse gradients; `step` takes the
    published steps, pair after pair.

    Args:
        num_nodes: N.
        dim: D, at least 1.
        negative_weight: w, the weight of a negative.
        weight_decay: of the rows that a step touches, in `step`.
        seed: of the first values, uniform in [-1 / 2D, 1 / 2D) for heads; tails begin at 0.
        dtype: type of the embeddings.

    Reference:
        Zhu et al., "GraphVite", WWW 2019.
    """

    def __init__(
        self,
        num_nodes: int,
        dim: int,
        *,
        negative_weight: float = 5.0,
        weight_decay: float = 0.005,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        check_at_least("num_nodes", num_nodes, 1)
        check_at_least("dim", dim, 1)
        check_not_negative("negative_weight", negative_weight)
        self.negative_weight = negative_weight
        self.weight_decay = weight_decay
        first = (Stream(seed).uniform(num_nodes, dim) - 0.5) / dim
        self.vertex = nn.Embedding(num_nodes, dim, sparse=True, _weight=first.to(dtype))
        self.context = nn.Embedding(num_nodes, dim, sparse=True, _weight=torch.zeros(num_nodes, dim, dtype=dtype))

    def logits(self, heads: Tensor, tails: Tensor) -> Tensor:
        """Return the inner products of heads (n,) with tails (n,), or with several each, (n, K)."""
        v, c = self.vertex(heads), self.context(tails)
        return (v * c).sum(-1) if tails.dim() == 1 else (c @ v.unsqueeze(2)).squeeze(2)

    def forward(self, positive: Tensor, negative: Tensor) -> Tensor:
        """Return the losses (n,) of pairs (n, 2) with negatives (n, K)."""
        logits = self.logits(positive[:, 0], torch.cat([positive[:, 1:], negative], 1))
        labels, weights = torch.zeros_like(logits), torch.full_like(logits, self.negative_weight)
        labels[:, 0] = weights[:, 0] = 1
        losses = F.binary_cross_entropy_with_logits(logits, labels, weights, reduction="none").sum(1)
        return losses / weights[:1].sum()

    def step(self, positive: Tensor, negative: Tensor, rates: Tensor, groups: Tensor | None = None) -> Tensor:
        """Train on pairs, one after the other, and return their losses (n,); see `convnn.ops.skip_gram`."""
        return skip_gram(
            self.vertex.weight.data,
            self.context.weight.data,
            positive,
            negative,
            rates,
            groups=groups,
            weight_decay=self.weight_decay,
            negative_weight=self.negative_weight,
        )


class Negatives:
    """Draws of wrong tails from one part of the nodes, with probability in proportion to a power of their weights.

    Args:
        weights: (N,) weights of the nodes, at least 0.
        partition: the parts of the nodes.
        exponent: the power, finite; published 0.75.

    Raises:
        InputError: the exponent is not finite, or the nodes of a part all have weight 0.
    """

    def __init__(self, weights: Tensor, partition: Partition, exponent: float = 0.75) -> None:
        if not -torch.inf < exponent < torch.inf:
            raise InputError(f"exponent={exponent} must be finite")
        powers = weights.double().pow(exponent).masked_fill(weights == 0, 0)
        self.nodes = partition.nodes
        self.sums = [powers[nodes].cumsum(0) for nodes in partition.nodes]
        if not all(float(sums[-1]) > 0 for sums in self.sums):
            raise InputError(f"num_parts={len(self.sums)} leaves a part without edges; take fewer parts")

    def draw(self, part: int, stream: Stream, *size: int) -> Tensor:
        """Return nodes of a part, of the given size."""
        sums = self.sums[part]
        found = torch.searchsorted(sums, stream.uniform(*size) * sums[-1], right=True)
        return self.nodes[part][found.clamp_max(sums.shape[0] - 1)]


def orthogonal_blocks(parts: int, workers: int) -> Iterator[list[tuple[int, int]]]:
    r"""Yield sets of blocks (head part, tail part) that have no part in common, until all P x P blocks are passed.

    .. math:: \{(x + (i + o) \bmod W, \; y + i) : i = 0, \ldots, W - 1\}, \quad o = 0, \ldots, W - 1

    for each W x W tile (x, y).

    Raises:
        InputError: the number of workers W does not divide the number of parts P.
    """
    check_at_least("workers", workers, 1)
    if parts % workers:
        raise InputError(f"workers={workers} must divide num_parts={parts}")
    for x in range(0, parts, workers):
        for y in range(0, parts, workers):
            for offset in range(workers):
                yield [(x + (i + offset) % workers, y + i) for i in range(workers)]
