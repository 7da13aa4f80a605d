"""The learned kernel over the neighbours and its gradients, dense or depthwise."""

from collections.abc import Sequence

import torch
from torch import Tensor

from convnn.backends import triton
from convnn.backends.triton import _dense, _depthwise
from convnn.backends.triton._checks import check_indices
from convnn.backends.triton._launch import computing_on


def convolve(
    values: Tensor, indices: Tensor, scores: Tensor | None, weight: Tensor, bias: Tensor | None, groups: int
) -> Tensor:
    """Apply a learned kernel to the ordered neighbours, (B, N, C_out); see `convnn.ops.aggregate.convolve`.

    Index -1 is no neighbour, here and in the gradients: its slot of the kernel has nothing to multiply.

    Raises:
        InputError: in the interpreter, where a read outside of memory goes unnoticed: an index is not that of a row.
    """
    if triton.INTERPRETS:
        check_indices(indices, values.shape[1])
    form = _dense if groups == 1 else _depthwise
    with computing_on(values):
        return form.convolve(
            values.contiguous(),
            indices.contiguous(),
            None if scores is None else scores.contiguous(),
            weight.to(values.dtype),
            None if bias is None else bias.contiguous(),
        )


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
    form = _dense if groups == 1 else _depthwise
    needs_values, needs_scores, needs_weight = needs
    needs_scores = needs_scores and scores is not None
    with computing_on(values):
        grad, values, indices = grad.contiguous(), values.contiguous(), indices.contiguous()
        factors = None if scores is None else scores.contiguous()
        kernels = weight.to(values.dtype)
        grad_values = torch.empty_like(values) if needs_values else None
        grad_scores = torch.empty_like(factors) if factors is not None and needs_scores else None
        if grad_values is not None or grad_scores is not None:
            form.spread(grad, values, indices, factors, kernels, grad_values, grad_scores)
        grad_weight = form.gradient_of_weight(grad, values, indices, factors, kernels) if needs_weight else None
        return grad_values, grad_scores, None if grad_weight is None else grad_weight.to(weight.dtype)
