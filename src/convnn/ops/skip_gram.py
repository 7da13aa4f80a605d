"""Skip-gram with negative samples: a pass over pairs, in place."""

import torch
from torch import Tensor

from convnn.backends.request import Request
from convnn.errors import InputError
from convnn.ops._dispatch import find_kernels


def skip_gram(
    vertex: Tensor,
    context: Tensor,
    positive: Tensor,
    negative: Tensor,
    rates: Tensor,
    *,
    groups: Tensor | None = None,
    weight_decay: float = 0.0,
    negative_weight: float = 1.0,
    backend: str = "auto",
) -> Tensor:
    r"""Train two embeddings on pairs, one after the other, and return the losses of the pairs (n,) before their steps.

    For each pair, its negatives in order and then its tail, with :math:`v` the head's row of `vertex`, :math:`c` the
    other's row of `context`, label y = 1 and weight t = 1 for the tail, y = 0 and t = `negative_weight` for negatives:

    .. math::
        g = \sigma(v \cdot c) - y, \qquad v \leftarrow v - \eta t (g c + \delta v), \qquad
        c \leftarrow c - \eta t (g v + \delta c)

    both from old values. The loss is :math:`-\sum t \log(\sigma \text{ or } 1 - \sigma)` divided by the sum of weights.

    Args:
        vertex: (N, D) floating, contiguous, changed in place.
        context: (N, D) of the same type, changed in place.
        positive: (n, 2) int64, head and tail of each pair.
        negative: (n, K) int64, wrong tails of each pair.
        rates: (n,) float64, the learning rate :math:`\eta` of each pair.
        groups: (G + 1,) int64, ascending from 0 to n: pairs of different groups must have no head, and no tail or
            negative, in common. Groups then run at once with the same result as one after the other.
        weight_decay: :math:`\delta`.
        negative_weight: t of negatives.
        backend: as in `convnn.ops.select.nearest`.

    Raises:
        InputError: shapes or types do not fit, a node lies outside the embeddings, or groups share a row.

    Reference:
        Mikolov et al., arXiv 1310.4546, equation 4; Zhu et al., "GraphVite", WWW 2019, for weights and order.
    """
    pairs = positive.shape[0]
    groups = torch.tensor([0, pairs]) if groups is None else groups
    _check(vertex, context, positive, negative, rates, groups)
    kernels = find_kernels(backend, Request("skip_gram", vertex.device, vertex.dtype, 0, vertex.shape[1]))
    rates = rates.to(torch.float64)
    with torch.no_grad():
        losses: Tensor = kernels.skip_gram(
            vertex, context, positive, negative, rates, groups, weight_decay, negative_weight
        )
    return losses


def _check(vertex: Tensor, context: Tensor, positive: Tensor, negative: Tensor, rates: Tensor, groups: Tensor) -> None:
    pairs = positive.shape[0]
    for name, tensor in (("vertex", vertex), ("context", context)):
        if tensor.dim() != 2 or tensor.dtype not in (torch.float32, torch.float64) or not tensor.is_contiguous():
            raise InputError(
                f"{name} of shape {tuple(tensor.shape)} and {tensor.dtype} must be (N, D), contiguous floats"
            )
    if vertex.dtype != context.dtype or vertex.shape[1] != context.shape[1]:
        raise InputError(f"context of {context.dtype} and width {context.shape[1]} must be as vertex")
    for name, tensor, size in (("positive", positive, 2), ("negative", negative, negative.shape[-1])):
        if tensor.shape != (pairs, size) or tensor.dtype != torch.long:
            raise InputError(
                f"{name} of shape {tuple(tensor.shape)} and {tensor.dtype} must be ({pairs}, {size}) int64"
            )
    if rates.shape != (pairs,):
        raise InputError(f"rates of shape {tuple(rates.shape)} must be ({pairs},)")
    if not pairs:
        return
    tails = torch.cat([negative, positive[:, 1:]], 1)
    for name, rows, count in (("heads", positive[:, 0], vertex.shape[0]), ("tails", tails, context.shape[0])):
        if not 0 <= int(rows.min()) <= int(rows.max()) < count:
            raise InputError(f"{name} from {int(rows.min())} to {int(rows.max())} must lie between 0 and {count - 1}")
    if groups[0] != 0 or groups[-1] != pairs or bool((groups.diff() < 0).any()):
        raise InputError(f"groups must ascend from 0 to {pairs}, the number of pairs")
    if groups.shape[0] > 2:
        of_each = torch.arange(groups.shape[0] - 1).repeat_interleave(groups.diff())
        _check_disjoint("heads", positive[:, 0], of_each, vertex.shape[0])
        _check_disjoint("tails", tails.flatten(), of_each.repeat_interleave(tails.shape[1]), context.shape[0])


def _check_disjoint(name: str, rows: Tensor, groups: Tensor, count: int) -> None:
    """Check that each row has one group: that of the last pair that has it."""
    owner = torch.empty(count, dtype=torch.long)
    owner[rows] = groups
    if not torch.equal(owner[rows], groups):
        raise InputError(f"groups share {name}; pairs of different groups must have none in common")
