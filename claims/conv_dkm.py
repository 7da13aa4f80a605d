"""Convolutional deep kernel machines: Gram matrices that are learned tell images apart better than fixed kernels."""

import math

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from claims._experiment import Outcome, is_above, spread
from convnn.learners import ConvDKMClassifier

SYSTEM = "Convolutional deep kernel machines"
CLAIM = "Convolutional kernel machines whose Gram matrices are learned are better than those of fixed kernels."
EXPERIMENT = (
    "scikit-learn's digits, 1200 to learn from and 597 to test, one residual block, 24 inducing points, 400 steps of"
    " 100 digits: accuracy in percent by the width of the layers, where infinite is without Gram layers and only the"
    " mixtures of inducing points are learned; with norms of each image, and with the published norms of the batch."
    " Logistic regression of the pixels besides."
)
SEEDS = (0, 1, 2)
WIDTHS = (math.inf, 1.0, 0.1, 0.01)


def measure(seeds: list[int], quick: bool) -> Outcome:
    widths, steps = ((math.inf, 0.01), 4) if quick else (WIDTHS, 400)
    splits = [split(seed) for seed in seeds]
    found = {width: [accuracy(*each, width, steps) for each in splits] for width in widths}
    published = [accuracy(*each, 0.01, steps, "global") for each in splits]
    plain = [100 * LogisticRegression(max_iter=1000).fit(flat(X), y).score(flat(T), t) for X, y, T, t in splits]
    rows = [["layers", "accuracy, %"]]
    rows += [[f"of width {width:g}", spread(scores)] for width, scores in found.items()]
    rows += [["of width 0.01, norms of the batch", spread(published)], ["logistic regression", spread(plain)]]
    return Outcome(rows, {
        "learned Gram matrices are better than fixed kernels": is_above(found[0.01], found[math.inf]),
        "with the norms of the batch as well": is_above(published, found[math.inf]),
    } | ({} if quick else {
        "those of width 1, which learn less, are better, too": is_above(found[1.0], found[math.inf]),
    }))  # fmt: skip


def split(seed: int) -> tuple[np.ndarray, ...]:
    digits, order = load_digits(), np.random.default_rng(seed).permutation(1797)
    X, y = digits.images[order, None], digits.target[order]
    X = (X - X[:1200].mean()) / X[:1200].std()
    return X[:1200], y[:1200], X[1200:], y[1200:]


def flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def accuracy(X, y, test, labels, width: float, steps: int, norm: str = "image") -> float:
    machine = ConvDKMClassifier(dof=width, norm=norm, max_iter=steps, random_state=0)
    return 100 * machine.fit(X, y).score(test, labels)
