"""FastONL: columns of a graph's kernel that are found by local push predict labels as the whole inverse does."""

import numpy as np
from scipy.sparse import csr_array
from sklearn.base import clone

from claims._experiment import Outcome, is_above, spread
from claims._named_graphs import labelled_graph, largest_component
from convnn.learners import OnlineNodeClassifier

SYSTEM = "FastONL"
CLAIM = "Local push gives the accuracy of the inverse at a fraction of the cost, and more than voting of neighbours."
EXPERIMENT = (
    "Cora's largest component, 2485 nodes in random order: each label is predicted from those before, then learned."
    " Right predictions in percent, of all four kernels (lambda n/2, n/5, 9n/10, n/2) by pushes that leave ever less,"
    " and how much of a column of the normalised kernel they find; against the inverse of that kernel, as a dense"
    " matrix, and the most common label of the neighbours whose labels are known, or else of all."
)
SEEDS = (0, 1, 2)
REACH = {"laplacian": 0.5, "normalized": 0.2, "discounted": 0.9, "one_sided": 0.5}


class ByInverse(OnlineNodeClassifier):
    """The same with whole columns of the inverse, for the normalised Laplacian."""

    def _start(self, classes: np.ndarray) -> None:
        super()._start(classes)
        n, roots, lam = len(self._roots), self._roots, self.lam
        walk = self.adjacency.toarray() / roots / roots[:, None]
        self.inverse = np.linalg.inv((np.eye(n) - walk) / (2 * lam) + np.eye(n) / (2 * n))

    def _column(self, node: int) -> tuple[np.ndarray, np.ndarray]:
        return np.arange(len(self.inverse)), self.inverse[:, node]


def measure(seeds: list[int], quick: bool) -> Outcome:
    adjacency, labels = largest_component(*labelled_graph("karate" if quick else "Cora"))
    n, depths = len(labels), (1e-2, 1e-3) if quick else (1e-2, 1e-3, 1e-4)
    orders = [np.random.default_rng(seed).permutation(n) for seed in seeds]
    rows = [["residue left, of the degree", *(f"{eps:g}" for eps in depths)]]
    found: dict[str, list[list[float]]] = {}
    for kernel, reach in REACH.items():
        machines = [OnlineNodeClassifier(adjacency, kernel, lam=reach * n, eps=eps) for eps in depths]
        found[kernel] = [[online(machine, labels, order) for order in orders] for machine in machines]
        rows.append([f"{kernel}, %", *map(spread, found[kernel])])
    sizes = [share_found(adjacency, labels, eps) for eps in depths]
    rows.append(["column that is found, %", *(f"{size:.1f}" for size in sizes)])
    inverse = [online(ByInverse(adjacency, lam=n / 5, kernel="normalized"), labels, order) for order in orders]
    voted = [votes(adjacency, labels, order) for order in orders]
    rows += [[name, *[""] * (len(depths) - 1), spread(s)] for name, s in (("inverse, %", inverse), ("votes, %", voted))]
    pushed = found["normalized"][-1]
    return Outcome(
        rows,
        {
            "the finest push is within one point of the inverse": np.mean(pushed) > np.mean(inverse) - 1,
            "it is more than ten points above votes": is_above(pushed, [score + 10 for score in voted]),
            "it finds less than 15 % of a column": sizes[-1] < 15,
            "each kernel gains from the coarsest to the finest": all(is_above(f[-1], f[0]) for f in found.values()),
        },
    )


def online(machine: OnlineNodeClassifier, labels: np.ndarray, order: np.ndarray) -> float:
    found = clone(machine).progressive_predict(order, labels[order], classes=np.unique(labels))
    return 100 * float((found == labels[order]).mean())


def share_found(adjacency: csr_array, labels: np.ndarray, eps: float) -> float:
    n = len(labels)
    machine = OnlineNodeClassifier(adjacency, "normalized", lam=n / 5, eps=eps).fit(range(n), labels)
    return 100 * float(np.mean([len(machine.push_(node)[0]) for node in range(0, n, 10)])) / n


def votes(adjacency: csr_array, labels: np.ndarray, order: np.ndarray) -> float:
    known, right = np.zeros((len(labels), labels.max() + 1)), 0
    for node in order:
        near = adjacency[[node]] @ known
        right += (near if near.any() else known.sum(0)).argmax() == labels[node]
        known[node, labels[node]] = 1
    return 100 * float(right / len(labels))
