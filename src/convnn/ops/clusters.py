r"""Search among clusters of keys: of the keys, only those in a few lists are compared with a query.

Each key is put in the list of its nearest centroid; a query opens the lists with the centroids most similar to it. Each
image has its own lists. Every step is one of the exact searches of `convnn.backends`, so that the result depends
neither on the backend nor on the number of threads.

Reference:
    Johnson, Douze and Jégou, "Billion-scale similarity search with GPUs", arXiv 1702.08734: inverted lists. Sivic and
    Zisserman, "Video Google: a text retrieval approach to object matching in videos", ICCV 2003.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from convnn.backends.reference import widest_dtype
from convnn.errors import InputError, check_at_least
from convnn.ops.kmeans import kmeans

ROUNDS = 2  # of k-means; after five, lists find hardly more of the neighbours
POINTS = 16  # keys in the sample of k-means for each centroid; 64 are no better
TYPICAL = 5  # lists that a query opens, where a cost has to be stated before the search
SAMPLE = 256  # queries by which the recall is measured
FEWEST = 2048  # queries of an image; fewer are searched exactly sooner than it is known how many lists to open


@dataclass(frozen=True)
class Clusters:
    """How keys are clustered, and how many lists are opened.

    Attributes:
        recall: share of the true neighbours to be found, above 0 and at most 1: the fewest lists are opened that reach
            it for a sample of 256 queries of an image. An image with fewer than 2,048 queries is searched exactly.
        probes: lists that every query opens, instead of a recall.
        lists: number of lists, from 1 to the number of keys; None is twice the square root of that number.
        seed: seed of the first centroids and of the sample.

    Raises:
        InputError: a number is out of range, or both recall and probes are given.
    """

    recall: float | None = None
    probes: int | None = None
    lists: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.recall is not None and self.probes is not None:
            raise InputError(f"recall={self.recall:g} and probes={self.probes} must not both be given")
        if self.recall is not None and not 0 < self.recall <= 1:
            raise InputError(f"recall={self.recall:g} must be above 0 and at most 1")
        for name, number in (("probes", self.probes), ("lists", self.lists)):
            if number is not None:
                check_at_least(name, number, 1)
        check_at_least("seed", self.seed, 0)
        if self.lists is not None and self.probes is not None and self.probes > self.lists:
            raise InputError(f"probes={self.probes} must lie between 1 and {self.lists}, the number of lists")

    def lists_of(self, keys: int) -> int:
        """Return the number of lists for a number of keys.

        Raises:
            InputError: there are fewer keys than `lists`, or fewer lists than `probes`.
        """
        most = max(keys, 1)  # without keys, a query that chooses itself alone still names lists
        lists = min(max(round(2 * keys**0.5), 1), most) if self.lists is None else self.lists
        if lists > most:
            raise InputError(f"lists={lists} must lie between 1 and {most}, the number of keys")
        if self.probes is not None and self.probes > lists:
            raise InputError(f"probes={self.probes} must lie between 1 and {lists}, the number of lists")
        return lists


@dataclass(frozen=True)
class Problem:
    """The arguments of a search, as in `convnn.ops.select.nearest`, and the kernels that compute its parts."""

    kernels: Any
    queries: Tensor
    keys: Tensor
    K: int
    metric: str
    positions: Tensor | None
    candidates: Tensor | None

    def of_queries(self, indices: Tensor) -> "Problem":
        """Return the problem of some of the queries."""
        positions = None if self.positions is None else self.positions[indices]
        return replace(self, queries=self.queries[:, indices], positions=positions)

    def exact(self) -> Tensor:
        """Return the neighbours (B, N, K) of all queries."""
        return self.kernels.nearest(self.queries, self.keys, self.K, self.metric, self.positions, self.candidates)


def search(problem: Problem, clusters: Clusters) -> Tensor:
    """Return the indices (B, N, K) of the nearest keys in the lists opened; see `convnn.ops.select.nearest`."""
    members = problem.keys if problem.candidates is None else problem.keys[:, problem.candidates]
    count = clusters.lists_of(members.shape[1])
    others = problem.K - (problem.positions is not None)
    is_sampled = clusters.probes is None
    if others == 0 or not problem.queries.numel() or (is_sampled and problem.queries.shape[1] < FEWEST):
        return problem.exact()
    generator = torch.Generator().manual_seed(clusters.seed)
    centroids = _train(problem.kernels, members, count, problem.metric, generator)
    order = list_order(problem, centroids, min(clusters.probes or 2 * TYPICAL, count))
    lists = _lists_from(problem, centroids, order)
    if lists is None:
        lists = assign(problem, members, centroids)
    if clusters.probes is None:
        recall = 0.95 if clusters.recall is None else clusters.recall
        probes = _probes_for(problem, centroids, lists, order, recall, generator)
    else:
        probes = torch.full((centroids.shape[0],), clusters.probes)
    return search_lists(problem, centroids, lists, probes, order)


def _lists_from(problem: Problem, centroids: Tensor, order: Tensor) -> Tensor | None:
    """Return the list of each key (B, T), where most keys are queries too: for those it is the first that they open."""
    queries, keys, positions = problem.queries, problem.keys, problem.positions
    if problem.candidates is not None or _clustered_by(problem.metric) != problem.metric:
        return None
    if queries.data_ptr() == keys.data_ptr() and queries.shape == keys.shape and queries.stride() == keys.stride():
        return order[:, :, 0].contiguous()
    if positions is None or not torch.equal(keys.index_select(1, positions), queries):
        return None
    is_other = torch.ones(keys.shape[1], dtype=torch.bool, device=keys.device).index_fill_(0, positions, False)
    others, lists = is_other.nonzero().flatten(), order.new_empty(keys.shape[:2])
    lists[:, positions] = order[:, :, 0]
    lists[:, others] = problem.kernels.nearest(keys[:, others], centroids, 1, problem.metric, None, None).squeeze(2)
    return lists


def list_order(problem: Problem, centroids: Tensor, probes: int | None = None) -> Tensor:
    """Return the lists (B, N, probes) with the centroids nearest to each query, best first; None: all of them."""
    most = centroids.shape[1] if probes is None else probes
    return problem.kernels.nearest(problem.queries, centroids, most, problem.metric, None, None)


def _first_of(order: Tensor, probes: Tensor) -> Tensor:
    """Return the order with -1 after as many lists as `probes`, which broadcasts to (B, N)."""
    ranks = torch.arange(order.shape[2], device=order.device)
    return order.masked_fill(ranks >= probes.to(order.device).unsqueeze(-1), -1)


def cost(queries: int, keys: int, clusters: Clusters) -> int:
    """Return about how many pairs of rows an image's search compares.

    How many lists a recall needs depends on the data; features of photographs need `TYPICAL` for 0.95.
    """
    sampled = clusters.probes is None
    if sampled and queries < FEWEST:
        return queries * keys
    lists = clusters.lists_of(keys)
    opened = min(clusters.probes or TYPICAL, lists)
    training = ROUNDS * min(POINTS * lists, keys) * lists
    return training + (keys + queries) * lists + queries * opened * keys // lists + sampled * SAMPLE * keys


def search_lists(
    problem: Problem, centroids: Tensor, lists: Tensor, probes: Tensor, order: Tensor | None = None
) -> Tensor:
    """Return the nearest keys (B, N, K) in the `probes` (B,) lists with the centroids (B, L, C) nearest to each query.

    A query whose lists hold too few keys opens the next ones, until it has K. `lists` (B, T) has the list of each key,
    or -1 for a key that may not be chosen. `order` has the first lists of each query, where they are known.
    """
    most = int(probes.max())
    order = order[:, :, :most] if order is not None and order.shape[2] >= most else list_order(problem, centroids, most)
    found = _search_opened(problem, lists, _first_of(order, probes[:, None]), centroids.shape[1])
    for image in (found < 0).any(2).any(1).nonzero().flatten().tolist():
        _complete(problem, image, found, centroids, lists, int(probes[image]))
    return found


def _search_opened(problem: Problem, lists: Tensor, opened: Tensor, count: int) -> Tensor:
    return problem.kernels.nearest_in_lists(
        problem.queries, problem.keys, problem.K, problem.metric, problem.positions, lists, opened, count
    )


def _complete(problem: Problem, image: int, found: Tensor, centroids: Tensor, lists: Tensor, probes: int) -> None:
    """Search again for the queries of an image that found fewer than K, in as many lists as they need."""
    rows = (found[image] < 0).any(1).nonzero().flatten()
    positions = None if problem.positions is None else problem.positions[rows]
    rows_of, keys_of = problem.queries[None, image, rows], problem.keys[None, image]
    part = replace(problem, queries=rows_of, keys=keys_of, positions=positions, candidates=None)
    lists, centroids = lists[None, image], centroids[None, image]
    order = list_order(part, centroids)
    needed = probes_needed(order, lists, problem.K, positions, probes)
    again = _search_opened(part, lists, _first_of(order, needed), centroids.shape[1])
    if positions is not None:  # with K - 1 candidates, of which a query is one, its last slot is the query once more
        again = torch.where(again < 0, positions[:, None], again)
    found[image, rows] = again[0]


def probes_needed(order: Tensor, lists: Tensor, K: int, positions: Tensor | None, probes: int) -> Tensor:
    """Return the number of lists (B, N) that each query opens: `probes`, or more, until they hold enough keys."""
    inside = lists.clamp_min(0)
    sizes = torch.zeros(order.shape[0], order.shape[2], dtype=torch.long, device=order.device)
    sizes.scatter_add_(1, inside, (lists >= 0).long())
    eligible = sizes.unsqueeze(1).expand(order.shape).gather(2, order)
    if positions is not None:  # the query itself is found without a list
        own = lists[:, positions].unsqueeze(-1)
        eligible = eligible - (order == own).long()
    enough = eligible.cumsum(2) >= K - (positions is not None)
    first = torch.where(enough.any(2), enough.long().argmax(2) + 1, order.shape[2])
    return first.clamp_min(probes)


def assign(problem: Problem, members: Tensor, centroids: Tensor) -> Tensor:
    """Return the list of each key (B, T), that of its nearest centroid; -1 for keys that are not candidates."""
    nearest = problem.kernels.nearest(members, centroids, 1, _clustered_by(problem.metric), None, None).squeeze(2)
    if problem.candidates is None:
        return nearest
    lists = nearest.new_full(problem.keys.shape[:2], -1)
    lists[:, problem.candidates] = nearest
    return lists


def recall_curve(problem: Problem, centroids: Tensor, lists: Tensor, queries: Tensor | None = None) -> Tensor:
    """Return the share of the exact neighbours in the first 1, 2, ..., L lists of each query, (B, L).

    The query itself, which needs no list, does not count. `queries` are the indices of those that are looked at.
    """
    part = problem if queries is None else problem.of_queries(queries)
    return _curve(_others(part), list_order(part, centroids), lists, centroids.shape[1])


def _others(problem: Problem) -> Tensor:
    """Return the exact neighbours of all queries, without the queries themselves."""
    return problem.exact()[:, :, (problem.positions is not None) :]


def _curve(exact: Tensor, order: Tensor, lists: Tensor, count: int) -> Tensor:
    """Return the share of neighbours (B, N, K) in the first 1, 2, ..., P of `count` lists in an order (B, N, P)."""
    batch, queries, most = order.shape
    ranks = torch.full((batch, queries, count), most, device=order.device)
    ranks.scatter_(2, order, torch.arange(most, device=order.device).expand(order.shape))
    needed = ranks.gather(2, lists.unsqueeze(1).expand(-1, queries, -1).gather(2, exact)).flatten(1)
    found = torch.zeros(batch, most + 1, dtype=torch.long, device=needed.device)
    found.scatter_add_(1, needed, torch.ones_like(needed))
    return found[:, :most].cumsum(1).to(widest_dtype(found.device)) / max(needed.shape[1], 1)


def _probes_for(
    problem: Problem, centroids: Tensor, lists: Tensor, order: Tensor, recall: float, generator: torch.Generator
) -> Tensor:
    """Return the fewest lists, for each image, with which a sample of its queries reaches the recall."""
    sample = torch.randperm(problem.queries.shape[1], generator=generator)[:SAMPLE].sort().values.to(lists.device)
    part = problem.of_queries(sample)
    exact = _others(part)
    curve = _curve(exact, order[:, sample], lists, centroids.shape[1])
    if not bool((curve[:, -1] >= recall).all()):  # the first lists are not enough
        curve = _curve(exact, list_order(part, centroids), lists, centroids.shape[1])
    return probes_for(curve, recall).cpu()


def share_found(found: Tensor, exact: Tensor) -> float:
    """Return the share of the exact neighbours (B, N, K) that are among those found, (B, N, M)."""
    return (exact.unsqueeze(3) == found.unsqueeze(2)).any(3).double().mean().item()


def probes_for(curve: Tensor, recall: float) -> Tensor:
    """Return the first number of lists, (B,), at which a recall curve (B, L) reaches a recall."""
    reached = curve >= recall
    return torch.where(reached.any(1), reached.long().argmax(1) + 1, curve.shape[1])


def _clustered_by(metric: str) -> str:
    """Return the metric that puts keys in lists.

    By inner products, the longest keys would be in one list; they are clustered by distance.
    """
    return "euclidean" if metric == "matmul" else metric


def _train(kernels: Any, keys: Tensor, count: int, metric: str, generator: torch.Generator) -> Tensor:
    """Return centroids (B, L, C) of keys (B, T, C), from a random sample."""
    order = torch.randperm(keys.shape[1], generator=generator)[: POINTS * count]
    return kmeans(kernels, keys[:, order.to(keys.device)], count, _clustered_by(metric), rounds=ROUNDS)[0]
