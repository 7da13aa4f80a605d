"""The operators on lists of any length as PyTorch custom ops, like those of `_library`.

The gradient of a sum is a sum over the transposed lists and a product, that of a product two sums: derivatives of any
order are made of the same operators. An op takes its lists both ways; the transposed ones are found once a graph.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op
from torch.utils.flop_counter import register_flop_formula

from convnn.backends.request import Request
from convnn.ops._dispatch import find_kernels


@custom_op("convnn::ragged_sum", mutates_args=())
def ragged_sum(
    values: Tensor,
    scores: Tensor | None,
    starts: Tensor,
    indices: Tensor,
    back_starts: Tensor,
    back_indices: Tensor,
    edges: Tensor,
    back_edges: Tensor,
    backend: str,
) -> Tensor:
    """Return the sums (N, C) of each list; see `convnn.ops.ragged.total`.

    Args:
        values: (T, C).
        scores: (E, H) or None.
        starts, indices: the lists, (N + 1,) and (E,).
        back_starts, back_indices: the transposed lists, (T + 1,) and (E,).
        edges: (E,) place in the lists of each edge of the transposed lists.
        back_edges: (E,) place in the transposed lists of each edge of the lists.
        backend: see `convnn.ops.select.nearest`.
    """
    return _kernels("ragged_sum", values, backend).ragged_sum(values, scores, starts, indices)


@custom_op("convnn::ragged_products", mutates_args=())
def ragged_products(
    queries: Tensor,
    keys: Tensor,
    starts: Tensor,
    indices: Tensor,
    back_starts: Tensor,
    back_indices: Tensor,
    edges: Tensor,
    back_edges: Tensor,
    heads: int,
    backend: str,
) -> Tensor:
    """Return the inner products (E, H) of queries (N, C) and keys (T, C); see `convnn.ops.ragged.products`."""
    return _kernels("ragged_products", keys, backend).ragged_products(queries, keys, starts, indices, heads)


@custom_op("convnn::ragged_largest", mutates_args=())
def ragged_largest(values: Tensor, starts: Tensor, indices: Tensor, backend: str) -> Tensor:
    """Return the index (N, C) of the largest value of each list, or -1; see `convnn.ops.ragged.maximum`."""
    return _kernels("ragged_largest", values, backend).ragged_largest(values, starts, indices)


@custom_op("convnn::ragged_softmax", mutates_args=())
def ragged_softmax(
    values: Tensor,
    temperatures: Tensor,
    starts: Tensor,
    indices: Tensor,
    back_starts: Tensor,
    back_indices: Tensor,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return means (N, C), of which alone there are gradients, with logarithms and squares; see `reference`."""
    return _kernels("ragged_softmax", values, backend).ragged_softmax(values, temperatures, starts, indices)


@custom_op("convnn::ragged_softmax_backward", mutates_args=())
def ragged_softmax_backward(
    grad: Tensor,
    values: Tensor,
    temperatures: Tensor,
    out: Tensor,
    logs: Tensor,
    back_starts: Tensor,
    back_indices: Tensor,
    backend: str,
) -> Tensor:
    """Return the gradient (T, C) of the values."""
    kernels = _kernels("ragged_softmax", values, backend)
    return kernels.ragged_softmax_backward(grad, values, temperatures, out, logs, back_starts, back_indices)


@custom_op("convnn::take_choices", mutates_args=())
def take_choices(values: Tensor, choices: Tensor, backend: str) -> Tensor:
    """Return the value (N, C) in values (T, C) that each row chose in each channel, or 0 for a negative choice."""
    if not values.shape[0]:
        return values.new_zeros(choices.shape)
    return values.gather(0, choices.clamp_min(0)).masked_fill(choices < 0, 0)


@custom_op("convnn::scatter_choices", mutates_args=())
def scatter_choices(rows: Tensor, choices: Tensor, positions: int, backend: str) -> Tensor:
    """Return the sums (T, C) of the rows (N, C) that chose each position."""
    return _kernels("scatter_choices", rows, backend).scatter_choices(rows, choices, positions)


@custom_op("convnn::transpose_lists", mutates_args=())
def transpose_lists(starts: Tensor, indices: Tensor, positions: int, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return starts (T + 1,) and indices (E,) of the transposed lists, and the place (E,) of each edge before."""
    request = Request("transpose_lists", indices.device, torch.float32, 0, 1)
    return find_kernels(backend, request).transpose_lists(starts, indices, positions)


def _kernels(operator: str, rows: Tensor, backend: str) -> Any:
    return find_kernels(backend, Request(operator, rows.device, rows.dtype, 0, rows.shape[1]))


# Output shapes, for tracing.


@ragged_sum.register_fake
def _(values: Tensor, scores: Tensor | None, starts: Tensor, *_: Any) -> Tensor:
    return values.new_empty(starts.shape[0] - 1, values.shape[1])


@ragged_products.register_fake
def _(queries: Tensor, keys: Tensor, starts: Tensor, indices: Tensor, *rest: Any) -> Tensor:
    return queries.new_empty(indices.shape[0], rest[-2])


@ragged_softmax.register_fake
def _(values: Tensor, temperatures: Tensor, starts: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    means, logs, squares = (values.new_empty(starts.shape[0] - 1, values.shape[1]) for _ in range(3))
    return means, logs, squares


@ragged_softmax_backward.register_fake
def _(grad: Tensor, values: Tensor, *_: Any) -> Tensor:
    return values.new_empty(values.shape)


@ragged_largest.register_fake
def _(values: Tensor, starts: Tensor, indices: Tensor, backend: str) -> Tensor:
    return starts.new_empty(starts.shape[0] - 1, values.shape[1])


@take_choices.register_fake
def _(values: Tensor, choices: Tensor, backend: str) -> Tensor:
    return values.new_empty(choices.shape)


@scatter_choices.register_fake
def _(rows: Tensor, choices: Tensor, positions: int, backend: str) -> Tensor:
    return rows.new_empty(positions, rows.shape[1])


@transpose_lists.register_fake
def _(starts: Tensor, indices: Tensor, positions: int, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    return starts.new_empty(positions + 1), starts.new_empty(indices.shape), starts.new_empty(indices.shape)


# Gradients.


def _save_sum(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.backend = inputs
    ctx.save_for_backward(*tensors)


def _differentiate_sum(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, scores, *lists = ctx.saved_tensors
    grad_values = grad_scores = None
    if ctx.needs_input_grad[0]:
        back, back_scores = _transposed(lists), None if scores is None else scores.index_select(0, lists[4])
        grad_values = ragged_sum(grad, back_scores, *back, ctx.backend).to(values.dtype)
    if scores is not None and ctx.needs_input_grad[1]:
        grad_scores = ragged_products(grad, values, *lists, scores.shape[1], ctx.backend).to(scores.dtype)
    return grad_values, grad_scores, *[None] * 7


def _save_products(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, _, ctx.backend = inputs
    ctx.save_for_backward(*tensors)


def _differentiate_products(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    queries, keys, *lists = ctx.saved_tensors
    grad_queries = grad_keys = None
    if ctx.needs_input_grad[0]:
        grad_queries = ragged_sum(keys, grad, *lists, ctx.backend).to(queries.dtype)
    if ctx.needs_input_grad[1]:
        back_grad = grad.index_select(0, lists[4])
        grad_keys = ragged_sum(queries, back_grad, *_transposed(lists), ctx.backend).to(keys.dtype)
    return grad_queries, grad_keys, *[None] * 8


def _transposed(lists: Sequence[Tensor]) -> tuple[Tensor, ...]:
    starts, indices, back_starts, back_indices, edges, back_edges = lists
    return back_starts, back_indices, starts, indices, back_edges, edges


def _save_softmax(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    values, temperatures, _, _, back_starts, back_indices, ctx.backend = inputs
    ctx.save_for_backward(values, temperatures, *output, back_starts, back_indices)


def _differentiate_softmax(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    values, temperatures, out, logs, squares, *back = ctx.saved_tensors
    grad_values = grad_temperatures = None
    if ctx.needs_input_grad[0]:
        grad_values = ragged_softmax_backward(grad, values, temperatures, out, logs, *back, ctx.backend)
    if ctx.needs_input_grad[1]:
        grad_temperatures = (grad * (squares - out.square())).sum(0).to(temperatures.dtype)
    return grad_values, grad_temperatures, *[None] * 5


def _save_take(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    values, choices, ctx.backend = inputs
    ctx.positions = values.shape[0]
    ctx.save_for_backward(choices)


def _differentiate_take(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return scatter_choices(grad, ctx.saved_tensors[0], ctx.positions, ctx.backend), None, None


def _save_scatter(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, choices, _, ctx.backend = inputs
    ctx.save_for_backward(choices)


def _differentiate_scatter(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return take_choices(grad, ctx.saved_tensors[0], ctx.backend), None, None, None


ragged_sum.register_autograd(_differentiate_sum, setup_context=_save_sum)
ragged_products.register_autograd(_differentiate_products, setup_context=_save_products)
ragged_softmax.register_autograd(_differentiate_softmax, setup_context=_save_softmax)
take_choices.register_autograd(_differentiate_take, setup_context=_save_take)
scatter_choices.register_autograd(_differentiate_scatter, setup_context=_save_scatter)


# Cost: a multiply-add counts as two operations.


@register_flop_formula(torch.ops.convnn.ragged_sum)
def _(values: Sequence[int], scores: Any, starts: Sequence[int], indices: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * indices[0] * values[1]


@register_flop_formula(torch.ops.convnn.ragged_products)
def _(
    queries: Sequence[int], keys: Sequence[int], starts: Sequence[int], indices: Sequence[int], *_: Any, **__: Any
) -> int:
    return 2 * indices[0] * keys[1]


@register_flop_formula(torch.ops.convnn.ragged_softmax)
def _(
    values: Sequence[int], temperatures: Any, starts: Sequence[int], indices: Sequence[int], *_: Any, **__: Any
) -> int:
    return 6 * indices[0] * values[1]


@register_flop_formula(torch.ops.convnn.ragged_softmax_backward)
def _(grad: Any, values: Sequence[int], *args: Any, **_: Any) -> int:
    return 6 * args[4][0] * values[1]


@register_flop_formula(torch.ops.convnn.ragged_largest)
def _(values: Sequence[int], starts: Sequence[int], indices: Sequence[int], *_: Any, **__: Any) -> int:
    return indices[0] * values[1]


@register_flop_formula(torch.ops.convnn.scatter_choices)
def _(rows: Sequence[int], *_: Any, **__: Any) -> int:
    return prod(rows)
