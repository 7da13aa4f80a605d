"""Convolutions with a kernel for each channel as a PyTorch custom op, like those of `_library`."""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor
from torch.library import custom_op

from convnn.backends import reference
from convnn.backends._windows import map_of, rows_of, window_counts
from convnn.backends.request import Request
from convnn.ops._convolution_op import register_gradients
from convnn.ops._dispatch import find_kernels


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


register_gradients("depthwise", depthwise, depthwise_backward, reference.depthwise_backward)
