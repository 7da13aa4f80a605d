"""The definition of every operator in plain PyTorch: dense, obvious, on any device.

Faster backends are held against this file. Positions are rows throughout: a map is a (B, T, C) list of T positions.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from convnn.backends.request import Request

_NO_LENGTH = 1e-12  # a row up to this long is a zero row
_NO_COSINE = 1e-12  # rows up to this alike are orthogonal: what is left is rounding


def unavailable_reasons() -> list[str]:
    """None: wherever torch runs, this runs."""
    return []


def unsupported_reasons(request: Request) -> list[str]:
    """None: every operator, device and type."""
    return []


def nearest(
    queries: Tensor, keys: Tensor, K: int, metric: str, positions: Tensor | None, candidates: Tensor | None
) -> Tensor:
    """Indices (B, N, K) of the keys closest to each query; see `convnn.ops.select.nearest`."""
    with torch.no_grad(), _full_precision(queries):
        scores = _ranking_scores(queries, keys if candidates is None else keys[:, candidates], metric)
        if positions is None:
            chosen = _best(scores, K)
            return chosen if candidates is None else candidates[chosen]
        columns = torch.arange(keys.shape[1], device=keys.device) if candidates is None else candidates
        others = _best(scores.masked_fill(columns == positions[:, None], -torch.inf), K - 1)
        itself = positions[None, :, None].expand(queries.shape[0], -1, 1)
        return torch.cat([itself, columns[others]], dim=-1)


def one_of_each(queries: Tensor, keys: Tensor, choices: Tensor, metric: str, unlike: bool) -> Tensor:
    """Indices (B, N, K) of the key chosen among each (N, K, M) list; see `convnn.ops.select.one_of_each`."""
    with torch.no_grad(), _full_precision(queries):
        dtype = _exact(queries.device)
        queries, keys = queries.to(dtype), keys.to(dtype)
        entries = choices.flatten(1).unbind(1)
        scores = torch.stack([_scores_of_pairs(queries, keys[:, entry], metric) for entry in entries], dim=-1)
        scores = (-scores if unlike else scores).unflatten(-1, choices.shape[1:])
        best = _best(_bounded(scores.float()), 1)
        return choices.expand(queries.shape[0], -1, -1, -1).gather(-1, best).squeeze(-1)


def largest(
    values: Tensor, indices: Tensor, scores: Tensor | None, absent: Tensor | None, centers: Tensor | None
) -> Tensor:
    """Slots (B, N, C) of the neighbours that bring most; see `convnn.ops.aggregate.maximum`."""
    dtype = torch.promote_types(values.dtype, torch.float32)
    values = values.to(dtype)

    def brought(k: int) -> Tensor:
        one = gather(values, indices[..., k : k + 1]).squeeze(2)
        if scores is None:  # a center would change no order
            return one
        return (one if centers is None else one - centers.to(dtype)) * scores[..., k : k + 1].to(dtype)

    best = brought(0)
    slots = torch.zeros_like(best, dtype=torch.long)
    for k in range(1, indices.shape[-1]):  # one after the other: memory does not grow with K
        one = brought(k)
        is_better = (one > best) | (one.isnan() & ~best.isnan())
        if absent is not None:
            is_better = is_better & ~absent[..., k : k + 1]
        best, slots = torch.where(is_better, one, best), slots.masked_fill(is_better, k)
    return slots


def similarity(queries: Tensor, keys: Tensor, indices: Tensor, metric: str) -> Tensor:
    """Differentiable scores (B, N, K) of the chosen pairs; see `convnn.ops.weigh.similarity`."""
    with _full_precision(queries):
        dtype = torch.promote_types(queries.dtype, torch.float32)
        chosen = gather(keys, indices).to(dtype)
        return _OF_PAIRS[metric](queries.to(dtype).unsqueeze(2), chosen)


def similarity_backward(
    grad: Tensor, queries: Tensor, keys: Tensor, indices: Tensor, metric: str
) -> tuple[Tensor, Tensor]:
    """Gradients of queries and keys, from the gradient (B, N, K) of their scores."""
    with _full_precision(queries):
        dtype = torch.promote_types(queries.dtype, torch.float32)
        chosen = gather(keys, indices).to(dtype)
        grads = _GRADIENTS_OF_PAIRS[metric](grad.to(dtype), queries.to(dtype).unsqueeze(2), chosen)
        grad_queries, grad_chosen = grads
        grad_keys = _scatter(grad_chosen, keys, indices)
        return grad_queries.sum(2).to(queries.dtype), grad_keys.to(keys.dtype)


def convolve(
    values: Tensor, indices: Tensor, scores: Tensor | None, weight: Tensor, bias: Tensor | None, groups: int
) -> Tensor:
    """Learned kernel over the ordered neighbours, (B, N, C_out); see `convnn.ops.aggregate.convolve`."""
    neighborhoods = gather(values, indices)
    if scores is not None:
        neighborhoods = (neighborhoods * scores.unsqueeze(-1)).to(values.dtype)  # a score may exceed a half type
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
    """Gradients of values, scores and weight, those that are needed, from the gradient (B, N, C_out) of the output."""
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
    """What an inner product is multiplied with, once for each of its rows (B, T, C), to become a cosine: (B, T).

    A row that counts as zero has 0, and for the cosine one that is not finite NaN, so that it is not taken for zero.
    """
    lengths = torch.linalg.vector_norm(rows, dim=-1, dtype=_exact(rows.device))
    inverse = lengths.reciprocal()
    if metric == "matmul":
        return inverse
    return inverse.masked_fill(lengths == torch.inf, torch.nan).masked_fill(lengths <= _NO_LENGTH, 0)


def gather(values: Tensor, indices: Tensor) -> Tensor:
    """The rows of `values` (B, T, C) at `indices` (B, N, K), as (B, N, K, C)."""
    batch, length, channels = values.shape
    rows = values.reshape(batch * length, channels).index_select(0, _rows(indices, length))
    return rows.view(*indices.shape, channels)


def _scatter(grad: Tensor, values: Tensor, indices: Tensor) -> Tensor:
    """The transpose of `gather`: rows (B, N, K, C) summed where they came from, (B, T, C)."""
    batch, length, channels = values.shape
    total = grad.new_zeros(batch * length, channels)
    return total.index_add_(0, _rows(indices, length), grad.flatten(0, 2)).view_as(values)


def _rows(indices: Tensor, length: int) -> Tensor:
    """Positions in each of B lists, as positions in one list behind the other."""
    first_row = torch.arange(indices.shape[0], device=indices.device) * length
    return (indices + first_row[:, None, None]).flatten()


def _best(scores: Tensor, K: int) -> Tensor:
    """Indices of the K largest scores of each row, best first, equal scores by lowest index.

    `topk` leaves ties to the device, so a second one ranks whole numbers that cannot tie: first everything better than
    the K-th best, then what equals it, both by index.
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
    """Float32 scores (B, N, T) of every query with every key: larger is closer, NaN and overflow are worst of all.

    Computed in float64 where the device has it and rounded: a matrix product adds up its last columns in another order
    than the others, and equal keys must have equal scores for ties to be ties.
    """
    dtype = _exact(queries.device)
    queries, keys = queries.to(dtype), keys.to(dtype)
    if metric == "euclidean":  # by differences: products would cancel where the spread is small beside the mean
        return _bounded(-torch.cdist(queries, keys, compute_mode="donot_use_mm_for_euclid_dist").square().float())
    query_scales, key_scales = scales(queries, metric).unsqueeze(-1), scales(keys, metric).unsqueeze(-2)
    return _bounded(_scores_of_products(queries @ keys.mT, query_scales, key_scales, metric).float())


def _scores_of_pairs(queries: Tensor, keys: Tensor, metric: str) -> Tensor:
    """The same of each query with the key beside it, (B, N), not rounded yet."""
    if metric == "euclidean":
        return -(queries - keys).square().sum(-1)
    products = (queries * keys).sum(-1)
    return _scores_of_products(products, scales(queries, metric), scales(keys, metric), metric)


def _scores_of_products(products: Tensor, query_scales: Tensor, key_scales: Tensor, metric: str) -> Tensor:
    """Scores from inner products and what belongs to their rows.

    Where products cancel, sums leave about 1e-16 of the lengths: below 1e-12 of them they are zero, so that orthogonal
    rows tie.
    """
    cosines = products * query_scales * key_scales
    if metric == "matmul":
        return products.masked_fill(cosines.abs() <= _NO_COSINE, 0)
    scores = cosines.masked_fill(cosines.abs() <= _NO_COSINE, 0).clamp(-1, 1)
    return scores.masked_fill(query_scales == 0, 0).masked_fill(key_scales == 0, 0)  # also where the other is NaN


def _exact(device: torch.device) -> torch.dtype:
    """The widest type of a device; MPS has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def _bounded(scores: Tensor) -> Tensor:
    """NaN and what overflows are worst of all numbers, and what overflows below zero is next."""
    worst = torch.finfo(scores.dtype).min
    return scores.clamp_min(worst / 2).nan_to_num(nan=worst, posinf=worst)


def _cosine_of_pairs(queries: Tensor, keys: Tensor) -> Tensor:
    return (_unit(queries) * _unit(keys)).sum(-1).clamp(-1, 1)


def _closeness_of_pairs(queries: Tensor, keys: Tensor) -> Tensor:
    return -(queries - keys).square().sum(-1)


def _product_of_pairs(queries: Tensor, keys: Tensor) -> Tensor:
    return (queries * keys).sum(-1)


def _gradients_of_cosine(grad: Tensor, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """What reaches each vector of each pair, all (B, N, K, C): the other one's direction less its own share of it."""
    q, k = _unit(queries), _unit(keys)
    cosine = (q * k).sum(-1, keepdim=True)
    grad = torch.where(cosine.abs() <= 1, grad.unsqueeze(-1), 0)  # of a clamped score nothing passes
    return grad * _per_length(k - cosine * q, queries), grad * _per_length(q - cosine * k, keys)


def _gradients_of_closeness(grad: Tensor, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    difference = 2 * grad.unsqueeze(-1) * (queries - keys)
    return -difference, difference


def _gradients_of_product(grad: Tensor, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    return grad.unsqueeze(-1) * keys, grad.unsqueeze(-1) * queries


Metric = Callable[[Tensor, Tensor], Tensor]
_OF_PAIRS: dict[str, Metric] = {
    "cosine": _cosine_of_pairs,
    "euclidean": _closeness_of_pairs,
    "matmul": _product_of_pairs,
}
_GRADIENTS_OF_PAIRS: dict[str, Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "cosine": _gradients_of_cosine,
    "euclidean": _gradients_of_closeness,
    "matmul": _gradients_of_product,
}


def _unit(x: Tensor) -> Tensor:
    """Rows of length one; a zero row stays zero and passes no gradient (dividing it by its length would pass 1e12)."""
    return _per_length(x, x)


def _per_length(x: Tensor, vectors: Tensor) -> Tensor:
    """Rows of x divided by the length of each vector; nothing where that is zero."""
    norm = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    is_zero = norm <= _NO_LENGTH
    return (x / norm.masked_fill(is_zero, 1)).masked_fill(is_zero, 0)


def _full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Scores decide who is chosen: autocast must not round them."""
    if torch.amp.is_autocast_available(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()
