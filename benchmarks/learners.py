"""Kernel machines: products with a kernel matrix that is nowhere whole, and what a machine of many points costs.

The pictures of CIFAR-10 are files, train/<class>/* and test/<class>/*, in Data/cifar10; without them they are left out.
"""

import math
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVC
from torch import Tensor
from torch.nn import functional as F
from torchvision.datasets import ImageFolder

from convnn.bench.measure import Action, peak_megabytes, timed
from convnn.learners import Chunked, EigenProClassifier, Gaussian, Laplace
from convnn.packages import is_installed

WIDTH, WARM_UP = 64, 500
BANDWIDTH = WIDTH**0.5
BLOCK = (512, 1024)  # the quickest blocks of PyTorch
FACTORED = 10_000  # points up to which the others are measured
CENTERS, EPOCHS, SLACK = 5000, 10, 0.5
PICTURES = Path("Data/cifar10")

Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Points and classes to learn from, and to be tested with."""


def measure_learners(points: int, repeats: int, sizes: tuple[int, ...], with_memory: bool) -> dict[str, Any]:
    """Measure products of (points, points) kernel matrices, and machines of ever more points until they are as good."""
    product = _measure_product(points, repeats, with_memory)
    sources: dict[str, Callable[[int], Data]] = {"digits": digits, "terrain": terrain}
    if PICTURES.exists():
        sources["CIFAR-10"] = pictures
    rows = [row for name, source in sources.items() for row in _measure_machines(name, source, sizes)]
    return {"rows": [product], "machines": rows}


def ours(X: Tensor, Y: Tensor, v: Tensor) -> Tensor:
    return Chunked()(Gaussian(BANDWIDTH), X, Y, v)


def in_chunks(X: Tensor, Y: Tensor, v: Tensor) -> Tensor:
    """Multiply as one writes it for speed: blocks that stay in the cache, changed in place."""
    X, Y = X / BANDWIDTH, Y / BANDWIDTH
    out = torch.zeros(X.shape[0], v.shape[1])
    for x, to in zip(X.split(BLOCK[0]), out.split(BLOCK[0]), strict=True):
        own = x.square().sum(1, keepdim=True) / 2
        for y, some in zip(Y.split(BLOCK[1]), v.split(BLOCK[1]), strict=True):
            exponents = torch.addmm(y.square().sum(1) / -2, x, y.T).sub_(own)
            to.addmm_(exponents.clamp_max_(0).exp_(), some)
    return out


def with_scikit_learn(X: Tensor, Y: Tensor, v: Tensor) -> Tensor:
    gamma = 0.5 / BANDWIDTH**2
    return torch.cat([torch.from_numpy(rbf_kernel(x.numpy(), Y.numpy(), gamma)) @ v for x in X.split(BLOCK[0])])


def with_keops(X: Tensor, Y: Tensor, v: Tensor) -> Tensor:
    from pykeops.torch import LazyTensor

    squares = (LazyTensor(X[:, None]) - LazyTensor(Y[None])).square().sum(-1)
    return (squares * (-0.5 / BANDWIDTH**2)).exp() @ v


PRODUCTS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "ours": ours,
    "PyTorch in chunks": in_chunks,
    "scikit-learn in chunks": with_scikit_learn,
}
if is_installed("pykeops"):
    PRODUCTS["KeOps"] = with_keops


def _measure_product(points: int, repeats: int, with_memory: bool) -> dict[str, Any]:
    """Time all in turns, after a small product; the slow ones would take minutes to warm up."""
    inputs = _inputs(points)
    for multiply in PRODUCTS.values():
        multiply(*_inputs(WARM_UP))
    turns = [{name: timed(multiply, *inputs)[1] for name, multiply in PRODUCTS.items()} for _ in range(repeats)]
    found, expected = (multiply(inputs[0][:WARM_UP], *inputs[1:]) for multiply in (ours, in_chunks))
    result: dict[str, Any] = {
        "points": points,
        "ms": {name: statistics.median(turn[name] for turn in turns) for name in PRODUCTS},
        "times ours": {name: statistics.median(turn[name] / turn["ours"] for turn in turns) for name in PRODUCTS},
        "agrees": bool((found - expected).norm() < 1e-4 * expected.norm()),
    }
    if with_memory:
        result["MB"] = {name: peak_megabytes(_prepare, points, name) for name in PRODUCTS}
    print(result, flush=True)
    return result


def _inputs(points: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    X, Y = (torch.randn(points, WIDTH, generator=generator) for _ in range(2))
    return X, Y, torch.randn(points, 1, generator=generator)


def _prepare(points: int, name: str) -> tuple[Action, Action]:
    return partial(PRODUCTS[name], *_inputs(WARM_UP)), partial(PRODUCTS[name], *_inputs(points))


def digits(count: int) -> Data:
    """Return scikit-learn's digits, as many as there are, and 500 others."""
    bunch, order = load_digits(), np.random.default_rng(0).permutation(1797)
    X, y = (bunch.data[order] / 16).astype(np.float32), bunch.target[order]
    return X[500:][:count], y[500:][:count], X[:500], y[:500]


def terrain(count: int) -> Data:
    """Return points like those of covertype: ten measurements, one of 4 areas, one of 40 soils; seven classes."""
    random = np.random.default_rng(0)
    X = random.standard_normal((count + 2000, 10)) @ random.standard_normal((10, 10)) / 10**0.5
    for kinds in (4, 40):
        scores = X[:, :10] @ random.standard_normal((10, kinds)) + random.gumbel(size=(len(X), kinds))
        X = np.hstack([X, np.eye(kinds)[scores.argmax(1)]])
    y = (np.tanh(X @ random.standard_normal((54, 64))) @ random.standard_normal((64, 7))).argmax(1)
    X = X.astype(np.float32)
    return X[2000:], y[2000:], X[:2000], y[:2000]


def pictures(count: int) -> Data:
    """Return features of pictures of CIFAR-10: 32 random filters, both signs, ReLU, means of quarters; standardised."""
    (X, y), (test, labels) = _features("train", count), _features("test", 2000)
    mean, std = X.mean(0), X.std(0)
    return ((X - mean) / std).numpy(), y, ((test - mean) / std).numpy(), labels


def _features(part: str, count: int) -> tuple[Tensor, np.ndarray]:
    folder = ImageFolder(str(PICTURES / part))
    chosen = torch.randperm(len(folder), generator=torch.Generator().manual_seed(0))[:count].tolist()
    kernel = torch.randn(32, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    kernel -= kernel.mean((1, 2, 3), keepdim=True)
    found = []
    for some in torch.tensor(chosen).split(500):
        images = torch.from_numpy(np.stack([np.asarray(folder[i][0]) for i in some.tolist()]))
        responses = F.conv2d(images.permute(0, 3, 1, 2) / 255, kernel)
        both = torch.cat([responses.relu(), (-responses).relu()], 1)
        found.append(F.adaptive_avg_pool2d(both, 2).flatten(1))
    return torch.cat(found), np.array([folder.targets[i] for i in chosen])


def _measure_machines(name: str, source: Callable[[int], Data], sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    whole = source(sizes[-1])
    for size in sorted({min(size, len(whole[0])) for size in sizes}):
        data = whole[0][:size], whole[1][:size], *whole[2:]
        row: dict[str, Any] = {"data": name, "points": size, "s": {}, "accuracy": {}}
        if size <= FACTORED:
            for machine, measure in (("KernelRidge", _ridge), ("SVC", _support_vectors)):
                row["s"][machine], row["accuracy"][machine] = measure(data)
        known = [one["accuracy"]["KernelRidge"] for one in [*rows, row] if "KernelRidge" in one["accuracy"]]
        row["wanted"] = known[-1] - SLACK
        row["s"]["EigenPro"], row["accuracy"]["EigenPro"], row["passes"] = _eigenpro(data, row["wanted"])
        rows.append(row)
        print(row, flush=True)
    return rows


def _bandwidth(X: np.ndarray) -> float:
    """Return half of the root of the mean squared distance of two points."""
    return math.sqrt(float(X.var(0).sum()) / 2)


def _eigenpro(data: Data, wanted: float) -> tuple[float, float, int]:
    """Return the seconds of the passes until the accuracy is as wanted, that accuracy, and how many they are."""
    X, y, test, labels = data
    settings = {"n_centers": CENTERS, "n_nystrom": min(len(X), 2000), "n_components": min(400, len(X) // 3)}
    machine, elapsed = EigenProClassifier(Laplace(_bandwidth(X)), random_state=0, **settings), 0.0
    passes, accuracy = 0, -math.inf
    while passes < EPOCHS and accuracy < wanted:
        elapsed += timed(machine.partial_fit, X, y, np.unique(y))[1]
        passes, accuracy = passes + 1, 100 * machine.score(test, labels)
    return elapsed / 1000, accuracy, passes


def _ridge(data: Data) -> tuple[float, float]:
    """Return the seconds of scikit-learn's solver, with its kernel matrix, which ours computes, and the accuracy."""
    X, y, test, labels = data
    kernel, machine = Laplace(_bandwidth(X)), KernelRidge(alpha=0.01, kernel="precomputed")
    _, elapsed = timed(lambda: machine.fit(kernel(X), np.eye(y.max() + 1, dtype=X.dtype)[y]))
    return elapsed / 1000, 100 * float((machine.predict(kernel(test, X)).argmax(1) == labels).mean())


def _support_vectors(data: Data) -> tuple[float, float]:
    X, y, test, labels = data
    machine = SVC(C=10, gamma="scale", cache_size=1000)
    return timed(machine.fit, X, y)[1] / 1000, 100 * machine.score(test, labels)


def table(results: dict[str, Any]) -> str:
    """Return a table of the products and one of the machines, as Markdown."""
    return _product_table(results["learners"]["rows"][0]) + "\n" + _machine_table(results["learners"]["machines"])


def _product_table(row: dict[str, Any]) -> str:
    lines = ["| | s | times ours | MB |", "|---|---|---|---|"]
    for name, milliseconds in row["ms"].items():
        memory = f"{row['MB'][name]:,.0f}" if "MB" in row else ""
        lines.append(f"| {name} | {milliseconds / 1000:.2f} | {row['times ours'][name]:.2f} | {memory} |")
    points, whole = row["points"], 4 * row["points"] ** 2 / 2**20
    return (
        f"### Products with a kernel matrix, {points:,} x {points:,}\n\n"
        f"Gaussian kernel of {WIDTH} features, times one vector, in float32; the whole matrix has {whole:,.0f} MB.\n\n"
        + "\n".join(lines)
        + "\n"
    )


def _machine_table(rows: list[dict[str, Any]]) -> str:
    names = list(rows[0]["s"])
    lines = ["| data | points | " + " | ".join(f"{name}, s | %" for name in names) + " | passes |"]
    lines.append("|---" * (2 * len(names) + 3) + "|")
    for row in rows:
        cells = [row["data"], f"{row['points']:,}"]
        for name in names:
            is_known = name in row["s"]
            cells += [f"{row['s'][name]:.2f}", f"{row['accuracy'][name]:.1f}"] if is_known else ["", ""]
        lines.append("| " + " | ".join([*cells, str(row["passes"])]) + " |")
    return (
        "### Kernel machines of ever more points\n\n"
        f"Time to learn, and accuracy. EigenPro has {CENTERS:,} centres, or all points, and KernelRidge's kernel, and"
        f" stops after the pass that brings it within {SLACK} points of KernelRidge on as many points, or on the most"
        f" that were measured; at the latest after {EPOCHS}. *terrain* is made like covertype: ten measurements and two"
        " categories.\n\n" + "\n".join(lines) + "\n"
    )
