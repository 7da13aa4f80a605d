"""Losses of the embedding of a graph at several times: nodes that are linked lie near, or nodes in similar places."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_not_negative

Snapshots = Tensor | Sequence[Tensor]
"""A tensor for each time, stacked where they have the same shape."""


def connective_loss(
    embeddings: Snapshots,
    nodes: Snapshots,
    positives: Snapshots,
    negatives: Snapshots,
    *,
    negative_weight: float = 20.0,
) -> Tensor:
    r"""Return how far nodes are from those that walks meet together with them, summed over the snapshots.

    .. math:: \sum_t \frac{1}{P_t} \sum_{p=1}^{P_t} \left[ \log(1 + e^{-\langle e_{u_p}, e_{v_p} \rangle}) + Q
        \log(1 + e^{\sum_n \langle e_{u_p}, e_n \rangle}) \right]

    All nodes of a snapshot have the same negatives n, whose scores are added up before the logarithm.

    Args:
        embeddings: e, (N, C) for each snapshot.
        nodes: u, (P,) int64 for each snapshot.
        positives: v, (P,) int64 for each snapshot, such as `convnn.graphs.sample.walk_pairs` finds.
        negatives: n, (M,) int64 for each snapshot.
        negative_weight: Q, at least 0.

    Raises:
        InputError: numbers of snapshots or pairs differ, a snapshot has no pair, or the weight is negative.

    Reference:
        Liu et al., arXiv 2003.09902, with 20 negatives and Q = 20.
    """
    check_not_negative("negative_weight", negative_weight)
    _check_counts(embeddings=embeddings, nodes=nodes, positives=positives, negatives=negatives)
    losses = []
    for t, (e, u, v, n) in enumerate(zip(embeddings, nodes, positives, negatives, strict=True)):
        if u.dim() != 1 or u.shape != v.shape or not u.shape[0]:
            raise InputError(
                f"nodes and positives of snapshot {t} have shapes {tuple(u.shape)} and {tuple(v.shape)}; both must be"
                " (P,), with P at least 1"
            )
        near, far = (e[u] * e[v]).sum(1), e[u] @ e[n].sum(0)
        losses.append(F.softplus(-near).mean() + negative_weight * F.softplus(far).mean())
    return torch.stack(losses).sum()


def structural_loss(embeddings: Snapshots, mapped: Snapshots) -> Tensor:
    r"""Return how far embeddings are from mapped features, :math:`\sum_t \operatorname{MSE}(Z_t, Y_t)`.

    Args:
        embeddings: Y, (N, C) for each snapshot.
        mapped: Z, of the same shapes.

    Raises:
        InputError: numbers of snapshots or shapes differ.

    Reference:
        Liu et al., arXiv 2003.09902.
    """
    _check_counts(embeddings=embeddings, mapped=mapped)
    for t, (y, z) in enumerate(zip(embeddings, mapped, strict=True)):
        if y.shape != z.shape:
            raise InputError(f"mapped of snapshot {t} has shape {tuple(z.shape)}; it must be {tuple(y.shape)}")
    return torch.stack([F.mse_loss(z, y) for y, z in zip(embeddings, mapped, strict=True)]).sum()


def _check_counts(**of_snapshots: Snapshots) -> None:
    """Refuse different numbers of snapshots, or none."""
    counts = {name: one.shape[0] if isinstance(one, Tensor) else len(one) for name, one in of_snapshots.items()}
    if len(set(counts.values())) > 1 or not min(counts.values()):
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InputError(f"all must have the same number of snapshots, at least 1, not {listed}")
