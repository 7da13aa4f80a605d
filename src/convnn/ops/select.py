r"""Who the neighbours are: the most similar, or those of a place."""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice
from convnn.ops import _library
from convnn.ops._dispatch import check_backend
from convnn.ops._validate import check_indices, check_same_width
from convnn.ops.neighbors import METRICS, Neighbors
from convnn.words import counted


def nearest(
    queries: Tensor,
    keys: Tensor,
    K: int,
    *,
    metric: str = "cosine",
    positions: Tensor | None = None,
    candidates: Tensor | None = None,
    backend: str = "auto",
) -> Neighbors:
    r"""The K keys most similar to each query, best first.

    With a score :math:`s` that is the cosine, minus the squared distance or the inner product, query :math:`i` chooses

    .. math:: \{i\} \cup \operatorname{top}_{K-1} \{ s(q_i, k_j) : j \in \text{candidates},\; j \neq i \}

    where the query itself comes first if `positions` says where it stands, and :math:`\operatorname{top}_K` of all
    candidates otherwise. Scores are float32 for every input type, rounded from float64, also under autocast; distances
    are sums of squared differences, and orthogonal vectors score exactly 0. Equal scores go by lowest index; NaN, and
    what float32 cannot hold, ranks last. The choice carries no gradient.

    Args:
        queries: (B, N, C) what each query is compared by.
        keys: (B, T, C) what it is compared with.
        K: neighbours per query, from 1 to T; with candidates at most one more than there are.
        metric: "cosine" (a zero vector scores 0 with everything), "euclidean" or "matmul" (the inner product).
        positions: (N,) int64, the index of each query among the keys.
        candidates: (M,) int64 in ascending order, the keys that may be chosen; all of them when None. With M = K - 1
            a query that is itself a candidate has K - 2 others, and stands in the last slot a second time.
        backend: what computes it: "auto" takes the fastest that can; "cpu", "triton" or "reference" that one only.

    Returns:
        Neighbors with indices (B, N, K) into the keys and no scores.

    Raises:
        InputError: shapes do not agree, the metric or backend is unknown, or K exceeds the candidates.
        UnsupportedError: the named backend cannot compute this, with every reason.

    Reference:
        Kang and Farias Sales Rocha Neto, "Attention Via Convolutional Nearest Neighbors", arXiv 2511.14137.
    """
    check_choice("metric", metric, METRICS)
    check_backend(backend)
    check_same_width(queries, keys)
    check_indices("positions", positions, queries.shape[1])
    check_indices("candidates", candidates)
    available = keys.shape[1] if candidates is None else candidates.shape[0] + (positions is not None)
    if not 1 <= K <= available:
        raise InputError(f"K={K} must lie between 1 and {available}, the number of positions to choose from")
    queries, keys = queries.detach(), keys.detach()  # no gradient to be recorded
    return Neighbors(_library.nearest(queries, keys, K, metric, positions, candidates, backend))


def one_of_each(
    queries: Tensor,
    keys: Tensor,
    choices: Tensor,
    *,
    metric: str = "cosine",
    unlike: bool = False,
    backend: str = "auto",
) -> Neighbors:
    r"""Of K short lists for each query the key most similar to it, or least: a neighbour for each slot of a kernel.

    .. math:: j_{ik} = \operatorname*{arg\,max}_{j \in L_{ik}} \pm s(q_i, k_j)

    with minus where `unlike`. Scores are those of `nearest`; equal ones go to the first of the list, NaN and what
    float32 cannot hold rank last either way. The choice carries no gradient.

    Args:
        queries: (B, N, C) what each query is compared by.
        keys: (B, T, C) what it is compared with.
        choices: (N, K, M) int64, the keys that may fill each slot of each query: at least one; shorter lists name one
            of theirs again.
        metric: "cosine", "euclidean" or "matmul", as in `nearest`.
        unlike: take the least similar.
        backend: what computes it, as in `nearest`.

    Returns:
        Neighbors with indices (B, N, K) into the keys and no scores.

    Raises:
        InputError: shapes do not agree, the metric or backend is unknown.
        UnsupportedError: the named backend cannot compute this, with every reason.
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
    queries, keys = queries.detach(), keys.detach()  # no gradient to be recorded
    return Neighbors(_library.one_of_each(queries, keys, choices, metric, unlike, backend))


def window(
    size: Sequence[int],
    kernel_size: Sequence[int],
    dilation: Sequence[int] | None = None,
    *,
    device: torch.device | None = None,
) -> Neighbors:
    r"""The window around each position, shifted inwards at the border, so that nobody has fewer neighbours.

    Along an axis of n positions, with a window of k, position i looks at

    .. math:: s_i, \dots, s_i + k - 1, \qquad s_i = \min(\max(i - \lfloor k / 2 \rfloor, 0), n - k)

    With a dilation d it does so among the positions i mod d, i mod d + d, ... alone, as if there were no others.

    Args:
        size: positions along each axis; there are T together, in raster order.
        kernel_size: side of the window along each axis, from 1 to that of the map; k positions together.
        dilation: d along each axis; 1 when None. A window has d k positions along an axis then, that many at least.
        device: of the indices.

    Returns:
        Neighbors with indices (1, T, k) in raster order and no scores: one list for a whole batch.

    Raises:
        InputError: a window is larger than the map, or has another number of axes.

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
        apart = f" at dilation={tuple(dilation)}" if max(dilation, default=1) > 1 else ""
        where = f"the {tuple(size)} positions along each axis{apart}"
        raise InputError(f"kernel_size={tuple(kernel_size)} must lie between 1 and {where}")
    indices = torch.zeros(1, 1, dtype=torch.long, device=device)
    for n, k, d in zip(size, kernel_size, dilation, strict=True):
        place, rest = torch.arange(n, device=device) // d, torch.arange(n, device=device) % d
        last = (n - 1 - rest) // d + 1 - k  # where the last window among the positions of this rest begins
        first = torch.minimum((place - k // 2).clamp(min=0), last)
        along = (first[:, None] + torch.arange(k, device=device)) * d + rest[:, None]
        indices = _with_another_axis(indices, n, along)
    return Neighbors(indices.unsqueeze(0))


def unfold(
    size: Sequence[int],
    kernel_size: Sequence[int],
    *,
    stride: Sequence[int],
    dilation: Sequence[int],
    device: torch.device | None = None,
) -> Neighbors:
    r"""The windows of a convolution on a map that has its padding: whom `torch.nn.functional.unfold` gathers.

    Along an axis of n positions, with a window of k, stride s and dilation d, window i holds

    .. math:: s i + d j, \quad j = 0, \dots, k - 1, \qquad 0 \le i \le \lfloor (n - d (k - 1) - 1) / s \rfloor

    Args:
        size: positions along each axis; there are T together, in raster order.
        kernel_size: side of the window along each axis; k positions together.
        stride: distance between windows along each axis.
        dilation: distance between the positions of a window along each axis.
        device: of the indices.

    Returns:
        Neighbors with indices (1, N, k), windows and positions in raster order, and no scores: one list for a batch.

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
        indices = _with_another_axis(indices, n, along)
    return Neighbors(indices.unsqueeze(0))


def sectors(kernel_size: Sequence[int], reach: int, *, device: torch.device | None = None) -> Tensor:
    r"""Which positions of a wider window may fill each slot of a kernel: the slot's own, and those behind it.

    Along an axis, position w of a window of k + 2r belongs to slot

    .. math:: \min(\max(w - r, 0), k - 1)

    so that inner slots have one place, and the outer ones reach r farther; those at a corner in every direction.

    Args:
        kernel_size: side of the kernel along each axis, k; K slots together.
        reach: how much farther the outer slots look, r, at least 0.
        device: of the indices.

    Returns:
        (K, M) positions in the window, in raster order; M = (r + 1) ** axes, and shorter lists repeat their first.

    Raises:
        InputError: the reach is negative.
    """
    check_at_least("reach", reach, 0)
    members = [[0]]  # of every slot, along the axes so far
    for k in kernel_size:
        wide = k + 2 * reach
        along = [[w for w in range(wide) if min(max(w - reach, 0), k - 1) == slot] for slot in range(k)]
        members = [[place * wide + w for place in places for w in line] for places, line in product(members, along)]
    longest = max(map(len, members))
    return torch.tensor([one + one[:1] * (longest - len(one)) for one in members], device=device)


def shifted(
    size: Sequence[int], shifts: Sequence[tuple[int, ...]] | Tensor, *, device: torch.device | None = None
) -> Neighbors:
    r"""Positions at fixed distances, around the border: those that `torch.roll` by each of the shifts brings.

    .. math:: j_{ik} = (i - d_k) \bmod n

    along every axis of n positions.

    Args:
        size: positions along each axis; there are T together, in raster order.
        shifts: K of them, each with a distance along every axis, at least one; or (K, axes) int64, which leaves K open
            in a compiled graph.
        device: of the indices.

    Returns:
        Neighbors with indices (1, T, K) in the order of the shifts, and no scores: one list for a whole batch.

    Raises:
        InputError: there is no shift, or one has another number of axes.
    """
    if isinstance(shifts, Tensor):
        fit = shifts.dim() == 2 and shifts.shape[0] > 0 and shifts.shape[1] == len(size)
    else:
        fit = bool(shifts) and all(len(shift) == len(size) for shift in shifts)
    if not fit:
        shown = shifts.tolist() if isinstance(shifts, Tensor) else list(shifts)
        raise InputError(f"shifts={shown} must be at least one, each with a distance along {len(size)} axes")
    distances = torch.as_tensor(shifts, device=device)
    indices = torch.zeros(1, distances.shape[0], dtype=torch.long, device=device)
    for n, along in zip(size, distances.T, strict=True):
        here = torch.arange(n, device=device)[:, None]
        indices = (indices[:, None] * n + (here - along) % n).flatten(0, 1)
    return Neighbors(indices.unsqueeze(0))


def within(length: int, reach: int, *, device: torch.device | None = None) -> Neighbors:
    """The positions of a sequence at most `reach` away: 2 * reach + 1 of them, fewer at the ends.

    Args:
        length: positions of the sequence, T.
        reach: largest distance, at least 0.
        device: of the indices.

    Returns:
        Neighbors with indices (1, T, min(2 * reach + 1, T)); absent are those too far away, which repeat the
        farthest that is not.

    Raises:
        InputError: the reach is negative.
    """
    check_at_least("reach", reach, 0)
    indices = window([length], [min(2 * reach + 1, length)], device=device).indices
    here = torch.arange(length, device=device)[:, None]
    distance = indices - here
    return Neighbors(here + distance.clamp(-reach, reach), absent=distance.abs() > reach)


def strided(length: int, stride: int, *, device: torch.device | None = None) -> Neighbors:
    """The positions of a sequence whose distance is a multiple of `stride`.

    Args:
        length: positions of the sequence, T.
        stride: at least 1.
        device: of the indices.

    Returns:
        Neighbors with indices (1, T, ceil(T / stride)); absent is the last where the sequence ends before, and
        repeats the one in front of it.

    Raises:
        InputError: the stride is less than 1.
    """
    check_at_least("stride", stride, 1)
    first = torch.arange(length, device=device)[:, None] % stride
    indices = first + torch.arange(0, length, stride, device=device)
    absent = indices >= length
    return Neighbors(torch.where(absent, indices - stride, indices).unsqueeze(0), absent=absent.unsqueeze(0))


def _with_another_axis(indices: Tensor, n: int, along: Tensor) -> Tensor:
    """Windows (N, k) on a map that gains an axis of n positions, with the windows (M, l) along it: (N * M, k * l)."""
    return (indices[:, None, :, None] * n + along[:, None]).flatten(0, 1).flatten(1)
