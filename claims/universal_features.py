"""Universal graph random features: a modulation of the walks gives any kernel that is a power series, or is learned."""

import statistics

import torch
from torch import Tensor, nn

from claims._experiment import Outcome, is_above, spread
from claims._random_features import GRAPH, even, head, law, of_means, off
from convnn.graphs.random_features import MODULATIONS, GraphRandomFeatures
from convnn.ops.walks import Stream

SYSTEM = "u-GRFs"
CLAIM = (
    "Modulated by how long they are, walks give unbiased features of any kernel that is a power series of the weights,"
    " with few entries whatever the size of the graph; a modulation can be learned."
)
EXPERIMENT = (
    "The karate club, U = 0.25 D^-1/2 W D^-1/2, halting probability 0.5. Relative Frobenius error of one estimate, mean"
    " of 20, for 2 to 64 walks from each node, and its power of their number m with a 95 % interval over the seeds;"
    " the error of the mean of many estimates of exp U by four walks. Eight free numbers as a modulation, trained on"
    " two walks by 150 steps of Adam towards exp U: squared relative error on 100 new sets of walks. Entries of a row,"
    " 16 walks, on random graphs of six edges a node."
)
SEEDS = (0, 1, 2, 3, 4)
SETTINGS = {"p_halt": 0.5, "normalization": "adjacency", "sigma2": 0.25}


def kernel(modulation, m: int, seed: int, independent: bool = True) -> Tensor:
    fitted = GraphRandomFeatures(modulation, walks=m, random_state=seed, **SETTINGS).fit(GRAPH)
    return fitted.kernel(independent=independent)


def measure(seeds: list[int], quick: bool) -> Outcome:
    u = torch.from_numpy(GraphRandomFeatures(walks=1, **SETTINGS).fit(GRAPH).matrix_.toarray())
    values, vectors = torch.linalg.eigh(u)
    of_values = [1 / (1 - values), 1 / (1 - values) ** 2, (1 + values) ** 2, values.exp(), values.sin() + values.cos()]
    exact = {name: vectors * each @ vectors.T for name, each in zip(MODULATIONS, of_values, strict=True)}
    laws = {
        name: law(lambda m, seed, name=name: kernel(name, m, seed), truth, seeds, quick)
        for name, truth in exact.items()
    }
    rows = [head(quick), *(each.row(name) for name, each in laws.items())]
    roots = []
    for sets, independent in (("two sets", True), ("one set", False)):
        estimate = lambda m, seed, both=independent: kernel("diffusion", m, seed, both)  # noqa: E731
        cells, is_root = of_means(estimate, exact["diffusion"], quick)
        rows.append([f"mean of estimates of exp U, {sets} of walks", *cells])
        roots.append(is_root)
    given, learned = zip(*(learn(seed, exact["diffusion"], 10 if quick else 150) for seed in seeds), strict=True)
    rows.append(["exp U, two walks: its modulation, a learned one", spread(given, ".4f"), spread(learned, ".4f")])
    ends = {n: Stream(0).integers(2, 3 * n) % n for n in (400, 3200)}
    graphs = {n: torch.cat([each, each.flip(0)], 1) for n, each in ends.items()}
    filled = [GraphRandomFeatures(**SETTINGS).fit(each).transform()._nnz() / n for n, each in graphs.items()]
    rows.append(["entries of a row, 400 and 3200 nodes", *(f"{one:.1f}" for one in filled)])
    return Outcome(
        even(rows),
        {
            "every error falls as the walks to the power of -0.5, within 0.1": all(
                each.falls_as_root for each in laws.values()
            ),
            "means of estimates from two sets of walks get nearer as the root of their number": roots[0],
            "a learned modulation has a lower error": is_above(given, learned),
            "rows have less than a tenth more entries on eight times the nodes": filled[1] < 1.1 * filled[0],
        },
    )


def learn(seed: int, exact: Tensor, steps: int) -> tuple[float, float]:
    """Return the squared error of the kernel's own modulation and of a learned one, on walks that were not seen."""
    free, first = nn.Parameter(torch.ones(8, dtype=torch.float64)), 10_000 * (seed + 1)
    optimizer = torch.optim.Adam([free], 0.01)
    for step in range(steps):
        optimizer.zero_grad()
        sum((kernel(free, 2, first + 4 * step + i) - exact).square().sum() for i in range(4)).backward()
        optimizer.step()
    found = [
        [off(kernel(f, 2, first + 9000 + i), exact) ** 2 for i in range(100)] for f in ("diffusion", free.detach())
    ]
    return tuple(statistics.mean(each) for each in found)
