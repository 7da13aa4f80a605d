"""The operators as PyTorch custom ops, each with its output shape for tracing, its gradient and its cost.

Eager mode, torch.compile and torch.export all see the same op; the backend is chosen inside it.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op
from torch.utils.flop_counter import register_flop_formula

from convnn.backends import reference
from convnn.backends.request import Request
from convnn.ops._dispatch import find_kernels
from convnn.ops.clusters import Clusters, Problem, cost, search


@custom_op("convnn::nearest", mutates_args=())
def nearest(
    queries: Tensor,
    keys: Tensor,
    K: int,
    metric: str,
    positions: Tensor | None,
    candidates: Tensor | None,
    backend: str,
) -> Tensor:
    """Return indices (B, N, K); see `convnn.ops.select.nearest`."""
    kernels = find_kernels(backend, Request("nearest", keys.device, keys.dtype, K, keys.shape[-1]))
    return kernels.nearest(queries, keys, K, metric, positions, candidates)


@custom_op("convnn::nearest_in_clusters", mutates_args=())
def nearest_in_clusters(
    queries: Tensor,
    keys: Tensor,
    K: int,
    metric: str,
    positions: Tensor | None,
    candidates: Tensor | None,
    recall: float | None,
    probes: int | None,
    lists: int | None,
    seed: int,
    backend: str,
) -> Tensor:
    """Return indices (B, N, K); see `convnn.ops.select.nearest` with method="clustered"."""
    request = Request("nearest_in_clusters", keys.device, keys.dtype, K, keys.shape[-1])
    problem = Problem(find_kernels(backend, request), queries, keys, K, metric, positions, candidates)
    return search(problem, Clusters(recall, probes, lists, seed))


@custom_op("convnn::one_of_each", mutates_args=())
def one_of_each(queries: Tensor, keys: Tensor, choices: Tensor, metric: str, unlike: bool, backend: str) -> Tensor:
    """Return indices (B, N, K); see `convnn.ops.select.one_of_each`."""
    kernels = find_kernels(backend, Request("one_of_each", keys.device, keys.dtype, choices.shape[1], keys.shape[-1]))
    return kernels.one_of_each(queries, keys, choices, metric, unlike)


@custom_op("convnn::largest", mutates_args=())
def largest(
    values: Tensor,
    indices: Tensor,
    scores: Tensor | None,
    absent: Tensor | None,
    centers: Tensor | None,
    backend: str,
) -> Tensor:
    """Return the slots (B, N, C) of the neighbours with the largest values; see `convnn.ops.aggregate.maximum`."""
    request = Request("largest", values.device, values.dtype, indices.shape[-1], values.shape[-1])
    kernels = find_kernels(backend, request)
    return kernels.largest(values, indices, scores, absent, centers)


@custom_op("convnn::similarity", mutates_args=())
def similarity(queries: Tensor, keys: Tensor, indices: Tensor, metric: str, backend: str) -> Tensor:
    """Return scores (B, N, K); see `convnn.ops.weigh.similarity`."""
    return _similarity_kernels(keys, indices, backend).similarity(queries, keys, indices, metric)


@custom_op("convnn::similarity_backward", mutates_args=())
def similarity_backward(
    grad: Tensor, queries: Tensor, keys: Tensor, indices: Tensor, metric: str, backend: str
) -> tuple[Tensor, Tensor]:
    """Return the gradients of queries and keys."""
    return _similarity_kernels(keys, indices, backend).similarity_backward(grad, queries, keys, indices, metric)


@custom_op("convnn::convolve", mutates_args=())
def convolve(
    values: Tensor,
    indices: Tensor,
    scores: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    groups: int,
    backend: str,
) -> Tensor:
    """Return outputs (B, N, C_out); see `convnn.ops.aggregate.convolve`."""
    return _convolve_kernels(values, indices, groups, backend).convolve(values, indices, scores, weight, bias, groups)


@custom_op("convnn::convolve_backward", mutates_args=())
def convolve_backward(
    grad: Tensor,
    values: Tensor,
    indices: Tensor,
    scores: Tensor | None,
    weight: Tensor,
    groups: int,
    needs: Sequence[bool],
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of values, scores and weight; an empty tensor for each one that is not needed."""
    kernels = _convolve_kernels(values, indices, groups, backend)
    gradients = kernels.convolve_backward(grad, values, indices, scores, weight, groups, needs)
    grad_values, grad_scores, grad_weight = (grad.new_empty(0) if tensor is None else tensor for tensor in gradients)
    return grad_values, grad_scores, grad_weight


def _similarity_kernels(keys: Tensor, indices: Tensor, backend: str) -> Any:
    return find_kernels(backend, Request("similarity", keys.device, keys.dtype, indices.shape[-1], keys.shape[-1]))


def _convolve_kernels(values: Tensor, indices: Tensor, groups: int, backend: str) -> Any:
    request = Request("convolve", values.device, values.dtype, indices.shape[-1], values.shape[-1], groups)
    return find_kernels(backend, request)


# Output shapes, for tracing.


@nearest.register_fake
@nearest_in_clusters.register_fake
def _(queries: Tensor, keys: Tensor, K: int, *_: Any) -> Tensor:
    return queries.new_empty((*queries.shape[:2], K), dtype=torch.long)


@one_of_each.register_fake
def _(queries: Tensor, keys: Tensor, choices: Tensor, *_: Any) -> Tensor:
    return queries.new_empty((*queries.shape[:2], choices.shape[1]), dtype=torch.long)


@largest.register_fake
def _(values: Tensor, indices: Tensor, *_: Any) -> Tensor:
    return values.new_empty((*indices.shape[:2], values.shape[-1]), dtype=torch.long)


@similarity.register_fake
def _(queries: Tensor, keys: Tensor, indices: Tensor, *_: Any) -> Tensor:
    return queries.new_empty(indices.shape, dtype=torch.promote_types(queries.dtype, torch.float32))


@similarity_backward.register_fake
def _(grad: Tensor, queries: Tensor, keys: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return _dense_like(queries), _dense_like(keys)


@convolve.register_fake
def _(values: Tensor, indices: Tensor, scores: Tensor | None, weight: Tensor, *_: Any) -> Tensor:
    return values.new_empty((*indices.shape[:2], weight.shape[0]))


@convolve_backward.register_fake
def _(
    grad: Tensor,
    values: Tensor,
    indices: Tensor,
    scores: Tensor | None,
    weight: Tensor,
    groups: int,
    needs: Sequence[bool],
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    gradients = [
        _dense_like(tensor) if need and tensor is not None else grad.new_empty(0)
        for tensor, need in zip((values, scores, weight), needs, strict=True)
    ]
    return gradients[0], gradients[1], gradients[2]


def _dense_like(x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


# Gradients.


def _save_similarity(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    queries, keys, indices, ctx.metric, ctx.backend = inputs
    ctx.save_for_backward(queries, keys, indices)


def _differentiate_similarity(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    grad_queries, grad_keys = similarity_backward(grad, *ctx.saved_tensors, ctx.metric, ctx.backend)
    return grad_queries, grad_keys, None, None, None


def _save_convolve(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    values, indices, scores, weight, bias, ctx.groups, ctx.backend = inputs
    ctx.save_for_backward(values, indices, scores, weight, bias)


def _differentiate_convolve(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, indices, scores, weight, bias = ctx.saved_tensors
    needs_values, _, needs_scores, needs_weight, needs_bias, *_ = ctx.needs_input_grad
    needs = [needs_values, needs_scores, needs_weight]
    grads = [None, None, None]
    if any(needs):
        grads = convolve_backward(grad, values, indices, scores, weight, ctx.groups, needs, ctx.backend)
    grad_values, grad_scores, grad_weight = (one if need else None for one, need in zip(grads, needs, strict=True))
    grad_bias = grad.sum((0, 1)).to(bias.dtype) if needs_bias else None
    return grad_values, None, grad_scores, grad_weight, grad_bias, None, None


similarity.register_autograd(_differentiate_similarity, setup_context=_save_similarity)
convolve.register_autograd(_differentiate_convolve, setup_context=_save_convolve)


# Second derivatives: rare enough to leave to the reference implementation and autograd.


def save_all(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.arguments = [None if isinstance(value, Tensor) else value for value in inputs]
    ctx.save_for_backward(*(value if isinstance(value, Tensor) else None for value in inputs))


def _saved_arguments(ctx: Any) -> list[Any]:
    """Return the saved arguments of the op; floating tensors are detached leaves that require a gradient."""
    arguments = list(ctx.arguments)
    for i, tensor in enumerate(ctx.saved_tensors):
        if tensor is not None:
            arguments[i] = tensor.detach().requires_grad_(tensor.is_floating_point())
    return arguments


def second_derivative(ctx: Any, grads: Sequence[Tensor | None], first: Callable[..., Sequence[Tensor]]) -> Any:
    """Return the gradients of all arguments of a backward op, whose outputs `first` computes differentiably."""
    with torch.enable_grad():
        arguments = _saved_arguments(ctx)
        outputs = first(*arguments)
    inputs = [i for i, value in enumerate(arguments) if isinstance(value, Tensor) and value.requires_grad]
    used = [(out, grad) for out, grad in zip(outputs, grads, strict=True) if grad is not None and out.requires_grad]
    results: list[Tensor | None] = [None] * len(arguments)
    gradients = torch.autograd.grad(
        [out for out, _ in used], [arguments[i] for i in inputs], [grad for _, grad in used], allow_unused=True
    )
    for i, gradient in zip(inputs, gradients, strict=True):
        results[i] = gradient
    return tuple(results)


def _second_of_similarity(ctx: Any, *grads: Tensor | None) -> Any:
    def first(grad: Tensor, queries: Tensor, keys: Tensor, indices: Tensor, metric: str, _: str) -> Sequence[Tensor]:
        return reference.similarity_backward(grad, queries, keys, indices, metric)

    return second_derivative(ctx, grads, first)


def _second_of_convolve(ctx: Any, *grads: Tensor | None) -> Any:
    def first(
        grad: Tensor,
        values: Tensor,
        indices: Tensor,
        scores: Tensor | None,
        weight: Tensor,
        groups: int,
        needs: Sequence[bool],
        _: str,
    ) -> Sequence[Tensor]:
        gradients = reference.convolve_backward(grad, values, indices, scores, weight, groups, needs)
        return [grad.new_empty(0) if tensor is None else tensor for tensor in gradients]

    return second_derivative(ctx, grads, first)


similarity_backward.register_autograd(_second_of_similarity, setup_context=save_all)
convolve_backward.register_autograd(_second_of_convolve, setup_context=save_all)


# Cost: a multiply-add counts as two operations, as in torch's own FLOP formulas.


@register_flop_formula(torch.ops.convnn.nearest)
def _(queries: Sequence[int], keys: Sequence[int], K: int, metric: str, *args: Any, **_: Any) -> int:
    candidates = args[1]
    return 2 * prod(queries) * (keys[1] if candidates is None else candidates[0])


@register_flop_formula(torch.ops.convnn.nearest_in_clusters)
def _(queries: Sequence[int], keys: Sequence[int], K: int, metric: str, *args: Any, **_: Any) -> int:
    candidates, recall, probes, lists = args[1:5]
    members = keys[1] if candidates is None else candidates[0]
    return 2 * queries[0] * queries[2] * cost(queries[1], members, Clusters(recall, probes, lists))


@register_flop_formula(torch.ops.convnn.one_of_each)
def _(queries: Sequence[int], keys: Sequence[int], choices: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * prod(queries) * choices[1] * choices[2]


@register_flop_formula(torch.ops.convnn.similarity)
def _(queries: Sequence[int], keys: Sequence[int], indices: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * prod(indices) * keys[2]


@register_flop_formula(torch.ops.convnn.similarity_backward)
def _(grad: Sequence[int], queries: Sequence[int], keys: Sequence[int], *_: Any, **__: Any) -> int:
    return 4 * prod(grad) * keys[2]


@register_flop_formula(torch.ops.convnn.convolve)
def _(values: Sequence[int], indices: Sequence[int], scores: Any, weight: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * indices[0] * indices[1] * prod(weight)


@register_flop_formula(torch.ops.convnn.convolve_backward)
def _(
    grad: Sequence[int],
    values: Sequence[int],
    indices: Sequence[int],
    scores: Any,
    weight: Sequence[int],
    groups: int,
    needs: Sequence[bool],
    *_: Any,
    **__: Any,
) -> int:
    products = (needs[0] or needs[1]) + needs[2]
    return products * 2 * indices[0] * indices[1] * prod(weight)
