"""Exact neighbour search and gather-free aggregation on the CPU, by a small compiled core.

No T x T matrix and no K-fold copy of the features is ever written: scores live in a tile, and neighbours are multiplied
where they lie. Ranking scores are float64 sums rounded to float32 as in `reference`, so both choose the same
neighbours. Work is cut by shape alone, so results are the same bits for any number of threads.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from convnn.backends.cpu._core import FAULT, INSTRUCTION_SET, NOT_COMPILED, core
from convnn.backends.request import Request

__all__ = [
    "INSTRUCTION_SET",
    "convolve",
    "convolve_backward",
    "largest",
    "nearest",
    "one_of_each",
    "similarity",
    "similarity_backward",
    "unavailable_reasons",
    "unsupported_reasons",
]


def unavailable_reasons() -> list[str]:
    """Why this backend cannot run here."""
    if core is None:
        return [FAULT or NOT_COMPILED]
    return []


def unsupported_reasons(request: Request) -> list[str]:
    """Why this backend cannot compute the request."""
    reasons = unavailable_reasons()
    if request.device.type != "cpu":
        reasons.append(f"device must be cpu, not {request.device.type}")
    return reasons


def nearest(
    queries: Tensor, keys: Tensor, K: int, metric: str, positions: Tensor | None, candidates: Tensor | None
) -> Tensor:
    """Indices (B, N, K) of the keys closest to each query; see `convnn.ops.select.nearest`."""
    queries, keys = _dense(queries, keys)
    out = queries.new_empty((*queries.shape[:2], K), dtype=torch.long)
    if out.numel():
        core.nearest(queries, keys, metric, _list(positions), _list(candidates), out, _threads())
    return out


def one_of_each(queries: Tensor, keys: Tensor, choices: Tensor, metric: str, unlike: bool) -> Tensor:
    """Indices (B, N, K) of the key chosen among each list; see `convnn.ops.select.one_of_each`."""
    queries, keys = _dense(queries, keys)
    out = queries.new_empty((*queries.shape[:2], choices.shape[1]), dtype=torch.long)
    if out.numel():
        core.one_of_each(queries, keys, choices.contiguous(), metric, unlike, out, _threads())
    return out


def largest(
    values: Tensor, indices: Tensor, scores: Tensor | None, absent: Tensor | None, centers: Tensor | None
) -> Tensor:
    """Slots (B, N, C) of the neighbours that bring most; see `convnn.ops.aggregate.maximum`."""
    values, scores, centers = _dense(values, scores, centers)
    out = values.new_empty((*indices.shape[:2], values.shape[-1]), dtype=torch.long)
    if out.numel():
        mask = None if absent is None else absent.contiguous()
        core.largest(values, _lists(indices), scores, mask, centers, out, _threads())
    return out


def similarity(queries: Tensor, keys: Tensor, indices: Tensor, metric: str) -> Tensor:
    """Scores (B, N, K) of the chosen pairs; see `convnn.ops.weigh.similarity`."""
    queries, keys = _dense(queries, keys)
    out = queries.new_empty(indices.shape)
    if out.numel():
        core.similarity(queries, keys, _lists(indices), metric, out, _threads())
    return out


def similarity_backward(
    grad: Tensor, queries: Tensor, keys: Tensor, indices: Tensor, metric: str
) -> tuple[Tensor, Tensor]:
    """Gradients of queries and keys, from the gradient (B, N, K) of their scores."""
    dense_grad, dense_queries, dense_keys = _dense(grad, queries, keys)
    grads = dense_queries.new_empty(queries.shape), dense_keys.new_empty(keys.shape)
    if grad.numel():
        core.similarity_backward(dense_grad, dense_queries, dense_keys, _lists(indices), metric, *grads, _threads())
    else:
        for one in grads:
            one.zero_()
    return grads[0].to(queries.dtype), grads[1].to(keys.dtype)


def convolve(
    values: Tensor, indices: Tensor, scores: Tensor | None, weight: Tensor, bias: Tensor | None, groups: int
) -> Tensor:
    """Learned kernel over the ordered neighbours, (B, N, C_out); see `convnn.ops.aggregate.convolve`."""
    dense_values, dense_scores, dense_weight, dense_bias = _dense(values, scores, weight, bias)
    out = dense_values.new_empty((*indices.shape[:2], weight.shape[0]))
    if out.numel():
        core.convolve(dense_values, _lists(indices), dense_scores, dense_weight, dense_bias, out, _threads())
    return out.to(values.dtype)


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
    dense_grad, *inputs = _dense(grad, values, scores, weight)
    grads: list[Any] = [
        one.new_empty(one.shape) if need and one is not None else None for one, need in zip(inputs, needs, strict=True)
    ]
    if grad.numel():
        core.convolve_backward(dense_grad, inputs[0], _lists(indices), inputs[1], inputs[2], *grads, _threads())
    else:
        grads = [None if one is None else one.zero_() for one in grads]
    return _as(grads[0], values), _as(grads[1], scores), _as(grads[2], weight)


def _dense(*tensors: Tensor | None) -> list[Any]:
    """Contiguous, in one type that the core knows, without history."""
    dtypes = {one.dtype for one in tensors if one is not None}
    dtype = torch.float64 if torch.float64 in dtypes else torch.float32
    return [one if one is None else one.detach().to(dtype).contiguous() for one in tensors]


def _as(grad: Tensor | None, like: Tensor | None) -> Tensor | None:
    """A gradient in the type of what it is the gradient of."""
    return None if grad is None or like is None else grad.to(like.dtype)


def _list(indices: Tensor | None) -> Tensor | None:
    return None if indices is None else indices.contiguous()


def _lists(indices: Tensor) -> Tensor:
    """Neighbours (B, N, K), or (1, N, K) where the whole batch shares a list."""
    is_shared = len(indices) > 1 and indices.stride(0) == 0
    return (indices[:1] if is_shared else indices).contiguous()


def _threads() -> int:
    return torch.get_num_threads()
