"""The definition of every operator in plain PyTorch: dense, simple, on any device.

Faster backends are tested against this module. Positions are rows throughout: a map is a (B, T, C) list of T positions.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from convnn.backends._attention import attend, attend_linearly  # noqa: F401  # operators of this backend
from convnn.backends._bi_wkv import bi_wkv as bi_wkv
from convnn.backends._bi_wkv import bi_wkv_backward as bi_wkv_backward
from convnn.backends._blocks import attend_to_blocks as attend_to_blocks
from convnn.backends._blocks import attend_to_blocks_backward as attend_to_blocks_backward
from convnn.backends._delta_rule import delta_rule as delta_rule
from convnn.backends._delta_rule import delta_rule_backward as delta_rule_backward
from convnn.backends._kernel_product import kernel_matrix as kernel_matrix
from convnn.backends._kernel_product import kernel_product as kernel_product
from convnn.backends._precision import full_precision as full_precision
from convnn.backends._precision import widest_dtype as widest_dtype
from convnn.backends._ragged import (  # noqa: F401  # operators of this backend
    ragged_largest,
    ragged_products,
    ragged_softmax,
    ragged_softmax_backward,
    ragged_sum,
    scatter_choices,
    transpose_lists,
)
from convnn.backends._skip_gram import skip_gram as skip_gram
from convnn.backends._triangular import solve_triangular as solve_triangular
from convnn.backends._walks import cumulative_weights, random_bits, walk  # noqa: F401
from convnn.backends._windows import depthwise as depthwise
from convnn.backends._windows import depthwise_backward as depthwise_backward
from convnn.backends._windows import sliding as sliding
from convnn.backends._windows import sliding_backward as sliding_backward
from convnn.backends.request import Request

_MAX_ZERO_LENGTH = 1e-12  # a row of at most this length counts as a zero row
_MAX_ZERO_COSINE = 1e-12  # rows with at most this cosine count as orthogonal: the rest is rounding


def unavailable_reasons() -> list[str]:
    """Return no reason: this backend runs wherever torch runs."""
    return []


def unsupported_reasons(request: Request) -> list[str]:
    """Return no reason: this backend computes every operator on every device and type."""
    return []


def nearest(
    queries: Tensor, keys: Tensor, K: int, metric: str, positions: Tensor | None, candidates: Tensor | None
) -> Tensor:
    """Return the indices (B, N, K) of the keys closest to each query; see `convnn.ops.select.nearest`."""
    with torch.no_grad(), full_precision(queries):
        scores = _ranking_scores(queries, keys if candidates is None else keys[:, candidates], metric)
        if positions is None:
            best = _best(scores, K)
            return best if candidates is None else candidates[best]
        columns = torch.arange(keys.shape[1], device=keys.device) if candidates is None else candidates
        others = _best(scores.masked_fill(columns == positions[:, None], -torch.inf), K - 1)
        return _after_itself(positions, columns[others])


def nearest_in_lists(
    queries: Tensor,
    keys: Tensor,
    K: int,
    metric: str,
    positions: Tensor | None,
    lists: Tensor,
    opened: Tensor,
    num_lists: int,
) -> Tensor:
    """Return the indices (B, N, K) of the closest keys in the lists that each query opens, -1 in slots without a key.

    Args:
        queries, keys, K, metric, positions: as in `nearest`.
        lists: (B, T) the list of each key, 0 .. num_lists - 1, or -1 for a key that may not be chosen.
        opened: (B, N, P) the lists of each query, or -1; a list may be named more than once.
        num_lists: number of lists.
    """
    with torch.no_grad(), full_precision(queries):
        is_open = torch.zeros(*opened.shape[:2], num_lists + 1, dtype=torch.bool, device=keys.device)
        is_open.scatter_(2, opened % (num_lists + 1), True)  # -1 becomes the last one, which is never open
        is_open[:, :, num_lists] = False
        may_choose = is_open.gather(2, (lists % (num_lists + 1)).unsqueeze(1).expand(-1, opened.shape[1], -1))
        if positions is not None:
            may_choose[:, torch.arange(len(positions), device=keys.device), positions] = False
        scores = _ranking_scores(queries, keys, metric).masked_fill(~may_choose, -torch.inf)
        slots = min(K - (positions is not None), keys.shape[1])
        best = _best(scores, slots)
        best = best.masked_fill(scores.gather(2, best) == -torch.inf, -1)
        best = torch.nn.functional.pad(best, (0, K - (positions is not None) - slots), value=-1)
        return best if positions is None else _after_itself(positions, best)


def one_of_each(queries: Tensor, keys: Tensor, choices: Tensor, metric: str, unlike: bool) -> Tensor:
    """Return the indices (B, N, K) of the key chosen in each (N, K, M) list; see `convnn.ops.select.one_of_each`."""
    with torch.no_grad(), full_precision(queries):
        dtype = widest_dtype(queries.device)
        queries, keys = queries.to(dtype), keys.to(dtype)
        entries = choices.flatten(1).unbind(1)
        scores = torch.stack([_scores_of_pairs(queries, keys[:, entry], metric) for entry in entries], dim=-1)
        scores = (-scores if unlike else scores).unflatten(-1, choices.shape[1:])
        best = _best(_bounded(scores.float()), 1)
        return choices.expand(queries.shape[0], -1, -1, -1).gather(-1, best).squeeze(-1)


def largest(
    values: Tensor, indices: Tensor, scores: Tensor | None, absent: Tensor | None, centers: Tensor | None
) -> Tensor:
    """Return the slots (B, N, C) of the neighbours with the largest values; see `convnn.ops.aggregate.maximum`."""
    dtype = torch.promote_types(values.dtype, torch.float32)
    values = values.to(dtype)

    def slot_values(k: int) -> Tensor:
        gathered = gather(values, indices[..., k : k + 1]).squeeze(2)
        if scores is None:  # centers would not change the order
            return gathered
        return (gathered if centers is None else gathered - centers.to(dtype)) * scores[..., k : k + 1].to(dtype)

    best = slot_values(0)
    slots = torch.zeros_like(best, dtype=torch.long)
    for k in range(1, indices.shape[-1]):  # slot by slot, so that memory does not grow with K
        candidate = slot_values(k)
        is_better = (candidate > best) | (candidate.isnan() & ~best.isnan())
        if absent is not None:
            is_better = is_better & ~absent[..., k : k + 1]
        best, slots = torch.where(is_better, candidate, best), slots.masked_fill(is_better, k)
    return slots


def similarity(queries: Tensor, keys: Tensor, indices: Tensor, metric: str) -> Tensor:
    """Return differentiable scores (B, N, K) of the chosen pairs; see `convnn.ops.weigh.similarity`."""
    with full_precision(queries):
        dtype = torch.promote_types(queries.dtype, torch.float32)
        chosen_keys = gather(keys, indices).to(dtype)
        return _PAIR_SCORES[metric](queries.to(dtype).unsqueeze(2), chosen_keys)


def similarity_backward(
    grad: Tensor, queries: Tensor, keys: Tensor, indices: Tensor, metric: str
) -> tuple[Tensor, Tensor]:
    """Return the gradients of queries and keys, from the gradient (B, N, K) of their scores."""
    with full_precision(queries):
        dtype = torch.promote_types(queries.dtype, torch.float32)
        chosen_keys = gather(keys, indices).to(dtype)
        pair_gradients = _PAIR_GRADIENTS[metric]
        grad_queries, grad_chosen = pair_gradients(grad.to(dtype), queries.to(dtype).unsqueeze(2), chosen_keys)
        grad_keys = _scatter(grad_chosen, keys, indices)
        return grad_queries.sum(2).to(queries.dtype), grad_keys.to(keys.dtype)


def convolve(
    values: Tensor, indices: Tensor, scores: Tensor | None, weight: Tensor, bias: Tensor | None, groups: int
) -> Tensor:
    """Apply a learned kernel to the ordered neighbours, (B, N, C_out); see `convnn.ops.aggregate.convolve`."""
    neighborhoods = gather(values, indices)
    if scores is not None:
        neighborhoods = (neighborhoods * scores.unsqueeze(-1)).to(values.dtype)  # a score may overflow a half type
    grouped = neighborhoods.unflatten(-1, (groups, weight.shape[1]))
    kernels = weight.unflatten(0, (groups, weight.shape[0] // groups))
    out = torch.einsum("bnkgc,gock->bngo", grouped, kernels).flatten(2).contiguous()
    return out if bias is None else out + bias.to(out.dtype)


def convolve_backward(
    grad: Tensor,
    values: Tensor,
    indices: Tensor,
    scores: Tensor | None,
    weight: Tensor,
    groups: int,
    needs: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the needed gradients of values, scores and weight, from the gradient (B, N, C_out) of the output."""
    needs_values, needs_scores, needs_weight = needs
    grouped = grad.unflatten(-1, (groups, weight.shape[0] // groups))
    kernels = weight.unflatten(0, (groups, weight.shape[0] // groups))
    factors = None if scores is None else scores.unsqueeze(-1)
    grad_values = grad_scores = grad_weight = None
    neighborhoods = gather(values, indices)
    if needs_values or needs_scores:
        grad_neighborhoods = torch.einsum("bngo,gock->bnkgc", grouped, kernels).flatten(3)
        if scores is not None and needs_scores:
            grad_scores = (grad_neighborhoods * neighborhoods).sum(-1).to(scores.dtype)
        if needs_values:
            grad_values = _scatter(
                grad_neighborhoods if factors is None else (grad_neighborhoods * factors).to(values.dtype),
                values,
                indices,
            )
    if needs_weight:
        weighted = neighborhoods if factors is None else (neighborhoods * factors).to(values.dtype)
        by_group = weighted.unflatten(-1, (groups, weight.shape[1]))
        grad_weight = torch.einsum("bngo,bnkgc->gock", grouped, by_group).flatten(0, 1).contiguous()
    return grad_values, grad_scores, grad_weight


def scales(rows: Tensor, metric: str) -> Tensor:
    """Return the factors (B, T) of rows (B, T, C) that turn an inner product of two rows into their cosine.

    A zero row has the factor 0; for the cosine, a row that is not finite has NaN, so that it does not count as zero.
    """
    lengths = torch.linalg.vector_norm(rows, dim=-1, dtype=widest_dtype(rows.device))
    inverse = lengths.reciprocal()
    if metric == "matmul":
        return inverse
    return inverse.masked_fill(lengths == torch.inf, torch.nan).masked_fill(lengths <= _MAX_ZERO_LENGTH, 0)


def gather(values: Tensor, indices: Tensor) -> Tensor:
    """Return the rows of `values` (B, T, C) at `indices` (B, N, K), as (B, N, K, C)."""
    batch, length, channels = values.shape
    rows = values.reshape(batch * length, channels).index_select(0, _flat_rows(indices, length))
    return rows.view(*indices.shape, channels)


def _scatter(grad: Tensor, values: Tensor, indices: Tensor) -> Tensor:
    """Sum rows (B, N, K, C) into the positions they were gathered from, (B, T, C): the transpose of `gather`."""
    batch, length, channels = values.shape
    total = grad.new_zeros(batch * length, channels)
    return total.index_add_(0, _flat_rows(indices, length), grad.flatten(0, 2)).view_as(values)


def _flat_rows(indices: Tensor, length: int) -> Tensor:
    """Turn positions in each of B lists into positions in the concatenated list."""
    first_row = torch.arange(indices.shape[0], device=indices.device) * length
    return (indices + first_row[:, None, None]).flatten()


def _after_itself(positions: Tensor, others: Tensor) -> Tensor:
    """Put the position of each query (N,) before its other neighbours (B, N, K)."""
    return torch.cat([positions[None, :, None].expand(others.shape[0], -1, 1), others], dim=-1)


def _best(scores: Tensor, K: int) -> Tensor:
    """Return the indices of the K largest scores of each row, best first, equal scores by lowest index.

    `topk` breaks ties differently on each device, so a second `topk` ranks whole numbers that cannot tie: first all
    scores better than the K-th best, then those equal to it, both by index.
    """
    length = scores.shape[-1]
    if K == 0:
        return scores.new_zeros((*scores.shape[:-1], 0), dtype=torch.long)
    by_index = torch.arange(length, 0, -1, device=scores.device, dtype=scores.dtype)
    threshold = scores.topk(K).values[..., -1:]
    tied = torch.where(scores == threshold, by_index, 0)
    chosen = torch.where(scores > threshold, by_index + length, tied).topk(K).indices
    order = scores.gather(-1, chosen).sort(dim=-1, descending=True, stable=True).indices
    return chosen.gather(-1, order)


def _ranking_scores(queries: Tensor, keys: Tensor, metric: str) -> Tensor:
    """Return float32 scores (B, N, T) of every query with every key: larger is closer, NaN and overflow rank last.

    They are computed in float64 where the device has it, then rounded: a matrix product may sum its last columns in a
    different order, and equal keys must have equal scores for ties to be ties.
    """
    dtype = widest_dtype(queries.device)
    queries, keys = queries.to(dtype), keys.to(dtype)
    if metric == "euclidean":  # by differences: products cancel where the spread is small compared with the mean
        return _bounded(-torch.cdist(queries, keys, compute_mode="donot_use_mm_for_euclid_dist").square().float())
    query_scales, key_scales = scales(queries, metric).unsqueeze(-1), scales(keys, metric).unsqueeze(-2)
    return _bounded(_scores_of_products(queries @ keys.mT, query_scales, key_scales, metric).float())


def _scores_of_pairs(queries: Tensor, keys: Tensor, metric: str) -> Tensor:
    """Return scores (B, N) of each query with the key in the same row, before rounding."""
    if metric == "euclidean":
        return -(queries - keys).square().sum(-1)
    products = (queries * keys).sum(-1)
    return _scores_of_products(products, scales(queries, metric), scales(keys, metric), metric)


def _scores_of_products(products: Tensor, query_scales: Tensor, key_scales: Tensor, metric: str) -> Tensor:
    """Turn inner products into scores, given the factors of their rows.

    Where products cancel, their sum is off by about 1e-16 of the product of the lengths; below 1e-12 of it a sum
    counts as zero, so that orthogonal rows tie.
    """
    cosines = products * query_scales * key_scales
    if metric == "matmul":
        return products.masked_fill(cosines.abs() <= _MAX_ZERO_COSINE, 0)
    scores = cosines.masked_fill(cosines.abs() <= _MAX_ZERO_COSINE, 0).clamp(-1, 1)
    return scores.masked_fill(query_scales == 0, 0).masked_fill(key_scales == 0, 0)  # also where the other row is NaN


def _bounded(scores: Tensor) -> Tensor:
    """Rank NaN and positive overflow last, as the lowest number, and negative overflow just above them."""
    worst = torch.finfo(scores.dtype).min
    return scores.clamp_min(worst / 2).nan_to_num(nan=worst, posinf=worst)


def _cosine(queries: Tensor, keys: Tensor) -> Tensor:
    return (unit(queries) * unit(keys)).sum(-1).clamp(-1, 1)


def _closeness(queries: Tensor, keys: Tensor) -> Tensor:
    return -(queries - keys).square().sum(-1)


def _product(queries: Tensor, keys: Tensor) -> Tensor:
    return (queries * keys).sum(-1)


def _cosine_gradients(grad: Tensor, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of both vectors of each pair, (B, N, K, C): the other's direction less its projection."""
    q, k = unit(queries), unit(keys)
    cosine = (q * k).sum(-1, keepdim=True)
    grad = torch.where(cosine.abs() <= 1, grad.unsqueeze(-1), 0)  # a clamped score passes no gradient
    return grad * _per_length(k - cosine * q, queries), grad * _per_length(q - cosine * k, keys)


def _closeness_gradients(grad: Tensor, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    difference = 2 * grad.unsqueeze(-1) * (queries - keys)
    return -difference, difference


def _product_gradients(grad: Tensor, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    return grad.unsqueeze(-1) * keys, grad.unsqueeze(-1) * queries


Metric = Callable[[Tensor, Tensor], Tensor]
_PAIR_SCORES: dict[str, Metric] = {
    "cosine": _cosine,
    "euclidean": _closeness,
    "matmul": _product,
}
_PAIR_GRADIENTS: dict[str, Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "cosine": _cosine_gradients,
    "euclidean": _closeness_gradients,
    "matmul": _product_gradients,
}


def unit(x: Tensor) -> Tensor:
    """Return rows of length one; a zero row stays zero and passes no gradient (a division would pass 1e12)."""
    return _per_length(x, x)


def _per_length(x: Tensor, vectors: Tensor) -> Tensor:
    """Return the rows of x divided by the length of each vector, or 0 where that length is zero."""
    norm = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    is_zero = norm <= _MAX_ZERO_LENGTH
    return (x / norm.masked_fill(is_zero, 1)).masked_fill(is_zero, 0)
