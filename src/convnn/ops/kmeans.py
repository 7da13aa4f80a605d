"""k-means: centroids of the rows of each image."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from convnn.backends.reference import unit, widest_dtype


def kmeans(
    kernels: Any, points: Tensor, count: int, metric: str, *, rounds: int = 25
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return centroids (B, L, C) of points (B, T, C) by Lloyd's algorithm, from the first L points.

    Each round assigns every point to its best centroid and moves each centroid to the mean of its points. A centroid
    without points takes half of those of another. By cosine, points and centroids have length one. An image is
    finished when its sum of best scores repeats. Points that are not finite are assigned, but move no centroid.

    Args:
        kernels: the backend.
        points: (B, T, C) what is clustered.
        count: L, at most T.
        metric: "cosine", or "euclidean".
        rounds: largest number of rounds.

    Returns:
        Centroids; after each round the sum of best scores, (B,); and how many centroids were without points, (B,).

    Reference:
        Faiss, Clustering.cpp: the same rounds, repairs and end.
    """
    if metric == "cosine":
        points = unit(points.to(torch.promote_types(points.dtype, torch.float32))).to(points.dtype)
    is_finite = points.isfinite().all(2)
    centroids, active = points[:, :count], torch.ones(points.shape[0], dtype=torch.bool, device=points.device)
    scores: list[Tensor] = []
    repairs: list[Tensor] = []
    for _ in range(rounds if points.shape[1] > count else 0):
        chosen = kernels.nearest(points, centroids, 1, metric, None, None)
        scores_of_points = kernels.similarity(points, centroids, chosen, metric).squeeze(2)
        best = scores_of_points.masked_fill(~is_finite, 0).sum(1, dtype=widest_dtype(points.device))
        means, sizes = means_of(points, chosen.squeeze(2), is_finite, centroids)
        repairs.append(((sizes == 0).sum(1) * active).cpu())
        means = _repair(means, sizes)
        means = (unit(means) if metric == "cosine" else means).to(centroids.dtype)
        centroids = torch.where(active[:, None, None], means, centroids)
        if scores:
            active = active & (best != scores[-1])
        scores.append(best)
        if not active.any():
            break
    return centroids, scores, repairs


def means_of(points: Tensor, lists: Tensor, is_finite: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means (B, L, C) of the finite points in each list, and their numbers (B, L)."""
    batch, count, channels = centroids.shape
    dtype = widest_dtype(points.device)
    rows = (lists + torch.arange(batch, device=lists.device)[:, None] * count)[is_finite]
    sums = torch.zeros(batch * count, channels, dtype=dtype, device=points.device)
    sums.index_put_((rows,), points[is_finite].to(dtype), accumulate=True)  # in one order, on every device
    sizes = torch.bincount(rows, minlength=batch * count)
    means = sums / sizes.clamp_min(1).unsqueeze(1)
    means = torch.where((sizes > 0).unsqueeze(1), means, centroids.flatten(0, 1).to(dtype))
    return means.view(batch, count, channels), sizes.view(batch, count)


def _repair(means: Tensor, sizes: Tensor) -> Tensor:
    """Return the means, with each that has no points beside another, which is drawn in proportion to its points."""
    lacking = (sizes == 0).any(1).nonzero().flatten().tolist()
    if not lacking:
        return means
    rows, counts = means.cpu().numpy(), sizes.cpu().numpy()
    nudge = np.resize(np.array([1 / 1024, -1 / 1024], rows.dtype), rows.shape[2])
    for image in lacking:
        own, of, draws = rows[image], counts[image], _Draws()
        for empty in np.flatnonzero(of == 0):
            donor = draws.donor(of)
            own[empty] = own[donor] * (1 + nudge)
            own[donor] *= 1 - nudge
            of[empty] = of[donor] // 2
            of[donor] -= of[empty]
    return torch.from_numpy(rows).to(means.device)


class _Draws:
    """The lists that give half of their points away: in turn, with the probability of their size, as in Faiss."""

    ROUNDS = 10

    def __init__(self) -> None:
        self.state, self.left = np.random.RandomState(1234), np.empty(0, np.float32)

    def donor(self, counts: np.ndarray) -> int:
        chances = ((counts - 1) / max(counts.sum() - len(counts), 1)).astype(np.float32)
        for _ in range(self.ROUNDS):
            accepted = (self._peek(len(counts)) < chances).nonzero()[0]
            self.left = self.left[accepted[0] + 1 if len(accepted) else len(counts) :]
            if len(accepted):
                return int(accepted[0])
        return int(counts.argmax())

    def _peek(self, count: int) -> np.ndarray:
        if len(self.left) < count:
            raw = np.frombuffer(self.state.bytes(4 * count), dtype="<u4")
            self.left = np.concatenate([self.left, raw.astype(np.float32) / np.float32(2**32 - 1)])
        return self.left[:count]
