"""Walks on graphs, and the embeddings that are trained on them, by the compiled core."""

import torch
from torch import Tensor

from convnn.backends.cpu._core import core, run


def random_bits(seed: int, first: int, count: int) -> Tensor:
    """Return numbers of SplitMix64, (count,) int64; see `reference.random_bits`."""
    out = torch.empty(count, dtype=torch.long)
    run(core.random_bits, seed % (1 << 64), first, out)
    return out


def cumulative_weights(starts: Tensor, weights: Tensor) -> Tensor:
    """Return the running sums (E,) within each list."""
    out = torch.empty_like(weights)
    run(core.cumulative_weights, starts.contiguous(), weights.contiguous(), out)
    return out


def walk(
    starts: Tensor,
    indices: Tensor,
    nodes: Tensor,
    numbers: Tensor,
    weights: Tensor | None,
    cumulative: Tensor | None,
    back_starts: Tensor | None,
    back_indices: Tensor | None,
    p: float,
    q: float,
) -> Tensor:
    """Return walks (W, L + 1) from nodes (W,), a step for each of the numbers (W, L); see `reference.walk`."""
    out = nodes.new_empty(nodes.shape[0], numbers.shape[1] + 1)
    if out.numel():
        lists = (starts.contiguous(), indices.contiguous())
        likely = (weights, cumulative, back_starts, back_indices, p, q)
        run(core.walk, numbers.contiguous(), *lists, nodes.contiguous(), *likely, out)
    return out


def skip_gram(
    vertex: Tensor,
    context: Tensor,
    positive: Tensor,
    negative: Tensor,
    rates: Tensor,
    groups: Tensor,
    weight_decay: float,
    negative_weight: float,
) -> Tensor:
    """Train embeddings (N, D) in place and return the losses of the pairs (n,); see `reference.skip_gram`."""
    losses = vertex.new_empty(positive.shape[0])
    if losses.numel():
        lists = (positive.contiguous(), negative.contiguous(), rates.contiguous(), groups.contiguous())
        run(core.skip_gram, vertex.detach(), context.detach(), *lists, weight_decay, negative_weight, losses)
    return losses
