"""STKR: points without labels help a kernel machine, through the powers of its kernel matrix."""

import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.semi_supervised import LabelSpreading

from claims._experiment import Outcome, is_above, spread
from claims._named_graphs import labelled_graph
from convnn.learners import Gaussian, Matrix, STKClassifier

SYSTEM = "STKR"
CLAIM = "Kernel regression with a transformed spectrum learns from points without labels, and predicts new points, too."
EXPERIMENT = (
    "Accuracy in percent. New points: scikit-learn's digits, 40 labels, 0 to 1000 other points, a Gaussian kernel of"
    " bandwidth 1, ridge 0.0001, 500 digits to test; against kernel ridge regression, which ignores points without"
    " labels. The other nodes of a graph: each digit linked to its nearest ones, 2 % of the labels, and Cora, 5 % of"
    " them, ridge times labels 0.1 of the nodes; against the kernel itself, which sees one step, and label spreading."
)
SEEDS = (0, 1, 2, 3, 4)
GRAPHS = {"digits": 0.02, "Cora": 0.05}
UNLABELLED = (0, 100, 300, 1000)
POWERS = {"ridge regression": (1.0,), "square": (0, 1.0), "cube": (0, 0, 1.0)}
WAYS = {
    "one step": {"coef": (1.0,)},
    "2 steps": {"coef": (0, 1.0)},
    "8 steps": {"coef": (0,) * 7 + (1.0,)},
    "inverse Laplacian": {"spectrum": "inverse_laplacian"},
    "label spreading": None,
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    counts = UNLABELLED[:2] if quick else UNLABELLED
    new = {name: [[inductive(s, m, coef) for s in seeds] for m in counts] for name, coef in POWERS.items()}
    rows = [["new points, without labels:", *map(str, counts)]]
    rows += [[name, *map(spread, found)] for name, found in new.items()]
    graphs = ["digits"] if quick else list(GRAPHS)
    nodes = {name: [[transductive(s, g, way, quick) for s in seeds] for g in graphs] for name, way in WAYS.items()}
    rows.append(["nodes, by few labels:", *graphs, *[""] * (len(counts) - len(graphs))])
    rows += [[name, *map(spread, found), *[""] * (len(counts) - len(graphs))] for name, found in nodes.items()]
    last = min(2, len(counts) - 1)  # 300
    checks = {
        "points without labels help the square": is_above(new["square"][last], new["square"][0]),
        "which is then above ridge regression": is_above(new["square"][last], new["ridge regression"][last]),
    }
    for i, graph in enumerate(graphs):
        one, many, inverse = (nodes[name][i] for name in ("one step", "8 steps", "inverse Laplacian"))
        least = np.mean(nodes["label spreading"][i]) - 2
        checks[f"on {graph} eight steps are above one"] = is_above(many, one)
        checks[f"on {graph} so is the inverse Laplacian"] = is_above(inverse, one)
        checks[f"on {graph} eight steps are within two points of label spreading"] = np.mean(many) > least
    return Outcome(rows, checks)


def inductive(seed: int, count: int, coef: tuple[float, ...]) -> float:
    digits, order = load_digits(), np.random.default_rng(seed).permutation(1797)
    X, y = digits.data[order] / 16, digits.target[order]
    rows, labels = X[500 : 540 + count], y[500 : 540 + count].copy()
    labels[40:] = -1
    ours = STKClassifier(Gaussian(1.0), coef=coef, beta=1e-4).fit(rows, labels)
    return 100 * ours.score(X[:500], y[:500])


def transductive(seed: int, name: str, way: dict | None, quick: bool) -> float:
    adjacency, y = labelled_graph(name, 300 if quick else None)
    known = np.random.default_rng(seed).random(len(y)) < GRAPHS[name]
    labels, points = np.where(known, y, -1), np.arange(float(len(y)))[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nodes without neighbours, and kernels with negative eigenvalues
        if way is None:
            ours = LabelSpreading(Matrix(adjacency), alpha=0.9, max_iter=50)
        else:
            beta = 0.1 * len(y) / known.sum()
            ours = STKClassifier(Matrix.of_graph(adjacency), beta=beta, normalize=False, **way)
        found = ours.fit(points, labels).predict(points)
    return 100 * float((found == y)[~known].mean())
