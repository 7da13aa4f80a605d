"""Exact neighbour search and gather-free aggregation on the CPU, by a small compiled core.

No T x T matrix and no K-fold copy of the features is ever written: scores live in a tile, and neighbours are read in
place. Ranking scores are float64 sums rounded to float32 as in `reference`, so both choose the same neighbours. Work
is split by shape alone, so results are bitwise equal for any number of threads.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from convnn.backends import reference
from convnn.backends._windows import map_of, rows_of, window_counts
from convnn.backends.cpu._blocks import attend_to_blocks, attend_to_blocks_backward
from convnn.backends.cpu._core import FAULT, INSTRUCTION_SET, NOT_COMPILED, core, dense, run
from convnn.backends.cpu._kernel_product import kernel_matrix, kernel_product
from convnn.backends.cpu._scan import bi_wkv, bi_wkv_backward, delta_rule, delta_rule_backward
from convnn.backends.cpu._sliding import sliding, sliding_backward
from convnn.backends.cpu._walks import cumulative_weights, random_bits, skip_gram, walk
from convnn.backends.request import Request

__all__ = [
    "INSTRUCTION_SET",
    "attend_to_blocks",
    "attend_to_blocks_backward",
    "bi_wkv",
    "bi_wkv_backward",
    "convolve",
    "convolve_backward",
    "cumulative_weights",
    "delta_rule",
    "delta_rule_backward",
    "depthwise",
    "depthwise_backward",
    "kernel_matrix",
    "kernel_product",
    "largest",
    "nearest",
    "nearest_in_lists",
    "one_of_each",
    "ragged_largest",
    "ragged_products",
    "ragged_softmax",
    "ragged_softmax_backward",
    "ragged_sum",
    "random_bits",
    "scatter_choices",
    "similarity",
    "similarity_backward",
    "skip_gram",
    "sliding",
    "sliding_backward",
    "solve_triangular",
    "transpose_lists",
    "unavailable_reasons",
    "unsupported_reasons",
    "walk",
]


_TYPES_OF_ONEDNN = (torch.float32, torch.bfloat16)
_SIDES = {"avx512": range(10, 14), "avx2": range(7, 1 << 30)}
"""Sides of depthwise kernels with which the core is quicker than oneDNN, by instruction set."""


def unavailable_reasons() -> list[str]:
    """Return the reasons why this backend cannot run here."""
    if core is None:
        return [FAULT or NOT_COMPILED]
    return []


def unsupported_reasons(request: Request) -> list[str]:
    """Return the reasons why this backend cannot compute the request."""
    reasons = unavailable_reasons()
    if request.device.type != "cpu":
        reasons.append(f"device must be cpu, not {request.device.type}")
    return reasons


def nearest(
    queries: Tensor, keys: Tensor, K: int, metric: str, positions: Tensor | None, candidates: Tensor | None
) -> Tensor:
    """Return the indices (B, N, K) of the keys closest to each query; see `convnn.ops.select.nearest`."""
    queries, keys = dense(queries, keys)
    out = queries.new_empty((*queries.shape[:2], K), dtype=torch.long)
    if out.numel():
        run(core.nearest, queries, keys, metric, _list(positions), _list(candidates), out)
    return out


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
    """Return the indices (B, N, K) of the closest keys in the lists opened; see `reference.nearest_in_lists`."""
    queries, keys = dense(queries, keys)
    out = queries.new_empty((*queries.shape[:2], K), dtype=torch.long)
    if out.numel():
        lists, opened = lists.contiguous(), opened.contiguous()
        run(core.nearest_in_lists, queries, keys, metric, _list(positions), lists, opened, num_lists, out)
    return out


def one_of_each(queries: Tensor, keys: Tensor, choices: Tensor, metric: str, unlike: bool) -> Tensor:
    """Return the indices (B, N, K) of the key chosen in each list; see `convnn.ops.select.one_of_each`."""
    queries, keys = dense(queries, keys)
    out = queries.new_empty((*queries.shape[:2], choices.shape[1]), dtype=torch.long)
    if out.numel():
        run(core.one_of_each, queries, keys, choices.contiguous(), metric, unlike, out)
    return out


def largest(
    values: Tensor, indices: Tensor, scores: Tensor | None, absent: Tensor | None, centers: Tensor | None
) -> Tensor:
    """Return the slots (B, N, C) of the neighbours with the largest values; see `convnn.ops.aggregate.maximum`."""
    values, scores, centers = dense(values, scores, centers)
    out = values.new_empty((*indices.shape[:2], values.shape[-1]), dtype=torch.long)
    if out.numel():
        mask = None if absent is None else absent.contiguous()
        run(core.largest, values, _lists(indices), scores, mask, centers, out)
    return out


def similarity(queries: Tensor, keys: Tensor, indices: Tensor, metric: str) -> Tensor:
    """Return scores (B, N, K) of the chosen pairs; see `convnn.ops.weigh.similarity`."""
    queries, keys = dense(queries, keys)
    out = queries.new_empty(indices.shape)
    if out.numel():
        run(core.similarity, queries, keys, _lists(indices), metric, out)
    return out


def similarity_backward(
    grad: Tensor, queries: Tensor, keys: Tensor, indices: Tensor, metric: str
) -> tuple[Tensor, Tensor]:
    """Return the gradients of queries and keys, from the gradient (B, N, K) of their scores."""
    dense_grad, dense_queries, dense_keys = dense(grad, queries, keys)
    grads = dense_queries.new_empty(queries.shape), dense_keys.new_empty(keys.shape)
    if grad.numel():
        run(core.similarity_backward, dense_grad, dense_queries, dense_keys, _lists(indices), metric, *grads)
    else:
        for tensor in grads:
            tensor.zero_()
    return grads[0].to(queries.dtype), grads[1].to(keys.dtype)


def convolve(
    values: Tensor, indices: Tensor, scores: Tensor | None, weight: Tensor, bias: Tensor | None, groups: int
) -> Tensor:
    """Apply a learned kernel to the ordered neighbours, (B, N, C_out); see `convnn.ops.aggregate.convolve`."""
    dense_values, dense_scores, dense_weight, dense_bias = dense(values, scores, weight, bias)
    out = dense_values.new_empty((*indices.shape[:2], weight.shape[0]))
    if out.numel():
        run(core.convolve, dense_values, _lists(indices), dense_scores, dense_weight, dense_bias, out)
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
    """Return the needed gradients of values, scores and weight, from the gradient (B, N, C_out) of the output."""
    dense_grad, *inputs = dense(grad, values, scores, weight)
    grads: list[Any] = [
        tensor.new_empty(tensor.shape) if need and tensor is not None else None
        for tensor, need in zip(inputs, needs, strict=True)
    ]
    if grad.numel():
        run(core.convolve_backward, dense_grad, inputs[0], _lists(indices), inputs[1], inputs[2], *grads)
    else:
        grads = [None if tensor is None else tensor.zero_() for tensor in grads]
    return _cast(grads[0], values), _cast(grads[1], scores), _cast(grads[2], weight)


def solve_triangular(z: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Undo a triangular convolution, (B, C, H, W); see `convnn.ops.triangular.solve`."""
    dense_z, dense_weight = dense(z, weight)
    out = dense_z.new_empty(z.shape)
    if out.numel():
        run(core.solve_triangular, dense_z, dense_weight, out)
    return out.to(z.dtype)


def depthwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """Convolve every channel with its own kernel; see `convnn.ops.windows.depthwise`.

    PyTorch computes it where its convolution, oneDNN's, is quicker.
    """
    rows = rows_of(x)
    if x.dim() > 3 and x.dtype in _TYPES_OF_ONEDNN and max(weight.shape[2:]) not in _SIDES.get(INSTRUCTION_SET, ()):
        return reference.depthwise(map_of(rows), weight, bias, stride, padding, dilation)
    maps, kernels, dense_bias = dense(rows, weight, bias)
    sides = window_counts(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    out = maps.new_empty(x.shape[0], *sides, x.shape[1])
    if out.numel():
        run(
            core.depthwise,
            _volume(maps),
            _volume(kernels.squeeze(1), 0),
            dense_bias,
            *_geometry(stride, padding, dilation),
            _volume(out),
        )
    return map_of(out).to(x.dtype)


def depthwise_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    needs: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None]:
    """Return the needed gradients of map and weight, from the gradient (B, C, *S') of the output."""
    dense_grad, rows, kernels = dense(rows_of(grad), rows_of(x), weight)
    grads: list[Any] = [
        one.new_empty(one.shape) if need else None for one, need in zip((rows, kernels), needs, strict=True)
    ]
    if grad.numel():
        of_map = None if grads[0] is None else _volume(grads[0])
        of_weight = None if grads[1] is None else _volume(grads[1].squeeze(1), 0)
        geometry = _geometry(stride, padding, dilation)
        run(
            core.depthwise_backward,
            _volume(dense_grad),
            _volume(rows),
            _volume(kernels.squeeze(1), 0),
            *geometry,
            of_map,
            of_weight,
        )
    else:
        grads = [None if one is None else one.zero_() for one in grads]
    return _cast(None if grads[0] is None else map_of(grads[0]), x), _cast(grads[1], weight)


def _volume(rows: Tensor, ends: int = 1) -> Tensor:
    """Return (N, *S, C), or (N, *S) where nothing is at the end, with three axes S."""
    missing = 4 + ends - rows.dim()
    return rows.reshape(rows.shape[0], *[1] * missing, *rows.shape[1:])


def _geometry(stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]) -> list[list[int]]:
    """Return each of them for three axes."""
    missing = 3 - len(stride)
    return [[usual] * missing + [*given] for given, usual in ((stride, 1), (padding, 0), (dilation, 1))]


def ragged_sum(values: Tensor, scores: Tensor | None, starts: Tensor, indices: Tensor) -> Tensor:
    """Return the sums (N, C) of values (T, C) over each list; see `convnn.ops.ragged.total`."""
    dense_values, dense_scores = dense(values, scores)
    out = dense_values.new_empty(starts.shape[0] - 1, values.shape[1])
    if out.numel():
        run(core.ragged_sum, dense_values, starts.contiguous(), indices.contiguous(), dense_scores, out)
    return out.to(values.dtype)


def ragged_products(queries: Tensor, keys: Tensor, starts: Tensor, indices: Tensor, heads: int) -> Tensor:
    """Return the inner products (E, H) of queries with the keys in their lists; see `convnn.ops.ragged.products`."""
    dense_queries, dense_keys = dense(queries, keys)
    out = dense_queries.new_empty(indices.shape[0], heads)
    if out.numel():
        run(core.ragged_products, dense_queries, dense_keys, starts.contiguous(), indices.contiguous(), out)
    return out.to(queries.dtype)


def ragged_largest(values: Tensor, starts: Tensor, indices: Tensor) -> Tensor:
    """Return the index (N, C) of the largest value of each list, or -1; see `convnn.ops.ragged.maximum`."""
    (values,) = dense(values)
    out = starts.new_empty(starts.shape[0] - 1, values.shape[1])
    if out.numel():
        run(core.ragged_largest, values, starts.contiguous(), indices.contiguous(), out)
    return out


def ragged_softmax(
    values: Tensor, temperatures: Tensor, starts: Tensor, indices: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return means (N, C) of each list weighted by a softmax in each channel; see `reference.ragged_softmax`."""
    dense_values, dense_temperatures = dense(values, temperatures)
    outs = [dense_values.new_empty(starts.shape[0] - 1, values.shape[1]) for _ in range(3)]
    if outs[0].numel():
        run(core.ragged_softmax, dense_values, dense_temperatures, starts.contiguous(), indices.contiguous(), *outs)
    means, logs, squares = (one.to(values.dtype) for one in outs)
    return means, logs, squares


def ragged_softmax_backward(
    grad: Tensor,
    values: Tensor,
    temperatures: Tensor,
    out: Tensor,
    logs: Tensor,
    back_starts: Tensor,
    back_indices: Tensor,
) -> Tensor:
    """Return the gradient (T, C) of the values; see `reference.ragged_softmax_backward`."""
    tensors = dense(grad, values, temperatures, out, logs)
    grad_values = torch.empty_like(tensors[1])
    if grad_values.numel():
        run(core.ragged_softmax_backward, *tensors, back_starts.contiguous(), back_indices.contiguous(), grad_values)
    return grad_values.to(values.dtype)


def scatter_choices(rows: Tensor, choices: Tensor, positions: int) -> Tensor:
    """Return the sums (T, C) of the rows (N, C) that chose each position."""
    (values,) = dense(rows)
    out = values.new_empty(positions, rows.shape[1])
    if out.numel():
        run(core.scatter_choices, values, choices.contiguous(), out)
    return out.to(rows.dtype)


def transpose_lists(starts: Tensor, indices: Tensor, positions: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the lists of the other end; see `reference.transpose_lists`."""
    out = starts.new_empty(positions + 1), torch.empty_like(indices), torch.empty_like(indices)
    run(core.transpose_lists, starts.contiguous(), indices.contiguous(), *out)
    return out


def _cast(grad: Tensor | None, like: Tensor | None) -> Tensor | None:
    """Cast a gradient to the type of its input."""
    return None if grad is None or like is None else grad.to(like.dtype)


def _list(indices: Tensor | None) -> Tensor | None:
    return None if indices is None else indices.contiguous()


def _lists(indices: Tensor) -> Tensor:
    """Return contiguous neighbours (B, N, K), or (1, N, K) where the whole batch shares one list."""
    is_shared = len(indices) > 1 and indices.stride(0) == 0
    return (indices[:1] if is_shared else indices).contiguous()
