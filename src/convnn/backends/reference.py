"""The definition of every operator in plain PyTorch: dense, obvious, on any device.

Faster backends are held against this file. Positions are rows throughout: a map is a (B, T, C) list of T positions.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


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
        itself = positions[None, :, None].expand(len(queries), -1, 1)
        return torch.cat([itself, columns[others]], dim=-1)


def similarity(queries: Tensor, keys: Tensor, indices: Tensor, metric: str) -> Tensor:
    """Differentiable scores (B, N, K) of the chosen pairs; see `convnn.ops.weigh.similarity`."""
    with _full_precision(queries):
        dtype = torch.promote_types(queries.dtype, torch.float32)
        chosen = gather(keys, indices).to(dtype)
        return _OF_PAIRS[metric](queries.to(dtype).unsqueeze(2), chosen)


def convolve(
    values: Tensor, indices: Tensor, scores: Tensor | None, weight: Tensor, bias: Tensor | None, groups: int
) -> Tensor:
    """Learned kernel over the ordered neighbours, (B, N, C_out); see `convnn.ops.aggregate.convolve`."""
    neighborhoods = gather(values, indices)
    if scores is not None:
        neighborhoods = neighborhoods * scores.unsqueeze(-1).to(values.dtype)
    grouped = neighborhoods.unflatten(-1, (groups, weight.shape[1]))
    kernels = weight.unflatten(0, (groups, weight.shape[0] // groups))
    out = torch.einsum("bnkgc,gock->bngo", grouped, kernels).flatten(2)
    return out if bias is None else out + bias.to(out.dtype)


def gather(values: Tensor, indices: Tensor) -> Tensor:
    """The rows of `values` (B, T, C) at `indices` (B, N, K), as (B, N, K, C)."""
    batch, length, channels = values.shape
    first_row = torch.arange(batch, device=indices.device) * length
    rows = (indices + first_row[:, None, None]).flatten()
    return values.reshape(batch * length, channels).index_select(0, rows).view(*indices.shape, channels)


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
    """Float32 scores (B, N, T) of every query with every key: larger is closer, NaN is worst of all numbers.

    Computed in float64 where the device has it and rounded: a matrix product adds up its last columns in another order
    than the others, and equal keys must have equal scores for ties to be ties.
    """
    dtype = torch.float32 if queries.device.type == "mps" else torch.float64  # MPS has no float64
    scores = _OF_ALL[metric](queries.to(dtype), keys.to(dtype)).float()
    worst = torch.finfo(scores.dtype).min
    return scores.clamp_min(worst / 2).nan_to_num(nan=worst)


def _cosine_of_all(queries: Tensor, keys: Tensor) -> Tensor:
    return (_unit(queries) @ _unit(keys).mT).clamp(-1, 1)


def _closeness_of_all(queries: Tensor, keys: Tensor) -> Tensor:
    norms = queries.square().sum(-1, keepdim=True) + keys.square().sum(-1).unsqueeze(-2)
    distances = norms - 2 * queries @ keys.mT
    return -distances.masked_fill(distances < 1e-12 * norms, 0)  # of equal vectors cancellation leaves about 1e-16


def _cosine_of_pairs(queries: Tensor, keys: Tensor) -> Tensor:
    return (_unit(queries) * _unit(keys)).sum(-1).clamp(-1, 1)


def _closeness_of_pairs(queries: Tensor, keys: Tensor) -> Tensor:
    return -(queries - keys).square().sum(-1)


Metric = Callable[[Tensor, Tensor], Tensor]
_OF_ALL: dict[str, Metric] = {"cosine": _cosine_of_all, "euclidean": _closeness_of_all}
_OF_PAIRS: dict[str, Metric] = {"cosine": _cosine_of_pairs, "euclidean": _closeness_of_pairs}


def _unit(x: Tensor, eps: float = 1e-12) -> Tensor:
    """Rows of length one; a zero row stays zero and passes no gradient (dividing it by eps would pass 1e12)."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    is_zero = norm <= eps
    return (x / norm.masked_fill(is_zero, 1)).masked_fill(is_zero, 0)


def _full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Scores decide who is chosen: autocast must not round them."""
    if torch.amp.is_autocast_available(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()
