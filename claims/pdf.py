"""PDF: a filter of several matrices is no polynomial of one."""

import torch
from torch import Tensor, nn

from claims._experiment import Outcome, spread
from claims._nodes import descend
from convnn.nn.graphs import filtered_sum, pdf_bases

SYSTEM = "PDF: decomposition and filter learned together"
CLAIM = (
    "Learned polynomials of one matrix are a special case: several normalisations remove the error of the"
    " decomposition, and a nonlinear filter that of the polynomial."
)
EXPERIMENT = (
    "60 random graphs of 20 nodes, and 40 others for the test, with 4 random features; the targets are M^2 / 3 - M, for"
    " M normalised by the degrees to the power -0.2, and the sum over the nodes two edges apart. Squared error as a"
    " share of the target's, of filters of the powers 1 to 5 of the matrix of the exponent -0.5, or of four matrices:"
    " linear, by least squares, or an MLP of three maps after 500 steps."
)
SEEDS = (0, 1, 2)
EXPONENTS = {"one matrix": (-0.5,), "four matrices": (-0.2, -0.3, -0.4, -0.5)}
TARGETS = ("M^2 / 3 - M", "two edges apart")
FILTERS = [*((target, "linear", name) for target in TARGETS for name in EXPONENTS), (TARGETS[1], "MLP", "one matrix")]


def measure(seeds: list[int], quick: bool) -> Outcome:
    found = {key: [] for key in FILTERS}
    for seed in seeds:
        for (target, filtered, name), errors in found.items():
            train, test = (graphs(number, EXPONENTS[name], target, seed) for number in (60, 40))
            phi = least_squares(*train) if filtered == "linear" else learned(*train, 3 if quick else 500)
            errors.append(error(phi, *test))
    one, four, linear, _, mlp = found.values()
    rows = [[*key, spread(errors, ".1e")] for key, errors in found.items()]
    return Outcome(
        [["target", "filter", "of", "squared error"], *rows],
        {
            "several matrices make the error of the first target 100 times smaller": max(four) < min(one) / 100,
            "an MLP makes that of the second 100 times smaller": max(mlp) < min(linear) / 100,
        },
    )


def graphs(number: int, exponents: tuple[float, ...], target: str, seed: int) -> tuple[Tensor, ...]:
    """Return the features, pairs and bases of all graphs, and the target of the features."""
    generator = torch.Generator().manual_seed(1000 * seed + number)
    parts = []
    for k in range(number):
        looped = torch.zeros(20, 20, dtype=torch.double)
        while not (torch.linalg.matrix_power(looped, 19) > 0).all():  # until it is connected
            edges = (torch.rand(20, 20, generator=generator) < 0.15).triu(1)
            looped = (edges | edges.T).double() + torch.eye(20)
        pairs, bases = pdf_bases(looped.nonzero().T, 20, exponents, 5, dtype=torch.double)
        ends = looped.sum(1) ** -0.2
        m = ends.unsqueeze(1) * looped * ends
        apart = (looped @ looped > 0).double() - looped
        x = torch.randn(20, 4, generator=generator).double()
        parts.append((x, pairs + 20 * k, bases, (m @ m / 3 - m if target == TARGETS[0] else apart) @ x))
    x, pairs, bases, y = zip(*parts, strict=True)
    return torch.cat(x), torch.cat(pairs, 1), torch.cat(bases), torch.cat(y)


def least_squares(x: Tensor, pairs: Tensor, bases: Tensor, y: Tensor):
    columns = torch.stack([filtered_sum(x, pairs, one.unsqueeze(1)).flatten() for one in bases.T], 1)
    theta = torch.linalg.lstsq(columns, y.flatten().unsqueeze(1), driver="gelsd").solution
    return lambda bases: bases @ theta


def learned(x: Tensor, pairs: Tensor, bases: Tensor, y: Tensor, steps: int) -> nn.Module:
    torch.manual_seed(0)
    phi = nn.Sequential(nn.Linear(6, 32), nn.GELU(), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 1))
    x, bases, y = x.float(), bases.float(), y.float()
    descend(phi, lambda: (filtered_sum(x, pairs, phi(bases)) - y).square().mean(), steps=steps, lr=0.01)
    return phi.double()


@torch.no_grad()
def error(phi, x: Tensor, pairs: Tensor, bases: Tensor, y: Tensor) -> float:
    return ((filtered_sum(x, pairs, phi(bases)) - y).square().sum() / y.square().sum()).item()
