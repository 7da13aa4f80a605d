"""The definition of a pass of skip-gram with negative samples, in plain PyTorch; see `convnn.ops.skip_gram`."""

import math

import torch
from torch import Tensor

_LEAST = 1e-15


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
    """Train vertex and context (N, D) in place on pairs, one after the other, and return their losses (n,).

    Args:
        vertex, context: (N, D) of one type.
        positive: (n, 2) heads and tails.
        negative: (n, K) wrong tails.
        rates: (n,) learning rates.
        groups: (G + 1,) starts of groups of pairs, which have no row in common, so that groups may run at once.
        weight_decay: as in `convnn.ops.skip_gram`.
        negative_weight: as there.
    """
    losses = vertex.new_zeros(positive.shape[0])
    weights = [negative_weight] * negative.shape[1] + [1.0]
    labels = [0.0] * negative.shape[1] + [1.0]
    targets = torch.cat([negative, positive[:, 1:]], 1).tolist()
    for i, (head, rate) in enumerate(zip(positive[:, 0].tolist(), rates.tolist(), strict=True)):
        v = vertex[head].clone()
        for tail, label, weight in zip(targets[i], labels, weights, strict=True):
            c = context[tail].clone()
            share = float((v @ c).double().sigmoid())  # 1 - share would round to little in float32
            slope = share - label
            losses[i] -= weight * math.log((share if label else 1 - share) + _LEAST)
            context[tail] = c - rate * weight * (slope * v + weight_decay * c)
            v = v - rate * weight * (slope * c + weight_decay * v)
        vertex[head] = v
    return losses / sum(weights)
