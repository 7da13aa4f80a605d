"""Cores against networkx, propagation against loops and its own laws, and embeddings that learn."""

import networkx as nx
import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from torch import Tensor

from convnn.data.geometric import import_geometric
from convnn.errors import InputError
from convnn.graphs.embed import (
    CoreWalk,
    GraphVite,
    KCoreEmbedding,
    Negatives,
    SkipGram,
    core_numbers,
    core_walk_counts,
    orthogonal_blocks,
    propagate,
    undirected_lists,
)
from convnn.graphs.sample import Partition
from convnn.ops.walks import Stream
from threads import thread_counts

utils = import_geometric("utils")


class Given:
    """An embedder that gives each node of the core random numbers, a function of how many there are."""

    def fit(self, edge_index: Tensor, edge_weight: Tensor | None = None, num_nodes: int | None = None) -> "Given":
        self.embedding_ = torch.randn(num_nodes, 3, generator=torch.Generator().manual_seed(num_nodes))
        return self


def edges_of(graph: nx.Graph) -> Tensor:
    return utils.to_undirected(torch.tensor(list(graph.edges)).T)


def graph(seed: int = 0, nodes: int = 60) -> nx.Graph:
    """Return a graph with several cores, isolated nodes and a component of its own."""
    made = nx.barabasi_albert_graph(nodes // 2, 4, seed)
    rest = nx.gnp_random_graph(nodes - nodes // 2 - 4, 0.06, seed)
    made = nx.disjoint_union(made, rest)
    made.add_edges_from((i, nodes // 2 + i) for i in range(0, 12, 2))
    return nx.disjoint_union(made, nx.path_graph(4))


@pytest.mark.parametrize("seed", range(6))
def test_core_numbers_are_those_of_networkx(seed: int) -> None:
    made = [graph(seed), nx.gnp_random_graph(80, 0.1, seed), nx.complete_graph(6), nx.star_graph(5)][seed % 4]
    lists, _ = undirected_lists(edges_of(made), made.number_of_nodes())
    assert core_numbers(lists).tolist() == [nx.core_number(made)[i] for i in range(made.number_of_nodes())]


def test_counts_of_walks() -> None:
    cores = torch.tensor([0, 1, 2, 4, 3])
    assert core_walk_counts(cores, 10).tolist() == [0, 2, 5, 10, 7]
    assert core_walk_counts(cores, 10, published=True).tolist() == [10, 2, 5, 10, 7]
    assert core_walk_counts(cores, 10, "linear", n_min=6).tolist() == [0, 6, 6, 10, 7]
    assert core_walk_counts(cores, 10, "power", power=2).tolist() == [0, 1, 2, 10, 5]
    assert core_walk_counts(cores, 10, "sigmoid").tolist() == [0, 1, 5, 9, 9]
    for settings, message in (({"mode": "cubic"}, "mode='cubic'"), ({"n_walks": 0}, "n_walks=0")):
        with pytest.raises(InputError, match=message):
            core_walk_counts(**{"cores": cores, "n_walks": 3, **settings})


def solved(made: nx.Graph, weights: dict | None = None, **settings: object) -> KCoreEmbedding:
    edges = edges_of(made)
    each = None if weights is None else torch.tensor([weights[tuple(sorted(pair))] for pair in edges.T.tolist()])
    return KCoreEmbedding(Given(), 3, **settings).fit(edges, each, made.number_of_nodes())


def test_every_node_is_the_mean_of_its_neighbours() -> None:
    """The equation of each node in loops, over the nodes embedded when its layer was; layers by search in breadth."""
    made = graph()
    weights = {pair: 0.5 + (pair[0] * 7 + pair[1]) % 5 for pair in made.edges}
    found = solved(made, weights)
    core = set(nx.k_core(made, 3))
    assert {i for i, inside in enumerate(found.core_.tolist()) if inside} == core
    distance = nx.multi_source_dijkstra_path_length(nx.Graph(made.edges), core)
    for node in made:
        step = int(found.step_[node])
        assert step == distance.get(node, -1)
        if step < 0:
            assert not found.embedding_[node].any()
        if step > 0:
            near = [u for u in made[node] if 0 <= found.step_[u] <= step]
            by = torch.tensor([weights[min(u, node), max(u, node)] for u in near]).double()
            mean = (by[:, None] * found.embedding_[near]).sum(0) / by.sum()
            torch.testing.assert_close(found.embedding_[node], mean)
    reached, inside = found.embedding_[found.step_ >= 0], found.embedding_[found.core_]
    assert (reached <= inside.amax(0) + 1e-12).all()
    assert (reached >= inside.amin(0) - 1e-12).all()


def test_repeating_comes_to_the_solution() -> None:
    made = graph()
    exact = solved(made).embedding_
    torch.testing.assert_close(solved(made, max_iter=2000, tol=1e-13).embedding_, exact, rtol=0, atol=1e-11)
    assert (solved(made, max_iter=2).embedding_ - exact).abs().max() > 1e-3
    again = [solved(made, max_iter=2, random_state=3).embedding_ for _ in range(2)]
    torch.testing.assert_close(*again, rtol=0, atol=0)


def test_propagation_is_linear_and_does_not_know_numbers() -> None:
    made = graph()
    lists, weights = undirected_lists(edges_of(made), made.number_of_nodes())
    nodes = made.number_of_nodes()
    adjacency = csr_array((weights.numpy(), lists.indices.numpy(), lists.starts.numpy()), shape=(nodes, nodes))
    known, generator = core_numbers(lists) >= 3, torch.Generator().manual_seed(0)
    a, b = (torch.randn(int(known.sum()), 1, dtype=torch.float64, generator=generator) for _ in range(2))
    both, steps = propagate(adjacency, known, 2 * a - b)
    torch.testing.assert_close(both, 2 * propagate(adjacency, known, a)[0] - propagate(adjacency, known, b)[0])
    constant = propagate(adjacency, known, torch.ones_like(a))[0]
    torch.testing.assert_close(constant.flatten(), (steps >= 0).double())
    order = np.random.RandomState(0).permutation(nodes)
    rows = torch.empty(nodes, 1, dtype=torch.float64)
    rows[known] = a
    moved = propagate(adjacency[order][:, order], known[order], rows[order][known[order]])[0]
    torch.testing.assert_close(moved, propagate(adjacency, known, a)[0][order])


class TooFew(Given):
    def fit(self, edge_index: Tensor, edge_weight: Tensor | None = None, num_nodes: int | None = None) -> "Given":
        self.embedding_ = torch.zeros(num_nodes - 1, 2)
        return self


TRIANGLE = torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])


@pytest.mark.parametrize(
    ("settings", "edges", "message"),
    [
        ({"core_index": -1}, TRIANGLE, "core_index=-1"),
        ({"core_index": 3}, TRIANGLE, "core_index=3 must be at most 2, the innermost core"),
        ({"max_iter": 0}, TRIANGLE, "max_iter=0"),
        ({"tol": 0.0}, TRIANGLE, r"tol=0\.0"),
        ({"embedder": TooFew()}, TRIANGLE, r"embedder returned \(2, 2\) for 3 nodes"),
        ({}, TRIANGLE[:, :5], "both ways"),
        ({}, torch.cat([TRIANGLE, torch.tensor([[1], [1]])], 1), "joins node 1 to itself"),
        ({}, torch.cat([TRIANGLE, TRIANGLE], 1), "repeats an edge"),
    ],
)
def test_bad_graphs_and_settings(settings: dict, edges: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        KCoreEmbedding(**{"embedder": Given(), **settings}).fit(edges)


@pytest.mark.parametrize("weight", [-1.0, 0.0, torch.nan, 2.0])
def test_bad_weights(weight: float) -> None:
    with pytest.raises(InputError, match="positive and finite" if weight != 2 else "one weight"):
        undirected_lists(TRIANGLE, 3, torch.tensor([weight, 1, 1, 1, 1, 1]))


# Skip-gram by blocks.


def test_blocks_pass_each_pair_of_parts_once() -> None:
    for parts, workers in ((4, 4), (4, 2), (3, 1), (1, 1)):
        sets = list(orthogonal_blocks(parts, workers))
        assert sorted(block for one in sets for block in one) == [(a, b) for a in range(parts) for b in range(parts)]
        for one in sets:
            assert len({a for a, _ in one}) == len({b for _, b in one}) == workers
    with pytest.raises(InputError, match="workers=3 must divide num_parts=4"):
        list(orthogonal_blocks(4, 3))


def test_negatives_are_of_their_part_and_by_weight() -> None:
    weights = torch.tensor([0.0, 1, 16, 81])
    partition = Partition.by_weight(weights, 2)
    negatives = Negatives(weights, partition)
    for part in (0, 1):
        drawn = torch.bincount(negatives.draw(part, Stream(part), 20_000), minlength=4) / 20_000
        powers = weights.pow(0.75) * (partition.part == part)
        torch.testing.assert_close(drawn, powers / powers.sum(), rtol=0, atol=0.02)
    for settings, message in (({"exponent": torch.inf}, "exponent=inf"), ({"weights": torch.zeros(4)}, "num_parts=2")):
        with pytest.raises(InputError, match=message):
            Negatives(**{"weights": weights, "partition": partition, **settings})


def communities(seed: int = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    edges = utils.stochastic_blockmodel_graph([30, 30], torch.tensor([[0.3, 0.02], [0.02, 0.3]]))
    return edges, torch.arange(60) // 30


def separation(embedding: Tensor, labels: Tensor) -> float:
    """Return how much more alike nodes of one class are than others, in cosine."""
    rows = torch.nn.functional.normalize(embedding.double(), dim=1)
    alike, same = rows @ rows.T, labels[:, None] == labels
    return float(alike[same].mean() - alike[~same].mean())


@pytest.mark.parametrize("num_parts", [1, 3])
def test_graphvite_learns_and_is_the_same_on_any_number_of_threads(num_parts: int) -> None:
    edges, labels = communities()
    told: list[tuple[int, int]] = []
    found = []
    for _ in thread_counts():
        model = GraphVite(
            8, epochs=30, num_parts=num_parts, pool_size=600, batch_size=500, lr=0.1, weight_decay=5e-4, walk_length=10,
            progress=lambda done, total: told.append((done, total)),
        ).fit(edges)  # fmt: skip
        found.append(model.embedding_)
    torch.testing.assert_close(*found, rtol=0, atol=0)
    assert separation(found[0], labels) > 0.2
    assert told[-1] == (30 * edges.shape[1], 30 * edges.shape[1])
    assert found[0].shape == (60, 8)


def test_core_walk_learns_from_fewer_walks() -> None:
    edges, labels = communities()
    every, fewer = (
        CoreWalk(8, n_walks=6, walk_length=10, window=3, lr=0.1, mode=mode).fit(edges) for mode in (None, "linear")
    )
    assert fewer.walk_counts_.sum() < every.walk_counts_.sum() == 6 * 60
    for model in (every, fewer):
        assert separation(model.embedding_, labels) > 0.2


def test_core_embedding_of_an_embedder() -> None:
    edges, _ = communities()
    model = KCoreEmbedding(GraphVite(8, epochs=30, lr=0.1, weight_decay=5e-4, batch_size=500)).fit(edges)
    assert model.embedding_.shape == (60, 8)
    assert 0 < model.core_.sum() < 60


def test_first_values() -> None:
    model = SkipGram(200, 4, seed=1)
    assert model.vertex.weight.abs().max() <= 1 / 8
    assert model.vertex.weight.std().item() == pytest.approx(0.25 / 12**0.5, rel=0.1)
    assert not model.context.weight.any()
    assert model(torch.tensor([[0, 1]]), torch.tensor([[2]])).item() == pytest.approx(np.log(2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GraphVite(0), "dim=0"),
        (lambda: GraphVite(epochs=0), "epochs=0"),
        (lambda: GraphVite(lr=-1), "lr=-1"),
        (lambda: GraphVite(num_negative=0), "num_negative=0"),
        (lambda: GraphVite(num_parts=4).fit(TRIANGLE), "num_parts=4 must be at most the 3 nodes"),
        (lambda: GraphVite().fit(TRIANGLE[:, :0], num_nodes=3), "at least one edge"),
        (lambda: CoreWalk(walk_length=1), "walk_length=1"),
        (lambda: CoreWalk(n_walks=0), "n_walks=0"),
        (lambda: CoreWalk(mode="cubic"), "mode='cubic'"),
        (lambda: CoreWalk().fit(TRIANGLE[:, :5]), "both ways"),
    ],
)
def test_bad_estimators(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
