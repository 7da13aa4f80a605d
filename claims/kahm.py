"""KAHM: distances to affine hulls classify private data, and tell little about who was in it."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.svm import SVC

from claims._experiment import Outcome, is_above, spread
from convnn.learners import AffineHullClassifier

SYSTEM = "KAHM: affine hulls of classes"
CLAIM = "Classes by their kernel affine hulls lose little to the noise of differential privacy, and hide their members."
EXPERIMENT = (
    "scikit-learn's digits between 0 and 1, 400 to learn from and 500 others, noise on each pixel with adjacency 1 and"
    " delta 0.001. Accuracy in percent of hulls of the noisy points, of hulls of fabricated ones, and of a support"
    " vector machine (C = 10) on the noisy points; and how well the distance of an image tells whether it was learned"
    " from, as area under the curve in percent, 50 for not at all, beside that of the nearest noisy point."
)
SEEDS = (0, 1, 2)
BUDGETS = (None, 8.0, 2.0, 1.0)
TRAIN, TEST = 400, 500


def measure(seeds: list[int], quick: bool) -> Outcome:
    budgets = (None, 1.0) if quick else BUDGETS
    found = {budget: np.array([one(seed, budget) for seed in seeds]).T for budget in budgets}
    rows = [["epsilon", "hulls, noisy", "hulls, fabricated", "SVC", "members by hull", "by nearest point"]]
    rows += [[str(budget or "none"), *map(spread, map(list, scores))] for budget, scores in found.items()]
    clear, last = found[None], found[1.0]
    return Outcome(rows, {
        "without noise, accuracy is above 90": bool(clear[1].mean() > 90),
        "at epsilon 1, hulls of noisy points are above the machine": is_above(list(last[0]), list(last[2])),
        "so are those of fabricated points": is_above(list(last[1]), list(last[2])),
        "at epsilon 1, members are hidden: below 60": bool(last[3].mean() < 60),
        "also without noise": bool(clear[3].mean() < 60),
    })  # fmt: skip


def one(seed: int, epsilon: float | None) -> list[float]:
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(X))[: TRAIN + TEST]
    X, y = X[order] / 16, y[order]
    known, labels, others = X[:TRAIN], y[:TRAIN], X[TRAIN:]
    settings = {"n_components": 20, "epsilon": epsilon, "delta": 1e-3, "random_state": seed}
    hulls = [AffineHullClassifier(fabricate=made, **settings).fit(known, labels) for made in (False, True)]
    noisy, of = np.concatenate(hulls[0].points_), np.repeat(hulls[0].classes_, [len(p) for p in hulls[0].points_])
    scores = [100 * model.score(others, y[TRAIN:]) for model in (*hulls, SVC(C=10).fit(noisy, of))]
    is_member = np.repeat([1, 0], [TRAIN, TEST])
    own = hulls[1].distance(X)[np.arange(len(X)), np.searchsorted(hulls[1].classes_, y)]
    nearest = NearestNeighbors(n_neighbors=1).fit(noisy).kneighbors(X)[0][:, 0]
    return scores + [100 * roc_auc_score(is_member, -distance) for distance in (own, nearest)]
