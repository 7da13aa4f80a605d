"""Random features of several layers: their error, what they approximate, and which kernels they are the better for."""

import numpy as np
import torch
from sklearn.linear_model import Ridge

from claims._experiment import Outcome, spread
from claims._rates import interval, printed, rate
from convnn.learners import NNGP, MultiLayerRandomFeatures
from convnn.learners.activation_duals import dual

SYSTEM = "Multi-layer random features"
CLAIM = "The kernel of random deep features errs as one over the root of the width, and so do functions in its space."
EXPERIMENT = (
    "Points on the sphere S^5, layers of equal widths T. Kernel: 80 points, |Phi Phi' - Sigma| / |Sigma|, and its power"
    " of T with a 95 % interval over the seeds. Functions: sums of ten kernels at random points, learned from 2,000"
    " points by a ridge of 1e-6 and 512 features, then T, root mean square at 500 others, beside |f| sqrt(Sigma(x, x)"
    " / T). Spectrum: the integral of the kernel with Legendre polynomials of odd degree k up to 79 (step) or even"
    " (ReLU), on S^2, as a power of k; the paper's theorem asks for a slower fall than k^-(n + 2/3), n = 3."
)
SEEDS = (0, 1, 2, 3, 4, 5)
WIDTHS = (32, 64, 128, 256, 512, 1024)
LAST = (16, 32, 64, 128, 256, 512)
NETWORKS = {"step": ("step", 1), "ReLU": ("relu", 1), "ReLU x 2": ("relu", 2), "erf x 3": ("erf", 3)}


def measure(seeds: list[int], quick: bool) -> Outcome:
    widths, last = (WIDTHS[:3], LAST[:3]) if quick else (WIDTHS, LAST)
    rows, checks = [["error of the kernel", *(f"T = {width}" for width in widths), "power of T"]], {}
    for name, network in NETWORKS.items():
        errors = np.array([[kernel_error(width, *network, seed) for width in widths] for seed in seeds])
        power = rate(widths, errors)
        rows.append([name, *(spread(list(column), ".3f") for column in errors.T), printed(power)])
        low, high = interval(power)
        checks[f"{name}: the interval of the power overlaps -0.55 to -0.45"] = low < -0.45 and high > -0.55
    rows.append(["error of functions", *(f"T = {width}" for width in last), "power of T"])
    for name in ("step", "ReLU x 2"):
        found = np.array([[function_error(width, *NETWORKS[name], seed) for width in last] for seed in seeds])
        errors, bounds = np.moveaxis(found, 2, 0)
        rows.append([name, *(spread(list(column), ".4f") for column in errors.T), printed(rate(last, errors))])
        rows.append(["at most, by the theorem", *(f"{column.mean():.4f}" for column in bounds.T), "-0.50"])
        checks[f"{name}: functions err less than their bound at all widths"] = (errors < bounds).all()
    falls = {name: decay(name) for name in ("step", "relu")}
    rows.append(["power of k", *(f"{name} {fall:.2f}" for name, fall in falls.items()), *[""] * (len(widths) - 1)])
    checks["step falls more slowly than k^-3.67, where random features are the more succinct"] = falls["step"] > -11 / 3
    checks["ReLU faster"] = falls["relu"] < -11 / 3
    return Outcome(rows, checks)


def sphere(count: int, random: np.random.Generator) -> np.ndarray:
    points = random.standard_normal((count, 6))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def kernel_error(width: int, activation: str, layers: int, seed: int) -> float:
    points = sphere(80, np.random.default_rng(seed))
    ours = MultiLayerRandomFeatures((width,) * layers, activation, random_state=seed)
    features, expected = ours.fit_transform(points), NNGP(activation, layers)(points)
    return float(np.linalg.norm(features @ features.T - expected) / np.linalg.norm(expected))


def function_error(width: int, activation: str, layers: int, seed: int) -> tuple[float, float]:
    random, kernel = np.random.default_rng(seed), NNGP(activation, layers)
    centers, weights = sphere(10, random), random.standard_normal(10)
    train, test = sphere(2000, random), sphere(500, random)
    ours = MultiLayerRandomFeatures((512,) * (layers - 1) + (width,), activation, random_state=seed).fit(train)
    ridge = Ridge(1e-6, fit_intercept=False).fit(ours.transform(train), kernel(train, centers) @ weights)
    errors = ridge.predict(ours.transform(test)) - kernel(test, centers) @ weights
    norm = np.sqrt(weights @ kernel(centers) @ weights)
    return float(np.sqrt(np.mean(errors**2))), float(norm * np.sqrt(kernel(test[:1])[0, 0] / width))


def decay(activation: str) -> float:
    nodes, weights = np.polynomial.legendre.leggauss(400)
    angles = torch.from_numpy((nodes + 1) * np.pi / 2)
    values = dual(activation, *torch.ones(2, 1, dtype=torch.float64), angles.cos()) * angles.sin()
    orders = range(9 if activation == "step" else 10, 80, 2)  # the others have the eigenvalue 0
    found = [values.numpy() * np.polynomial.legendre.Legendre.basis(k)(angles.cos().numpy()) @ weights for k in orders]
    return rate(orders, [found]).mean
