"""Suggestions for users: share of the best items found against time, by our search, matrix product and Faiss."""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convnn.bench.measure import milliseconds
from convnn.ops.clusters import share_found
from convnn.tasks.recommend import Ranker

RECALLS = (0.9, 0.95, 0.99)
K = 20
TASTES = 256  # groups of users and items
BASE = "exact"


class Sizes(NamedTuple):
    """Users who are served at once, items, and channels of their vectors."""

    users: int
    items: int
    channels: int

    def __str__(self) -> str:
        return f"{self.users:,} users, {self.items:,} items of {self.channels}"


def measure_suggestions(cases: list[Sizes], repeats: int) -> list[dict[str, Any]]:
    """Measure the search for the best items of each case, with all that it has to build."""
    return [_measure(sizes, repeats) for sizes in cases]


def _measure(sizes: Sizes, repeats: int) -> dict[str, Any]:
    users, items = _vectors(sizes)
    searches = _contestants(users, items)
    best = searches[BASE]()
    found = {name: share_found(search()[None], best[None]) for name, search in searches.items()}
    times = milliseconds(dict(searches), repeats)
    result = {
        "case": str(sizes),
        "ms": {name: statistics.median(times[name]) for name in times},
        "found": found,
        "agrees": found["matrix product"] > 0.999,
    }
    print(result, flush=True)
    return result


def _vectors(sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Draw vectors as training leaves them: in groups, and longer for the items that are popular."""
    generator = torch.Generator().manual_seed(0)
    draw = partial(torch.randn, generator=generator)
    centres = draw(TASTES, sizes.channels)
    of_users, of_items = (torch.randint(TASTES, (count,), generator=generator) for count in sizes[:2])
    users = centres[of_users] + 0.7 * draw(sizes.users, sizes.channels)
    items = centres[of_items] + 0.7 * draw(sizes.items, sizes.channels)
    return users, items * (0.2 * draw(sizes.items, 1)).exp()


def _contestants(users: Tensor, items: Tensor) -> dict[str, Callable[[], Tensor]]:
    everybody = torch.arange(len(users))
    ranker = Ranker(users, items, torch.empty(2, 0, dtype=torch.long))
    exact = partial(ranker.suggest, everybody, K)
    ours = {f"clustered, {recall:.0%}": partial(ranker.suggest, everybody, K, recall=recall) for recall in RECALLS}
    faiss = {f"Faiss, {recall:.0%}": _with_lists(users, items, recall, exact()) for recall in RECALLS}
    return {
        BASE: exact,
        "matrix product": lambda: torch.cat([(some @ items.T).topk(K).indices for some in users.split(256)]),
        "Faiss, exact": _with_faiss(users, items),
        **ours,
        **faiss,
    }


def _with_faiss(users: Tensor, items: Tensor) -> Callable[[], Tensor]:
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())

    def search() -> Tensor:
        index = faiss.IndexFlatIP(items.shape[1])
        index.add(items.numpy())
        return torch.from_numpy(index.search(users.numpy(), K)[1])

    return search


def _with_lists(users: Tensor, items: Tensor, recall: float, best: Tensor) -> Callable[[], Tensor]:
    """Return a search by Faiss's inverted lists, with as many probes as the recall needs, which are found beforehand.

    Lists and training are those of our search, which are quicker than Faiss's own.
    """
    import faiss

    lists = round(2 * len(items) ** 0.5)

    def search(probes: int) -> Tensor:
        flat = faiss.IndexFlatIP(items.shape[1])
        index = faiss.IndexIVFFlat(flat, items.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.niter, index.cp.max_points_per_centroid, index.cp.min_points_per_centroid = 2, 16, 1
        index.nprobe = probes
        index.train(items.numpy())
        index.add(items.numpy())
        return torch.from_numpy(index.search(users.numpy(), K)[1])

    few, many = 0, 1
    while share_found(search(many)[None], best[None]) < recall and many < lists:
        few, many = many, min(2 * many, lists)
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if share_found(search(middle)[None], best[None]) >= recall else (middle, many)
    return partial(search, many)


def table(results: dict[str, Any]) -> str:
    """A row for each search: milliseconds and share found, for each size."""
    measured = results["suggestions"]
    head = ["", *(cell for one in measured for cell in (f"{one['case']}, ms", "found"))]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in measured[0]["ms"]:
        cells = [cell for one in measured for cell in (f"{one['ms'][name]:.0f}", f"{one['found'][name]:.1%}")]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return (
        f"### Suggestions\n\nThe {K} items with the largest inner products, for users served at once, building of lists"
        " included. Faiss probes as many lists as reach the share.\n\n" + "\n".join(lines) + "\n"
    )
