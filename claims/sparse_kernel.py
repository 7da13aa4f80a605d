"""Products with sparse kernel matrices: an error that is promised, from ever fewer of the entries."""

import math
from statistics import mean

import torch
from torch import Tensor

from claims._experiment import Outcome, spread
from convnn.learners import EuclideanHash, Gaussian, hashed_product

SYSTEM = "Sparse kernel products"
CLAIM = "If a kernel matrix has few large entries, its product is known up to an error in less than quadratic time."
EXPERIMENT = (
    "Keys and queries in n / 8 clusters in eight dimensions, bandwidth 0.6, error allowed 0.5: what is found, entries"
    " touched, and the error over the length of the vector, in all, with the sample alone on as many entries, and with"
    " the large entries alone."
)
SEEDS = (0, 1, 2)
SIGMA, WIDTH, ERROR = 0.6, 2.5, 0.5
SIZES = {512: (4, 12), 1024: (5, 20), 2048: (6, 32)}
"""Hashes and tables for each number of points."""


def measure(seeds: list[int], quick: bool) -> Outcome:
    sizes = {256: (3, 8), 512: (4, 12)} if quick else SIZES
    found = {n: [trial(n, *tables, seed) for seed in seeds] for n, tables in sizes.items()}
    rows = [["points", "entries touched", "large entries found", "error", "sample alone", "large entries alone"]]
    rows += [[str(n), *(spread(column, ".3f") for column in zip(*each, strict=True))] for n, each in found.items()]
    touched = [mean(one[0] for one in each) for each in found.values()]
    first, last = min(sizes), max(sizes)
    growth = 2 + math.log(touched[-1] / touched[0]) / math.log(last / first)
    trials = [one for each in found.values() for one in each]
    return Outcome(
        [*rows, ["entries grow as n to the power", f"{growth:.2f}", "", "", "", ""]],
        {
            "the error is always as small as allowed": all(one[2] < ERROR for one in trials),
            "entries grow with a power below 1.7": growth < 1.7,
            "a sample alone has twice the error": all(one[3] > 2 * one[2] for one in trials),
            "without the sample the error is larger": all(one[4] > one[2] for one in trials),
        },
    )


def trial(n: int, hashes: int, tables: int, seed: int) -> tuple[float, float, float, float, float]:
    draw = torch.Generator().manual_seed(seed)
    centres = 1.5 * torch.randn(n // 8, 8, generator=draw, dtype=torch.float64)
    keys, queries = (near(centres, n, draw) for _ in range(2))
    kernel, v = Gaussian(SIGMA), torch.randn(n, 1, generator=draw, dtype=torch.float64)
    directions = torch.randn(tables, hashes, 8, generator=draw, dtype=torch.float64)
    offsets = WIDTH * torch.rand(tables, hashes, generator=draw, dtype=torch.float64)
    pairs = EuclideanHash(directions, offsets, WIDTH).candidates(queries, keys)
    K, tau = kernel.block(queries, keys), n**-0.5
    samples = math.ceil(K.sum().item() / n * math.sqrt(n) / ERROR**2)
    touched = len(pairs) + n * samples

    def error(tau: float, count: int) -> tuple[float, int]:
        uniforms = torch.rand(count, generator=draw, dtype=torch.float64)
        parts = hashed_product(kernel, queries, keys, v, pairs, tau, uniforms)
        return ((parts.total - K @ v).norm() / v.norm()).item(), len(parts.heavy)

    both, heavy = error(tau, samples)
    alone, _ = error(2.0, touched // n)
    return touched / n**2, heavy / int((K >= tau).sum()), both, alone, error(tau, 0)[0]


def near(centres: Tensor, n: int, draw: torch.Generator) -> Tensor:
    which = torch.randint(len(centres), (n,), generator=draw)
    return centres[which] + 0.45 * 2 / 8**0.5 * torch.randn(n, 8, generator=draw, dtype=torch.float64)
