r"""Weighting: the functions that score the neighbours and turn scores into weights."""

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_choice
from convnn.ops import _transforms
from convnn.ops._dispatch import check_backend
from convnn.ops._validate import check_neighbors, check_same_width
from convnn.ops.neighbors import METRICS, Neighbors

SOFT_TOPS = ("scaled", "alone", "added")


def similarity(
    neighbors: Neighbors, queries: Tensor, keys: Tensor, *, metric: str = "cosine", backend: str = "auto"
) -> Neighbors:
    r"""Score every chosen pair by the cosine, minus the squared distance, or the inner product; larger is closer.

    Gradients reach the queries and the chosen keys, so that projections learn which positions to attend to.

    Args:
        neighbors: indices (B, N, K).
        queries: (B, N, C).
        keys: (B, T, C).
        metric: "cosine", in [-1, 1], "euclidean", at most 0, or "matmul", unbounded.
        backend: backend that computes it, as in `select.nearest`.

    Returns:
        The same neighbours with scores (B, N, K), in float32 or wider.

    Raises:
        InputError: shapes do not agree, or the metric or backend is unknown.
        UnsupportedError: the named backend cannot compute this.
    """
    check_choice("metric", metric, METRICS)
    check_backend(backend)
    check_same_width(queries, keys)
    check_neighbors(keys, neighbors, queries.shape[1])
    return neighbors._replace(scores=_transforms.similarity(queries, keys, neighbors.indices, metric, backend))


def first_slot(neighbors: Neighbors, score: float) -> Neighbors:
    """Give the first neighbour, the query itself, a constant score in place of its similarity.

    Raises:
        InputError: the neighbours have no scores yet.
    """
    scores = _scores(neighbors)
    return neighbors._replace(scores=torch.cat([torch.full_like(scores[..., :1], score), scores[..., 1:]], dim=-1))


def root(neighbors: Neighbors) -> Neighbors:
    """Turn minus the squared distance into minus the distance; no gradient passes where it is 0.

    Raises:
        InputError: the neighbours have no scores yet.
    """
    squares = -_scores(neighbors)
    is_zero = squares == 0
    distances = squares.masked_fill(is_zero, 1).sqrt().masked_fill(is_zero, 0)
    return neighbors._replace(scores=-distances)


def inverse(neighbors: Neighbors, eps: float = 1e-8) -> Neighbors:
    """Turn minus the distance d into the weight 1 / (d + eps).

    Raises:
        InputError: the neighbours have no scores yet.
    """
    return neighbors._replace(scores=(eps - _scores(neighbors)).reciprocal())


def softmax(neighbors: Neighbors) -> Neighbors:
    r"""Normalize the scores to sum to one over the K neighbours, :math:`w_k = e^{s_k} / \sum_l e^{s_l}`.

    Absent neighbours get the weight 0, and where all are absent, all of them.

    Raises:
        InputError: the neighbours have no scores yet.
    """
    scores = _scores(neighbors)
    absent = neighbors.absent
    if absent is None:
        return Neighbors(neighbors.indices, scores.softmax(dim=-1))
    has_some = ~absent.all(dim=-1, keepdim=True)
    weights = scores.masked_fill(absent & has_some, -torch.inf).softmax(dim=-1)
    return Neighbors(neighbors.indices, weights.masked_fill(absent, 0))  # no mask: absent neighbours weigh 0


def soft_top(neighbors: Neighbors, degree: Tensor, temperature: float = 1.0, keeping: str = "scaled") -> Neighbors:
    r"""Keep about as many of the best neighbours as each query's degree says, with weights that make it learnable.

    .. math:: h_t = \sigma \left( -\frac{2 (t - k)}{\tau} \right), \qquad
        w_t = \begin{cases} s_t \, h_t & \text{scaled} \\ h_t & \text{alone} \\ s_t (1 + h_t) & \text{added} \end{cases}

    for the neighbour of rank t = 0, 1, ..., best first, and the degree k of the query. Gradients reach the scores and
    the degree, but not the order. As the temperature goes to 0, exactly the ranks t < k are kept.

    Args:
        neighbors: neighbours with scores (B, N, K) of at least 0.
        degree: (B, N) number of neighbours that each query should keep; any real number.
        temperature: width of the step, above 0.
        keeping: "scaled" multiplies the scores by the step; "alone" uses the scores for the order only; "added" keeps
            all neighbours and counts the best up to twice.

    Returns:
        The neighbours, best first and absent ones last, with the weights as scores; absent ones weigh 0.

    Raises:
        InputError: the neighbours have no scores yet, or `keeping` is unknown.

    Reference:
        Saha et al., "Learning Adaptive Neighborhoods for Graph Neural Networks", arXiv 2307.09065: the differentiable
        top-k selector.
    """
    check_choice("keeping", keeping, SOFT_TOPS)
    scores = _scores(neighbors)
    absent = neighbors.absent
    ranked = scores.detach() if absent is None else scores.detach().masked_fill(absent, -torch.inf)
    order = ranked.argsort(dim=-1, descending=True, stable=True)
    rank = torch.arange(neighbors.K, device=scores.device, dtype=scores.dtype)
    keep = torch.sigmoid(2 / temperature * (degree.unsqueeze(-1) - rank))
    keep = keep + 1 if keeping == "added" else keep
    weights = keep if keeping == "alone" else torch.gather(scores, -1, order) * keep
    if absent is not None:
        weights = weights.masked_fill(torch.gather(absent, -1, order), 0)
    return Neighbors(torch.gather(neighbors.indices, -1, order), weights)


def dropout(neighbors: Neighbors, p: float, *, training: bool) -> Neighbors:
    """Set the weight of each neighbour to 0 with probability p in training and scale the others by 1 / (1 - p).

    Raises:
        InputError: the neighbours have no scores yet.
    """
    return neighbors._replace(scores=F.dropout(_scores(neighbors), p, training))


def _scores(neighbors: Neighbors) -> Tensor:
    if neighbors.scores is None:
        raise InputError("neighbors.scores=None must be set first, for example by weigh.similarity")
    return neighbors.scores
