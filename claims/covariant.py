"""Covariant quantum kernels: the state that is rotated decides, and alignment finds it."""

import math
from functools import partial

import numpy as np
from sklearn.svm import SVC

from claims._experiment import Outcome, is_above, spread
from convnn.learners import AlignedClassifier, CovariantQuantum

SYSTEM = "Covariant quantum kernels"
CLAIM = "A quantum kernel that is covariant under the group of the data tells its cosets apart, and alignment finds it."
EXPERIMENT = (
    "Noisy elements of two cosets of the stabiliser of a graph state of 7 qubits, 40 to learn from and 100 others;"
    " accuracy in percent of support vector machines, C = 1, with the kernel of all angles 0.1, after 20 steps of"
    " alignment, and with that of the graph state itself; beside classical kernels on the angles, and on their sines."
)
SEEDS = tuple(range(5))
EDGES = [(0, 2), (3, 4), (2, 5), (1, 4), (2, 3), (4, 6)]
QUBITS, TRAIN, TEST, NOISE = 7, 40, 100, 0.1


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 2 if quick else 20
    ways = {
        "quantum, angles 0.1": partial(aligned, theta=0.1, steps=0),
        f"quantum, aligned in {steps} steps": partial(aligned, theta=0.1, steps=steps),
        "quantum, the graph state": partial(aligned, theta=math.pi / 2, steps=0),
        "Gaussian kernel": lambda X, y: SVC().fit(X, y).score,
        "Gaussian kernel on sines and cosines": lambda X, y: lambda Z, z: SVC().fit(waves(X), y).score(waves(Z), z),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for seed in seeds:
        X, y = cosets(seed)
        for name, way in ways.items():
            found[name].append(100 * way(X[:TRAIN], y[:TRAIN])(X[TRAIN:], y[TRAIN:]))
    start, after, best, *classical = found.values()
    rows = [["kernel", "accuracy"], *([name, spread(scores)] for name, scores in found.items())]
    return Outcome(rows, {
        "alignment raises the accuracy": is_above(after, start),
        "it comes within a point of the graph state": np.mean(after) > np.mean(best) - 1,
        "classical kernels are below": all(is_above(after, scores) for scores in classical),
    })  # fmt: skip


def aligned(X: np.ndarray, y: np.ndarray, theta: float, steps: int) -> object:
    kernel = CovariantQuantum(QUBITS, EDGES, theta)
    return AlignedClassifier(kernel, "theta", steps=steps).fit(X, y).score


def waves(X: np.ndarray) -> np.ndarray:
    return np.concatenate([np.sin(2 * X), np.cos(2 * X)], 1)


def cosets(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy elements (N, 14) of two left cosets of the stabiliser, each of angles, and their classes (N,)."""
    random = np.random.default_rng(seed)
    centers, count = random.uniform(-math.pi / 2, math.pi / 2, (2, 2 * QUBITS)), TRAIN + TEST
    near = np.zeros((QUBITS, QUBITS))
    for i, j in EDGES:
        near[i, j] = near[j, i] = 1
    labels, flips = random.integers(2, size=count), random.integers(2, size=(count, QUBITS))
    X = centers[labels]
    X[:, ::2] += flips * math.pi / 2  # multiplied from the right by X where flipped, and by Z of its neighbours
    X[:, 1::2] = (-1.0) ** flips * X[:, 1::2] + flips @ near * math.pi / 2
    return X + random.normal(scale=NOISE, size=X.shape), labels
