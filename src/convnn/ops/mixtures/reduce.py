"""Fewer components: who belongs together is found in a tree over places, and each group becomes one Gaussian."""

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.backends.reference import widest_dtype
from convnn.errors import InputError, check_at_least
from convnn.ops.mixtures.mixture import Mixture

SIDE, BITS = 1024, 10
"""Cells along an axis, and the bits of their numbers."""


def reduce(mixture: Mixture, components: int) -> Mixture:
    """Return mixtures of a given number of components, with the same integral, mean and covariance: `group`, `merge`.

    Args:
        mixture: mixtures (B, C, N).
        components: R, at least 1; where N is smaller, the others are empty.

    Returns:
        Mixtures (B, C, R).

    Raises:
        InputError: R is below 1.
    """
    return merge(mixture, group(mixture, components), components)


@torch.no_grad()
def group(mixture: Mixture, components: int) -> Tensor:
    r"""Return the group of each component: those of a group are near each other and have the same sign.

    Components are sorted by sign and then along a Morton curve through 1024 cells an axis. A radix tree over this order
    halves a range where the highest bit changes in which its ends differ. From the root on, the group of largest
    :math:`|\sum w|` is halved, the first of equal ones, until there are R: the left half keeps its number, the right
    half has the next one. Only R = 1 mixes signs, which may leave a covariance that is not
    positive definite.

    Args:
        mixture: mixtures (B, C, N).
        components: R, the largest number of groups, at least 1.

    Returns:
        (B, C, N) int64, numbers from 0 to R - 1.

    Raises:
        InputError: R is below 1.

    Reference:
        Celarek et al., "Gaussian Mixture Convolution Networks", arXiv 2202.09153; Karras, "Maximizing Parallelism in
        the Construction of BVHs, Octrees, and k-d Trees", 2012.
    """
    check_at_least("components", components, 1)
    weight = mixture.weight.flatten(0, 1)
    sign = (weight > 0).long() << 62
    keys, order = (sign | morton_codes(mixture.mean.flatten(0, 1)) << 32).sort(dim=1, stable=True)
    place = torch.arange(keys.shape[1], device=keys.device).expand_as(keys)
    first = _halve(keys | place, weight.gather(1, order), components)
    starts, slots = first.sort(1)
    slot = slots.gather(1, torch.searchsorted(starts, place.contiguous(), right=True) - 1)
    return torch.empty_like(slot).scatter_(1, order, slot).view_as(mixture.weight)


def morton_codes(mean: Tensor) -> Tensor:
    """Return the numbers (P, N) of cells along a Morton curve that contain the means (P, N, D) of each mixture."""
    low, high = mean.aminmax(dim=1, keepdim=True)
    cell = (SIDE * (mean - low) / (high - low)).floor().where(high > low, 0).clamp(0, SIDE - 1).long()
    bits = torch.arange(BITS, device=mean.device)
    axis = torch.arange(mean.shape[2], device=mean.device).unsqueeze(1)  # the first axis has the highest bits
    return (((cell.unsqueeze(-1) >> bits) & 1) << (3 * bits + 2 - axis)).sum((2, 3))


def _halve(keys: Tensor, weight: Tensor, components: int) -> Tensor:
    """Return where the ranges of sorted keys (P, N) begin, (P, R) by their numbers; N where there are fewer."""
    batch, count = keys.shape
    sums = F.pad(weight.to(widest_dtype(weight.device)).cumsum(1), (1, 0))
    first = keys.new_full((batch, components), count)
    last = first - 1
    first[:, 0] = 0
    for slot in range(1, components):
        total = (sums.gather(1, last + 1) - sums.gather(1, first)).abs().masked_fill(last <= first, -1)
        largest, at = total.max(1, keepdim=True)
        can = largest >= 0
        begin, end = first.gather(1, at).where(can, 0), last.gather(1, at)
        middle = _middle(keys, begin, end).where(can, count)
        first[:, slot : slot + 1] = middle
        last[:, slot : slot + 1] = end.where(can, count - 1)
        last.scatter_(1, at, torch.where(can, middle - 1, end))
    return first


def _middle(keys: Tensor, begin: Tensor, end: Tensor) -> Tensor:
    """Return the first place in ranges (P, 1) of which the highest bit that differs between the ends is set."""
    last = keys.gather(1, end)
    below = keys.gather(1, begin) ^ last
    for shift in (1, 2, 4, 8, 16, 32):
        below = below | (below >> shift)  # ones from the highest bit that differs down
    return torch.searchsorted(keys, last & ~(below >> 1))


def merge(mixture: Mixture, groups: Tensor, components: int) -> Mixture:
    r"""Return one Gaussian for each group, with the integral, mean and covariance of its components.

    .. math:: W = \sum w_n, \quad \mu = \frac1W \sum w_n \mu_n, \quad
        \Sigma = \frac1W \sum w_n \bigl(\Sigma_n + (\mu_n - \mu)(\mu_n - \mu)^\top\bigr)

    A group whose weights are 0 in sum becomes weight 0, mean 0 and covariance I. Weights of both signs in one group may
    yield a covariance that is not positive definite.

    Args:
        mixture: mixtures (B, C, N).
        groups: (B, C, N) int64, numbers from 0 to R - 1.
        components: R, the number of groups, at least 1.

    Returns:
        Mixtures (B, C, R).

    Raises:
        InputError: R is below 1, or the groups have another shape.
    """
    check_at_least("components", components, 1)
    weight, mean = mixture.weight, mixture.mean
    if groups.shape != weight.shape:
        raise InputError(f"groups of shape {tuple(groups.shape)} must be {tuple(weight.shape)}, one for each component")
    total = _sums(weight, groups, components)
    is_empty = total == 0
    share = weight / total.masked_fill(is_empty, 1).gather(2, groups)
    share = share.masked_fill(is_empty.gather(2, groups), 0)
    center = _sums(share.unsqueeze(-1) * mean, groups, components)
    offset = mean - center.gather(2, groups.unsqueeze(-1).expand_as(mean))
    spread = mixture.cov + offset.unsqueeze(-1) * offset.unsqueeze(-2)
    cov = _sums((share[..., None, None] * spread).flatten(3), groups, components).unflatten(3, spread.shape[3:])
    unit = torch.eye(mixture.dims, dtype=cov.dtype, device=cov.device)
    return Mixture(total, center, cov + is_empty[..., None, None] * unit, mixture.constant)


def _sums(values: Tensor, groups: Tensor, components: int) -> Tensor:
    """Return the sums (B, C, R, ...) of values (B, C, N, ...) in each group."""
    index = groups if values.dim() == 3 else groups.unsqueeze(-1).expand_as(values)
    zeros = values.new_zeros(*values.shape[:2], components, *values.shape[3:])
    return zeros.scatter_add(2, index, values)
