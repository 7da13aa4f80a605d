r"""Selection of neighbours: the most similar positions, or positions at fixed places."""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice
from convnn.ops import _library
from convnn.ops._dispatch import check_backend
from convnn.ops._validate import check_indices, check_same_width
from convnn.ops.clusters import Clusters
from convnn.ops.neighbors import METRICS, Neighbors
from convnn.words import counted

METHODS = ("exact", "clustered")
MANY = 1 << 16
"""Scores from which on the highest are found without sorting all."""


def nearest(
    queries: Tensor,
    keys: Tensor,
    K: int,
    *,
    metric: str = "cosine",
    positions: Tensor | None = None,
    candidates: Tensor | None = None,
    method: str = "exact",
    recall: float | None = None,
    probes: int | None = None,
    lists: int | None = None,
    seed: int = 0,
    backend: str = "auto",
) -> Neighbors:
    r"""Return the K keys most similar to each query, best first.

    With the score :math:`s`, which is the cosine, minus the squared distance or the inner product, query :math:`i`
    chooses

    .. math:: \{i\} \cup \operatorname{top}_{K-1} \{ s(q_i, k_j) : j \in \text{candidates},\; j \neq i \}

    where the query itself comes first if `positions` gives its index, and :math:`\operatorname{top}_K` of all
    candidates otherwise. Scores are computed in float64 and rounded to float32, for every input type and under
    autocast; distances are sums of squared differences, and orthogonal vectors score exactly 0. Of equal scores the
    lowest index ranks first; NaN and scores beyond the range of float32 rank last. The choice carries no gradient.

    The clustered search compares a query with the keys in a few lists alone: those of the k-means centroids that are
    most similar to it. Each image has its own lists, built in every call. Of the keys in its lists a query chooses as
    above; if they are too few, it opens the next lists.

    Args:
        queries: (B, N, C) features of the queries.
        keys: (B, T, C) features that they are compared with.
        K: neighbours per query, from 1 to T; with `candidates` at most M, or M + 1 if `positions` is given.
        metric: "cosine" (a zero vector scores 0 with everything), "euclidean" or "matmul" (the inner product).
        positions: (N,) int64, the index of each query among the keys.
        candidates: (M,) int64 in ascending order, the keys that may be chosen; None allows all of them. With M = K - 1,
            a query that is itself a candidate has only K - 2 others and fills the last slot a second time.
        method: "exact", or "clustered", which finds most of the neighbours in a fraction of the time on large maps.
        recall: share of the neighbours that the clustered search should find, above 0 and at most 1: the lists opened
            are the fewest that reach it for 256 queries of an image; with fewer than 2,048 queries, the search is
            exact. None is 0.95.
        probes: lists that each query opens, instead of a recall; nprobe in Faiss.
        lists: number of lists, at most the number of candidates; None is twice the square root of that; nlist in Faiss.
        seed: seed of the first centroids and of those 256 queries; equal seeds give equal neighbours.
        backend: "auto" takes the fastest backend that can compute the call; "cpu", "triton" or "reference" only itself.

    Returns:
        Neighbors with indices (B, N, K) into the keys and no scores.

    Raises:
        InputError: shapes do not agree, the metric, method or backend is unknown, K exceeds the candidates, or a number
            of the clustered search is out of range or given to the exact one.
        UnsupportedError: the named backend cannot compute this; the message gives every reason.

    Reference:
        Kang and Farias Sales Rocha Neto, "Attention Via Convolutional Nearest Neighbors", arXiv 2511.14137.
        Lists: Johnson, Douze and Jégou, "Billion-scale similarity search with GPUs", arXiv 1702.08734.
    """
    check_choice("metric", metric, METRICS)
    check_choice("method", method, METHODS)
    check_backend(backend)
    check_same_width(queries, keys)
    check_indices("positions", positions, queries.shape[1])
    check_indices("candidates", candidates)
    available = keys.shape[1] if candidates is None else candidates.shape[0] + (positions is not None)
    if not 1 <= K <= available:
        raise InputError(f"K={K} must lie between 1 and {available}, the number of positions to choose from")
    queries, keys = queries.detach(), keys.detach()  # the choice has no gradient
    if method == "exact":
        _check_not_given(recall=(recall, None), probes=(probes, None), lists=(lists, None), seed=(seed, 0))
        return Neighbors(_library.nearest(queries, keys, K, metric, positions, candidates, backend))
    Clusters(recall, probes, lists, seed).lists_of(keys.shape[1] if candidates is None else candidates.shape[0])
    found = _library.nearest_in_clusters(
        queries, keys, K, metric, positions, candidates, recall, probes, lists, seed, backend
    )
    return Neighbors(found)


def _check_not_given(**settings: tuple[float | None, int | None]) -> None:
    """Check that each setting, given with its default, has that default."""
    for name, (value, usual) in settings.items():
        if value != usual:
            raise InputError(f"{name}={value} must be {usual} with method='exact'; choose method='clustered'")


def one_of_each(
    queries: Tensor,
    keys: Tensor,
    choices: Tensor,
    *,
    metric: str = "cosine",
    unlike: bool = False,
    backend: str = "auto",
) -> Neighbors:
    r"""Return, for each slot of a kernel, the key most (or least) similar to the query in the slot's short list.

    .. math:: j_{ik} = \operatorname*{arg\,max}_{j \in L_{ik}} \pm s(q_i, k_j)

    with minus if `unlike`. Scores are those of `nearest`. Of equal scores the first of the list wins; NaN and scores
    beyond the range of float32 rank last either way. The choice carries no gradient.

    Args:
        queries: (B, N, C) features of the queries.
        keys: (B, T, C) features that they are compared with.
        choices: (N, K, M) int64, the keys that may fill each slot of each query, with M at least 1; shorter lists
            repeat one of their entries.
        metric: "cosine", "euclidean" or "matmul", as in `nearest`.
        unlike: choose the least similar key.
        backend: backend that computes it, as in `nearest`.

    Returns:
        Neighbors with indices (B, N, K) into the keys and no scores.

    Raises:
        InputError: shapes do not agree, or the metric or backend is unknown.
        UnsupportedError: the named backend cannot compute this; the message gives every reason.
    """
    check_choice("metric", metric, METRICS)
    check_backend(backend)
    check_same_width(queries, keys)
    if (
        choices.dtype != torch.long
        or choices.dim() != 3
        or choices.shape[0] != queries.shape[1]
        or not choices.shape[2]
    ):
        raise InputError(
            f"choices of shape {tuple(choices.shape)} and type {choices.dtype} must be (N, K, M) int64 for the"
            f" {counted(queries.shape[1], 'query', 'queries')}, with M at least 1"
        )
    queries, keys = queries.detach(), keys.detach()  # the choice has no gradient
    return Neighbors(_library.one_of_each(queries, keys, choices, metric, unlike, backend))


def window(
    size: Sequence[int],
    kernel_size: Sequence[int],
    dilation: Sequence[int] | None = None,
    *,
    device: torch.device | None = None,
) -> Neighbors:
    r"""Return the window around each position, shifted inwards at the border so that every window is complete.

    Along an axis of n positions, the window of size k of position i is

    .. math:: s_i, \dots, s_i + k - 1, \qquad s_i = \min(\max(i - \lfloor k / 2 \rfloor, 0), n - k)

    With a dilation d, the window is taken among the positions i mod d, i mod d + d, ... alone.

    Args:
        size: positions along each axis; T in all, in raster order.
        kernel_size: side of the window along each axis, from 1 to the side of the map; k positions in all.
        dilation: d along each axis; None is 1. An axis must have at least d times the window's side.
        device: device of the indices.

    Returns:
        Neighbors with indices (1, T, k) in raster order and no scores: one list for the whole batch.

    Raises:
        InputError: a window is larger than the map or has a different number of axes.

    Reference:
        Hassani et al., "Neighborhood Attention Transformer", arXiv 2204.07143, equation 3; dilation: Hassani and Shi,
        "Dilated Neighborhood Attention Transformer", arXiv 2209.15001.
    """
    dilation = [1] * len(size) if dilation is None else dilation
    for d in dilation:
        check_at_least("dilation", d, 1)
    if not len(size) == len(kernel_size) == len(dilation) or any(
        not 1 <= k <= n // d for k, n, d in zip(kernel_size, size, dilation, strict=True)
    ):
        at_dilation = f" at dilation={tuple(dilation)}" if max(dilation, default=1) > 1 else ""
        upper = f"the {tuple(size)} positions along each axis{at_dilation}"
        raise InputError(f"kernel_size={tuple(kernel_size)} must lie between 1 and {upper}")
    indices = torch.zeros(1, 1, dtype=torch.long, device=device)
    for n, k, d in zip(size, kernel_size, dilation, strict=True):
        place, residue = torch.arange(n, device=device) // d, torch.arange(n, device=device) % d
        last = (n - 1 - residue) // d + 1 - k  # start of the last window among positions of the same residue
        first = torch.minimum((place - k // 2).clamp(min=0), last)
        along = (first[:, None] + torch.arange(k, device=device)) * d + residue[:, None]
        indices = _add_axis(indices, n, along)
    return Neighbors(indices.unsqueeze(0))


def unfold(
    size: Sequence[int],
    kernel_size: Sequence[int],
    *,
    stride: Sequence[int],
    dilation: Sequence[int],
    device: torch.device | None = None,
) -> Neighbors:
    r"""Return the windows of a convolution on a padded map: the positions that `torch.nn.functional.unfold` gathers.

    Along an axis of n positions, window i of size k, with stride s and dilation d, holds

    .. math:: s i + d j, \quad j = 0, \dots, k - 1, \qquad 0 \le i \le \lfloor (n - d (k - 1) - 1) / s \rfloor

    Args:
        size: positions along each axis, padding included; T in all, in raster order.
        kernel_size: side of the window along each axis; k positions in all.
        stride: distance between windows along each axis.
        dilation: distance between the positions of a window along each axis.
        device: device of the indices.

    Returns:
        Neighbors with indices (1, N, k), windows and positions in raster order, and no scores: one list for the whole
        batch.

    Raises:
        InputError: a window is larger than the map.

    Reference:
        Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", arXiv 1603.07285.
    """
    indices = torch.zeros(1, 1, dtype=torch.long, device=device)
    for n, k, s, d in zip(size, kernel_size, stride, dilation, strict=True):
        windows = n - d * (k - 1)
        if windows < 1:
            raise InputError(f"kernel_size={tuple(kernel_size)} is larger than the map of {tuple(size)} positions")
        along = torch.arange(0, windows, s, device=device)[:, None] + d * torch.arange(k, device=device)
        indices = _add_axis(indices, n, along)
    return Neighbors(indices.unsqueeze(0))


def sectors(kernel_size: Sequence[int], reach: int, *, device: torch.device | None = None) -> Tensor:
    r"""Return the positions of a wider window that may fill each slot of a kernel: its own place and those beyond it.

    Along an axis, position w of a window of size k + 2r belongs to slot

    .. math:: \min(\max(w - r, 0), k - 1)

    so that an inner slot has one place and an outer slot reaches r positions farther; a corner slot does so along every
    axis.

    Args:
        kernel_size: side k of the kernel along each axis; K slots in all.
        reach: r, how many positions farther the outer slots look, at least 0.
        device: device of the indices.

    Returns:
        (K, M) positions in the window, in raster order; M = (r + 1) ** axes, and shorter lists repeat their first
        position.

    Raises:
        InputError: the reach is negative.
    """
    check_at_least("reach", reach, 0)
    slots = [[0]]  # the positions of each slot, along the axes so far
    for k in kernel_size:
        wide = k + 2 * reach
        along = [[w for w in range(wide) if min(max(w - reach, 0), k - 1) == slot] for slot in range(k)]
        slots = [[place * wide + w for place in places for w in line] for places, line in product(slots, along)]
    longest = max(map(len, slots))
    return torch.tensor([places + places[:1] * (longest - len(places)) for places in slots], device=device)


def shifted(
    size: Sequence[int], shifts: Sequence[tuple[int, ...]] | Tensor, *, device: torch.device | None = None
) -> Neighbors:
    r"""Return positions at fixed distances, wrapped around the border, as `torch.roll` moves them.

    .. math:: j_{ik} = (i - d_k) \bmod n

    along every axis of n positions.

    Args:
        size: positions along each axis; T in all, in raster order.
        shifts: K shifts, at least one, each with a distance along every axis; or an int64 tensor (K, axes), which
            keeps K dynamic in a compiled graph.
        device: device of the indices.

    Returns:
        Neighbors with indices (1, T, K) in the order of the shifts and no scores: one list for the whole batch.

    Raises:
        InputError: there is no shift, or one has a different number of axes.
    """
    if isinstance(shifts, Tensor):
        is_valid = shifts.dim() == 2 and shifts.shape[0] > 0 and shifts.shape[1] == len(size)
    else:
        is_valid = bool(shifts) and all(len(shift) == len(size) for shift in shifts)
    if not is_valid:
        values = shifts.tolist() if isinstance(shifts, Tensor) else list(shifts)
        raise InputError(f"shifts={values} must be at least one, each with a distance along {len(size)} axes")
    distances = torch.as_tensor(shifts, device=device)
    indices = torch.zeros(1, distances.shape[0], dtype=torch.long, device=device)
    for n, along in zip(size, distances.T, strict=True):
        position = torch.arange(n, device=device)[:, None]
        indices = (indices[:, None] * n + (position - along) % n).flatten(0, 1)
    return Neighbors(indices.unsqueeze(0))


def within(length: int, reach: int, *, device: torch.device | None = None) -> Neighbors:
    """Return the positions of a sequence at a distance of at most `reach`: 2 * reach + 1, fewer at the ends.

    Args:
        length: positions of the sequence, T.
        reach: largest distance, at least 0.
        device: device of the indices.

    Returns:
        Neighbors with indices (1, T, min(2 * reach + 1, T)) and no scores; slots beyond the reach are absent and
        repeat the farthest position within it.

    Raises:
        InputError: the reach is negative.
    """
    check_at_least("reach", reach, 0)
    indices = window([length], [min(2 * reach + 1, length)], device=device).indices
    position = torch.arange(length, device=device)[:, None]
    distance = indices - position
    return Neighbors(position + distance.clamp(-reach, reach), absent=distance.abs() > reach)


def strided(length: int, stride: int, *, device: torch.device | None = None) -> Neighbors:
    """Return the positions of a sequence whose distance is a multiple of `stride`.

    Args:
        length: positions of the sequence, T.
        stride: common divisor of the distances, at least 1.
        device: device of the indices.

    Returns:
        Neighbors with indices (1, T, ceil(T / stride)) and no scores; where the last slot lies beyond the end of the
        sequence it is absent and repeats the slot before it.

    Raises:
        InputError: the stride is less than 1.
    """
    check_at_least("stride", stride, 1)
    first = torch.arange(length, device=device)[:, None] % stride
    indices = first + torch.arange(0, length, stride, device=device)
    absent = indices >= length
    return Neighbors(torch.where(absent, indices - stride, indices).unsqueeze(0), absent=absent.unsqueeze(0))


def highest(scores: Tensor, K: int, *, excluded: Tensor | None = None) -> Tensor:
    """Return the K highest of given scores, best first; of equal ones the lowest index, NaN and the excluded last.

    Args:
        scores: (..., T).
        K: from 1 to T.
        excluded: (..., T) bool.

    Returns:
        (..., K) int64.

    Raises:
        InputError: K is out of range, or the shapes differ.
    """
    if not 1 <= K <= scores.shape[-1]:
        raise InputError(f"K={K} must lie between 1 and {scores.shape[-1]}, the number of scores")
    is_last = scores.isnan()
    if excluded is not None:
        if excluded.shape != scores.shape or excluded.dtype != torch.bool:
            shape = f"{tuple(excluded.shape)} and {excluded.dtype}"
            raise InputError(f"excluded of shape {shape} must be {tuple(scores.shape)} bool")
        is_last = is_last | excluded
    scores = scores.masked_fill(is_last, -torch.inf)
    if not torch.compiler.is_compiling() and K * 8 < scores.shape[-1] and scores.numel() >= MANY:
        return _few_of_many(scores, K)
    return scores.sort(dim=-1, descending=True, stable=True).indices[..., :K]


def _few_of_many(scores: Tensor, K: int) -> Tensor:
    """Return what a stable sort would, without sorting all: those above the K-th score, and the first equal to it."""
    last = scores.topk(K, dim=-1).values[..., -1:]
    above, equal = scores > last, scores == last
    is_chosen = above | (equal & (equal.cumsum(-1) <= K - above.sum(-1, keepdim=True)))
    found = is_chosen.nonzero()[:, -1].view(*scores.shape[:-1], K)  # exactly K in each row, in ascending order
    return found.gather(-1, scores.gather(-1, found).sort(dim=-1, descending=True, stable=True).indices)


def _add_axis(indices: Tensor, n: int, along: Tensor) -> Tensor:
    """Extend windows (N, k) by an axis of n positions, with windows (M, l) along it, to (N * M, k * l)."""
    return (indices[:, None, :, None] * n + along[:, None]).flatten(0, 1).flatten(1)
