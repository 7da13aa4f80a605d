"""GraphKV: lowering the scores of tokens like an important one keeps more that matters than the scores alone."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from convnn.nn.tokens.caches import GraphKVCache, KeyValueCache, RandomCache, SnapKVCache

SYSTEM = "GraphKV"
CLAIM = "Updating the importance of tokens along a graph of similar keys keeps more that is relevant than a fixed top."
EXPERIMENT = (
    "512 tokens of up to 24 topics, some of them frequent: keys and values are those of the topic with noise; the last"
    " 16 queries are about frequent topics. Of 48 and 96 tokens that stay: the share of the topics that have one, and"
    " the error of later queries, relative to attention to all tokens, in percent. These are one about each topic, or"
    " 100 as frequent as the topics."
)
SEEDS = tuple(range(20))
BUDGETS, WINDOW, TOPICS, TOKENS, D = (48, 96), 16, 24, 512, 32
CONTESTANTS = {
    "SnapKV": (SnapKVCache, {}),
    "GraphKV, 8 sources x 16": (GraphKVCache, {"num_sources": 8, "num_neighbors": 16}),
    "GraphKV, 16 x 32": (GraphKVCache, {}),
    "GraphKV, 16 x 32, twice": (GraphKVCache, {"rounds": 2}),
    "random": (RandomCache, {}),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    found = {
        (budget, name): list(zip(*(measured(make(budget, window=WINDOW, **more), seed) for seed in seeds), strict=True))
        for budget in BUDGETS
        for name, (make, more) in CONTESTANTS.items()
    }
    cells = {key: [spread([100 * one for one in column]) for column in found[key]] for key in found}

    def is_better(column: int, than: str) -> bool:
        pairs = ((found[budget, "GraphKV, 16 x 32"][column], found[budget, than][column]) for budget in BUDGETS)
        return all(is_above(ours, other) if column == 0 else is_above(other, ours) for ours, other in pairs)

    return Outcome(
        [
            ["kept", "cache", "topics covered", "error, each topic", "error, by frequency"],
            *([str(budget), name, *cells[budget, name]] for budget, name in cells),
        ],
        {
            "GraphKV, 16 x 32, covers more topics than SnapKV": is_better(0, "SnapKV"),
            "its error over each topic is below SnapKV's": is_better(1, "SnapKV"),
            "its error by frequency is below SnapKV's": is_better(2, "SnapKV"),
            "its error by frequency is below that of random tokens": is_better(2, "random"),
        },
    )


def measured(cache: KeyValueCache, seed: int) -> tuple[float, float, float]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    frequency = torch.from_numpy(np.random.default_rng(seed).dirichlet([0.35] * TOPICS))
    about, asked = torch.multinomial(frequency.expand(2, -1), TOKENS, replacement=True, generator=generator)
    topics, contents = 6 * F.normalize(normal(TOPICS, D), dim=1), normal(TOPICS, D)
    keys, values = topics[about] + 0.35 * normal(TOKENS, D), contents[about] + 0.1 * normal(TOKENS, D)
    dense = KeyValueCache()
    for one in (cache, dense):
        one.prefill(*(rows[None, None] for rows in (keys, values, topics[asked] + normal(TOKENS, D))))
    present = about.unique()
    later = torch.multinomial(frequency, 100, replacement=True, generator=generator)
    covered = about[cache.positions.flatten()].unique().numel() / present.numel()
    return covered, error(cache, dense, topics[present]), error(cache, dense, topics[later])


def error(cache: KeyValueCache, dense: KeyValueCache, queries: Tensor) -> float:
    expected = dense.attend(queries[None, None])
    return ((cache.attend(queries[None, None]) - expected).norm() / expected.norm()).item()
