"""How important the tokens of a prompt are: by the attention of the last ones, less beside a more important one."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.backends.reference import unit
from convnn.errors import InputError, check_at_least, check_choice, check_odd
from convnn.nn.tokens.caches._checks import check_queries
from convnn.ops import select

POOLS = ("mean", "max")


def window_importance(
    queries: Tensor,
    keys: Tensor,
    *,
    window: int = 32,
    kernel: int = 5,
    pool: str = "mean",
    present: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    r"""Return how much attention the last tokens of a prompt pay to each token before them, the rule of SnapKV.

    .. math:: s_j = \frac{1}{G} \sum_{g=1}^{G} \operatorname{pool}_j \sum_{i > T - W}
        \operatorname{softmax}_{l \le i} \left( \frac{q_{g,i} \cdot k_l}{\sqrt{D}} \right)_j, \qquad j \le T - W

    for the G query heads that share the keys. The mean over `kernel` neighbouring tokens counts zeros beyond the ends.

    Args:
        queries: (B, H G, T, D), of which the last W are read.
        keys: (B, H, T, D).
        window: W, from 1 to T - 1.
        kernel: tokens that are pooled, odd.
        pool: "mean" or "max", which gives neighbouring tokens equal scores.
        present: (B, T) bool, False for padding, which pays no attention and has importance 0.
        scale: factor of the inner products; None is 1 / sqrt(D).

    Returns:
        (B, H, T - W), in float32 or better, without a gradient.

    Raises:
        InputError: shapes do not agree, or an argument is out of range.

    Reference:
        Li et al., "SnapKV: LLM Knows What You are Looking for Before Generation", arXiv 2404.14469.
    """
    check_queries(queries, keys)
    total, heads = keys.shape[2], keys.shape[1]
    check_at_least("window", window, 1)
    if window >= total:
        raise InputError(f"window={window} must be below {total}, the tokens of the prompt")
    check_odd("kernel", kernel)
    check_choice("pool", pool, POOLS)
    scale = keys.shape[3] ** -0.5 if scale is None else scale
    with torch.no_grad():
        dtype = torch.promote_types(keys.dtype, torch.float32)
        last = queries[:, :, -window:].unflatten(1, (heads, -1)).to(dtype)
        logits = scale * last @ keys.unsqueeze(2).mT.to(dtype)
        later = torch.ones(window, total, dtype=torch.bool, device=keys.device).triu(total - window + 1)
        hidden = later if present is None else later | ~present[:, None, None, None, :]
        weights = logits.masked_fill(hidden, -torch.inf).softmax(-1)
        if present is not None:
            weights = weights.masked_fill(~present[:, None, None, -window:, None], 0)  # a query of padding sees nothing
        found = _pooled(weights.sum(-2)[..., :-window], kernel, pool).mean(2)
        return found if present is None else found.masked_fill(~present[:, None, :-window], 0)


def _pooled(x: Tensor, kernel: int, pool: str) -> Tensor:
    """Pool (B, H, G, T) along T."""
    function = F.avg_pool1d if pool == "mean" else F.max_pool1d
    return function(x.flatten(1, 2), kernel, stride=1, padding=kernel // 2).unflatten(1, x.shape[1:3])


class Decayed(NamedTuple):
    """What is left of the scores.

    Attributes:
        scores: (..., T).
        sources: (..., rounds * num_sources) int64, the tokens that lowered others, in the order of their choice.
    """

    scores: Tensor
    sources: Tensor


@torch.no_grad()
def decay_neighbors(
    scores: Tensor,
    keys: Tensor,
    *,
    num_sources: int = 16,
    num_neighbors: int = 32,
    rounds: int = 1,
    present: Tensor | None = None,
) -> Decayed:
    r"""Lower the score of tokens whose keys resemble those of more important ones, the rule of GraphKV.

    In each round the tokens with the highest scores that have not been sources are the sources S, and each has as
    neighbours :math:`N(i)` the most similar tokens that are no source, by the cosine :math:`e_{ij}` of their keys:

    .. math:: s_j \leftarrow s_j - s_j \sum_{i \in S : j \in N(i)} e_{ij}

    All sources of a round act at once on the same scores, which may become negative; sources keep theirs. A cosine
    below 0, of a neighbour that is not similar at all, raises a score: it is not clamped. A round takes
    num_sources * T inner products, not T * T.

    Args:
        scores: (..., T), at least 0.
        keys: (..., T, D).
        num_sources: sources of each round.
        num_neighbors: neighbours of each source; 0 leaves all scores as they are.
        rounds: number of rounds; 0 leaves all scores as they are.
        present: (..., T) bool, False for tokens that are neither sources nor neighbours; None for none.

    Returns:
        Decayed scores, without a gradient, and the sources.

    Raises:
        InputError: shapes do not agree, a score is negative or NaN, a number is out of range, or the T tokens are fewer
            than all sources and the neighbours of one.

    Reference:
        Li et al., "GraphKV: Breaking the Static Selection Paradigm with Graph-Based KV Cache Eviction", arXiv
        2509.00388, and the figure of its method; where that shows one round only, later rounds have new sources.

    Example:
        >>> keys = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> decay_neighbors(torch.tensor([2.0, 1.0, 1.0]), keys, num_sources=1, num_neighbors=1).scores
        tensor([2., 0., 1.])
    """
    _check_decay(scores, keys, num_sources, num_neighbors, rounds)
    directions = unit(keys.to(torch.promote_types(keys.dtype, torch.float32)))
    closed = torch.zeros_like(scores, dtype=torch.bool) if present is None else ~present.expand(scores.shape)
    directions = directions.masked_fill(closed.unsqueeze(-1), 0)
    sources = []
    for _ in range(rounds if num_neighbors else 0):
        chosen = select.highest(scores, num_sources, excluded=closed)
        sources.append(chosen)
        closed = closed.scatter(-1, chosen, True)
        rows = directions.gather(-2, chosen.unsqueeze(-1).expand(*chosen.shape, keys.shape[-1]))
        cosines = rows @ directions.mT
        shut = closed.unsqueeze(-2).expand(cosines.shape)
        neighbors = select.highest(cosines, num_neighbors, excluded=shut)
        found = cosines.masked_fill(shut, 0).gather(-1, neighbors)  # of too few tokens present, the last are shut
        total = torch.zeros_like(scores).scatter_add(-1, neighbors.flatten(-2), found.flatten(-2).to(scores.dtype))
        scores = scores - scores * total
    return Decayed(scores, torch.cat(sources, -1) if sources else scores.new_empty(*scores.shape[:-1], 0).long())


def _check_decay(scores: Tensor, keys: Tensor, num_sources: int, num_neighbors: int, rounds: int) -> None:
    check_at_least("num_sources", num_sources, 1)
    check_at_least("num_neighbors", num_neighbors, 0)
    check_at_least("rounds", rounds, 0)
    if keys.shape[:-1] != scores.shape:
        raise InputError(f"scores {tuple(scores.shape)} and keys {tuple(keys.shape)} must be (..., T) and (..., T, D)")
    needed = num_sources * rounds + num_neighbors
    if rounds and num_neighbors and needed > scores.shape[-1]:
        raise InputError(
            f"num_sources={num_sources} times rounds={rounds} and num_neighbors={num_neighbors} need {needed} tokens to"
            f" choose from, not {scores.shape[-1]}"
        )
    if not bool((scores >= 0).all()):
        raise InputError("scores must be at least 0, not negative or NaN; a decay of negative ones would be a reward")
