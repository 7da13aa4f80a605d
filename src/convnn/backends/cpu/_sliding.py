"""Convolutions of few channels by the compiled core: the lanes of its vectors are neighbouring positions of a row."""

from collections.abc import Sequence

import torch
from torch import Tensor

from convnn.backends._windows import window_counts
from convnn.backends.cpu._core import core, run


def sliding(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """Return a convolution (B, C_out, *S') with stride 1; see `convnn.ops.sliding`."""
    dtype = _dtype(x, weight)
    maps, kernels = _dense(x, dtype), _dense(weight, dtype)
    sides = window_counts(x.shape[2:], weight.shape[2:], [1] * len(padding), padding, dilation)
    out = maps.new_empty(x.shape[0], weight.shape[0], *sides)
    if out.numel():
        biases = None if bias is None else _dense(bias, dtype)
        run(core.sliding, _volume(maps), _volume(kernels), biases, *_geometry(padding, dilation), _volume(out))
    return out.to(x.dtype)


def sliding_backward(
    grad: Tensor, x: Tensor, weight: Tensor, padding: Sequence[int], dilation: Sequence[int], needs: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the needed gradients of map and weight, from the gradient (B, C_out, *S') of the output.

    That of the map is the convolution of the gradient with the mirrored kernel from outputs to inputs.
    """
    grad_x, grad_weight = None, None
    if needs[0]:
        back = _padding_back(weight, padding, dilation)
        grad_x = sliding(grad, _mirrored(x, weight), None, back, dilation).to(x.dtype)
    if needs[1]:
        dtype = _dtype(grad, x)
        grad_weight = x.new_zeros(weight.shape, dtype=dtype)
        if grad.numel():
            maps = _volume(_dense(grad, dtype)), _volume(_dense(x, dtype))
            run(core.sliding_weight, *maps, *_geometry(padding, dilation), _volume(grad_weight))
        grad_weight = grad_weight.to(weight.dtype)
    return grad_x, grad_weight


def _mirrored(x: Tensor, weight: Tensor) -> Tensor:
    """Return the kernel (C, C_out / G, *K) that takes a gradient back to the map."""
    groups = x.shape[1] // weight.shape[1]
    by_group = weight.unflatten(0, (groups, weight.shape[0] // groups)).transpose(1, 2)
    return by_group.flatten(0, 1).flip([*range(2, weight.dim())])


def _padding_back(weight: Tensor, padding: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Return the padding of a gradient; negative where the map had more than its kernel reaches."""
    return [d * (k - 1) - p for k, p, d in zip(weight.shape[2:], padding, dilation, strict=True)]


def _dtype(*tensors: Tensor) -> torch.dtype:
    return torch.float64 if any(one.dtype == torch.float64 for one in tensors) else torch.float32


def _dense(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.detach().to(dtype).contiguous()


def _volume(x: Tensor) -> Tensor:
    """Return a map or kernel with three axes."""
    return x.reshape(*x.shape[:2], *[1] * (5 - x.dim()), *x.shape[2:])


def _geometry(padding: Sequence[int], dilation: Sequence[int]) -> list[list[int]]:
    """Return both for three axes."""
    missing = 3 - len(padding)
    return [[0] * missing + [*padding], [1] * missing + [*dilation]]
