"""Coarsening by kernel k-means: every identity of its theory, against loops, features and a transport plan."""

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from torch import Tensor

from convnn.data.geometric import import_geometric
from convnn.errors import InputError, UnsupportedError
from convnn.graphs.coarsen import Coarsening, GWCoarsen, graph_kernel, multilevel_labels
from convnn.graphs.coarsen.sparse_kmeans import Chances


def weighted(nodes: int = 14, seed: int = 0, density: float = 0.4) -> Tensor:
    """Return a graph of random weights with a self-loop and an isolated node."""
    generator = torch.Generator().manual_seed(seed)
    upper = torch.rand(nodes, nodes, dtype=torch.float64, generator=generator)
    upper = (upper * (torch.rand(nodes, nodes, generator=generator) < density)).triu(1)
    adjacency = upper + upper.T
    adjacency[-1] = adjacency[:, -1] = 0
    adjacency[2, 2] = 0.7
    return adjacency


@pytest.fixture(params=["normalized", "unnormalized"])
def kernel(request: pytest.FixtureRequest) -> Tensor:
    return graph_kernel(weighted(), request.param)


@pytest.fixture
def coarsening() -> Coarsening:
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 3, 3, 1, 0, 2, 2, 3])
    weights = torch.linspace(1, 3, 14, dtype=torch.float64)
    return Coarsening(labels, weights / weights.sum())


def test_kernels_are_positive_semidefinite() -> None:
    assert torch.linalg.eigvalsh(graph_kernel(weighted(), "unnormalized")).min() > -1e-12
    values = torch.linalg.eigvalsh(graph_kernel(weighted()))
    assert values.min() > -1e-12
    assert values.max() < 2 + 1e-12
    assert graph_kernel(weighted())[-1, -1] == 1


def test_objective_is_that_of_k_means(kernel: Tensor, coarsening: Coarsening) -> None:
    values, vectors = torch.linalg.eigh(kernel)
    features = vectors * values.clamp_min(0).sqrt()
    total = 0.0
    for label in range(4):
        inside = coarsening.labels == label
        m = coarsening.weights[inside, None]
        mean = (m * features[inside]).sum(0) / m.sum()
        total += float((m * (features[inside] - mean).square()).sum())
    assert coarsening.objective(kernel) == pytest.approx(total, rel=1e-9)


def test_plan_cost_is_that_of_the_plan_and_is_bounded(kernel: Tensor, coarsening: Coarsening) -> None:
    """The cost of moving each node's mass to its supernode, in four loops, and its marginals."""
    plan = coarsening.membership * coarsening.weights
    torch.testing.assert_close(plan.sum(0), coarsening.weights)
    torch.testing.assert_close(plan.sum(1), coarsening.mass)
    similar = coarsening.similarity(kernel)
    differences = (similar[:, None, :, None] - kernel[None, :, None, :]).square()
    cost = float((differences * plan[:, :, None, None] * plan[None, None]).sum())
    assert coarsening.plan_cost(kernel) == pytest.approx(cost, rel=1e-9)
    assert cost <= coarsening.spectral_bound(kernel) + 1e-12


def test_matrices(coarsening: Coarsening) -> None:
    adjacency = weighted()
    coarse = coarsening.adjacency(adjacency)
    for p in range(4):
        for q in range(4):
            inside = adjacency[coarsening.labels == p][:, coarsening.labels == q]
            assert coarse[p, q].item() == pytest.approx(inside.sum().item())
    torch.testing.assert_close(coarsening.mean.sum(1), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(coarsening.projection @ coarsening.projection.T, torch.eye(4, dtype=torch.float64))


def test_with_degrees_as_weights_the_kernel_of_the_coarse_graph_is_the_coarse_kernel() -> None:
    adjacency = weighted()[:-1, :-1]
    model = GWCoarsen(5, weight="degree").fit(adjacency)
    coarse = model.coarsening_.adjacency(adjacency)
    torch.testing.assert_close(model.coarsening_.spectral(model.kernel_), graph_kernel(coarse))


def test_multilevel_merges_the_nearest_rows() -> None:
    """Against loops; the first merger of a complete bipartite graph is the first pair of equal rows."""
    bipartite = torch.tensor(nx.to_numpy_array(nx.complete_bipartite_graph(3, 4)))
    assert multilevel_labels(bipartite, 6).tolist() == [5, 5, 0, 1, 2, 3, 4]
    labels = multilevel_labels(bipartite, 2)
    assert len(set(labels[:3].tolist())) == len(set(labels[3:].tolist())) == 1
    adjacency, groups = weighted().numpy(), [[i] for i in range(14)]
    while len(groups) > 4:
        current = np.array([[adjacency[np.ix_(a, b)].sum() for b in groups] for a in groups])
        rows = [row / row.sum() if row.sum() else row for row in current]
        pairs = [(np.abs(rows[i] - rows[j]).sum(), i, j) for i in range(len(rows)) for j in range(i + 1, len(rows))]
        _, i, j = min(pairs)
        groups = [g for k, g in enumerate(groups) if k not in (i, j)] + [groups[i] + groups[j]]
    found = multilevel_labels(weighted(), 4)
    assert [sorted(g) for g in groups] == [(found == p).nonzero().flatten().tolist() for p in range(4)]


def test_the_best_start_is_kept_and_beats_random_labels() -> None:
    adjacency = torch.tensor(nx.to_numpy_array(nx.karate_club_graph(), weight=None))
    model = GWCoarsen(11, n_init=5).fit(adjacency)
    assert model.coarsening_.objective(model.kernel_) == min(model.objectives_)
    assert len(model.objectives_) == 5
    generator = torch.Generator().manual_seed(0)
    labels = torch.cat([torch.arange(11), torch.randint(11, (23,), generator=generator)])
    shuffled = Coarsening(labels, torch.full((34,), 1 / 34, dtype=torch.float64))
    assert model.coarsening_.plan_cost(model.kernel_) < shuffled.plan_cost(model.kernel_)
    for start in (labels, "multilevel"):
        first = labels if isinstance(start, Tensor) else multilevel_labels(adjacency, 11)
        found = GWCoarsen(11, init=start).fit(adjacency)
        before = Coarsening(first, shuffled.weights).objective(model.kernel_)
        assert found.objectives_[0] <= before + 1e-12


def test_sizes() -> None:
    adjacency = weighted()
    assert GWCoarsen(20).fit_predict(adjacency).tolist() == list(range(14))
    assert GWCoarsen(14).fit(adjacency).coarsening_.plan_cost(graph_kernel(adjacency)) == pytest.approx(0)
    assert GWCoarsen().fit_predict(adjacency).max() == 4  # at least five
    assert GWCoarsen(ratio=0.5).fit_predict(adjacency).max() == 6
    assert GWCoarsen(1).fit_predict(adjacency).tolist() == [0] * 14


def test_equal_nodes_leave_fewer_supernodes() -> None:
    star = torch.tensor(nx.to_numpy_array(nx.empty_graph(4)))
    labels = GWCoarsen(3, kernel="unnormalized").fit_predict(star)
    assert labels.tolist() == [0] * 4


def test_transform_of_a_graph() -> None:
    adjacency = weighted()
    edges = adjacency.nonzero().T
    data = import_geometric("data").Data(
        torch.randn(14, 3, dtype=torch.float64), edges, edge_weight=adjacency[tuple(edges)]
    )
    coarse = GWCoarsen(5)(data)
    model = GWCoarsen(5).fit(adjacency).coarsening_
    assert coarse.cluster.equal(model.labels)
    assert coarse.num_nodes == 5
    dense = torch.zeros(5, 5, dtype=torch.float64)
    dense[tuple(coarse.edge_index)] = coarse.edge_weight
    torch.testing.assert_close(dense, model.adjacency(adjacency))
    for label in range(5):
        torch.testing.assert_close(coarse.x[label], data.x[model.labels == label].mean(0))


@pytest.mark.parametrize(
    ("settings", "adjacency", "message"),
    [
        ({}, torch.ones(2, 3), r"adjacency of shape \(2, 3\)"),
        ({}, torch.tensor([[0.0, 1], [2, 0]]), "symmetric"),
        ({}, -torch.ones(2, 2), "at least 0"),
        ({}, torch.full((2, 2), torch.nan), "finite"),
        ({"n": 0}, torch.ones(2, 2), "n=0"),
        ({"ratio": 0}, torch.ones(2, 2), "ratio=0"),
        ({"kernel": "heat"}, torch.ones(2, 2), "kernel='heat'"),
        ({"init": "random"}, torch.ones(2, 2), "init='random'"),
        ({"weight": "size"}, torch.ones(2, 2), "weight='size'"),
        ({"weight": torch.ones(3)}, torch.ones(2, 2), r"weight of shape \(3,\)"),
        ({"weight": torch.tensor([-1.0, 2])}, torch.ones(2, 2), "at least 0"),
        ({"weight": torch.zeros(2)}, torch.ones(2, 2), "not all 0"),
        ({"n": 2, "init": torch.tensor([0, 0, 0])}, torch.ones(3, 3), "each of 0 to 1 at least once"),
    ],
)
def test_bad_input(settings: dict, adjacency: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        GWCoarsen(**settings).fit(adjacency)


@pytest.mark.parametrize("kind", ["normalized", "unnormalized"])
@pytest.mark.parametrize("weight", [None, "degree"])
@pytest.mark.parametrize("power", [1, 2])
def test_a_sparse_graph_gets_the_labels_of_the_dense_one(kind: str, weight: str | None, power: float) -> None:
    """Every node has a link to every centre, and weights are random, so that no two means are equally near."""
    for seed in range(3):
        adjacency = weighted(30, seed, density=1)[:-1, :-1]
        settings = {"kernel": kind, "weight": weight, "power": power, "n_init": 3}
        dense = GWCoarsen(9, **settings).fit(adjacency)
        sparse = GWCoarsen(9, **settings).fit(csr_array(adjacency.numpy()))
        assert sparse.labels_.equal(dense.labels_)
        assert sparse.objectives_ == pytest.approx(dense.objectives_, rel=1e-9)
        ours, theirs = sparse.coarsening_, dense.coarsening_
        torch.testing.assert_close(torch.from_numpy(sparse.kernel_.toarray()), dense.kernel_)
        for of in ("similarity", "spectral"):
            found = torch.from_numpy(getattr(ours, of)(sparse.kernel_).toarray())
            torch.testing.assert_close(found, getattr(theirs, of)(dense.kernel_))
        found = torch.from_numpy(ours.adjacency(csr_array(adjacency.numpy())).toarray())
        torch.testing.assert_close(found, theirs.adjacency(adjacency))
        assert ours.plan_cost(sparse.kernel_) == pytest.approx(theirs.plan_cost(dense.kernel_), rel=1e-9)


def test_sparse_rounds_never_raise_the_objective_and_leave_no_supernode_empty() -> None:
    graph = nx.gnm_random_graph(300, 900, seed=1)  # unweighted: many means are equally near
    adjacency = csr_array(nx.to_scipy_sparse_array(graph, dtype=float))
    for n in (1, 60, 299, 300):
        model = GWCoarsen(n, n_init=1, max_iter=50)
        run, found = model.begin(adjacency), []
        while not run.is_over:
            run.advance()
            if run.labels is not None:
                assert run.labels.unique().tolist() == list(range(n))
                found.append(run.objective(run.labels))
        assert all(after <= before + 1e-12 for before, after in pairwise(found))
        assert model.finish(run).labels_.unique().tolist() == list(range(n))
        first = torch.arange(300) % n
        assert GWCoarsen(n, init=first).fit(adjacency).objectives_[0] <= run.objective(first) + 1e-12


def test_chances_are_those_of_the_whole() -> None:
    """A draw by blocks is the draw by one running sum; what has become 0 is never drawn."""
    weights = np.random.RandomState(0).rand(5000)
    weights[::3] = 0
    chances = Chances(weights)
    for number in (0, 0.2, 0.5, 0.999999999, 1 - 2**-53):
        found = chances.draw(number)
        assert found == min(np.searchsorted(weights.cumsum(), number * weights.sum(), "right"), 4999)
    chances.lower(np.array([1, 4999]), np.array([9.0, 0]))
    assert chances.weights.flat[1] == weights[1]
    assert chances.draw(1 - 2**-53) == 4997
    chances.lower(np.arange(5000), np.zeros(5000))
    assert not chances.left


@pytest.mark.parametrize("is_sparse", [True, False])
def test_a_run_goes_on_from_its_state(is_sparse: bool) -> None:
    adjacency = weighted(30)
    adjacency = csr_array(adjacency.numpy()) if is_sparse else adjacency
    whole = GWCoarsen(6, n_init=4).fit(adjacency)
    state, rounds = ({}, {"round": 0, "objectives": []}), 0
    while True:  # a new process for each round
        model = GWCoarsen(6, n_init=4)
        run = model.begin(adjacency)
        run.restore(*state)
        assert 0 <= run.done <= run.total
        if run.is_over:
            break
        run.advance()
        state, rounds = run.state(), rounds + 1
    assert rounds >= 4
    assert model.finish(run).labels_.equal(whole.labels_)
    assert model.objectives_ == whole.objectives_


def test_what_a_run_or_a_sparse_graph_does_not_have() -> None:
    adjacency = csr_array(weighted().numpy())
    model = GWCoarsen(5)
    with pytest.raises(InputError, match="run has done 0 of 1000 rounds; advance it until it is over"):
        model.finish(model.begin(adjacency))
    with pytest.raises(InputError, match="the state must have best as one list of int64"):
        model.begin(adjacency).restore({"best": torch.ones(3)}, {})
    with pytest.raises(UnsupportedError, match="init='multilevel' needs a dense adjacency"):
        GWCoarsen(5, init="multilevel").fit(adjacency)
    with pytest.raises(UnsupportedError, match="kernel must be dense"):
        model.fit(adjacency).coarsening_.spectral_bound(model.kernel_)
    with pytest.raises(InputError, match="symmetric"):
        model.fit(csr_array(np.array([[0.0, 1], [2, 0]])))
    with pytest.raises(InputError, match="finite and at least 0"):
        model.fit(csr_array(-np.ones((2, 2))))


def test_a_large_graph_is_sparse_and_the_transform_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    adjacency = weighted(40)[:-1, :-1]
    edges = adjacency.nonzero().T
    data = import_geometric("data").Data(torch.randn(39, 3), edges, edge_weight=adjacency[tuple(edges)])
    dense = GWCoarsen(9, init=torch.arange(39) % 9)(data)
    monkeypatch.setattr("convnn.graphs.adjacency.DENSE", 10)
    sparse = GWCoarsen(9, init=torch.arange(39) % 9)(data)
    assert sparse.cluster.equal(dense.cluster)
    assert sparse.edge_index.equal(dense.edge_index)
    torch.testing.assert_close(sparse.edge_weight, dense.edge_weight)
    torch.testing.assert_close(sparse.x, dense.x)
