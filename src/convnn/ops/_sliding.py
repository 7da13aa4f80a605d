"""Convolutions of few channels as a PyTorch custom op, like those of `_library`."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op
from torch.utils.flop_counter import register_flop_formula

from convnn.backends import reference
from convnn.backends._windows import window_counts
from convnn.backends.request import Request
from convnn.ops._dispatch import find_kernels
from convnn.ops._library import save_all, second_derivative


@custom_op("convnn::sliding", mutates_args=())
def sliding(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int], dilation: Sequence[int], backend: str
) -> Tensor:
    """Return contiguous outputs (B, C_out, *S'); see `convnn.ops.sliding`."""
    return _kernels(x, weight, backend).sliding(x, weight, bias, padding, dilation).contiguous()


@custom_op("convnn::sliding_backward", mutates_args=())
def sliding_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    padding: Sequence[int],
    dilation: Sequence[int],
    needs: Sequence[bool],
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Return the gradients of map and weight; an empty tensor for each one that is not needed."""
    grads = _kernels(x, weight, backend).sliding_backward(grad, x, weight, padding, dilation, needs)
    of_map, of_weight = (grad.new_empty(0) if one is None else one.contiguous() for one in grads)
    return of_map, of_weight


def _kernels(x: Tensor, weight: Tensor, backend: str) -> Any:
    groups = x.shape[1] // weight.shape[1]
    return find_kernels(backend, Request("sliding", x.device, x.dtype, prod(weight.shape[2:]), x.shape[1], groups))


@sliding.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int], dilation: Sequence[int], backend: str
) -> Tensor:
    sides = window_counts(x.shape[2:], weight.shape[2:], [1] * len(padding), padding, dilation)
    return x.new_empty(x.shape[0], weight.shape[0], *sides)


@sliding_backward.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor, *settings: Any) -> tuple[Tensor, Tensor]:
    of_map, of_weight = (
        one.new_empty(one.shape) if need else grad.new_empty(0)
        for one, need in zip((x, weight), settings[2], strict=True)
    )
    return of_map, of_weight


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _, *ctx.geometry, ctx.backend = inputs
    ctx.save_for_backward(x, weight)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    needs = list(ctx.needs_input_grad[:2])
    grads: Sequence[Tensor | None] = [None, None]
    if any(needs):
        grads = sliding_backward(grad, x, weight, *ctx.geometry, needs, ctx.backend)
    of_map, of_weight = (one if need else None for one, need in zip(grads, needs, strict=True))
    of_bias = grad.sum([0, *range(2, grad.dim())]) if ctx.needs_input_grad[2] else None
    return of_map, of_weight, of_bias, None, None, None


def _second(ctx: Any, *grads: Tensor | None) -> Any:
    def first(grad: Tensor, *arguments: Any) -> Sequence[Tensor]:
        gradients = reference.sliding_backward(grad, *arguments[:-1])
        return [grad.new_empty(0) if tensor is None else tensor for tensor in gradients]

    return second_derivative(ctx, grads, first)


sliding.register_autograd(_differentiate, setup_context=_save)
sliding_backward.register_autograd(_second, setup_context=save_all)


@register_flop_formula(torch.ops.convnn.sliding)
def _(x: Sequence[int], weight: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    return 2 * prod(out_shape) * prod(weight[1:])


@register_flop_formula(torch.ops.convnn.sliding_backward)
def _(grad: Sequence[int], x: Sequence[int], weight: Sequence[int], *settings: Any, **_: Any) -> int:
    return sum(settings[2]) * 2 * prod(grad) * prod(weight[1:])
