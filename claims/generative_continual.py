"""Generative kernel continual learning: a generator that replays samples stands for a memory of real ones."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.kernel_ridge import KernelRidge

from claims._experiment import Outcome, is_above, spread
from convnn.learners import GenerativeKernelContinual

SYSTEM = "Generative kernel continual learning"
CLAIM = "Kernel machines on generated samples learn task after task without a stored sample, and forget little."
EXPERIMENT = (
    "scikit-learn's digits, 1200 to train and 597 to test, five tasks of two digits each, one after another; 150 steps"
    " for each, a linear kernel, 20 generated samples a class unless said otherwise. After the last task: accuracy in"
    " percent with the task given, what the first four tasks have lost since they were learned, and accuracy among all"
    " ten digits; against machines on a few real samples, between encoder means of the same generator."
)
SEEDS = (0, 1, 2, 3, 4)
WAYS = {
    "replay and contrast": {},
    "without contrast": {"contrast": 0.0},
    "without replay": {"replay": 0},
    "2 generated samples a class": {"per_class": 2},
}
STORED = (2, 10)


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps, found = 10 if quick else 150, {}
    for name, way in WAYS.items():
        found[name] = list(zip(*(learned(seed, steps, way) for seed in seeds), strict=True))
    for count in STORED:
        name = f"{count} stored samples a class"
        found[name] = list(zip(*(learned(seed, steps, {}, count) for seed in seeds), strict=True))
    figures = [["learned with", "accuracy, %", "lost, points", "all ten digits, %"]]
    figures += [[name, *(spread(each) for each in scores)] for name, scores in found.items()]
    ours, lost, of_all = found["replay and contrast"]
    without, few = found["without replay"], found["2 stored samples a class"]
    return Outcome(
        figures,
        {
            "with replay accuracy is more than five points higher": np.mean(ours) > np.mean(without[0]) + 5,
            "less is forgotten": is_above(without[1], lost),
            "among all digits replay is worth more than ten points": is_above(of_all, [x + 10 for x in without[2]]),
            "it is within one point of two stored samples a class, or above": np.mean(ours) > np.mean(few[0]) - 1,
            "contrast helps": is_above(ours, found["without contrast"][0]),
        },
    )


def learned(seed: int, steps: int, way: dict, stored: int | None = None) -> tuple[float, float, float]:
    """Return the accuracy by task, what was lost, and the accuracy among all digits, after the last task."""
    digits, order = load_digits(), np.random.default_rng(seed).permutation(1797)
    X, y = digits.data[order] / 16, digits.target[order]
    train, test = (X[:1200], y[:1200]), (X[1200:], y[1200:])
    ours = GenerativeKernelContinual(classes=10, steps=steps, random_state=seed, **way)
    after = np.zeros((5, 5))

    def predicted(points: np.ndarray, task: int | None) -> np.ndarray:
        if stored is None:
            return ours.predict(points, task)
        classes = range(10) if task is None else (2 * task, 2 * task + 1)
        kept = np.concatenate([np.flatnonzero(train[1] == label)[:stored] for label in classes])
        ridge = KernelRidge(alpha=ours.ridge).fit(ours.embed(train[0][kept]), np.eye(10)[train[1][kept]])
        return ridge.predict(ours.embed(points)).argmax(1)

    for task in range(5):
        ours.fit_task(*pair(*train, task))
        for earlier in range(task + 1):
            points, labels = pair(*test, earlier)
            after[task, earlier] = 100 * (predicted(points, earlier) == labels).mean()
    of_all = 100 * (predicted(test[0], None) == test[1]).mean()
    return float(after[4].mean()), float((after.diagonal() - after[4])[:4].mean()), float(of_all)


def pair(X: np.ndarray, y: np.ndarray, task: int) -> tuple[np.ndarray, np.ndarray]:
    return X[y // 2 == task], y[y // 2 == task]
