"""The inverse of a triangular convolution as a PyTorch custom op, like those of `_library`."""

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight
from torch.utils.flop_counter import register_flop_formula

from convnn.backends.request import Request
from convnn.ops._dispatch import find_kernels


@custom_op("convnn::solve_triangular", mutates_args=())
def solve_triangular(z: Tensor, weight: Tensor, groups: int, backend: str) -> Tensor:
    """Return x (B, C, H, W); see `convnn.ops.triangular.solve`."""
    kernels = find_kernels(backend, Request("solve_triangular", z.device, z.dtype, 1, z.shape[1], groups))
    return kernels.solve_triangular(z, weight, groups)


@solve_triangular.register_fake
def _(z: Tensor, *_: Any) -> Tensor:
    return z.new_empty(z.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, weight, ctx.groups, ctx.backend = inputs
    ctx.save_for_backward(weight, output)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradients by the transposed system, which is triangular from the last position to the first."""
    weight, x = ctx.saved_tensors
    grouped = weight.unflatten(0, (ctx.groups, -1))
    transposed = grouped.transpose(1, 2).flip(1, 2).flatten(0, 1)
    turned = grad.unflatten(1, (ctx.groups, -1)).flip(2, 3, 4).flatten(1, 2)
    solved = solve_triangular(turned.contiguous(), transposed.contiguous(), ctx.groups, ctx.backend)
    grad_z = solved.unflatten(1, (ctx.groups, -1)).flip(2, 3, 4).flatten(1, 2)
    return grad_z, _gradient_of_weight(grad_z, x, weight, ctx.groups), None, None


def _gradient_of_weight(grad_z: Tensor, x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Return minus the gradient of the convolution of x, of whose last tap the lower triangle was read."""
    height, width = weight.shape[2:]
    padded = F.pad(x, (width - 1, 0, height - 1, 0))
    gradient = -conv2d_weight(padded, list(weight.shape), grad_z, groups=groups)
    q = weight.shape[1]
    read = torch.ones(q, q, dtype=weight.dtype, device=weight.device).tril().repeat(groups, 1)
    last = torch.zeros(height, width, dtype=weight.dtype, device=weight.device)
    last[-1, -1] = 1
    return gradient * (1 - last * (1 - read).view(-1, q, 1, 1))


solve_triangular.register_autograd(_differentiate, setup_context=_save)


@register_flop_formula(torch.ops.convnn.solve_triangular)
def _(z: tuple[int, ...], weight: tuple[int, ...], *_: Any, **__: Any) -> int:
    return 2 * z[0] * prod(z[2:]) * prod(weight)
