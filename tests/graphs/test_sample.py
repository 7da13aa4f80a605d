"""GraphSAINT's samplers and weights, and GraphVite's pairs, against loops, frequencies and exact identities."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from convnn.data.geometric import import_geometric
from convnn.errors import InputError
from convnn.graphs.sample import (
    AliasTable,
    AugmentedSampler,
    EdgeDraws,
    FrontierDraws,
    GraphSAINTSampler,
    NodeDraws,
    Partition,
    TrainingGraph,
    WalkDraws,
    normalized_loss,
    walk_pairs,
)
from convnn.ops.walks import Recorded, Stream

Data = import_geometric("data").Data
barabasi_albert_graph = import_geometric("utils").barabasi_albert_graph

DRAWS = {
    "node": NodeDraws(8),
    "edge": EdgeDraws(5),
    "walk": WalkDraws(4, 2),
    "frontier": FrontierDraws(3, 9, clip=3),
}


@pytest.fixture
def data() -> Data:
    """Return a graph of 30 nodes, of which four are not for training and one of those that are has no edge."""
    torch.manual_seed(0)
    edges = barabasi_albert_graph(29, 3)
    data = Data(x=torch.randn(30, 4, dtype=torch.float64), edge_index=edges[:, torch.randperm(edges.shape[1])])
    data.y = torch.randint(3, (30,))
    data.train_mask = torch.ones(30, dtype=torch.bool)
    data.train_mask[[2, 5, 11, 20]] = False
    data.edge_attr = torch.randn(data.edge_index.shape[1], 2)
    return data


@pytest.mark.parametrize("kind", DRAWS)
def test_a_batch_is_the_subgraph_of_its_nodes(data: Data, kind: str) -> None:
    sampler = GraphSAINTSampler(data, DRAWS[kind], coverage=3, num_steps=40, seed=1)
    known = {tuple(pair): i for i, pair in enumerate(data.edge_index.T.tolist())}
    assert len(sampler) == 40
    for batch in sampler:
        nodes = batch.node_index.tolist()
        assert nodes == sorted(set(nodes))
        assert data.train_mask[nodes].all()
        ends = [(nodes[u], nodes[v]) for u, v in batch.edge_index.T.tolist()]
        assert sorted(ends) == sorted(pair for pair in known if set(pair) <= set(nodes))
        torch.testing.assert_close(batch.edge_attr, data.edge_attr[[known[pair] for pair in ends]])
        torch.testing.assert_close(batch.x, data.x[nodes])
        assert batch.num_nodes == len(nodes)
        batch.validate()


@pytest.mark.parametrize("kind", DRAWS)
def test_weights_make_means_exact_over_what_was_counted(data: Data, kind: str) -> None:
    """The mean over the counted subgraphs of the neighbours' means, and of the losses, is that of the whole graph."""
    sampler = GraphSAINTSampler(data, DRAWS[kind], coverage=200, seed=2)
    counted = list(sampler._waiting)
    sums, degrees = torch.zeros(30, 4, dtype=torch.float64), sampler.graph.degrees.double()
    losses, total = torch.rand(30, dtype=torch.float64), 0.0
    for subgraph in counted:
        batch = sampler.batch(subgraph)
        source, target = batch.edge_index
        sums.index_add_(0, batch.node_index[target], batch.edge_weight[:, None] * batch.x[source])
        total += float((batch.node_norm * losses[batch.node_index]).sum())
    norms, lists = sampler.normalization, sampler.graph.lists
    unseen = torch.zeros(30).index_add(0, lists.query_of_each, (norms.edge_count == 0).float())
    whole = (unseen == 0) & (degrees > 0)
    assert whole.sum() >= 20
    exact = torch.zeros(30, 4, dtype=torch.float64).index_add(0, lists.query_of_each, data.x[lists.indices])
    torch.testing.assert_close((sums / norms.node_count[:, None])[whole], (exact / degrees[:, None])[whole])
    seen = data.train_mask & (norms.node_count > 0)
    if seen.equal(data.train_mask):
        assert total / len(counted) == pytest.approx(losses[data.train_mask].mean().item())


def test_unseen_edges_and_nodes() -> None:
    """Counts by hand, and both rules for what was never drawn."""
    data = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=4)
    graph = TrainingGraph(data.edge_index, 4)
    counted = [graph.subgraph(torch.tensor(nodes)) for nodes in ([0, 1], [1, 0], [2])]
    of = GraphSAINTSampler(data, WalkDraws(1, 0), coverage=1).normalization.of_subgraphs
    ours, theirs = (of(graph, counted, published=published) for published in (False, True))
    assert ours.node_count.tolist() == [2, 2, 1, 0]
    assert ours.edge_count.tolist() == [2, 2, 0, 0]  # 0 <- 1, 1 <- 0, 1 <- 2, 2 <- 1
    torch.testing.assert_close(ours.edges, torch.tensor([1, 1, 2, 1]).double())
    torch.testing.assert_close(theirs.edges, torch.tensor([1, 1, 1e4, 1e4]).double())
    torch.testing.assert_close(ours.nodes, (3 / torch.tensor([2, 2, 1, 0.1]) / 4).double())


def test_evaluation_batch(data: Data) -> None:
    whole = GraphSAINTSampler(data, NodeDraws(3), coverage=1).whole()
    sums = torch.zeros(30, dtype=torch.float64).index_add(0, data.edge_index[1], whole.edge_weight)
    torch.testing.assert_close(sums[:29], torch.ones(29, dtype=torch.float64))
    assert whole.node_norm.sum().item() == pytest.approx(1)


def test_frequencies_of_nodes_and_edges(data: Data) -> None:
    graph = TrainingGraph(data.edge_index, 30, data.train_mask.nonzero().flatten())
    draws = 40_000
    found = torch.bincount(NodeDraws(draws)(graph, Stream(0)), minlength=30) / draws
    torch.testing.assert_close(found, graph.degrees / graph.degrees.sum(), rtol=0, atol=0.01)
    rows, columns, shares = EdgeDraws(draws).probabilities(graph)
    expected = 1 / graph.degrees[rows] + 1 / graph.degrees[columns]
    torch.testing.assert_close(shares / draws, (expected / expected.sum()).double())
    ends = EdgeDraws(draws)(graph, Stream(0)).view(2, -1).T.tolist()
    counts = Counter(map(tuple, ends))
    for row, column, share in zip(rows.tolist(), columns.tolist(), shares.tolist(), strict=True):
        assert abs(counts[row, column] - share) < 6 * share**0.5


def test_published_and_right_draws_differ_on_the_border_alone() -> None:
    """Degrees 2 and 2: sums 2 and 4; the published code takes 0, 1, 2 for the first node and only 3 for the second."""
    graph = TrainingGraph(torch.tensor([[0, 0, 1, 1, 2, 3], [1, 2, 0, 3, 0, 1]]), 4, torch.tensor([0, 1, 2, 3]))

    class Numbers(Stream):
        def integers(self, *size: int) -> Tensor:
            return torch.arange(size[0])

    assert NodeDraws(6)(graph, Numbers()).tolist() == [0, 0, 1, 1, 2, 3]
    assert NodeDraws(6, published=True)(graph, Numbers()).tolist() == [0, 0, 0, 1, 1, 2]


@pytest.mark.parametrize("spare", [0, 50])
def test_a_root_without_neighbours_draws_nothing(spare: int) -> None:
    """Walks in loops, with numbers in the order of use; there may be no number after the last one that is needed."""
    edges = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])  # of five nodes
    graph = TrainingGraph(edges, 5, torch.tensor([3, 1, 0, 4, 2]))
    numbers = Stream(4).integers(60).tolist()
    expected, used = [], iter(enumerate(numbers, 1))
    near = {0: [1], 1: [0, 2], 2: [1], 3: [], 4: []}
    for _ in range(12):
        count, number = next(used)
        walk = [[3, 1, 0, 4, 2][number % 5]]
        for _ in range(3):
            if near[walk[0]]:
                count, number = next(used)
                walk.append(near[walk[-1]][number % len(near[walk[-1]])])
            else:
                walk.append(walk[-1])
        expected += walk
    stream = Recorded(torch.tensor(numbers[: count + spare]))
    assert WalkDraws(12, 3)(graph, stream).tolist() == expected
    assert stream.position == count
    with pytest.raises(InputError, match=f"numbers end after {count - 1}"):
        WalkDraws(12, 3)(graph, Recorded(torch.tensor(numbers[: count - 1])))


def test_a_frontier_without_edges_ends() -> None:
    graph = TrainingGraph(torch.empty(2, 0, dtype=torch.long), 5)
    assert FrontierDraws(3, 9)(graph, Stream(0)).shape == (3,)


def test_loss_of_several_labels() -> None:
    outputs, weights = torch.randn(5, 3), torch.rand(5)
    labels = torch.randint(2, (5, 3)).float()
    shares = outputs.sigmoid()
    losses = -(labels * shares.log() + (1 - labels) * (1 - shares).log()).sum(1)
    torch.testing.assert_close(normalized_loss(outputs, labels, weights), (weights * losses).sum())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda data: GraphSAINTSampler(data, NodeDraws(3), coverage=0), "coverage=0"),
        (lambda data: GraphSAINTSampler(data, "node"), "draws='node' must be NodeDraws"),
        (lambda data: GraphSAINTSampler(data, NodeDraws(3), num_steps=0), "num_steps=0"),
        (lambda _: NodeDraws(0), "budget=0"),
        (lambda _: EdgeDraws(0), "budget=0"),
        (lambda _: WalkDraws(0, 2), "roots=0"),
        (lambda _: WalkDraws(2, -1), "depth=-1"),
        (lambda _: FrontierDraws(3, 2), "budget=2"),
        (lambda _: FrontierDraws(3, 4, clip=0), "clip=0"),
        (lambda data: TrainingGraph(data.edge_index, 30, torch.empty(0, dtype=torch.long)), "at least one training"),
        (lambda data: TrainingGraph(data.edge_index, 30, torch.tensor([30])), "between 0 and 29"),
        (lambda _: EdgeDraws(2)(TrainingGraph(torch.tensor([[0], [1]]), 2), Stream()), "both ways"),
        (lambda _: NodeDraws(2)(TrainingGraph(torch.empty(2, 0).long(), 2), Stream()), "at least one edge"),
    ],
)
def test_bad_input(data: Data, make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(data)


def test_own_edge_weights_are_refused(data: Data) -> None:
    data.edge_weight = torch.ones(data.edge_index.shape[1])
    with pytest.raises(InputError, match="has an edge_weight"):
        GraphSAINTSampler(data, NodeDraws(3))


# GraphVite's pairs.


def test_alias_tables_hold_their_weights() -> None:
    weights = torch.tensor([0.0, 3, 1, 0.5, 7, 1e-9]).double()
    table = AliasTable(weights)
    mass = table.shares.clone().index_add(0, table.aliases, 1 - table.shares) / len(weights)
    torch.testing.assert_close(mass, weights / weights.sum(), rtol=0, atol=1e-15)
    numbers = Stream(0).uniform(2, 50_000)
    drawn = torch.bincount(table.draw(*numbers), minlength=6) / 50_000
    torch.testing.assert_close(drawn.double(), weights / weights.sum(), rtol=0, atol=0.01)
    for bad in (torch.empty(0), torch.zeros(2), torch.tensor([-1.0, 2]), torch.tensor([torch.nan])):
        with pytest.raises(InputError, match="weights of shape"):
            AliasTable(bad)


def test_pairs_of_a_walk() -> None:
    walks = torch.tensor([[4, 5, 6, 7], [1, 2, -1, -1]])
    expected = [(4, 5), (4, 6), (5, 6), (5, 7), (6, 7), (1, 2)]
    assert [tuple(pair) for pair in walk_pairs(walks, 2).tolist()] == expected


def test_parts_are_of_about_equal_weight() -> None:
    weights = torch.rand(101, generator=torch.Generator().manual_seed(0)).square()
    partition = Partition.by_weight(weights, 4)
    sums = torch.zeros(4).index_add(0, partition.part, weights)
    assert (sums - sums.mean()).abs().max() < weights.max()
    for part, nodes in enumerate(partition.nodes):
        assert (partition.part[nodes] == part).all()
        assert partition.place[nodes].tolist() == list(range(len(nodes)))


@pytest.mark.parametrize("settings", [{}, {"p": 0.5, "q": 4.0}, {"method": "alias", "p": 2.0}])
def test_pools_hold_pairs_of_their_parts(settings: dict) -> None:
    edges = barabasi_albert_graph(20, 2)
    sampler = AugmentedSampler(
        edges, walk_length=6, augmentation=2, num_parts=3, pool_size=40, shuffle_base=4, batch=50, **settings
    )
    pools, part = sampler.sample(), sampler.partition.part
    near = torch.zeros(20, 20)
    near[edges[0], edges[1]] = 1
    within = (near + near @ near) > 0
    assert pools.shape == (3, 3, 40, 2)
    for head in range(3):
        for tail in range(3):
            assert (part[pools[head, tail, :, 0]] == head).all()
            assert (part[pools[head, tail, :, 1]] == tail).all()
    assert within[pools[..., 0], pools[..., 1]].all()


def test_walks_begin_by_weight_and_end_at_sinks() -> None:
    edges, weights = torch.tensor([[0, 0, 1], [1, 2, 2]]), torch.tensor([1.0, 2, 5])
    sampler = AugmentedSampler(edges, weights, walk_length=3, augmentation=1, batch=8000, seed=3)
    walks = sampler.random_walks()
    assert set(map(tuple, walks.tolist())) == {(0, 1, 2, -1), (0, 2, -1, -1), (1, 2, -1, -1)}
    shares = [(walks == torch.tensor(one)).all(1).float().mean().item() for one in ((0, 1, 2, -1), (1, 2, -1, -1))]
    assert shares == pytest.approx([1 / 8, 5 / 8], abs=0.02)


def test_edges_are_added_the_other_way() -> None:
    edges = torch.tensor([[0, 1], [1, 2]])
    sampler = AugmentedSampler(edges, torch.tensor([2.0, 3]), walk_length=2, augmentation=1, add_reverse=True)
    assert sampler.weights.tolist() == [2, 5, 3]
    assert sampler.lists.indices.tolist() == [1, 0, 2, 1]


def test_a_pool_that_cannot_be_filled_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AugmentedSampler, "PATIENCE", 5)
    edges = torch.tensor([[0, 3, 1, 2], [3, 0, 2, 1]])  # two components, each a part
    with pytest.raises(InputError, match="num_parts=2: no walk joins two of the parts"):
        AugmentedSampler(edges, walk_length=2, augmentation=1, num_parts=2, pool_size=3).sample()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"augmentation": 0}, "augmentation=0"),
        ({"augmentation": 3}, "augmentation=3 must be at most walk_length=2"),
        ({"pool_size": 10, "shuffle_base": 3}, "pool_size=10 must be a multiple of shuffle_base=3"),
        ({"num_parts": 0}, "num_parts=0"),
        ({"num_parts": 5}, "num_parts=5 must be at most the 3 nodes"),
        ({"edge_weight": torch.tensor([-1.0, 1])}, "at least 0"),
        ({"edge_weight": torch.tensor([1.0])}, "one for each edge"),
        ({"p": 0}, "p=0"),
        ({"q": -1}, "q=-1"),
        ({"method": "table"}, "method='table'"),
        ({"edge_index": torch.empty(2, 0, dtype=torch.long)}, "at least one edge"),
    ],
)
def test_bad_settings_of_pairs(settings: dict, message: str) -> None:
    arguments = {"edge_index": torch.tensor([[0, 1], [1, 2]]), "walk_length": 2, "augmentation": 1, **settings}
    with pytest.raises(InputError, match=message):
        AugmentedSampler(**arguments)
