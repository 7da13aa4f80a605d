"""Labels that come one by one: the dense inverse, the sum of water filling, slopes of the loss, scikit-learn."""

import pickle

import numpy as np
import pytest
from scipy.optimize import approx_fprime, brentq
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils import estimator_checks

from convnn.data import load_graph
from convnn.errors import InputError
from convnn.learners.online_relaxation import KERNELS, OnlineNodeClassifier, relaxed_hinge, water_filling
from small_graphs import matrix, undirected

EDGES = undirected(9, 12, seed=2)
GRAPH = np.pad(matrix(EDGES, 9).numpy() * 1.5, (0, 1))  # the last node has no neighbour
ORDER, LABELS = np.array([4, 0, 7, 9, 2, 1, 8, 5]), np.array([0, 2, 1, 1, 0, 2, 1, 0])
SCORES = np.random.default_rng(0).normal(size=(60, 5)) * np.linspace(0.1, 3, 60)[:, None]


def kernel_matrix(W: np.ndarray, kernel: str, lam: float) -> np.ndarray:
    n, d = len(W), W.sum(1)
    roots = np.sqrt(np.where(d > 0, d, 1))
    S, L = W / roots / roots[:, None], np.diag(d) - W
    if kernel == "one_sided":
        return 2 * lam * np.linalg.inv(np.eye(n) + L) * roots / roots[:, None]
    inverse = {"laplacian": L, "normalized": np.eye(n) - S, "discounted": np.eye(n) - lam / n * S}[kernel]
    return np.linalg.inv(inverse / (2 * lam) + np.eye(n) / (2 * n))


@pytest.mark.parametrize("t0", [None, "trace", 500.0])
@pytest.mark.parametrize("kernel", KERNELS)
def test_scores_are_those_of_the_dense_inverse(kernel: str, t0: float | str | None) -> None:
    lam, n, k = 3.0, 10, 3
    M = kernel_matrix(GRAPH, kernel, lam)
    G, a, t = np.zeros((k, n)), 0.0, {None: 200.0, "trace": np.trace(M), 500.0: 500.0}[t0]
    ours = OnlineNodeClassifier(GRAPH, kernel, lam=lam, eps=1e-12, t0=t0).partial_fit([], [], classes=range(k))
    for node, label in zip(ORDER, LABELS, strict=True):
        psi = -G @ M[:, node] / np.sqrt(a + k * t)
        np.testing.assert_allclose(ours.scores([node])[0], psi, rtol=0, atol=1e-8)
        ours.partial_fit([node], [label])
        _, g = relaxed_hinge(psi, label)
        a += 2 * g @ G @ M[:, node] + M[node, node] * g @ g
        t -= M[node, node]
        G[:, node] = g
    np.testing.assert_allclose(ours.gradients_, G, atol=1e-8)
    assert (ours.energy_, ours.remaining_) == pytest.approx((a, t), abs=1e-6)


def test_water_fills_to_a_sum_of_1() -> None:
    expected = [
        np.maximum(psi - brentq(lambda tau, psi=psi: np.maximum(psi - tau, 0).sum() - 1, psi.min() - 1, psi.max()), 0)
        for psi in SCORES
    ]
    np.testing.assert_allclose(water_filling(SCORES), expected, rtol=0, atol=1e-10)
    assert ((water_filling(SCORES) > 0).sum(1) < 5).sum() > 10


def test_slopes_are_those_of_the_loss() -> None:
    sides = set()
    for psi in SCORES[::3]:
        for label in range(5):
            loss, gradient = relaxed_hinge(psi, np.array(label))
            numeric = approx_fprime(psi, lambda x, y=label: float(relaxed_hinge(x, np.array(y))[0]), 1e-7)
            np.testing.assert_allclose(gradient, numeric, atol=1e-5)
            assert loss >= 1 - water_filling(psi)[label] - 1e-12  # it bounds how often the drawn class is wrong
            sides.add(bool(water_filling(psi)[label] > 0))
    assert sides == {True, False}


def test_learning_in_parts_is_learning_at_once_and_predicting_changes_nothing() -> None:
    whole = OnlineNodeClassifier(csr_array(GRAPH), "normalized").fit(ORDER, LABELS)
    parts = OnlineNodeClassifier(GRAPH, "normalized")
    found = parts.progressive_predict(ORDER[:3, None], LABELS[:3], classes=[2, 1, 0])
    before = parts.predict(ORDER[3:4])
    assert np.array_equal(parts.predict(ORDER[3:4]), before)
    found = np.append(found, parts.progressive_predict(ORDER[3:].astype(float), LABELS[3:]))
    assert found[0] == 0
    assert found[3] == before[0]
    assert np.array_equal(parts.scores(range(10)), whole.scores(range(10)))
    assert np.array_equal(whole.fit(ORDER[:4], LABELS[:4]).seen_.nonzero()[0], np.sort(ORDER[:4]))


def test_what_has_no_label_is_predicted_and_not_learned() -> None:
    labels = np.where(ORDER == 7, -1, LABELS)
    ours, other = (OnlineNodeClassifier(GRAPH) for _ in range(2))
    found = ours.progressive_predict(ORDER, labels, classes=[0, 1, 2])
    kept = ORDER != 7
    assert np.array_equal(found[kept], other.progressive_predict(ORDER[kept], LABELS[kept], classes=[0, 1, 2]))
    assert not ours.seen_[7]
    assert np.array_equal(ours.scores([7]), other.scores([7]))


def test_groups_are_told_apart_by_the_graph_alone() -> None:
    data = load_graph("sbm").graph
    n, labels = data.num_nodes, data.y.numpy()
    adjacency = csr_array((np.ones(data.num_edges), tuple(data.edge_index.numpy())), shape=(n, n))
    order = np.random.default_rng(0).permutation(n)
    ours = OnlineNodeClassifier(adjacency, "normalized", lam=n / 5, eps=1e-3)
    found = ours.progressive_predict(order, labels[order], classes=np.unique(labels))
    assert np.mean(found == labels[order]) > np.bincount(labels).max() / n + 0.3
    assert ours.predict_proba(order[:5]).sum(1) == pytest.approx(1)


def test_columns_in_which_nothing_is_found_have_no_votes() -> None:
    ours = OnlineNodeClassifier(GRAPH, "normalized", eps=10).fit(ORDER, LABELS)
    assert not ours.scores(range(9)).any()
    assert ours.predict_proba(range(9)) == pytest.approx(1 / 3)


def test_scikit_learn_splits_searches_copies_and_keeps_it() -> None:
    data = load_graph("karate").graph
    adjacency, labels = matrix(data.edge_index, 34).numpy(), np.array(["a", "b", "c", "d"])[data.y]
    nodes, ours = np.arange(34)[:, None], OnlineNodeClassifier(adjacency, lam=5, eps=1e-3)
    assert cross_val_score(ours, nodes, labels, cv=4).mean() > 0.6
    search = GridSearchCV(ours, {"kernel": list(KERNELS), "lam": [2, 20]}, cv=3).fit(nodes, labels)
    assert np.array_equal(pickle.loads(pickle.dumps(search)).predict(nodes), search.predict(nodes))
    assert clone(search.best_estimator_).get_params().keys() == ours.get_params().keys()


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_estimator_tags_renamed,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_mixin_order,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_set_params,
        estimator_checks.check_valid_tag_types,
    ],
    ids=lambda check: check.__name__,
)
def test_obeys_scikit_learn_where_no_data_are_drawn(check) -> None:
    """Its other checks draw features; samples of this one are nodes of its graph."""
    check("OnlineNodeClassifier", OnlineNodeClassifier(GRAPH))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"adjacency": np.ones((2, 3))}, r"adjacency of shape \(2, 3\) must be \(n, n\)"),
        ({"adjacency": np.triu(GRAPH)}, "adjacency must be symmetric"),
        ({"adjacency": -GRAPH}, "adjacency must be finite and at least 0"),
        ({"adjacency": GRAPH + np.diag(np.arange(10) == 3)}, "adjacency has a self-loop at node 3"),
        ({"kernel": 5}, "kernel=5 is not one of laplacian, normalized, discounted, one_sided"),
        ({"lam": 0}, "lam=0 must be a positive number"),
        ({"lam": 10}, "lam=10 must be less than 10, the number of nodes"),
        ({"eps": 0}, "eps=0 must be a positive number"),
        ({"t0": -1}, "t0=-1 must be a positive number"),
        ({"t0": "theory"}, "t0='theory' is not one of trace"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else next(iter(value)),
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        OnlineNodeClassifier(**{"adjacency": GRAPH} | settings).fit(ORDER, LABELS)


def test_bad_nodes_and_labels() -> None:
    ours = OnlineNodeClassifier(GRAPH)
    with pytest.raises(InputError, match="classes=None must be all classes in the first partial_fit"):
        ours.partial_fit([0], [1])
    with pytest.raises(InputError, match="y has one class, 1; a classifier needs at least two"):
        ours.fit([0, 1], [1, 1])
    with pytest.raises(InputError, match="y has no labelled row"):
        ours.fit([0, 1], [-1, -1])
    partly = np.array([1, 2, -1])
    assert ours.partial_fit([0, 1, 2], partly, classes=np.unique(partly)).classes_.tolist() == [1, 2]
    ours.fit([0, 1], [1, 2])
    for nodes, labels, message in (
        ([2, 2], [1, 2], "X has node 2 again"),
        ([0], [1], "X has node 0 again"),
        ([10], [1], "X has 10, which is not one of the nodes 0 to 9"),
        ([2.5], [1], r"X has 2\.5, which is not one of the nodes"),
        ([[2, 3]], [1], r"X of shape \(1, 2\)"),
        ([2], [3], "y has 3, which is not one of the classes"),
        ([2, 3], [1], "inconsistent numbers of samples"),
        ([2], None, "y=None must be the labels"),
    ):
        before = ours.energy_
        with pytest.raises(ValueError, match=message):
            ours.partial_fit(nodes, labels)
        assert ours.energy_ == before
    with pytest.raises(InputError, match=r"classes=\[1, 3\] must be those of the first partial_fit"):
        ours.partial_fit([2], [1], classes=[1, 3])
    for shape in ((3,), (2, 1)):
        with pytest.raises(InputError, match="labels of shape"):
            relaxed_hinge(np.zeros((2, 4)), np.zeros(shape, dtype=int))
    with pytest.raises(InputError, match="labels from 0 to 4 must lie between 0 and 3"):
        relaxed_hinge(np.zeros((2, 4)), np.array([0, 4]))
