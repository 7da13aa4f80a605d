r"""The definitions of attention between all pairs, and of its linear form, in plain PyTorch."""

import torch
from torch import Tensor


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool, scale: float
) -> tuple[Tensor, Tensor]:
    r"""Return the attention of each query to the keys that it sees, and the logarithms of the sums of its softmax.

    .. math:: y_i = \sum_j \operatorname{softmax}_j (\text{scale} \; q_i \cdot k_j) \, v_j

    A query that sees no key gets zeros, the logarithm minus infinity, and gives no gradient.

    Args:
        queries: (B, N, d).
        keys: (B, T, d).
        values: (B, T, E).
        mask: bool, expands to (B, N, T), True where a query sees a key; None for all pairs.
        causal: whether query i sees only keys up to i + T - N.
        scale: factor of the scores.

    Returns:
        (B, N, E) and (B, N).
    """
    scores = scale * (queries @ keys.mT)
    seen = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.expand_as(scores)
    if causal:
        seen = seen.tril(keys.shape[1] - queries.shape[1])
    scores = scores.masked_fill(~seen, -torch.inf)
    weights = scores.softmax(-1).masked_fill(~seen, 0)  # a softmax of nothing is NaN
    return weights @ values, scores.detach().logsumexp(-1)


def attend_linearly(queries: Tensor, keys: Tensor, values: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return causal attention without a softmax, whose weights decay with the distance, and its state at the end.

    .. math:: y_i = \sum_{j \le i} e^{-s (i - j)} (q_i \cdot k_j) \, v_j, \qquad
        S = \sum_j e^{-s (T - 1 - j)} k_j v_j^\top

    Args:
        queries: (B, T, d).
        keys: (B, T, d).
        values: (B, T, E).
        slopes: (B,) the decay s of each head, at least 0.

    Returns:
        (B, T, E) and (B, d, E).
    """
    place = torch.arange(keys.shape[1], device=keys.device)
    distance = (place[:, None] - place).clamp_min(0)
    decay = torch.exp(-slopes[:, None, None] * distance).tril()
    state = (torch.exp(-slopes[:, None] * place.flip(0))[:, :, None] * keys).mT @ values
    return (queries @ keys.mT * decay) @ values, state
