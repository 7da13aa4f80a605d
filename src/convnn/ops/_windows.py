"""Convolutions with a kernel for each channel as a PyTorch custom op, like those of `_library`."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op
from torch.utils.flop_counter import register_flop_formula

from convnn.backends import reference
from convnn.backends._windows import map_of, rows_of, window_counts
from convnn.backends.request import Request
from convnn.ops._dispatch import find_kernels
from convnn.ops._library import save_all, second_derivative


@custom_op("convnn::depthwise", mutates_args=())
def depthwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    backend: str,
) -> Tensor:
    """Return outputs (B, C, *S') in the memory order (B, *S', C); see `convnn.ops.windows.depthwise`."""
    out = _kernels(x, weight, backend).depthwise(x, weight, bias, stride, padding, dilation)
    return _in_rows(out)


@custom_op("convnn::depthwise_backward", mutates_args=())
def depthwise_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    needs: Sequence[bool],
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Return the gradients of map and weight; an empty tensor for each one that is not needed."""
    kernels = _kernels(x, weight, backend)
    grad_x, grad_weight = kernels.depthwise_backward(grad, x, weight, stride, padding, dilation, needs)
    return (
        grad.new_empty(0) if grad_x is None else _in_rows(grad_x),
        grad.new_empty(0) if grad_weight is None else grad_weight.contiguous(),
    )


def _kernels(x: Tensor, weight: Tensor, backend: str) -> Any:
    request = Request("depthwise", x.device, x.dtype, prod(weight.shape[2:]), x.shape[1], x.shape[1])
    return find_kernels(backend, request)


def _in_rows(x: Tensor) -> Tensor:
    """Return a new map with exactly the strides of contiguous rows, also along axes of a single position."""
    rows = rows_of(x)
    return map_of(rows.flatten().view(rows.shape))


def _empty_rows(x: Tensor, shape: Sequence[int]) -> Tensor:
    return map_of(x.new_empty(shape[0], *shape[2:], shape[1]))


@depthwise.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    backend: str,
) -> Tensor:
    sides = window_counts(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    return _empty_rows(x, (*x.shape[:2], *sides))


@depthwise_backward.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor, *settings: Any) -> tuple[Tensor, Tensor]:
    needs = settings[3]
    grad_x = _empty_rows(x, x.shape) if needs[0] else grad.new_empty(0)
    return grad_x, weight.new_empty(weight.shape) if needs[1] else grad.new_empty(0)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _, *ctx.geometry, ctx.backend = inputs
    ctx.save_for_backward(x, weight)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    needs = list(ctx.needs_input_grad[:2])
    grads: Sequence[Tensor | None] = [None, None]
    if any(needs):
        grads = depthwise_backward(grad, x, weight, *ctx.geometry, needs, ctx.backend)
    of_map, of_weight = (one if need else None for one, need in zip(grads, needs, strict=True))
    of_bias = grad.sum([0, *range(2, grad.dim())]) if ctx.needs_input_grad[2] else None
    return of_map, of_weight, of_bias, None, None, None, None


def _second(ctx: Any, *grads: Tensor | None) -> Any:
    def first(grad: Tensor, *arguments: Any) -> Sequence[Tensor]:
        gradients = reference.depthwise_backward(grad, *arguments[:-1])
        return [grad.new_empty(0) if tensor is None else tensor for tensor in gradients]

    return second_derivative(ctx, grads, first)


depthwise.register_autograd(_differentiate, setup_context=_save)
depthwise_backward.register_autograd(_second, setup_context=save_all)


@register_flop_formula(torch.ops.convnn.depthwise)
def _(x: Sequence[int], weight: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    return 2 * prod(out_shape) * prod(weight[2:])


@register_flop_formula(torch.ops.convnn.depthwise_backward)
def _(grad: Sequence[int], x: Sequence[int], weight: Sequence[int], *settings: Any, **_: Any) -> int:
    return sum(settings[3]) * 2 * prod(grad) * prod(weight[2:])
