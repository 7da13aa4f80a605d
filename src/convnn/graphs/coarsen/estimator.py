"""The estimator that coarsens a graph."""

import math
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from torch import Tensor

from convnn.errors import InputError, UnsupportedError, check_at_least, check_choice
from convnn.graphs.adjacency import Matrix, adjacency_matrix, checked, entries
from convnn.graphs.coarsen.coarsening import Coarsening
from convnn.graphs.coarsen.dense_kmeans import draw_probability, lloyd, multilevel_labels
from convnn.graphs.coarsen.kernels import KERNELS, kernel_of
from convnn.graphs.coarsen.run import CoarseningRun, Improve
from convnn.graphs.coarsen.sparse_kmeans import first_centres, means, nearest_centres, single_nodes

STARTS = ("k-means++", "multilevel")


class GWCoarsen:
    r"""Coarsen a graph by weighted kernel k-means, which bounds the Gromov-Wasserstein distance to the original.

    Each node chooses the supernode whose mean is nearest in the kernel; k-means is scikit-learn's, on the rows of
    :math:`V \Lambda^{1/2}` of the kernel. The best of several starts by the weighted objective is kept (the published
    code compares nodes with the sum of all centres, and picked a worse one).

    Of a sparse adjacency nothing dense is made: nodes are compared with the means that they have a link to, and with
    the shortest one, which are all that can be the nearest. The labels are the same but where means are equally near,
    or a supernode loses all its nodes.

    Args:
        n: number of supernodes; N or more leave the graph as it is. Or None for `ratio`.
        ratio: of supernodes to nodes, rounded up; of a graph with more than five nodes at least five.
        kernel: see `graph_kernel`.
        weight: "degree", weights (N,) of at least 0 that are not all 0, or None for equal ones.
        init: "k-means++"; "multilevel", see `multilevel_labels`; or labels (N,) to start from.
        n_init: number of starts by k-means++.
        power: k-means++ draws in proportion to this power of the squared distance; published 2.
        max_iter: the most rounds of a start.
        random_state: seed; start i takes random_state + i.

    Attributes:
        kernel_: S (N, N), sparse if the adjacency is.
        coarsening_: `Coarsening`, with all matrices and bounds.
        labels_: (N,) its labels.
        objectives_: of each start.

    Raises:
        InputError: an argument is out of range; in `fit`, the adjacency is not square, symmetric, finite, at least 0,
            weights have a wrong length or are negative or all 0, or labels leave a supernode empty.
        UnsupportedError: in `fit`, the adjacency is sparse, and the start "multilevel".

    Reference:
        "A Gromov-Wasserstein geometric view of spectrum-preserving graph coarsening", ICML 2023, PMLR 202.
    """

    kernel_: Matrix
    coarsening_: Coarsening
    labels_: Tensor
    objectives_: list[float]

    def __init__(
        self,
        n: int | None = None,
        *,
        ratio: float = 0.2,
        kernel: str = "normalized",
        weight: str | Tensor | None = None,
        init: str | Tensor = "k-means++",
        n_init: int = 10,
        power: float = 1,
        max_iter: int = 100,
        random_state: int = 0,
    ) -> None:
        if n is not None:
            check_at_least("n", n, 1)
        if not 0 < ratio <= 1:
            raise InputError(f"ratio={ratio} must be above 0 and at most 1")
        choices = (("kernel", kernel, KERNELS), ("init", init, STARTS), ("weight", weight, ("degree",)))
        for name, value, known in choices:
            if isinstance(value, str):
                check_choice(name, value, known)
        check_at_least("n_init", n_init, 1)
        check_at_least("max_iter", max_iter, 1)
        self.n = n
        self.ratio = ratio
        self.kernel = kernel
        self.weight = weight
        self.init = init
        self.n_init = n_init
        self.power = power
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, adjacency: Matrix) -> "GWCoarsen":
        """Assign the nodes of a graph with symmetric weights (N, N) of at least 0, dense or sparse."""
        run = self.begin(adjacency)
        while not run.is_over:
            run.advance()
        return self.finish(run)

    def begin(self, adjacency: Matrix) -> CoarseningRun:
        """Return what `fit` runs to its end and then finishes, to be advanced, kept and restored."""
        adjacency = checked(adjacency)
        nodes = adjacency.shape[0]
        self.kernel_ = kernel_of(adjacency, self.kernel)
        weights = self._shares = self._weights(adjacency)
        n = min(max(math.ceil(self.ratio * nodes), 5) if self.n is None else self.n, nodes)
        starts, rounds = 1 if isinstance(self.init, Tensor) or self.init == "multilevel" else self.n_init, 1
        if n == nodes:
            starts, improve = 1, _each_its_own(nodes)
        elif issparse(adjacency):
            improve, rounds = self._sparse_rounds(n), self.max_iter
        else:
            improve = self._dense_starts(adjacency, n)
        return CoarseningRun(
            improve, lambda labels: Coarsening(labels, weights).objective(self.kernel_), starts, rounds
        )

    def finish(self, run: CoarseningRun) -> "GWCoarsen":
        """Take the best labels of a run that is over."""
        if run.best is None or not run.is_over:
            raise InputError(f"run has done {run.done} of {run.total} rounds; advance it until it is over")
        self.objectives_, self.labels_ = run.objectives, run.best
        self.coarsening_ = Coarsening(run.best, self._shares)
        return self

    def fit_predict(self, adjacency: Matrix) -> Tensor:
        """Return the supernode (N,) of each node."""
        return self.fit(adjacency).labels_

    def __call__(self, data: Any) -> Any:
        """Return a graph as `torch_geometric.data.Data` coarsened: a transform.

        `x` is averaged, `edge_index` and `edge_weight` are the edges between supernodes and inside them, and `cluster`
        is the supernode of each node before.
        """
        weights = data.edge_weight if "edge_weight" in data else torch.ones(data.edge_index.shape[1])
        adjacency = adjacency_matrix(data.edge_index, weights, data.num_nodes)
        coarsening = self.fit(adjacency).coarsening_
        coarse, between = type(data)(), coarsening.adjacency(adjacency)
        rows, columns, values = entries(between)
        coarse.edge_index, coarse.edge_weight = torch.stack([rows, columns]), values.to(weights.dtype)
        coarse.num_nodes, coarse.cluster = between.shape[0], coarsening.labels
        if "x" in data:
            coarse.x = coarsening.features(data.x)
        return coarse

    def _weights(self, adjacency: Matrix) -> Tensor:
        nodes = adjacency.shape[0]
        if self.weight is None:
            weights = torch.ones(nodes, dtype=torch.float64)
        else:
            weights = torch.as_tensor(adjacency.sum(1)) if isinstance(self.weight, str) else self.weight.double()
        if (
            weights.shape != (nodes,)
            or not bool(weights.isfinite().all())
            or not weights.min() >= 0
            or not weights.any()
        ):
            raise InputError(f"weight of shape {tuple(weights.shape)} must be ({nodes},), at least 0, and not all 0")
        return weights / weights.sum()

    def _dense_starts(self, adjacency: Tensor, n: int) -> Improve:
        """Return the function that runs a start to its end."""
        values, vectors = torch.linalg.eigh(self.kernel_)
        features = vectors * values.clamp_min(0).sqrt()

        def improve(start: int, _: Tensor | None) -> tuple[Tensor, bool]:
            if isinstance(self.init, Tensor) or self.init == "multilevel":
                labels = self.init if isinstance(self.init, Tensor) else multilevel_labels(adjacency, n)
                self._check_labels(labels, n)
                first = Coarsening(labels, self._shares).mean.nan_to_num(0)
            else:
                random = np.random.RandomState(self.random_state + start)
                first = torch.eye(len(features), dtype=torch.float64)[self._centers(random, n)]
            return lloyd(features, self._shares, first, self.max_iter), True

        return improve

    def _sparse_rounds(self, n: int) -> Improve:
        """Return the function that runs one round of a start."""
        weights, kernel = self._shares.numpy(), self.kernel_
        if isinstance(self.init, Tensor):
            self._check_labels(self.init, n)
        elif self.init == "multilevel":
            raise UnsupportedError("init='multilevel' needs a dense adjacency; take 'k-means++' or labels")

        def improve(start: int, labels: Tensor | None) -> tuple[Tensor, bool]:
            before = self.init if labels is None else labels
            if isinstance(before, Tensor):
                centres = means(before.numpy(), weights, n)
            else:
                centres = single_nodes(first_centres(kernel, n, self.power, self.random_state + start), len(weights))
            found = torch.from_numpy(nearest_centres(kernel, centres))
            return found, labels is not None and torch.equal(found, labels)

        return improve

    def _check_labels(self, labels: Tensor, n: int) -> None:
        if labels.shape != self._shares.shape or not torch.equal(labels.unique(), torch.arange(n)):
            raise InputError(f"init labels must be ({len(self._shares)},), with each of 0 to {n - 1} at least once")

    def _centers(self, random: np.random.RandomState, n: int) -> list[int]:
        nodes = self.kernel_.shape[0]
        centers = [int(random.randint(nodes))]
        while len(centers) < n:
            chances = draw_probability(self.kernel_, centers, self.power).numpy()
            centers.append(int(random.choice(nodes, p=chances)))
        return centers


def _each_its_own(nodes: int) -> Improve:
    return lambda *_: (torch.arange(nodes), True)
