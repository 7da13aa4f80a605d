"""The definition of the operators on lists of any length, in plain PyTorch; see `convnn.ops.ragged`."""

import torch
from torch import Tensor


def ragged_sum(values: Tensor, scores: Tensor | None, starts: Tensor, indices: Tensor) -> Tensor:
    """Return the sums (N, C) of values (T, C) over each list, weighted by scores (E, H)."""
    dtype = torch.promote_types(values.dtype, torch.float32)
    chosen = values.index_select(0, indices).to(dtype)
    if scores is not None:
        chosen = (chosen.unflatten(1, (scores.shape[1], -1)) * scores.to(dtype).unsqueeze(2)).flatten(1)
    sums = chosen.new_zeros(starts.shape[0] - 1, values.shape[1])
    return sums.index_add(0, list_of_each(starts, indices), chosen).to(values.dtype)


def ragged_products(queries: Tensor, keys: Tensor, starts: Tensor, indices: Tensor, heads: int) -> Tensor:
    """Return the inner products (E, H) of the query of each list with the keys in it."""
    dtype = torch.promote_types(queries.dtype, torch.float32)
    ours = queries.index_select(0, list_of_each(starts, indices)).to(dtype)
    products = ours * keys.index_select(0, indices).to(dtype)
    return products.unflatten(1, (heads, -1)).sum(2).to(queries.dtype)


def ragged_largest(values: Tensor, starts: Tensor, indices: Tensor) -> Tensor:
    """Return the index (N, C) of the largest value of each list and channel, -1 in empty lists.

    NaN is largest, and the first of equal values wins.
    """
    chosen = values.index_select(0, indices)
    lists = list_of_each(starts, indices).unsqueeze(1).expand(chosen.shape)
    size = (starts.shape[0] - 1, values.shape[1])
    ranks = torch.where(chosen.isnan(), torch.inf, chosen)  # ties of infinity and NaN are told apart below
    best = ranks.new_full(size, -torch.inf).scatter_reduce(0, lists, ranks, "amax")
    has_nan = torch.zeros(size, dtype=torch.long, device=values.device)
    has_nan = has_nan.scatter_add(0, lists, chosen.isnan().long()).gather(0, lists) > 0
    is_best = (ranks == best.gather(0, lists)) & (chosen.isnan() == has_nan)
    edges = torch.arange(indices.shape[0], device=values.device).unsqueeze(1).expand(chosen.shape)
    none = torch.full(size, indices.shape[0], device=values.device)
    first = none.scatter_reduce(0, lists, edges.masked_fill(~is_best, indices.shape[0]), "amin")
    return torch.cat([indices, indices.new_full((1,), -1)])[first]


def ragged_softmax(
    values: Tensor, temperatures: Tensor, starts: Tensor, indices: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return means (N, C) of each list weighted by a softmax in each channel; see `convnn.ops.ragged.softmax_mean`.

    Returns:
        The means, the logarithms of the sums of powers, and the means of the squares; 0 in empty lists.
    """
    of, size = list_of_each(starts, indices), (starts.shape[0] - 1, values.shape[1])
    chosen = values.index_select(0, indices)
    powers = chosen * temperatures
    lists = of.unsqueeze(1).expand(powers.shape)
    largest = powers.new_full(size, -torch.inf).scatter_reduce(0, lists, powers.detach(), "amax")
    shares = (powers - largest.index_select(0, of)).exp()
    is_empty = (starts.diff() == 0).unsqueeze(1)
    sums = shares.new_zeros(size).index_add(0, of, shares).masked_fill(is_empty, 1)
    shares = shares / sums.index_select(0, of)
    means, squares = (shares.new_zeros(size).index_add(0, of, shares * one) for one in (chosen, chosen.square()))
    return means, largest.masked_fill(is_empty, 0) + sums.log(), squares


def ragged_softmax_backward(
    grad: Tensor,
    values: Tensor,
    temperatures: Tensor,
    out: Tensor,
    logs: Tensor,
    back_starts: Tensor,
    back_indices: Tensor,
) -> Tensor:
    """Return the gradient (T, C) of the values, from that of the means and the transposed lists."""
    positions = list_of_each(back_starts, back_indices)
    value, mean, log = values[positions], out[back_indices], logs[back_indices]
    shares = (temperatures * value - log).exp()
    parts = grad[back_indices] * shares * (1 + temperatures * (value - mean))
    return torch.zeros_like(values).index_add(0, positions, parts)


def scatter_choices(rows: Tensor, choices: Tensor, positions: int) -> Tensor:
    """Return the sums (T, C) of the rows (N, C) whose choice (N, C) a position is; negative choices are none."""
    dtype = torch.promote_types(rows.dtype, torch.float32)
    sums = torch.zeros(positions, rows.shape[1], dtype=dtype, device=rows.device)
    kept = rows.to(dtype).masked_fill(choices < 0, 0)
    if not positions:
        return sums.to(rows.dtype)
    return sums.scatter_add(0, choices.clamp_min(0), kept).to(rows.dtype)


def transpose_lists(starts: Tensor, indices: Tensor, positions: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the lists of the other end: their starts (T + 1,), and the list and the number (E,) of each edge."""
    edges = indices.argsort(stable=True)
    ends = torch.bincount(indices, minlength=positions).cumsum(0)
    return torch.cat([ends.new_zeros(1), ends]), list_of_each(starts, indices)[edges], edges


def list_of_each(starts: Tensor, indices: Tensor) -> Tensor:
    """Return the list (E,) of each edge."""
    lists = torch.arange(starts.shape[0] - 1, device=starts.device)
    return lists.repeat_interleave(starts.diff(), output_size=indices.shape[0])
