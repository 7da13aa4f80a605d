"""EigenPro 3: the size of a kernel machine and that of its data grow apart."""

import numpy as np
from sklearn.datasets import load_digits

from claims._experiment import Outcome, is_above, spread
from convnn.learners import EigenProClassifier, Laplace

SYSTEM = "EigenPro 3"
CLAIM = "Model size and data size scale separately: more data help a kernel machine of as many centres."
EXPERIMENT = (
    "scikit-learn's digits, Laplace kernel of bandwidth 5, 100 centres, 400 digits to test: accuracy in percent after"
    " 20 passes over ever more of the others, with inexact and exact projections, against the machine that interpolates"
    " its 100 centres. And the mean squared error after as many projections, with ever more components q of a sample"
    " of 200."
)
SEEDS = (0, 1, 2)
CENTERS, TEST = 100, 400
KERNEL = Laplace(5.0)


def measure(seeds: list[int], quick: bool) -> Outcome:
    sizes = (100, 200) if quick else (100, 200, 400, 800, 1397)
    splits = [split(seed) for seed in seeds]
    only = [interpolated(*each) for each in splits]
    found = {
        size: [[accuracy(*each, size, projection) for each in splits] for projection in ("inexact", "exact")]
        for size in sizes
    }
    errors = {q: [left(*each, q, 200) for each in splits] for q in (1, 10, 60)}
    rows = [["learned from", "inexact, %", "exact, %"], ["the 100 centres, interpolated", spread(only), ""]]
    rows += [[f"{size} digits", *map(spread, scores)] for size, scores in found.items()]
    rows += [[f"1000 x error after 10 projections, q = {q}", "", spread(each)] for q, each in errors.items()]
    return Outcome(
        rows,
        {
            "accuracy rises with the data, with inexact projections": rises(found, 0),
            "and with exact ones": rises(found, 1),
            "all data are better than interpolating the centres": is_above(found[sizes[-1]][0], only),
            "more components leave a smaller error after as many projections": rises_down(errors),
        },
    )


def split(seed: int) -> tuple[np.ndarray, ...]:
    digits, order = load_digits(), np.random.default_rng(seed).permutation(1797)
    X, y = digits.data[order] / 16, digits.target[order]
    return X[TEST:], y[TEST:], X[:TEST], y[:TEST]


def interpolated(X, y, test, labels) -> float:
    alpha = np.linalg.solve(KERNEL(X[:CENTERS]), np.eye(10)[y[:CENTERS]])
    return 100 * float(((KERNEL(test, X[:CENTERS]) @ alpha).argmax(1) == labels).mean())


def accuracy(X, y, test, labels, size: int, projection: str) -> float:
    settings = {"centers": X[:CENTERS], "n_components": min(60, size // 2), "projection": projection}
    ours = EigenProClassifier(KERNEL, max_epochs=20, random_state=0, **settings)
    return 100 * ours.fit(X[:size], y[:size]).score(test, labels)


def left(X, y, _, __, q: int, sample: int) -> float:
    """Return the error on all data after ten batches of whatever size q allows."""
    settings = {"centers": X[:CENTERS], "n_components": q, "n_nystrom": sample, "projection": "exact"}
    ours = EigenProClassifier(KERNEL, random_state=0, **settings)
    size = ours.fit(X[:sample], y[:sample]).set_params(max_epochs=1).batch_size_
    rows = np.arange(10 * size) % len(X)
    ours = EigenProClassifier(KERNEL, max_epochs=1, random_state=0, **settings).fit(X[rows], y[rows])
    outputs = KERNEL(X, ours.centers_) @ ours.dual_coef_
    return 1000 * float(np.square(outputs - np.eye(10)[y]).mean())


def rises(found: dict, column: int) -> bool:
    means = [np.mean(scores[column]) for scores in found.values()]
    return means == sorted(means) and means[-1] > means[0]


def rises_down(errors: dict) -> bool:
    means = [np.mean(each) for each in errors.values()]
    return means == sorted(means, reverse=True)
