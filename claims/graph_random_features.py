"""Graph random features: walks that halt estimate kernels of the Laplacian without bias."""

import math

import torch
from torch import Tensor

from claims._experiment import Outcome, is_above
from claims._random_features import GRAPH, even, head, law, of_means
from convnn.graphs.random_features import GraphRandomFeatures

SYSTEM = "GRFs"
CLAIM = (
    "Walks that halt give unbiased features of the regularised Laplacian kernel, whose error falls as one over the root"
    " of their number; quasi-random walks lower their variance."
)
EXPERIMENT = (
    "The karate club, sigma2 = 1, halting probability 0.3. Relative Frobenius error of one estimate of (I - U)^-2, of"
    " (I - U)^-1, and of (I - U)^-1 b, mean of 20, for 2 to 64 walks from each node, and its power of their"
    " number m with a 95 % interval over the seeds; the error of the mean of many estimates by four walks."
)
SEEDS = (0, 1, 2, 3, 4)
REINFORCED = {"reinforcement": lambda k: math.exp(-k)}


def features(m: int, seed: int, **settings) -> GraphRandomFeatures:
    return GraphRandomFeatures(walks=m, p_halt=0.3, random_state=seed, **settings).fit(GRAPH)


def kernel(m: int, seed: int, **settings) -> Tensor:
    return features(m, seed, **settings).kernel()


def measure(seeds: list[int], quick: bool) -> Outcome:
    u = torch.from_numpy(features(1, 0).matrix_.toarray())
    rest, b = torch.eye(len(u)).double() - u, torch.arange(len(u)).double()
    one = torch.linalg.inv(rest)
    two = one @ one
    kinds = {
        "(I - U)^-2": (kernel, two),
        "the same, antithetic halting": (lambda m, seed: kernel(m, seed, antithetic=True), two),
        "the same, reinforced by exp(-k)": (lambda m, seed: kernel(m, seed, **REINFORCED), two),
        "(I - U)^-1, from (I - U)^-2": (lambda m, seed: kernel(m, seed) @ rest, one),
        "(I - U)^-1, deconvolved": (lambda m, seed: kernel(m, seed, modulation="regularized_1"), one),
        "(I - U)^-1 b": (lambda m, seed: features(m, seed).solve(b), one @ b),
    }
    laws = {name: law(*kind, seeds, quick) for name, kind in kinds.items()}
    plain, antithetic, reinforced, product, deconvolved, _ = (each.totals for each in laws.values())
    rows, roots = [head(quick), *(each.row(name) for name, each in laws.items())], []
    for name in list(kinds)[:3]:
        cells, is_root = of_means(*kinds[name], quick)
        rows.append([f"mean of estimates, {name}", *cells])
        roots.append(is_root)
    return Outcome(
        even(rows),
        {
            "every error falls as the walks to the power of -0.5, within 0.1": all(
                each.falls_as_root for each in laws.values()
            ),
            "means of estimates get nearer as the root of their number": all(roots),
            "antithetic halting lowers the error": is_above(plain, antithetic),
            "reinforced walks lower the error": is_above(plain, reinforced),
            "a modulation of its own more than halves the error of (I - U)^-1": sum(product) > 2 * sum(deconvolved),
        },
    )
