"""The engine of contrastive losses: scores of all pairs of rows, of which a block at a time is alive."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from convnn.errors import InputError, check_at_least
from convnn.objectives.contrastive.scores import Score
from convnn.ops import select
from convnn.ops.neighbors import Neighbors

BLOCK = 2**24
"""The most scores that are alive at once, unless a number of rows is given: 64 MiB in float32."""


@dataclass(frozen=True, eq=False)
class Pairs:
    r"""Scores :math:`s_{ij}` of N queries with M keys, and what losses take from each row of them.

    They are computed for a block of rows at a time, and again in `backward`, so that no N x M matrix is alive unless it
    fits into a block. Types below float32 are computed in float32, also under autocast.

    Attributes:
        queries: (N, d).
        keys: (M, d).
        score: how alike two rows are: `Cosine`, `Distance`, or any other function of that form.
        own: (N,) int64, the key that is the query itself; None where there is none.
        own_score: s of a query and itself; minus infinity leaves it out.
        bias: (M,) added to the scores of each key; exp(bias) is how often the key counts.
        rows: queries in a block; None is as many as have 2 ** 24 scores.

    Raises:
        InputError: shapes or types do not agree, or `rows` is below 1.

    Example:
        >>> from convnn.objectives.contrastive import Cosine
        >>> rows = torch.eye(3)
        >>> pairs = Pairs(rows, rows, Cosine(1.0), own=torch.arange(3))
        >>> pairs.log_partition().exp()
        tensor([2., 2., 2.])
    """

    queries: Tensor
    keys: Tensor
    score: Score
    own: Tensor | None = None
    own_score: float = -math.inf
    bias: Tensor | None = None
    rows: int | None = None

    def __post_init__(self) -> None:
        for name in ("queries", "keys"):
            rows = getattr(self, name)
            check_rows(name, rows)
            if rows.dtype in (torch.float16, torch.bfloat16):
                object.__setattr__(self, name, rows.float())
        count, of_keys = self.queries.shape[0], self.keys.shape[0]
        if self.queries.shape[1] != self.keys.shape[1]:
            raise InputError(
                f"keys of shape {tuple(self.keys.shape)} must be (M, {self.queries.shape[1]}), as wide as the queries"
            )
        if self.own is not None and (self.own.shape != (count,) or self.own.dtype != torch.long):
            raise InputError(f"own of shape {tuple(self.own.shape)} and {self.own.dtype} must be ({count},) int64")
        if self.bias is not None and self.bias.shape != (of_keys,):
            raise InputError(f"bias of shape {tuple(self.bias.shape)} must be ({of_keys},), one for each key")
        if self.rows is not None:
            check_at_least("rows", self.rows, 1)

    def log_partition(self, among: Neighbors | None = None) -> Tensor:
        r"""Return :math:`\log \sum_j e^{s_{ij}}`, (N,).

        Args:
            among: the keys (1, N, K) that each row sums over, such as `nearest` returns; None is all.
        """
        if among is None:
            return self._by_rows(lambda rows: self._scores(rows).logsumexp(1), self.keys.shape[0])
        return self._by_rows(lambda rows: self._scores_among(rows, among).logsumexp(1), among.K)

    def share(self, weight: Tensor) -> Tensor:
        r"""Return :math:`\sum_j w_{ij} e^{s_{ij}} / \sum_j e^{s_{ij}}`, (N,): the part that positives have.

        Args:
            weight: (N, M) how much each key is a positive, at least 0.

        Raises:
            InputError: the weights have another shape, or one is negative or NaN.
        """
        self._check_weight(weight)

        def share(rows: slice) -> Tensor:
            return (weight[rows] * self._scores(rows).softmax(1)).sum(1)

        return self._by_rows(share, self.keys.shape[0])

    def total(self, weight: Tensor) -> Tensor:
        r"""Return :math:`\sum_j w_{ij} s_{ij}`, (N,), where a pair of weight 0 does not count whatever its score.

        Args:
            weight: (N, M) how much each key is a positive, at least 0.

        Raises:
            InputError: the weights have another shape, or one is negative or NaN.
        """
        self._check_weight(weight)

        def total(rows: slice) -> Tensor:
            given = weight[rows]
            return (given * self._scores(rows).masked_fill(given == 0, 0)).sum(1)

        return self._by_rows(total, self.keys.shape[0])

    def at(self, keys: Tensor) -> Tensor:
        """Return the score (N,) of each query with one key.

        Args:
            keys: (N,) int64.
        """
        return self._scores_of(slice(None), keys.unsqueeze(1)).squeeze(1)

    def nearest(self, K: int, *, excluded: Tensor | None = None, **search: Any) -> Neighbors:
        """Return the K keys nearest to each query, by the metric of the score, without the query itself.

        Args:
            K: from 1 to the number of keys that are not excluded.
            excluded: (N, E) int64, further keys that are not chosen, such as positives.
            search: settings of `convnn.ops.select.nearest`: `method="clustered"` for many keys, `recall`, `backend`.

        Returns:
            Neighbors with indices (1, N, K), without gradient.

        Raises:
            InputError: K is out of range, or a setting of the search is wrong.
        """
        check_at_least("K", K, 1)
        parts = [part for part in (None if self.own is None else self.own.unsqueeze(1), excluded) if part is not None]
        without = torch.cat(parts, 1) if parts else self.queries.new_zeros(self.queries.shape[0], 0, dtype=torch.long)
        available, wanted = self.keys.shape[0] - without.shape[1], K + without.shape[1]
        if K > available:
            raise InputError(f"K={K} must be at most {available}, the number of keys to choose from")
        queries, keys = self.queries.unsqueeze(0), self.keys.unsqueeze(0)
        (found,) = select.nearest(queries, keys, wanted, metric=self.score.metric, **search).indices
        is_excluded = (found.unsqueeze(2) == without.unsqueeze(1)).any(2)
        order = is_excluded.long().argsort(dim=1, stable=True)[:, :K]  # those that may be chosen, nearest first
        return Neighbors(found.gather(1, order).unsqueeze(0))

    def _scores(self, rows: slice) -> Tensor:
        """Return (n, M) scores of a block of queries with all keys."""
        queries = self.queries[rows]
        with torch.autocast(queries.device.type, enabled=False):
            scores = self.score(queries, self.keys)
        if self.bias is not None:
            scores = scores + self.bias
        return scores if self.own is None else scores.scatter(1, self.own[rows].unsqueeze(1), self.own_score)

    def _scores_of(self, rows: slice, chosen: Tensor) -> Tensor:
        """Return (n, K) scores of a block of queries with keys (n, K) of each."""
        queries = self.queries[rows].unsqueeze(1)
        with torch.autocast(queries.device.type, enabled=False):
            scores = self.score(queries, self.keys[chosen]).squeeze(1)
        return scores if self.bias is None else scores + self.bias[chosen]

    def _scores_among(self, rows: slice, among: Neighbors) -> Tensor:
        chosen = among.indices[0, rows]
        scores = self._scores_of(rows, chosen)
        if self.own is not None:
            scores = scores.masked_fill(chosen == self.own[rows].unsqueeze(1), self.own_score)
        return scores if among.absent is None else scores.masked_fill(among.absent[0, rows], -math.inf)

    def _by_rows(self, function: Callable[[slice], Tensor], width: int) -> Tensor:
        """Return what a function makes of blocks of rows, one below the other; `backward` calls it again."""
        count = self.queries.shape[0]
        step = max(1, BLOCK // max(width, 1)) if self.rows is None else self.rows
        if step >= count:
            return function(slice(None))
        blocks = [slice(first, first + step) for first in range(0, count, step)]
        return torch.cat(
            [checkpoint(function, block, use_reentrant=False, preserve_rng_state=False) for block in blocks]
        )

    def _check_weight(self, weight: Tensor) -> None:
        shape = (self.queries.shape[0], self.keys.shape[0])
        if weight.shape != shape:
            raise InputError(f"weight of shape {tuple(weight.shape)} must be {shape}, for each query and each key")
        if not bool((weight >= 0).all()):
            raise InputError("weight has entries that are negative or NaN; all must be at least 0")


def check_rows(name: str, rows: Tensor) -> None:
    """Check that rows are floating and (N, d).

    Raises:
        InputError: they are not.
    """
    if rows.dim() != 2 or not rows.is_floating_point():
        raise InputError(f"{name} of shape {tuple(rows.shape)} and {rows.dtype} must be floating and (N, d)")


def check_views(names: tuple[str, str], first: Tensor, second: Tensor) -> None:
    """Check that two views (B, d) have a row for each of at least two objects.

    Raises:
        InputError: they do not.
    """
    for name, rows in zip(names, (first, second), strict=True):
        check_rows(name, rows)
    if first.shape != second.shape or first.shape[0] < 2:
        raise InputError(
            f"{names[0]} of shape {tuple(first.shape)} and {names[1]} of shape {tuple(second.shape)} must both be"
            " (B, d), with B at least 2"
        )
