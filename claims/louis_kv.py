"""LouisKV: clusters of keys, fetched where the query turns, are read as well as the best tokens at every step."""

from statistics import mean

import torch
from torch import Tensor

from claims._experiment import Outcome, spread
from convnn.nn.tokens import caches

SYSTEM = "LouisKV"
CLAIM = "Keys retrieved by clusters, and only where the meaning turns, need few retrievals and lose nearly nothing."
EXPERIMENT = (
    "A prompt of 1,024 tokens of 40 topics in random order (keys: those of the topic with noise), then 160 tokens in"
    " runs of 6 to 21 on one topic, with four queries each; 64 tokens are chosen, of clusters of 16, or of pages of 16"
    " consecutive tokens; 4 sinks and the last 16 tokens are read besides."
)
SEEDS = (0, 1, 2, 3, 4, 5)
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
        sums = torch.zeros_like(self.means).index_add_(2, pages, keys[:, :, self.sinks :])
        self.means = sums / self.sizes.unsqueeze(-1)
        return found


RULES = {
    "clusters, threshold 0.7": (Clusters, {}),
    "clusters, every token": (Clusters, {"threshold": 2}),
    "clusters, first token only": (Clusters, {"threshold": -1}),
    "pages, every token": (Pages, {"threshold": 2}),
    "pages, threshold 0.7": (Pages, {}),
    "best tokens, every token": (Clusters, {"threshold": 2, "cluster_size": 1}),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    found = {name: [measured(name, seed, 16 if quick else TOKENS) for seed in seeds] for name in RULES}
    found = {name: list(zip(*rows, strict=True)) for name, rows in found.items()}
    ours = found["clusters, threshold 0.7"]
    cells = {name: [spread(column, ".3f") for column in found[name]] for name in found}
    return Outcome(
        [["rule", "attention read", "error", "retrievals a token", "tokens read"], *([n, *cells[n]] for n in cells)],
        {
            "at threshold 0.7 at least 99 % of the attention is read": min(ours[0]) >= 0.99,
            "with fewer than 0.15 retrievals a token": max(ours[2]) < 0.15,
            "pages at every token read less than 60 %": max(found["pages, every token"][0]) < 0.6,
            "one retrieval at the first token reads less than 60 %": max(found["clusters, first token only"][0]) < 0.6,
        },
    )


def measured(name: str, seed: int, tokens: int) -> tuple[float, float, float, float]:
    make, settings = RULES[name]
    cache = make(BUDGET, seed=seed, **settings)
    figures = caches.measure(cache, trace(torch.Generator().manual_seed(seed), tokens))
    return figures.mass, figures.error, mean(cache.turns), figures.read


def trace(generator: torch.Generator, tokens: int) -> caches.Trace:
    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    topics, contents, total = 1.6 * normal(TOPICS, D), normal(TOPICS, D), PROMPT + tokens
    about = torch.randint(TOPICS, (total,), generator=generator)
    lengths = torch.randint(6, 22, (tokens,), generator=generator)
    run = torch.cat([torch.arange(PROMPT), PROMPT + torch.arange(tokens).repeat_interleave(lengths)[:tokens]])
    about, offset = about[run], 0.4 * normal(total, D)[run]
    keys, values = topics[about] + 0.5 * normal(total, D), contents[about] + 0.1 * normal(total, D)
    queries = 1.3 * (topics[about] + offset + 0.4 * normal(HEADS, total, D))
    return caches.Trace(queries[None], keys[None, None], values[None, None], PROMPT)
