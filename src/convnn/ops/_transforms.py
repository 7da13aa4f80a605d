"""The operators under the transforms of `torch.func` and forward-mode differentiation.

PyTorch uses the gradient formula of a custom op in `backward` only: `torch.func.grad` refuses it
(https://github.com/pytorch/pytorch/issues/170834), and forward-mode derivatives are silently dropped. Under these
transforms, as for second derivatives, the reference implementation therefore computes, whichever backend is named; it
is plain PyTorch. Operators without a gradient stay with their backend, and `vmap` folds its samples into the batch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from convnn.backends import reference
from convnn.ops import _library


def is_transformed() -> bool:
    """Return whether a transform is active whose derivatives a custom op cannot provide."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def similarity(queries: Tensor, keys: Tensor, indices: Tensor, metric: str, backend: str) -> Tensor:
    """Return scores (B, N, K); see `convnn.ops.weigh.similarity`."""
    if is_transformed():
        return reference.similarity(queries, keys, indices, metric)
    return _library.similarity(queries, keys, indices, metric, backend)


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
    if is_transformed():
        return reference.convolve(values, indices, scores, weight, bias, groups)
    return _library.convolve(values, indices, scores, weight, bias, groups, backend)


def _register_vmap(op: Any, shared: Sequence[int]) -> None:
    """Register a `vmap` rule that folds samples into the batch, the first axis of every tensor.

    The arguments at the indices `shared` have no batch axis; where one of them is mapped, the samples are computed one
    by one.
    """

    def rule(info: Any, in_dims: Sequence[int | None], *arguments: Any) -> tuple[Tensor, int]:
        count = info.batch_size
        samples = [_samples(argument, dim, count) for argument, dim in zip(arguments, in_dims, strict=True)]
        if any(in_dims[i] is not None for i in shared):
            outputs = [op(*(argument[i] for argument in samples)) for i in range(count)]
            return torch.stack(outputs), 0
        folded = [
            torch.cat(list(parts)) if isinstance(argument, Tensor) and i not in shared else argument
            for i, (parts, argument) in enumerate(zip(samples, arguments, strict=True))
        ]
        out = op(*folded)
        return out.unflatten(0, (count, out.shape[0] // count)), 0

    torch.library.register_vmap(op, rule)


def _samples(argument: Any, dim: int | None, count: int) -> Sequence[Any]:
    return argument.unbind(dim) if dim is not None else [argument] * count


_register_vmap(_library.nearest, shared=(4, 5))  # positions and candidates
_register_vmap(_library.nearest_in_clusters, shared=(4, 5))
_register_vmap(_library.one_of_each, shared=(2,))  # choices
_register_vmap(_library.largest, shared=())
