"""Ego networks and equivariant maps: against loops, partitions of indices, permutations and other libraries."""

import itertools

import networkx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.nn import graphs

DOUBLE = torch.double
ORDERS = [(2, 2), (2, 1), (1, 2), (1, 1), (2, 0), (1, 0)]


def partitions(count: int) -> int:
    """The number of ways to divide indices into groups of equal ones (Bell)."""
    patterns = itertools.product(range(count), repeat=count)
    return sum(all(p <= max(pattern[:i], default=-1) + 1 for i, p in enumerate(pattern)) for pattern in patterns)


@pytest.mark.parametrize("orders", ORDERS)
def test_there_are_as_many_maps_as_partitions_of_the_indices(orders: tuple[int, int]) -> None:
    assert graphs.EquivariantMap(*orders, 1, 1).coeffs.shape[2] == partitions(sum(orders))


def matrices_of_basis(orders: tuple[int, int], size: int) -> Tensor:
    """Each map of the basis as a matrix, flat."""
    layer = graphs.EquivariantMap(*orders, 1, 1).double()
    units = torch.eye(size ** orders[0], dtype=DOUBLE).view(-1, 1, *[size] * orders[0])
    found = []
    for basis in range(layer.coeffs.shape[2]):
        with torch.no_grad():
            layer.coeffs.copy_(F.one_hot(torch.tensor(basis), layer.coeffs.shape[2]))
            found.append(layer(units).flatten())
    return torch.stack(found)


@pytest.mark.parametrize(("size", "rank"), [(5, 15), (4, 15), (3, 14), (2, 8)])
def test_maps_are_independent_where_there_are_enough_nodes(size: int, rank: int) -> None:
    assert torch.linalg.matrix_rank(matrices_of_basis((2, 2), size)) == rank


@pytest.mark.parametrize("orders", ORDERS)
def test_maps_commute_with_permutations(orders: tuple[int, int]) -> None:
    layer = graphs.EquivariantMap(*orders, 2, 3).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    t, order = torch.randn(4, 2, *[5] * orders[0], dtype=DOUBLE), torch.randperm(5)
    torch.testing.assert_close(layer(permuted(t, order)), permuted(layer(t), order))


def permuted(t: Tensor, order: Tensor) -> Tensor:
    for axis in range(2, t.dim()):
        t = t.index_select(axis, order)
    return t


def test_gradients_of_the_largest_map() -> None:
    layer = graphs.EquivariantMap(2, 2, 2, 2).double()
    t = torch.randn(2, 2, 3, 3, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t, *_: layer(t), (t, *layer.parameters()), fast_mode=True)


def looped(nodes: int, edges: int, seed: int = 0) -> Tensor:
    """A directed graph with a self-loop at every node."""
    found = torch.randint(nodes, (2, edges), generator=torch.Generator().manual_seed(seed))
    return torch.cat([found, torch.arange(nodes).repeat(2, 1)], dim=1).unique(dim=1)


def egos_by_node(egos: nn.Module) -> dict[int, set[int]]:
    members = [set(row) for group in egos.members.values() for row in group.tolist()]
    return dict(zip(egos.owners.tolist(), members, strict=True))


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_ego_networks_are_those_of_torch_geometric_and_networkx(hops: int) -> None:
    utils = pytest.importorskip("torch_geometric.utils")
    edges = looped(12, 14)
    found = egos_by_node(graphs.EgoNetworks.of_graph(edges, 12, hops))
    graph = networkx.DiGraph(edges.T.tolist())
    for node in range(12):
        subset, *_ = utils.k_hop_subgraph(node, hops, edges, flow="target_to_source")
        assert found[node] == set(subset.tolist()) == set(networkx.ego_graph(graph, node, hops))


def test_without_self_loops_a_node_is_not_of_its_own_ego_network() -> None:
    edges = torch.tensor([[0, 1, 2, 2], [1, 2, 0, 1]])
    assert egos_by_node(graphs.EgoNetworks.of_graph(edges, 3)) == {0: {1}, 1: {2}, 2: {0, 1}}
    assert egos_by_node(graphs.EgoNetworks.of_graph(edges, 3, 2)) == {0: {2}, 1: {0, 1}, 2: {1, 2}}


def test_pairs_are_those_that_share_an_ego_network_and_take_the_features_of_edges() -> None:
    edges = looped(8, 10)
    egos = graphs.EgoNetworks.of_graph(edges, 8)
    wanted = {pair for group in egos_by_node(egos).values() for pair in itertools.product(group, repeat=2)}
    assert [tuple(pair) for pair in egos.pairs.T.tolist()] == sorted(wanted)
    features = torch.randn(edges.shape[1] + 1, 2, dtype=DOUBLE)
    placed = egos.place(features, torch.cat([edges, edges[:, :1]], dim=1))
    dense = torch.zeros(8, 8, 2, dtype=DOUBLE).index_put_(tuple(edges), features[:-1])
    dense[tuple(edges[:, 0])] += features[-1]
    torch.testing.assert_close(placed, dense[tuple(egos.pairs)])


def net(**settings: object) -> nn.Module:
    return graphs.SPEN(3, 2, hidden=4, num_layers=3, **settings).double().eval()


@pytest.mark.parametrize("hops", [1, 2])
def test_relabelled_graphs_give_relabelled_features(hops: int) -> None:
    layer = graphs.SPENConv(3, 4, hops=hops, ego_sizes="1,3,4").double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x, edges, order = torch.randn(10, 3, dtype=DOUBLE), looped(10, 16), torch.randperm(10)
    place = order.argsort()
    moved = layer(x[order], place[edges][:, torch.randperm(edges.shape[1])])
    torch.testing.assert_close(moved, layer(x, edges)[order], rtol=0, atol=1e-12)
    network = net(hops=hops)
    torch.testing.assert_close(network(x[order], place[edges]), network(x, edges), rtol=0, atol=1e-12)


def test_of_a_complete_graph_it_is_the_linear_layer_of_invariant_graph_networks() -> None:
    edges = torch.ones(5, 5).nonzero().T
    egos = graphs.EgoNetworks.of_graph(edges, 5)
    layer = graphs.SubgraphEquivariantConv(2, 3, 2, 21).double()
    T2 = torch.randn(25, 2, dtype=DOUBLE)
    pairs, nodes = layer(egos, egos.place(T2, edges))
    whole = T2.view(1, 5, 5, 2).movedim(3, 1)
    maps = layer.maps
    wanted = F.elu(maps["2_to_2"]["1"](whole)).movedim(1, 3).flatten(0, 2)
    torch.testing.assert_close(pairs, layer.norms["2"](wanted), rtol=0, atol=1e-12)
    wanted = F.elu(maps["2_to_1"]["1"](whole)).movedim(1, 2).flatten(0, 1)
    torch.testing.assert_close(nodes, layer.norms["1"](wanted), rtol=0, atol=1e-12)


def test_a_batch_is_its_graphs_one_by_one() -> None:
    network, parts = net(sizes=(1, 3)), [looped(7, 9, 1), looped(5, 8, 2)]
    x = torch.randn(12, 3, dtype=DOUBLE)
    batch = torch.tensor([0] * 7 + [1] * 5)
    both = network(x, torch.cat([parts[0], parts[1] + 7], dim=1), batch)
    alone = torch.cat([network(x[:7], parts[0]), network(x[7:], parts[1])])
    torch.testing.assert_close(both, alone, rtol=0, atol=1e-12)


def of_networkx(graph: networkx.Graph) -> tuple[int, Tensor]:
    edges = torch.tensor(list(networkx.convert_node_labels_to_integers(graph).edges)).T
    return graph.number_of_nodes(), torch.cat([edges, edges.flip(0)], dim=1)


def apart(one: networkx.Graph, other: networkx.Graph, hops: int) -> float:
    """The difference of what a random network gives for two graphs without features of nodes."""
    torch.manual_seed(0)
    network = graphs.SPEN(1, 4, hidden=8, num_layers=3, hops=hops).double().eval()
    outs = [network(torch.zeros(nodes, 1, dtype=DOUBLE), edges) for nodes, edges in map(of_networkx, (one, other))]
    return (outs[0] - outs[1]).abs().max().item()


def test_graphs_that_colour_refinement_cannot_tell_apart() -> None:
    triangles = networkx.disjoint_union(networkx.cycle_graph(3), networkx.cycle_graph(3))
    assert apart(triangles, networkx.cycle_graph(6), 1) > 1e-4
    decalin = networkx.cycle_graph(10)
    decalin.add_edge(0, 5)
    pentagons = networkx.disjoint_union(networkx.cycle_graph(5), networkx.cycle_graph(5))
    pentagons.add_edge(0, 5)
    assert apart(decalin, pentagons, 1) < 1e-10
    assert apart(decalin, pentagons, 2) > 1e-4


def test_features_of_pairs_are_the_normalised_adjacency_and_the_labels_on_its_diagonal() -> None:
    x, edges = torch.randn(4, 2, dtype=DOUBLE), torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    index, features = graphs.pair_features(x, edges)
    dense = torch.zeros(4, 4, 3, dtype=DOUBLE).index_put_(tuple(index), features)
    adjacency = torch.eye(4, dtype=DOUBLE).index_put_(tuple(edges), torch.ones((), dtype=DOUBLE))
    degrees = adjacency.sum(1).rsqrt()
    wanted = (degrees.unsqueeze(1) * adjacency * degrees).unsqueeze(2).repeat(1, 1, 3)
    wanted[range(4), range(4), 1:] += x
    torch.testing.assert_close(dense, wanted)


def test_sizes_without_weights_take_those_of_the_nearest_smaller_one() -> None:
    conv = graphs.SubgraphEquivariantConv(1, 1, 2, 21, sizes={2: 3, 3: 3, 4: 7})
    assert [conv.set_of(size) for size in (2, 3, 4, 9)] == ["3", "3", "7", "7"]
    assert sorted(conv.maps["2_to_2"]) == ["3", "7"]
    with pytest.raises(InputError, match=r"^sizes=\[2, 3, 4\] must have one of at most 1, for ego networks of .*$"):
        conv.set_of(1)


def test_it_trains() -> None:
    network = graphs.SPEN(2, 2, hidden=4, num_layers=3, dropout=0.0)
    edges = torch.cat([looped(8, 12, 1), looped(8, 12, 2) + 8], dim=1)
    x, batch = torch.randn(16, 2), torch.arange(16) // 8
    optimizer, losses = torch.optim.Adam(network.parameters(), 0.01), []
    for _ in range(25):
        loss = F.cross_entropy(network(x, edges, batch), torch.tensor([0, 1]))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 2


EDGES = torch.tensor([[0, 1, 0, 1], [0, 1, 1, 0]])
EGOS = (EDGES, 2)


def conv(rep_in: int = 21, rep_out: int = 21, **settings: object) -> nn.Module:
    return graphs.SubgraphEquivariantConv(3, 4, rep_in, rep_out, **settings)


def pairs(*shape: int) -> Tensor:
    return torch.zeros(shape)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda _: graphs.EquivariantMap(3, 1, 2, 2), r"orders 3 to 1 must be one of 2 to 2, .*"),
        (
            lambda _: graphs.EquivariantMap(2, 1, 2, 2)(pairs(1, 2, 3, 4)),
            r"t of shape \(1, 2, 3, 4\) must be \(n, 2, m, m\)",
        ),
        (lambda _: conv(2, 0), r"rep_in=2 to rep_out=0 must be one of \(2, 21\), \(21, 21\), \(21, 0\), .*"),
        (lambda _: conv(sizes=()), r"sizes=\(\) must be numbers of nodes, at least one"),
        (lambda egos: conv()(egos, pairs(3, 3)), r"pairs of shape \(3, 3\) must be \(4, 3\)"),
        (lambda egos: conv()(egos, pairs(4, 3)), r"nodes=None must be features of the nodes, .*"),
        (lambda egos: conv()(egos, pairs(4, 3), pairs(3, 3)), r"nodes of shape \(3, 3\) must be \(2, 3\)"),
        (
            lambda egos: egos.place(pairs(5, 3), EDGES),
            r"features of shape \(5, 3\) must be \(4, C\), a row for each edge",
        ),
        (lambda egos: egos.of_graph(EDGES, 2, 0), r"hops=0 must be an integer of at least 1"),
        (lambda egos: egos.of_graph(EDGES, 1), r"edge_index has sources from 0 to 1; they must lie between 0 and 0"),
        (
            lambda egos: egos.of_graph(EDGES, 3),
            r"node 2 must have edges that leave and reach it, to be in an ego network; add self-loops",
        ),
        (lambda _: graphs.SPENConv(3, 4, ego_sizes="2;3"), r"ego_sizes='2;3' must be numbers of nodes separated by .*"),
        (
            lambda _: graphs.SPENConv(3, 4)(pairs(2, 2), EDGES),
            r"x of shape \(2, 2\) and torch.float32 must be floating and \(N, 3\), .*",
        ),
        (lambda _: graphs.SPEN(3, 2, num_layers=1), r"num_layers=1 must be an integer of at least 2"),
    ],
)
def test_bad_input_is_one_sentence(wrong, message: str) -> None:
    egos = graphs.EgoNetworks.of_graph(*EGOS)
    with pytest.raises(InputError, match=f"^{message}$"):
        wrong(egos)
