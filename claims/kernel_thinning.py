"""Kernel thinning: few points with the kernel mean of all, better than as many at random."""

import math
from statistics import mean

import numpy as np
import torch

from claims._experiment import Outcome, spread
from convnn.learners import Coreset, Gaussian, KernelMatrix, Laplace, kernel_thin, spectral_power
from convnn.learners.thinning import Discrepancy

SYSTEM = "Kernel thinning"
CLAIM = "The square root of n points, halved by balanced coins and swapped, is nearer to all n than a random sample is."
EXPERIMENT = (
    "Four normal clouds in the plane around (3, 3) and its reflections, n points of which the root of n are chosen:"
    " discrepancy (MMD) in a Gaussian kernel of bandwidth 2 from all of them, and the power of n with which it falls. A"
    " random sample; that sample swapped, without halving; of the halving the first list and the best; and kernel"
    " thinning with the kernel itself, its root, and both together (KT+). Then 256 points in ten dimensions and a"
    " Laplace kernel of bandwidth 3, where the root is a power of 0.95."
)
SEEDS = tuple(range(10))
COUNTS = (16, 64, 256, 1024)
WAYS = ("random", "random, swapped", "first list", "best list", "target", "root or power", "plus")


def measure(seeds: list[int], quick: bool) -> Outcome:
    counts = COUNTS[:2] if quick else COUNTS
    found = [np.array([trial(clouds(n, seed), Gaussian(2.0), None, seed) for seed in seeds]).T for n in counts]
    high = np.array([trial(normal(64 if quick else 256, seed), Laplace(3.0), 0.95, seed) for seed in seeds]).T
    rows = [["points", *map(str, counts), "power of n", "ten dimensions"]]
    powers = {}
    for way, name in enumerate(WAYS):
        falls = [mean(one[way]) for one in found]
        powers[name] = math.log(falls[-1] / falls[0]) / math.log(counts[-1] / counts[0])
        rows += [[name, *(spread(one[way], ".3f") for one in found), f"{powers[name]:.2f}", spread(high[way], ".3f")]]
    last = dict(zip(WAYS, (mean(scores) for scores in found[-1]), strict=True))
    tens = dict(zip(WAYS, (mean(scores) for scores in high), strict=True))
    whole = ("target", "root or power", "plus")
    return Outcome(
        rows,
        {
            "thinning falls with a power below -0.45, a random sample above -0.3": powers["random"] > -0.3
            and max(powers[name] for name in whole) < -0.45,
            "halving alone is nearer than a random sample, its best list at most half as far": last["first list"]
            < last["random"]
            > 2 * last["best list"],
            "halving is worth more than 5 % beside the swaps": last["target"] < 0.95 * last["random, swapped"],
            "so it is in ten dimensions": tens["target"] < 0.95 * tens["random, swapped"],
            "the root and KT+ are at most 10 % farther than the kernel itself": max(last["root or power"], last["plus"])
            < 1.1 * last["target"],
        },
    )


def trial(X: torch.Tensor, kernel: Gaussian | Laplace, power: float | None, seed: int) -> list[float]:
    """Return the discrepancies in the order of `WAYS`."""
    n, m = len(X), int(math.log2(len(X)) / 2)
    other = spectral_power(kernel, power, X.shape[1])
    K, split = kernel.block(X, X), other.block(X, X)
    coins = np.random.default_rng(seed).uniform(size=(m, n // 2))
    ours: list[Coreset] = [kernel_thin(by, K, m, coins) for by in (K, split, K + split)]
    far = Discrepancy(KernelMatrix(kernel, X, X).kept(), zero_mean=False)
    drawn = np.random.default_rng(seed).choice(n, n >> m, replace=False)
    lists = ours[0].lists
    chosen = (drawn, far.swapped(drawn, unique=False), lists[0], far.best(lists), *(one.indices for one in ours))
    return [far(one) for one in chosen]


def clouds(n: int, seed: int) -> torch.Tensor:
    draw = np.random.default_rng(1000 + seed)
    return torch.from_numpy(draw.normal(size=(n, 2)) + 3 * draw.choice([-1, 1], size=(n, 2)))


def normal(n: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(2000 + seed).normal(size=(n, 10)))
