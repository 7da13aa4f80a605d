"""Convolutions of few channels as a PyTorch custom op, like those of `_library`."""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor
from torch.library import custom_op

from convnn.backends import reference
from convnn.backends._windows import window_counts
from convnn.backends.request import Request
from convnn.ops._convolution_op import register_gradients
from convnn.ops._dispatch import find_kernels


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


register_gradients("sliding", sliding, sliding_backward, reference.sliding_backward)
