"""k-means on the unit sphere, by which embeddings without labels find their centres."""

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least

TOLERANCE = 1e-6
"""Relative change of the objective below which clustering ends."""


@torch.no_grad()
def spherical_kmeans(
    rows: Tensor,
    clusters: int,
    *,
    generator: torch.Generator | None = None,
    start: Tensor | None = None,
    rounds: int = 100,
) -> Tensor:
    r"""Return the centres (K, C) of rows (N, C), all of length one, that are near in angle.

    Each round assigns every row to the centre with the largest inner product, and moves the centres to the means of
    their rows, scaled to length one. A centre without rows takes the row that is furthest from its own, and each one
    another row. The end is when the mean of the largest products changes by less than one in a million.

    `ops.kmeans` is the k-means of Faiss, which repairs empty clusters in another way.

    Args:
        rows: (N, C), which are scaled to length one.
        clusters: K, at most N.
        generator: draws the rows at which the centres start.
        start: (K,) these rows, instead of drawn ones.
        rounds: largest number of rounds.

    Raises:
        InputError: there are fewer rows than clusters, or start does not have K of them.

    Reference:
        Chen et al., "Fisher Information Embedding for Node and Graph Learning", arXiv 2305.07580, the published code.
    """
    check_at_least("clusters", clusters, 1)
    if rows.shape[0] < clusters:
        raise InputError(f"rows of shape {tuple(rows.shape)} must be at least {clusters}, one for each cluster")
    if start is None:
        start = torch.randperm(rows.shape[0], generator=generator)[:clusters]
    if start.shape != (clusters,):
        raise InputError(f"start of shape {tuple(start.shape)} must be ({clusters},), a row for each cluster")
    rows = F.normalize(rows, dim=1)
    centres, before = rows[start.to(rows.device)], torch.inf
    for _ in range(rounds):
        nearest, cluster = (rows @ centres.T).max(1)
        objective = nearest.mean().item()
        centres = _moved(rows, nearest, cluster, clusters)
        if abs(before - objective) / (abs(objective) + 1e-20) < TOLERANCE:
            break
        before = objective
    return centres


def _moved(rows: Tensor, nearest: Tensor, cluster: Tensor, clusters: int) -> Tensor:
    """Return the mean directions of the rows of each cluster."""
    sums = rows.new_zeros(clusters, rows.shape[1]).index_add_(0, cluster, rows)
    sizes = torch.bincount(cluster, minlength=clusters)
    centres = F.normalize(sums / sizes.clamp_min(1).unsqueeze(1), dim=1, eps=1e-6)
    empty = (sizes == 0).nonzero().flatten()
    centres[empty] = rows[nearest.argsort(stable=True)[: len(empty)]]
    return centres


def some_rows(rows: Tensor, number: int, generator: torch.Generator | None = None) -> Tensor:
    """Return a random subset of at most `number` rows."""
    if rows.shape[0] <= number:
        return rows
    return rows[torch.randperm(rows.shape[0], generator=generator)[:number].to(rows.device)]
