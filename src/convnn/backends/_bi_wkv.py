"""The definition of bidirectional WKV, chunk by chunk in plain PyTorch; see `convnn.ops.scan.bi_wkv`.

All tokens on one side of a chunk weigh as much as a single one, with the logarithm of their summed weights as its key
and their weighted mean as its value: a chunk is a softmax over its own tokens and these two.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 32


def bi_wkv(key: Tensor, value: Tensor, decay: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means (B, T, C), and the logarithms (B, T, C) of the sums of their weights."""
    dtype = torch.promote_types(value.dtype, torch.float32)
    k, v, w, u = (one.to(dtype) for one in (key, value, decay, first))
    means, _, logs = _scan(k, v.unsqueeze(0), w, u)
    return means[0].to(value.dtype), logs


def bi_wkv_backward(
    grad: Tensor, taken: Tensor, logs: Tensor, key: Tensor, value: Tensor, decay: Tensor, first: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of key, value, decay and first.

    The weight of a token i in the mean at t, e^(k_i - log_t - distance), is the same read from i: a scan over -log.

    Args:
        grad: (B, T, C) gradient of the means.
        taken: (B, T, C) the means times their gradient, less the gradient of the logarithms.
        logs: (B, T, C) from the forward pass.
        key, value, decay, first: its inputs.
    """
    dtype = torch.promote_types(value.dtype, torch.float32)
    g, z, logs, k, v, w, u = (one.to(dtype) for one in (grad, taken, logs, key, value, decay, first))
    means, moments, sums = _scan(-logs, torch.stack([g, z]), w, u)
    weight, own = (k + sums).exp(), (k + u - logs).exp()
    of_key = weight * (v * means[0] - means[1])
    of_decay = -(weight * (v * moments[0] - moments[1])).sum((0, 1))
    of_first = (own * (g * v - z)).sum((0, 1))
    found = of_key, weight * means[0], of_decay, of_first
    inputs = (key, value, decay, first)
    of_key, of_value, of_decay, of_first = (one.to(like.dtype) for one, like in zip(found, inputs, strict=True))
    return of_key, of_value, of_decay, of_first


class _Side(NamedTuple):
    """All tokens on one side of a chunk.

    Attributes:
        log: (B, C) logarithm of the sum of their weights in the adjacent token of the chunk.
        mean: (S, B, C) weighted means of their values.
        moment: (S, B, C) weighted means of their values times the number of tokens between them and the adjacent one.
    """

    log: Tensor
    mean: Tensor
    moment: Tensor


def _scan(key: Tensor, values: Tensor, decay: Tensor, first: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return weighted means (S, B, T, C) of values, those of values times distance, and the log of the weights."""
    keys, parts = key.split(CHUNK, 1), values.split(CHUNK, 2)
    nothing = torch.zeros_like(values[:, :, 0]) if key.shape[1] else values.new_zeros(*values.shape[:2], key.shape[2])
    left = _Side(torch.full_like(nothing[0], -torch.inf), nothing, nothing)
    rights = [left]
    for k, v in zip(keys[:0:-1], parts[:0:-1], strict=True):
        rights.append(_beyond(rights[-1], k.flip(1), v.flip(2), decay))
    found = []
    for k, v, right in zip(keys, parts, reversed(rights), strict=True):
        found.append(_within(k, v, left, right, decay, first))
        left = _beyond(left, k, v, decay)
    means, moments, logs = zip(*found, strict=True)
    return torch.cat(means, 2), torch.cat(moments, 2), torch.cat(logs, 1)


def _beyond(side: _Side, key: Tensor, values: Tensor, decay: Tensor) -> _Side:
    """Return the side of the next chunk, to which the tokens of this one are added, the nearest last."""
    length = key.shape[1]
    between = torch.arange(length - 1, -1, -1, device=key.device, dtype=key.dtype).unsqueeze(1)
    logits = torch.cat([(side.log - length * decay).unsqueeze(1), key - between * decay], 1)
    weights = logits.softmax(1)
    moved = side.moment + length * side.mean
    mean = _weighted(weights, [side.mean.unsqueeze(2), values], 2)
    return _Side(logits.logsumexp(1), mean, _weighted(weights, [moved.unsqueeze(2), values * between], 2))


def _within(
    key: Tensor, values: Tensor, left: _Side, right: _Side, decay: Tensor, first: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the results of `_scan` for the tokens of a chunk."""
    length = key.shape[1]
    place = torch.arange(length, device=key.device, dtype=key.dtype)
    between = ((place[:, None] - place).abs() - 1).clamp_min(0).unsqueeze(2)
    own = torch.eye(length, device=key.device, dtype=key.dtype).unsqueeze(2)
    before, after = place.unsqueeze(1), place.flip(0).unsqueeze(1)
    of_sides = [side.log.unsqueeze(1) - gap * decay for side, gap in ((left, before), (right, after))]
    logits = torch.cat([key.unsqueeze(1) - between * decay + own * first, torch.stack(of_sides, 2)], 2)
    weights = logits.softmax(2)
    means = [side.mean[:, :, None, None].expand(-1, -1, length, -1, -1) for side in (left, right)]
    moments = [
        (side.moment.unsqueeze(2) + gap * side.mean.unsqueeze(2)).unsqueeze(3)
        for side, gap in ((left, before), (right, after))
    ]
    inner = values.unsqueeze(2).expand(-1, -1, length, -1, -1)
    mean = _weighted(weights, [inner, *means], 3)
    return mean, _weighted(weights, [inner * between, *moments], 3), logits.logsumexp(2)


def _weighted(weights: Tensor, values: Sequence[Tensor], axis: int) -> Tensor:
    return (weights * torch.cat([*values], axis)).sum(axis)
