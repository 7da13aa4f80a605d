r"""Who the neighbours are."""

from torch import Tensor

from convnn.errors import InputError, check_choice
from convnn.ops import _library
from convnn.ops._dispatch import check_backend
from convnn.ops._validate import check_indices, check_same_width
from convnn.ops.neighbors import METRICS, Neighbors


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

    With a score :math:`s` that is the cosine or minus the squared distance, query :math:`i` chooses

    .. math:: \{i\} \cup \operatorname{top}_{K-1} \{ s(q_i, k_j) : j \in \text{candidates},\; j \neq i \}

    where the query itself comes first if `positions` says where it stands, and :math:`\operatorname{top}_K` of all
    candidates otherwise. Scores are float32 for every input type, rounded from float64, also under autocast; equal
    scores go by lowest index, and NaN ranks last. The choice carries no gradient.

    Args:
        queries: (B, N, C) what each query is compared by.
        keys: (B, T, C) what it is compared with.
        K: neighbours per query, from 1 to T; with candidates at most one more than there are.
        metric: "cosine" (a zero vector scores 0 with everything) or "euclidean".
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
