r"""Selection by place and by features: who stands near on a map of any number of axes, and who of them is similar."""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice
from convnn.ops import select, weigh
from convnn.ops._dispatch import check_backend
from convnn.ops._validate import check_neighbors, check_same_width
from convnn.ops.neighbors import METRICS, Neighbors


def around(
    size: Sequence[int],
    reach: int = 1,
    *,
    faces: bool = False,
    periodic: bool = False,
    device: torch.device | None = None,
) -> Neighbors:
    r"""Return the positions around each position of a map, itself among them.

    .. math:: N(i) = \{ i + d : d \in \{-r, \dots, r\}^n \}

    On three axes these are 27 positions for r = 1, 125 for r = 2 and 343 for r = 3.

    Args:
        size: positions along each of the n axes; T in all, in raster order.
        reach: r, the largest distance along every axis.
        faces: keep only offsets along a single axis: the 6 neighbours that share a face, for r = 1 on three axes.
        periodic: wrap around the border; an axis of fewer than 2 r + 1 positions then has some of them several times.
            Otherwise the positions beyond the border are absent.
        device: device of the indices.

    Returns:
        Neighbors with indices (1, T, M) in raster order of the offsets and no scores: one list for the whole batch.

    Raises:
        InputError: there is no axis, an axis has no position, or the reach is less than 1.
    """
    check_at_least("reach", reach, 1)
    if not len(size) or min(size) < 1:
        raise InputError(f"size={tuple(size)} must be at least one number, each of at least 1")
    steps = range(-reach, reach + 1)
    offsets = [one for one in product(steps, repeat=len(size)) if not faces or sum(map(bool, one)) <= 1]
    if periodic:
        return select.shifted(size, [tuple(-step for step in one) for one in offsets], device=device)
    indices = torch.zeros(1, len(offsets), dtype=torch.long, device=device)
    is_inside = torch.ones(1, len(offsets), dtype=torch.bool, device=device)
    for n, along in zip(size, torch.tensor(offsets, device=device).T, strict=True):
        place = torch.arange(n, device=device)[:, None] + along
        inside = (place >= 0) & (place < n)
        indices = (indices[:, None] * n + place.clamp(0, n - 1)).flatten(0, 1)  # clamped, it is another of the list
        is_inside = (is_inside[:, None] & inside).flatten(0, 1)
    return Neighbors(indices.unsqueeze(0), absent=~is_inside.unsqueeze(0))


def nearest_around(
    features: Tensor, neighbors: Neighbors, K: int, *, metric: str = "euclidean", backend: str = "auto"
) -> Neighbors:
    r"""Return the K most similar of given neighbours, best first; every position is the first of its own.

    .. math:: \{i\} \cup \operatorname{top}_{K-1} \{ s(x_i, x_j) : j \in N(i),\; j \neq i \}

    with the scores of `weigh.similarity`. The choice carries no gradient. All scores are held at once, M for every
    position.

    Args:
        features: (B, T, C), compared with each other.
        neighbors: (1, T, M), the same for the whole batch, or (B, T, M): each position with itself, such as `around`
            returns.
        K: neighbours of each position, from 1 to the length of the shortest list.
        metric: "cosine", "euclidean" or "matmul".
        backend: as in `select.nearest`.

    Returns:
        Neighbors with indices (B, T, K) and no scores.

    Raises:
        InputError: shapes do not agree, the metric is unknown, or K is out of range.
        UnsupportedError: the named backend cannot compute this.
    """
    check_choice("metric", metric, METRICS)
    check_backend(backend)
    check_same_width(features, features)
    lists = neighbors.for_each_of(features.shape[0]) if neighbors.indices.shape[0] == 1 else neighbors
    check_neighbors(features, lists, features.shape[1])
    shortest = lists.K if lists.absent is None else int((~lists.absent).sum(-1).min())
    if not 1 <= K <= shortest:
        raise InputError(f"K={K} must lie between 1 and {shortest}, the positions of the shortest list, at a corner")
    features = features.detach()  # the choice has no gradient
    scores = weigh.similarity(lists, features, features, metric=metric, backend=backend).scores
    own = torch.arange(features.shape[1], device=features.device)[:, None]
    scores = torch.as_tensor(scores).masked_fill(lists.indices == own, torch.inf)
    return Neighbors(lists.indices.gather(-1, select.highest(scores, K, excluded=lists.absent)))
