"""Graph tangent kernels: those of growing graphs approach that of their graphon, and a fit on few nodes transfers."""

import torch
from torch import Tensor

from claims._experiment import Outcome, is_above, spread
from claims._rates import interval, printed, rate
from convnn.ops.ridge import kernel_ridge
from convnn.tangent import gntk, gntk_spectrum, graphon_sample

SYSTEM = "Tangent kernel of graph networks"
CLAIM = "Tangent kernels of growing graphs, and their spectra, converge to that of the graphon, and models transfer."
EXPERIMENT = (
    "Graphs drawn from W = exp(-3 |u - v|) with features sin 2 pi u, cos 4 pi u and 1, two layers with taps 0 and 1;"
    " the limit is a regular graph of 1,200 nodes. Errors are the sum of those of the five largest eigenvalues over"
    " their sum, and the length of the difference of kernels over that of the limit, of nodes at random with weights"
    " W (weighted) or edges by chance W (stochastic); their power of n has a 95 % interval over the seeds. Transfer:"
    " a ridge of 0.01 trace of the kernel learns sin 6 u + 1/2 [u > 1/2] at n nodes of a stochastic graph of 800, from"
    " the kernel of their subgraph, or from the part of the whole kernel; error at the others over the variance."
)
SEEDS = tuple(range(10))
SIZES = (25, 50, 100, 200, 400)
REFERENCE = 1200


def measure(seeds: list[int], quick: bool) -> Outcome:
    sizes, reference = ((25, 50, 100), 300) if quick else (SIZES, REFERENCE)
    grid = graphon_sample(falling, reference)
    limit = gntk(grid.adjacency, signal(grid.positions))
    top = gntk_spectrum(limit)[:5]
    rows, powers = [["error", *(f"n = {n}" for n in sizes), "power of n"]], {}
    for kind in ("weighted", "stochastic"):
        found = torch.tensor([[errors(kind, n, seed, limit, top) for n in sizes] for seed in seeds])
        for name, each in zip(("eigenvalues", "kernel"), found.unbind(2), strict=True):
            powers[f"{name}, {kind}"] = power = rate(sizes, each.tolist())
            rows.append([f"{name}, {kind}", *(spread(column, ".3f") for column in each.T.tolist()), printed(power)])
    moved = torch.tensor([[transfer(n, seed, 200 if quick else 800) for n in sizes[:4]] for seed in seeds])
    few = [""] * (len(sizes) - len(sizes[:4]) + 1)
    for name, each in zip(("of the subgraph", "of the whole"), moved.unbind(2), strict=True):
        rows.append([f"transfer, kernel {name}", *(spread(column, ".3f") for column in each.T.tolist()), *few])
    own, whole = moved.unbind(2)
    reaches = {f"{name}: the interval of the power reaches -1/2": interval(p)[0] <= -0.5 for name, p in powers.items()}
    return Outcome(rows, reaches | {
        "and lies below -0.3, of all four": all(interval(power)[1] < -0.3 for power in powers.values()),
        "a fit from the subgraph explains nine tenths of the variance elsewhere": own.mean(0).max() < 0.1,
        "it gains from more nodes": is_above(own[:, 0].tolist(), own[:, -1].tolist()),
        "it comes within a fifth of the fit by the whole kernel": (own.mean(0) < 1.2 * whole.mean(0)).all(),
    })  # fmt: skip


def falling(u: Tensor, v: Tensor) -> Tensor:
    return torch.exp(-3 * (u - v).abs())


def signal(u: Tensor) -> Tensor:
    return torch.stack([(2 * torch.pi * u).sin(), (4 * torch.pi * u).cos(), torch.ones_like(u)], 1)


def errors(kind: str, n: int, seed: int, limit: Tensor, top: Tensor) -> tuple[float, float]:
    adjacency, positions = graphon_sample(falling, n, kind, torch.Generator().manual_seed(seed))
    found, at = gntk(adjacency, signal(positions)), (positions * limit.shape[0]).long()
    expected = limit[at][:, at]
    return (
        ((gntk_spectrum(found)[:5] - top).abs().sum() / top.sum()).item(),
        ((found - expected).norm() / expected.norm()).item(),
    )


def transfer(n: int, seed: int, nodes: int) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(seed)
    adjacency, u = graphon_sample(falling, nodes, "stochastic", generator)
    known = torch.randperm(nodes, generator=generator)[:n].sort().values
    others = torch.ones(nodes, dtype=torch.bool).index_fill(0, known, False)
    x, y = signal(u), (6 * u).sin() + 0.5 * (u > 0.5)
    whole, own = gntk(adjacency, x), gntk(adjacency[known][:, known], x[known])
    found = []
    for K in (own, whole[known][:, known]):
        fitted = kernel_ridge(K, y[known, None], 0.01 * K.trace().item())[:, 0]
        found.append(((whole[others][:, known] @ fitted - y[others]).square().mean() / y[others].var()).item())
    return tuple(found)
