"""Coarsening by kernel k-means: every identity of its theory, against loops, features and a transport plan."""

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor

from convnn.data.geometric import import_geometric
from convnn.errors import InputError
from convnn.graphs.coarsen import Coarsening, GWCoarsen, graph_kernel, multilevel_labels


def weighted(nodes: int = 14, seed: int = 0) -> Tensor:
    """Return a graph of random weights with a self-loop and an isolated node."""
    generator = torch.Generator().manual_seed(seed)
    upper = torch.rand(nodes, nodes, dtype=torch.float64, generator=generator)
    upper = (upper * (torch.rand(nodes, nodes, generator=generator) < 0.4)).triu(1)
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
