"""Deep kernel machines: learned Gram matrices describe what a kernel misses, and are those of wide networks."""

import math

import numpy as np
import torch
from torch import Tensor

from claims._experiment import Outcome, is_above, spread
from convnn.learners import DeepKernelMachineRegressor
from convnn.learners.deep.output import linear_optimum

SYSTEM = "Deep kernel machines"
CLAIM = "A limit of infinite width that learns representations: better than a fixed kernel, and that of wide networks."
EXPERIMENT = (
    "60 points of 5 features, normally distributed, y = x1 x2 with noise of deviation 0.1, two layers, squared"
    " exponential kernels, noise variance 0.1: root mean squared error at 500 new points, by the width of the layers."
    " And linear networks of one hidden layer of N units and N outputs, 3 points, sampled from their posterior by"
    " Hamiltonian Monte Carlo: mean relative distance of the Gram matrices of their units from the machine's."
)
SEEDS = (0, 1, 2, 3)
WIDTHS = (math.inf, 300, 100, 30, 10, 3)


def measure(seeds: list[int], quick: bool) -> Outcome:
    widths = (math.inf, 10) if quick else WIDTHS
    units, steps = ((4, 16), 200) if quick else ((4, 16, 64, 256), 600)
    errors = {width: [error(seed, width, 20 if quick else 200) for seed in seeds] for width in widths}
    apart = {count: [distance(seed, count, steps) for seed in seeds] for count in units}
    rows = [["layers", "root mean squared error"]]
    rows += [[f"of width {width:g}", spread(found, ".2f")] for width, found in errors.items()]
    rows += [[f"{count} units: distance of the Gram matrix", spread(found, ".3f")] for count, found in apart.items()]
    few, many, share = apart[units[0]], apart[units[-1]], (units[-1] / units[0]) ** 0.5
    return Outcome(rows, {
        "layers of width 10 are better than a fixed kernel": is_above(errors[math.inf], errors[10]),
        "narrow layers are better than wide ones": is_above(errors[widths[0]], errors[widths[-1]]),
        "Gram matrices of sampled networks come nearer with their width": is_above(few, many),
        "as the root of the width, within a factor of 1.5": 1 / 1.5 < np.mean(few) / np.mean(many) / share < 1.5,
    })  # fmt: skip


def error(seed: int, width: float, steps: int) -> float:
    random = np.random.default_rng(seed)
    X, new = random.normal(size=(60, 5)), random.normal(size=(500, 5))
    y = X[:, 0] * X[:, 1] + 0.1 * random.normal(size=60)
    machine = DeepKernelMachineRegressor(2, dof=width, noise_variance=0.1, max_iter=steps).fit(X, y)
    return float(np.square(machine.predict(new) - new[:, 0] * new[:, 1]).mean() ** 0.5)


def distance(seed: int, units: int, steps: int) -> float:
    """Return how far sampled Gram matrices are from that of the machine, on average."""
    generator = torch.Generator().manual_seed(seed)
    roots = torch.randn(2, 3, 6, generator=generator, dtype=torch.double)
    first, target = (root @ root.T / 6 for root in roots)
    optimum, inverse = linear_optimum(first, target, 1)[0], torch.linalg.inv(first)

    def energy(F: Tensor) -> Tensor:
        """Return minus the logarithm of the density of units (3, N), given outputs Y with Y Y^T / N = target."""
        gram = F @ F.T / units
        outputs = units / 2 * (torch.linalg.solve(gram, target).trace() + gram.logdet())
        return (F * (inverse @ F)).sum() / 2 + outputs

    F, apart = torch.linalg.cholesky(optimum) @ torch.randn(3, units, generator=generator, dtype=torch.double), []
    for step in range(steps):  # Hamiltonian Monte Carlo of 10 steps of the leapfrog
        F = propose(F, energy, 0.15 * units**-0.25, generator)
        if step >= steps // 4:
            apart.append(float((F @ F.T / units - optimum).norm() / optimum.norm()))
    return float(np.mean(apart))


def propose(F: Tensor, energy, length: float, generator: torch.Generator) -> Tensor:
    """Return the next sample, by a trajectory that is accepted or not."""
    start = momentum = torch.randn(F.shape, generator=generator, dtype=F.dtype)
    place, slope = F, torch.func.grad(energy)
    momentum = momentum - length / 2 * slope(place)
    for step in range(10):
        place = place + length * momentum
        momentum = momentum - (length if step < 9 else length / 2) * slope(place)
    change = energy(place) - energy(F) + (momentum.square().sum() - start.square().sum()) / 2
    return place if float(torch.rand((), generator=generator)) < math.exp(min(0.0, -float(change))) else F
