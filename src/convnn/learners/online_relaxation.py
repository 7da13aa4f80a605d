"""Labels of nodes that come one by one, predicted by online relaxation with columns of a kernel of their graph."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from convnn.errors import InputError, check_choice, check_positive
from convnn.learners.base import OneHotClassifier
from convnn.ops.local_push import LocalPush
from convnn.ops.ragged import Lists

KERNELS: dict[str, Callable[[float, int], tuple[str, float, float]]] = {
    "laplacian": lambda lam, n: ("laplacian", lam / n, 2 * lam),
    "normalized": lambda lam, n: ("pagerank", lam / (n + lam), 2.0 * n),
    "discounted": lambda lam, n: ("pagerank", n / (n + lam), 2 * lam),
    "one_sided": lambda lam, n: ("laplacian", 1.0, 2 * lam),
}
"""Kernels by name, in the published order 1 to 4: the system that `LocalPush` solves, its alpha, and a factor."""


def water_filling(scores: np.ndarray) -> np.ndarray:
    r"""Return the probabilities nearest to scores, :math:`\max(\psi - \tau, 0)` with the :math:`\tau` that sums to 1.

    Args:
        scores: psi (..., k).

    Example:
        >>> water_filling(np.array([0.75, 0.25, -1.0]))
        array([0.75, 0.25, 0.  ])
    """
    return np.maximum(scores - _level(scores), 0)


def relaxed_hinge(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the surrogate loss (...) of scores at labels, and its gradient (..., k).

    With the support S of the classes that `water_filling` gives a share, :math:`\psi_i \ge \tau`,

    .. math:: \ell = \begin{cases} 1 - \psi_y + (\sum_{i \in S} \psi_i - 1) / |S| & y \in S \\
        (1 + \max_{i \neq y} \psi_i - \psi_y) / (1 + 1 / |S|) & \text{else} \end{cases}

    Args:
        scores: psi (..., k).
        labels: (...) classes by number, 0 to k - 1.

    Raises:
        InputError: the shapes do not agree, or a label is no class.

    Reference:
        Rakhlin and Sridharan, "Efficient online multiclass prediction on graphs via surrogate losses", AISTATS 2017.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if labels.shape != scores.shape[:-1]:
        raise InputError(f"labels of shape {labels.shape} must be {scores.shape[:-1]}, one of each row of scores")
    if labels.size and not 0 <= labels.min() <= labels.max() < scores.shape[-1]:
        raise InputError(f"labels from {labels.min()} to {labels.max()} must lie between 0 and {scores.shape[-1] - 1}")
    support = scores >= _level(scores)
    count = support.sum(-1, keepdims=True)
    is_own = labels[..., None] == np.arange(scores.shape[-1])
    others = np.where(is_own, -np.inf, scores)
    own = (scores * is_own).sum(-1, keepdims=True)
    inside = 1 - own + ((scores * support).sum(-1, keepdims=True) - 1) / count
    factor = 1 / (1 + 1 / count)
    outside = factor * (1 + others.max(-1, keepdims=True) - own)
    is_rival = others.argmax(-1)[..., None] == np.arange(scores.shape[-1])
    is_inside = (support & is_own).any(-1, keepdims=True)
    loss = np.where(is_inside, inside, outside)[..., 0]
    return loss, np.where(is_inside, support / count - is_own, factor * (is_rival * 1.0 - is_own))


def _level(scores: np.ndarray) -> np.ndarray:
    """Return tau (..., 1): the sum of the largest scores less 1, over their number, of as many as are above it."""
    ascending = np.sort(scores, -1)
    counts = np.arange(scores.shape[-1], 0, -1)
    levels = (ascending[..., ::-1].cumsum(-1)[..., ::-1] - 1) / counts
    return np.take_along_axis(levels, (ascending >= levels).argmax(-1, keepdims=True), -1)


class OnlineNodeClassifier(OneHotClassifier):
    r"""Predict the labels of the nodes of a graph one after another, each from those before, by local push (FastONL).

    All of the graph is known, and the node u of each round is predicted before its label is. With the column m of u in
    the kernel matrix M and the gradients G (k, n) of earlier rounds,

    .. math:: \psi = -\frac{G m}{\sqrt{a + k t}}, \qquad q = \max(\psi - \tau, 0), \quad \textstyle\sum q = 1,
        \qquad \hat y = \arg\max q

    The label gives the gradient g of `relaxed_hinge`, which becomes column u of G; then
    :math:`a \leftarrow a + 2 g \cdot G m + m_u |g|^2` and :math:`t \leftarrow t - m_u`. The matrix
    :math:`M = (K^{-1} / 2 \lambda + I / 2n)^{-1}` is never there: `LocalPush` finds what is large in a column.

    Samples are the nodes by number, (m,) or (m, 1), as of `Matrix`; so it is split and searched like any classifier,
    but cannot learn from features.

    Args:
        adjacency: W (n, n), symmetric weights of at least 0 without self-loops, a sparse matrix of scipy or an array;
            of `edge_index`, `torch_geometric.utils.to_scipy_sparse_matrix` makes one.
        kernel: whose inverse is "laplacian", D - W; "normalized", :math:`I - S` with :math:`S = D^{-1/2} W D^{-1/2}`;
            "discounted", :math:`I - (\lambda / n) S`; or "one_sided", where M is
            :math:`2 \lambda D^{-1/2} (I + D - W)^{-1} D^{1/2}`, not symmetric.
        lam: :math:`\lambda`, how far labels reach, above 0 and below n; None is n / 2. 100 in the published code.
        eps: residue that pushes leave, as a share of the degree, positive.
        t0: t before the first round; None is :math:`2 n^2`, as in the published code, or "trace", the trace of M, as in
            the theory, which takes a push of every node.

    Attributes:
        classes_: the k classes, in order.
        gradients_: G (k, n).
        energy_: a.
        remaining_: t.
        seen_: (n,) whether the label of each node was learned.
        push_: the `LocalPush` that finds columns, without their factors.

    Raises:
        InputError: the graph is not as above, or a setting is out of range; a sample is no node, a label is no class,
            or a node is learned twice.

    Reference:
        Zhou et al., "Fast online node labeling for very large graphs", arXiv 2305.16257.

    Example:
        >>> path = np.eye(6, k=1) + np.eye(6, k=-1)
        >>> machine = OnlineNodeClassifier(path, lam=2).partial_fit([0, 5], ["a", "b"], classes=["a", "b"])
        >>> machine.predict(range(6))
        array(['a', 'a', 'a', 'b', 'b', 'b'], dtype='<U1')
    """

    gradients_: np.ndarray
    energy_: float
    remaining_: float
    seen_: np.ndarray
    push_: LocalPush

    def __init__(
        self,
        adjacency: Any,
        kernel: str = "laplacian",
        *,
        lam: float | None = None,
        eps: float = 1e-5,
        t0: float | str | None = None,
    ) -> None:
        self.adjacency = adjacency
        self.kernel = kernel
        self.lam = lam
        self.eps = eps
        self.t0 = t0

    def fit(self, X: Any, y: Any) -> "OnlineNodeClassifier":
        """Forget what was learned, and learn nodes (m,) or (m, 1) with labels (m,) in their order; -1 is no label."""
        labels = _labels(y)
        is_known = _is_known(labels)
        if not is_known.any():
            raise InputError("y has no labelled row; at least one must be known")
        self._start(labels[is_known])
        return self.partial_fit(X, labels)

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> "OnlineNodeClassifier":
        """Learn further nodes (m,) or (m, 1) with labels (m,) in their order; the first call needs all classes.

        Labels of -1 are not known, and passed over, also among the classes.
        """
        for _ in self._rounds(X, y, classes):
            pass
        return self

    def progressive_predict(self, X: Any, y: Any, classes: Any = None) -> np.ndarray:
        """Predict each node (m,) or (m, 1) from the labels before, and learn its own, as `partial_fit` does.

        Returns:
            (m,) the predictions, also of nodes whose label is -1; before any label is known, the first class.
        """
        numbers = [int(scores.argmax()) for scores in self._rounds(X, y, classes)]
        return self.classes_[numbers]

    def scores(self, X: Any) -> np.ndarray:
        """Return psi (m, k) of nodes (m,) or (m, 1), from what was learned until now."""
        check_is_fitted(self)
        nodes = self._nodes(X)
        found = np.zeros((len(nodes), len(self.classes_)))
        for row, node in zip(found, nodes, strict=True):
            row[:] = self._scores(*self._column(node))
        return found

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return q (m, k) of nodes (m,) or (m, 1): how the randomised forecaster would draw."""
        return water_filling(self.scores(X))

    def _values(self, X: Any) -> np.ndarray:
        return self.scores(X)

    def _rounds(self, X: Any, y: Any, classes: Any) -> Iterator[np.ndarray]:
        """Check all nodes and labels, then yield the scores (k,) of each node before its label is learned."""
        labels = _labels(y)
        if classes is not None:
            classes = np.unique(classes)
            classes = classes[_is_known(classes)]  # those of labels that are partly unknown have -1
        if not hasattr(self, "push_"):
            if classes is None:
                raise InputError("classes=None must be all classes in the first partial_fit")
            self._start(classes)
        elif classes is not None and not np.array_equal(classes, self.classes_):
            known = self.classes_.tolist()
            raise InputError(f"classes={classes.tolist()} must be those of the first partial_fit, {known}")
        nodes, is_known = self._nodes(X), _is_known(labels)
        check_consistent_length(nodes, labels)
        self._check_new(nodes[is_known])
        targets = np.zeros(len(labels), dtype=np.int64)
        targets[is_known] = self._one_hot(labels[is_known], np.int64).argmax(1)
        return self._learn(nodes, targets, is_known)

    def _learn(self, nodes: np.ndarray, targets: np.ndarray, is_known: np.ndarray) -> Iterator[np.ndarray]:
        for node, target, known in zip(nodes, targets, is_known, strict=True):
            near, values = self._column(node)
            scores = self._scores(near, values)
            yield scores
            if known:
                _, gradient = relaxed_hinge(scores, target)
                own = float(values[near == node].sum())
                votes = self.gradients_[:, near] @ values
                self.energy_ += float(2 * gradient @ votes + own * gradient @ gradient)
                self.remaining_ -= own
                self.gradients_[:, node] = gradient
                self.seen_[node] = True

    def _start(self, classes: np.ndarray) -> None:
        """Take the graph, and forget what was learned."""
        weights = _checked(self.adjacency)
        n = weights.shape[0]
        check_choice("kernel", self.kernel, KERNELS)
        lam = n / 2 if self.lam is None else self.lam
        check_positive("lam", lam)
        if lam >= n:
            raise InputError(f"lam={lam!r} must be less than {n}, the number of nodes")
        system, alpha, self._factor = KERNELS[self.kernel](lam, n)
        lists = Lists(torch.from_numpy(weights.indptr).long(), torch.from_numpy(weights.indices).long(), n)
        push = LocalPush(lists, torch.from_numpy(weights.data), alpha=alpha, eps=self.eps, system=system)
        if isinstance(self.t0, str):
            check_choice("t0", self.t0, ["trace"])
        elif self.t0 is not None:
            check_positive("t0", self.t0)
        self._check_classes(classes)
        self.push_ = push
        degrees = np.asarray(weights.sum(1)).ravel()
        self._roots = np.ones(n) if self.kernel == "laplacian" else np.sqrt(np.where(degrees > 0, degrees, 1))
        self.gradients_, self.seen_ = np.zeros((len(self.classes_), n)), np.zeros(n, dtype=bool)
        self.energy_, self.remaining_ = 0.0, self._first_remaining(n)

    def _first_remaining(self, n: int) -> float:
        if self.t0 is None:
            return 2.0 * n**2
        if not isinstance(self.t0, str):
            return float(self.t0)
        columns = ((node, *self._column(node)) for node in range(n))
        return float(sum(values[near == node].sum() for node, near, values in columns))

    def _column(self, node: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the nodes and values (m,) of a column of M where it is large."""
        near, values = (tensor.numpy() for tensor in self.push_(int(node)))
        return near, self._factor * values / self._roots[near] * self._roots[node]

    def _scores(self, near: np.ndarray, values: np.ndarray) -> np.ndarray:
        left = max(self.remaining_, 0.0)  # a t0 below the trace is used up too early
        scale = self.energy_ + len(self.classes_) * left
        return -(self.gradients_[:, near] @ values) / np.sqrt(scale) if scale > 0 else np.zeros(len(self.classes_))

    def _nodes(self, X: Any) -> np.ndarray:
        """Return nodes (m,), checked, of an array (m,) or (m, 1)."""
        given = np.asarray(X)
        n = self.gradients_.shape[1]
        if given.ndim not in (1, 2) or given.shape[1:] not in ((), (1,)) or given.dtype.kind not in "iuf":
            raise InputError(f"X of shape {given.shape} and {given.dtype} must be nodes by number, (m,) or (m, 1)")
        given = given.reshape(-1)
        is_node = (given == np.floor(given)) & (given >= 0) & (given < n)
        if not is_node.all():
            raise InputError(f"X has {given[~is_node][0]}, which is not one of the nodes 0 to {n - 1}")
        return given.astype(np.int64)

    def _check_new(self, nodes: np.ndarray) -> None:
        each, counts = np.unique(nodes, return_counts=True)
        twice = each[(counts > 1) | self.seen_[each]]
        if len(twice):
            raise InputError(f"X has node {twice[0]} again; the label of a node is learned once")


def _labels(y: Any) -> np.ndarray:
    if y is None:
        raise InputError("y=None must be the labels of the nodes")
    return column_or_1d(y)


def _is_known(labels: np.ndarray) -> np.ndarray:
    return np.asarray(labels != -1) if labels.dtype.kind in "iuf" else np.ones(len(labels), dtype=bool)


def _checked(adjacency: Any) -> csr_array:
    """Return the weights of a graph as a sparse matrix of float64 with neighbours in order."""
    weights = csr_array(adjacency, dtype=np.float64, copy=True)
    if weights.ndim != 2 or weights.shape[0] != weights.shape[1] or not weights.shape[0]:
        raise InputError(f"adjacency of shape {weights.shape} must be (n, n), of at least one node")
    weights.sum_duplicates()
    weights.eliminate_zeros()
    if not (np.isfinite(weights.data).all() and (weights.data >= 0).all()):
        raise InputError("adjacency must be finite and at least 0")
    if weights.diagonal().any():
        raise InputError(
            f"adjacency has a self-loop at node {weights.diagonal().nonzero()[0][0]}; set its diagonal to 0"
        )
    if np.abs((weights - weights.T).data).max(initial=0) > 1e-9 * weights.data.max(initial=0):
        raise InputError("adjacency must be symmetric")
    return weights
