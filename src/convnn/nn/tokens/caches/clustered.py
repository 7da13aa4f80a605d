"""A cache whose keys are in clusters, of which the best are fetched where the query turns."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.backends.reference import unit
from convnn.errors import InputError, check_at_least
from convnn.nn.tokens.caches.cache import KeyValueCache, rows_of
from convnn.ops import Neighbors
from convnn.ops.centroids import lloyd
from convnn.ops.kmeans import means_of


class ClusteredCache(KeyValueCache):
    r"""A cache that keeps everything and reads the clusters of keys that are most like the query, the rule of LouisKV.

    The first tokens of the prompt, `sinks`, are apart. The others are clustered by k-means of their keys, P /
    `cluster_size` clusters, each of which is a unit. At a boundary, where the query turns,

    .. math:: \frac{1}{G} \sum_{g=1}^{G} \cos(q_{g,t}, q_{g,t-1}) < \text{threshold}

    and at the first token, the tokens generated since the last boundary become a unit, and units are chosen anew, by

    .. math:: s_u = \frac{1}{G} \sum_{g=1}^{G} \operatorname{softmax}_u
        \left( \frac{q_{g,t} \cdot \bar k_u}{\sqrt{D}} \right)

    with the mean key of each: the best units, in the order of their tokens, until `budget` tokens are chosen. A query
    reads the sinks, the chosen tokens, those generated since the last boundary, and the last `window` tokens. Images
    and heads of keys have boundaries of their own.

    Between boundaries the number of tokens read grows, and the test compares with the token before, so that a slow
    drift is no boundary. A threshold above 1 chooses at every token; one of -1 or less, at the first alone.

    Args:
        budget: tokens that are chosen; all tokens or more is attention to everything.
        threshold: cosine below which the query turns, to be tuned for each model.
        cluster_size: tokens of a cluster, on average.
        sinks: first tokens of the prompt, which are always read.
        window: last tokens, which are always read; at least 1, the token itself.
        iterations: rounds of k-means.
        seed: of the tokens of the prompt whose keys are the first centres.
        start: (C,) int64, these tokens, counted from the first that is no sink, instead of random ones.

    Raises:
        InputError: an argument is out of range; in prefill: the prompt has no token after the sinks, or `start` does
            not fit it; in attend: there is more than one query.

    Reference:
        Wu et al., "LouisKV: Efficient KV Cache Retrieval for Long Input-Output Sequences", arXiv 2510.11292, of which
        there is no code; the paper gives no iterations, sinks and window.

    Example:
        >>> cache = ClusteredCache(8, cluster_size=4, sinks=2, window=2)
        >>> q, k, v = torch.randn(1, 4, 1, 16), torch.randn(1, 2, 50, 16), torch.randn(1, 2, 50, 16)
        >>> cache.prefill(k, v)
        >>> cache.step(q, k[:, :, :1], v[:, :, :1]).shape, int(cache.read.sum(2).max()) <= 8 + 2 + 2
        (torch.Size([1, 4, 1, 16]), True)
    """

    budget: int
    boundary: Tensor
    """(B, H) bool: where the last query turned."""
    units: Tensor
    """(B, H, N) int64: the unit of each token, -1 of those in none."""
    means: Tensor
    """(B, H, U, D): the mean key of each unit, of which those without tokens are never chosen."""
    chosen: Tensor
    is_chosen: Tensor

    def __init__(
        self,
        budget: int,
        *,
        threshold: float = 0.7,
        cluster_size: int = 16,
        sinks: int = 4,
        window: int = 16,
        iterations: int = 10,
        seed: int = 0,
        start: Tensor | None = None,
    ) -> None:
        check_at_least("budget", budget, 1)
        check_at_least("cluster_size", cluster_size, 1)
        check_at_least("sinks", sinks, 0)
        check_at_least("window", window, 1)
        check_at_least("iterations", iterations, 0)
        if math.isnan(threshold):
            raise InputError(f"threshold={threshold} must be a number, a cosine")
        self.budget, self.threshold, self.cluster_size = budget, threshold, cluster_size
        self.sinks, self.window, self.iterations, self.seed = sinks, window, iterations, seed
        self.start = None if start is None else start.tolist()
        self._before: Tensor | None = None  # the queries of the token before

    def score(self, keys: Tensor, queries: Tensor | None, present: Tensor | None) -> Tensor:
        """Put the keys of a prompt into clusters; all of them stay, and nothing is scored."""
        self._gather_units(keys, present)
        return super().score(keys, queries, present)

    def append(self, keys: Tensor, values: Tensor) -> None:
        """Add the keys and values (B, H, 1, D) of a generated token, which is in no unit yet."""
        super().append(keys, values)
        self.extend(units=torch.full(keys.shape[:3], -1, device=keys.device))

    def fetch(self, queries: Tensor) -> Neighbors:
        """Return the tokens (B, H, R) that the queries (B, H, G, D) of the last token read."""
        if self._before is None:
            self.boundary = torch.ones(queries.shape[:2], dtype=torch.bool, device=queries.device)
        else:
            self.boundary = (unit(queries) * unit(self._before)).sum(-1).mean(-1) < self.threshold
        self._before = queries
        if self.boundary.any():
            self._close_segments()
            self._choose(queries)
        return self._list()

    def attend(self, queries: Tensor) -> Tensor:
        """Return the attention (B, H G, 1, E) of the queries (B, H G, 1, D) of the last token to what they read.

        Raises:
            InputError: there was no prompt, shapes do not agree with it, or there is more than one query.
        """
        if queries.dim() == 4 and queries.shape[2] != 1:
            raise InputError(f"queries {tuple(queries.shape)} must be those of one token: each decides what to read")
        return super().attend(queries)

    def _gather_units(self, keys: Tensor, present: Tensor | None) -> None:
        """Put the tokens after the sinks into clusters, and find the mean key and the size of each."""
        batch, heads, total = keys.shape[:3]
        padding = torch.zeros(batch, dtype=torch.long) if present is None else (~present).sum(1).cpu()
        tokens = total - self.sinks - padding  # that are clustered, of each prompt
        if int(tokens.min()) < 1:
            raise InputError(
                f"sinks={self.sinks} must be below the tokens of each prompt, {(total - padding).tolist()}"
            )
        first = (padding + self.sinks).to(keys.device)[:, None, None]  # of those that are clustered
        places = torch.arange(total, device=keys.device)
        is_clustered = (places >= first).expand(batch, heads, total)
        counts = (tokens // self.cluster_size).clamp_min(1).to(keys.device)[:, None, None]
        starts = rows_of(keys, self._first_centers(is_clustered, first, int(counts.max())))
        is_surplus = torch.arange(starts.shape[2], device=keys.device) >= counts
        starts = starts.masked_fill(is_surplus.unsqueeze(3), torch.inf)
        points = keys.masked_fill(~is_clustered.unsqueeze(3), torch.nan).flatten(0, 1)
        labels = lloyd(points, starts.flatten(0, 1), rounds=self.iterations).labels
        means, sizes = means_of(points, labels, is_clustered.flatten(0, 1), torch.zeros_like(starts).flatten(0, 1))
        self.means = means.to(keys.dtype).unflatten(0, (batch, heads))
        self.sizes = sizes.unflatten(0, (batch, heads))
        self.units = labels.unflatten(0, (batch, heads)).masked_fill(~is_clustered, -1)  # -1: in no unit
        self.segment = torch.full((batch, heads), total, device=keys.device)  # where the current one begins
        self.always = (first - self.sinks + torch.arange(self.sinks, device=keys.device)).expand(batch, heads, -1)

    def _first_centers(self, is_clustered: Tensor, first: Tensor, count: int) -> Tensor:
        """Return the tokens (B, H, C) whose keys are the first centres."""
        if self.start is None:
            draws = torch.rand(is_clustered.shape, generator=torch.Generator().manual_seed(self.seed))
            draws = draws.to(is_clustered.device).masked_fill(~is_clustered, -1)
            return draws.argsort(dim=-1, descending=True, stable=True)[..., :count]
        tokens = is_clustered.shape[2] - int(first.max())
        if len(self.start) != count or not all(0 <= one < tokens for one in self.start):
            raise InputError(f"start={self.start} must be {count} tokens between 0 and {tokens - 1}")
        return (first + torch.tensor(self.start, device=first.device)).expand(*is_clustered.shape[:2], count)

    def _close_segments(self) -> None:
        """Make units of the tokens generated before the current one, where the query turned, and start anew."""
        current = self.seen - 1
        if bool((self.boundary & (self.segment < current)).any()):
            oldest = int(torch.where(self.boundary, self.segment, current).min())
            places = torch.arange(oldest, current, device=self.segment.device)
            is_closed = (places >= self.segment.unsqueeze(2)) & self.boundary.unsqueeze(2)
            sizes = is_closed.sum(2)
            means = is_closed.unsqueeze(2).to(self.keys.dtype) @ self.keys[:, :, oldest:current]
            means = means / sizes.clamp_min(1)[..., None, None]
            self.units = self.units.clone()  # a copy of the cache may go on from what it was
            self.units[..., oldest:current].masked_fill_(is_closed, self.means.shape[2])
            self.means, self.sizes = torch.cat([self.means, means], 2), torch.cat([self.sizes, sizes.unsqueeze(2)], 2)
        self.segment = torch.where(self.boundary, current, self.segment)

    def _choose(self, queries: Tensor) -> None:
        """Choose the tokens of the best units, where the query turned."""
        logits = (self.scale * queries @ self.means.mT).masked_fill((self.sizes == 0).unsqueeze(2), -torch.inf)
        scores = logits.softmax(-1).mean(2)
        ranks = scores.argsort(dim=-1, descending=True, stable=True).argsort(-1)
        none = ranks.shape[2]
        of_tokens = ranks.gather(2, self.units.clamp_min(0)).masked_fill(self.units < 0, none)
        order = of_tokens.argsort(dim=-1, stable=True)[..., : self.budget]
        is_chosen = of_tokens.gather(2, order) < none
        turned = self.boundary.unsqueeze(2)
        if not turned.all():
            more = order.shape[2] - self.chosen.shape[2]  # while there are fewer tokens than the budget
            order = torch.where(turned, order, F.pad(self.chosen, (0, more)))
            is_chosen = torch.where(turned, is_chosen, F.pad(self.is_chosen, (0, more), value=False))
        self.chosen, self.is_chosen = order, is_chosen

    def _list(self) -> Neighbors:
        """Return sinks, chosen tokens, and the last ones from the segment or the window on, each token once."""
        tail = self.segment.clamp_max(self.seen - self.window).clamp_min(0).unsqueeze(2)
        last = torch.arange(int(tail.min()), self.seen, device=tail.device).expand(*tail.shape[:2], -1)
        absent = [self.always >= tail, ~self.is_chosen | (self.chosen >= tail), last < tail]
        indices, empty = torch.cat([self.always, self.chosen, last], 2), torch.cat(absent, 2)
        return Neighbors(indices, absent=empty if self.held is None else empty | ~self.held.gather(2, indices))
