"""LouisKV: clusters of keys, fetched where the query turns, are read as well as the best tokens at every step."""

from functools import partial
from statistics import mean

import torch
from torch import Tensor

from claims._experiment import Outcome, spread
from convnn.nn.tokens import caches

SYSTEM = "LouisKV"
CLAIM = "Keys retrieved by clusters, and only where the meaning turns, need few retrievals and lose nearly nothing."
EXPERIMENT = (
    "A prompt of 1,024 tokens of 40 topics in random order, then 160 in runs of 6 to 21 on one topic, with four queries"
    " each, and random values; 64 are chosen, of clusters of 16 or pages of 16; 4 sinks and the last 16 are read, too."
)
SEEDS = tuple(range(16))
PROMPT, TOKENS, TOPICS, HEADS, D, BUDGET = 1024, 160, 40, 4, 32, 64


class Clusters(caches.ClusteredCache):
    turns = ()

    def fetch(self, queries: Tensor):
        found = super().fetch(queries)
        self.turns = (*self.turns, self.boundary.double().mean().item())
        return found


class Pages(Clusters):
    def score(self, keys: Tensor, queries: Tensor | None, present: Tensor | None) -> Tensor:
        found = super().score(keys, queries, present)
        pages = (torch.arange(keys.shape[2] - self.sinks) // self.cluster_size).clamp_max(self.means.shape[2] - 1)
        self.units[..., self.sinks :] = pages
        self.sizes = pages.bincount().expand(*keys.shape[:2], -1).clone()
        self.means.zero_().index_add_(2, pages, keys[:, :, self.sinks :]).div_(self.sizes.unsqueeze(-1))
        return found


RULES = {
    "clusters, threshold 0.7": Clusters,
    "clusters, every token": partial(Clusters, threshold=2),
    "clusters, first token only": partial(Clusters, threshold=-1),
    "pages, threshold 0.7": Pages,
    "pages, every token": partial(Pages, threshold=2),
    "best tokens, every token": partial(Clusters, threshold=2, cluster_size=1),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    tokens = 16 if quick else TOKENS
    found = {name: list(zip(*(measured(name, one, tokens) for one in seeds), strict=True)) for name in RULES}
    cells, ours = {n: [spread(one, ".3f") for one in found[n]] for n in found}, found["clusters, threshold 0.7"]
    return Outcome(
        [["rule", "attention read", "error", "retrievals a token", "tokens read"], *([n, *cells[n]] for n in cells)],
        {
            "at threshold 0.7 at least 99 % of the attention is read": mean(ours[0]) >= 0.99,
            "with fewer than 0.15 retrievals a token": max(ours[2]) < 0.15,
            "pages at every token read less than 60 %": max(found["pages, every token"][0]) < 0.6,
            "one retrieval at the first token reads less than 60 %": max(found["clusters, first token only"][0]) < 0.6,
        },
    )


def measured(name: str, seed: int, tokens: int) -> tuple[float, float, float, float]:
    figures = caches.measure(cache := RULES[name](BUDGET, seed=seed), trace(seed, tokens))
    return figures.mass, figures.error, mean(cache.turns), figures.read


def trace(seed: int, tokens: int) -> caches.Trace:
    generator = torch.Generator().manual_seed(seed)
    normal = partial(torch.randn, generator=generator, dtype=torch.float64)
    topics, total = 1.6 * normal(TOPICS, D), PROMPT + tokens
    lengths = torch.cat([torch.ones(PROMPT).long(), torch.randint(6, 22, (tokens,), generator=generator)])
    runs = torch.arange(total).repeat_interleave(lengths)[:total]
    about = torch.randint(TOPICS, (total,), generator=generator)[runs]
    keys, values = topics[about] + 0.5 * normal(total, D), normal(total, D)
    queries = 1.3 * (topics[about] + 0.4 * (normal(total, D)[runs] + normal(HEADS, total, D)))
    return caches.Trace(queries[None], keys[None, None], values[None, None], PROMPT)
