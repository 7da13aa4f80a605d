"""What the custom ops of convolutions share: their gradients, those of their gradients, and FLOPs."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from convnn.ops._library import save_all, second_derivative


def register_gradients(name: str, op: Any, backward: Any, definition: Callable[..., Sequence[Tensor | None]]) -> None:
    """Register how an op and its backward op are differentiated, and how many FLOPs they take.

    Args:
        name: of the op; that of the backward op ends in "_backward".
        op: from map, weight, bias, geometry and backend to a map.
        backward: from the gradient of that, map, weight, geometry, whether each gradient is needed, and backend to the
            gradients of map and weight, empty ones where they are not needed.
        definition: the backward op in differentiable functions, without a backend; None where it is not needed.
    """

    def save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, *ctx.geometry, ctx.backend = inputs
        ctx.save_for_backward(x, weight)

    def differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        needs = list(ctx.needs_input_grad[:2])
        grads: Sequence[Tensor | None] = [None, None]
        if any(needs):
            grads = backward(grad, *ctx.saved_tensors, *ctx.geometry, needs, ctx.backend)
        of_map, of_weight = (one if need else None for one, need in zip(grads, needs, strict=True))
        of_bias = grad.sum([0, *range(2, grad.dim())]) if ctx.needs_input_grad[2] else None
        return of_map, of_weight, of_bias, *[None] * len(ctx.geometry), None

    def differentiate_again(ctx: Any, *grads: Tensor | None) -> Any:
        def first(grad: Tensor, *arguments: Any) -> Sequence[Tensor]:
            gradients = definition(grad, *arguments[:-1])
            return [grad.new_empty(0) if tensor is None else tensor for tensor in gradients]

        return second_derivative(ctx, grads, first)

    op.register_autograd(differentiate, setup_context=save)
    backward.register_autograd(differentiate_again, setup_context=save_all)
    register_flop_formula(getattr(torch.ops.convnn, name))(_flops)
    register_flop_formula(getattr(torch.ops.convnn, f"{name}_backward"))(_flops_of_gradients)


def _flops(x: Sequence[int], weight: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    return 2 * prod(out_shape) * prod(weight[1:])


def _flops_of_gradients(grad: Sequence[int], x: Sequence[int], weight: Sequence[int], *settings: Any, **_: Any) -> int:
    return sum(settings[-2]) * 2 * prod(grad) * prod(weight[1:])
