"""A few of many matches: certain ones, of which fewer are taken where they are crowded."""

from typing import NamedTuple

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice, check_not_negative, check_positive

MODES = ("threshold", "power", "equal", "certainty")
CROWD = 10_000_000
"""The most distances between matches that are alive at once."""


class Sample(NamedTuple):
    """Drawn matches.

    Attributes:
        matches: (n, 4).
        certainty: (n,) the weights of the first draw.
        first: (m,) int64, what the first draw took of all matches.
        first_weight: (N,) the weights of the first draw.
        second: (n,) int64, what the second took of those, or None if there was none.
        second_weight: (m,) the weights of the second draw, or None.
    """

    matches: Tensor
    certainty: Tensor
    first: Tensor
    first_weight: Tensor
    second: Tensor | None = None
    second_weight: Tensor | None = None


def balanced_sample(
    warp: Tensor,
    certainty: Tensor,
    num: int,
    *,
    std: float = 0.1,
    min_density: float = 0.0,
    threshold: float = 0.05,
    mode: str = "threshold",
    balanced: bool = True,
    expansion: int = 4,
    generator: torch.Generator | None = None,
) -> Sample:
    r"""Draw matches twice without replacement: by certainty, then by how few others are near.

    .. math:: p_i \propto 1 / (1 + \rho_i), \qquad \rho_i = \sum_j \exp(-|m_i - m_j|^2 / (2 s^2))

    over the matches m of the first draw, i itself included.

    Args:
        warp: (..., 4) matches, x and y in both images.
        certainty: (...) at least 0, not all of them 0.
        num: how many to return; fewer if there are not as many.
        std: s, positive.
        min_density: matches of a lower density get the weight 1e-7. Published is 10, which suits about 10,000 matches;
            of a hundred it removes just the isolated ones that are wanted.
        threshold: certainties above it count as 1, with `mode="threshold"`.
        mode: weights of the first draw: "threshold"; "power", the cube root of the certainty; "equal"; "certainty".
        balanced: False returns the first draw, of num.
        expansion: the first draw takes so many times num.
        generator: of the random numbers.

    Returns:
        The matches, and how they were drawn.

    Raises:
        InputError: an argument is out of range, shapes do not agree, or all certainties are 0.

    Reference:
        Edstedt et al., "DKM: Dense Kernelized Feature Matching", arXiv 2202.00667.
    """
    check_at_least("num", num, 1)
    check_at_least("expansion", expansion, 1)
    check_positive("std", std)
    check_not_negative("min_density", min_density)
    check_choice("mode", mode, MODES)
    if warp.shape[-1:] != (4,) or warp.shape[:-1] != certainty.shape:
        raise InputError(
            f"warp of shape {tuple(warp.shape)} must be (*{tuple(certainty.shape)}, 4), four numbers for each certainty"
        )
    if not bool((certainty >= 0).all()) or not bool((certainty > 0).any()):
        raise InputError("certainty must be at least 0 everywhere and above 0 somewhere, so that there is what to draw")
    matches, weight = warp.reshape(-1, 4), _weights(certainty.flatten(), mode, threshold)
    first = draw(weight, expansion * num if balanced else num, generator)
    if not balanced:
        return Sample(matches[first], weight[first], first, weight)
    crowd = density(matches[first], std)
    likely = (1 / (crowd + 1)).masked_fill(crowd < min_density, 1e-7)
    second = draw(likely, num, generator)
    return Sample(matches[first[second]], weight[first[second]], first, weight, second, likely)


def _weights(certainty: Tensor, mode: str, threshold: float) -> Tensor:
    if mode == "threshold":
        return certainty.masked_fill(certainty > threshold, 1)
    if mode == "power":
        return certainty ** (1 / 3)
    return torch.ones_like(certainty) if mode == "equal" else certainty


def draw(weight: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw without replacement, each time in proportion to the weights (N,) that are left: indices, first drawn first.

    These are the largest of the weights over exponential numbers, the law of `torch.multinomial`, which has an upper
    limit of categories. Weights of 0 are not drawn, so that there may be fewer than `count`.
    """
    available = int((weight > 0).sum())
    return (weight / _exponential(weight, generator)).topk(min(count, available)).indices


def _exponential(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.empty_like(like).exponential_(generator=generator)


def density(points: Tensor, std: float) -> Tensor:
    """Return the sum of Gaussians of the distances from each point (N, d) to all, itself included: (N,)."""
    rows = max(1, CROWD // max(1, points.shape[0]))
    blocks = [torch.cdist(block, points).square() for block in points.split(rows)]
    return torch.cat([torch.exp(squares / (-2 * std**2)).sum(1) for squares in blocks])
