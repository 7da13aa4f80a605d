"""The definition of random walks on lists of any length, in plain PyTorch; see `convnn.ops.walks`."""

import torch
from torch import Tensor

_GOLDEN, _FIRST, _SECOND = (
    0x9E3779B97F4A7C15 - (1 << 64),
    0xBF58476D1CE4E5B9 - (1 << 64),
    0x94D049BB133111EB - (1 << 64),
)  # the constants of SplitMix64, as signed numbers


def random_bits(seed: int, first: int, count: int) -> Tensor:
    """Return numbers `first` to `first + count - 1` of SplitMix64 with a seed, 64 bits each, (count,) int64."""
    places = torch.arange(first + 1, first + count + 1)
    bits = places * _GOLDEN + _signed(seed)  # int64 wraps, as unsigned numbers do
    bits = (bits ^ _shifted(bits, 30)) * _FIRST
    bits = (bits ^ _shifted(bits, 27)) * _SECOND
    return bits ^ _shifted(bits, 31)


def cumulative_weights(starts: Tensor, weights: Tensor) -> Tensor:
    """Return the running sums (E,) within each list."""
    return torch.cat([part.cumsum(0) for part in weights.split(starts.diff().tolist())] or [weights])


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
    """Return walks (W, L + 1) from nodes (W,), a step for each of the numbers (W, L); see `convnn.ops.walks`.

    Args:
        starts, indices: the lists, (N + 1,) and (E,).
        nodes: (W,) where walks begin.
        numbers: (W, L) float64 in [0, 1), or int64.
        weights: of the neighbours, (E,) float64, or None for equal ones.
        cumulative: running sums of the weights in each list, (E,), or None.
        back_starts, back_indices: the transposed lists, with which p and q count; None without p and q.
        p, q: divisors of the weights of returning and of moving away.
    """
    walks = [nodes]
    for step in range(numbers.shape[1] if indices.shape[0] else 0):
        at, number = walks[-1], numbers[:, step]
        if back_starts is not None and back_indices is not None and step:
            back = (back_starts, back_indices)
            rows = zip(walks[-2].tolist(), at.tolist(), number.tolist(), strict=True)
            chosen = [_biased(starts, indices, weights, back, p, q, u, v, draw) for u, v, draw in rows]
            walks.append(torch.tensor(chosen, dtype=torch.long))
            continue
        first, degrees = starts[at], starts[at + 1] - starts[at]
        if cumulative is not None:
            place = _first_above(cumulative, first, degrees, number)
        elif number.is_floating_point():
            place = (number * degrees).long()
        else:
            place = number % degrees.clamp_min(1)
        edges = (first + place).clamp(0, indices.shape[0] - 1)
        walks.append(torch.where(degrees > 0, indices[edges], at))
    return torch.stack(walks if indices.shape[0] else [nodes] * (numbers.shape[1] + 1), 1)


def second_order_weights(near: Tensor, weights: Tensor, before: int, before_ones: Tensor, p: float, q: float) -> Tensor:
    """Return the weights of a step to each of the nodes `near`, of which those in `before_ones` lead to `before`."""
    biased = torch.where(torch.isin(near, before_ones), weights, weights / q)
    return torch.where(near == before, weights / p, biased)


def _biased(
    starts: Tensor,
    indices: Tensor,
    weights: Tensor | None,
    back: tuple[Tensor, Tensor],
    p: float,
    q: float,
    before: int,
    at: int,
    number: float,
) -> int:
    """Return the node after `at`, which was reached from `before`."""
    row = slice(int(starts[at]), int(starts[at + 1]))
    near = indices[row]
    if not near.shape[0]:
        return at
    of_row = torch.ones(near.shape[0], dtype=torch.float64) if weights is None else weights[row]
    before_ones = back[1][back[0][before] : back[0][before + 1]]
    sums = second_order_weights(near, of_row, before, before_ones, p, q).cumsum(0)
    above = (sums > number * sums[-1]).nonzero()
    return int(near[above[0] if above.numel() else -1])


def _first_above(cumulative: Tensor, first: Tensor, degrees: Tensor, number: Tensor) -> Tensor:
    """Return the first place in each row whose running sum exceeds that share of the row's total."""
    last = (first + degrees - 1).clamp_min(0)
    target = number * cumulative[last]
    low, high = torch.zeros_like(degrees), degrees - 1
    while bool((is_open := low < high).any()):
        middle = (low + high) // 2
        is_above = cumulative[(first + middle).clamp_max(cumulative.shape[0] - 1)] > target
        low = torch.where(is_open & ~is_above, middle + 1, low)
        high = torch.where(is_open & is_above, middle, high)
    return low


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Shift to the right without the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _signed(number: int) -> int:
    """Return the last 64 bits of a number as a signed number."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)
