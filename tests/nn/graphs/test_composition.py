"""Composition on one graph: its laws, against loops over matrices and the layers of PyTorch Geometric."""

from functools import reduce
from itertools import pairwise
from operator import rshift

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

geometric = pytest.importorskip("torch_geometric.nn")
from torch_geometric.utils import dense_to_sparse  # noqa: E402

from convnn.errors import InputError  # noqa: E402
from convnn.nn import graphs  # noqa: E402
from convnn.ops import Neighbors  # noqa: E402
from convnn.ops.ragged import Lists  # noqa: E402
from small_graphs import directed, features, undirected  # noqa: E402

EXACT = {"rtol": 0, "atol": 1e-12}
ACTIVATIONS = (None, torch.tanh, torch.relu, torch.sigmoid)


def adjacency(nodes: int = 6, seed: int = 0) -> Tensor:
    """Return a signed, asymmetric matrix, a third of it 0."""
    matrix = features(nodes, nodes, seed=seed)
    return matrix.where(matrix.abs() > 0.4, 0)


def layers(*dims: int, activation: object = torch.tanh) -> list[nn.Module]:
    torch.manual_seed(sum(dims))
    return [graphs.GCNN(one, other, activation=activation).double() for one, other in pairwise(dims)]


def composed(maps: list[nn.Module]) -> nn.Module:
    return reduce(rshift, maps, graphs.Para.identity())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.integers(1, 6), st.sampled_from(ACTIVATIONS))
def test_outputs_and_reverse_pass_are_the_definition(dims: list[int], nodes: int, activation: object) -> None:
    maps, A, x = layers(*dims, activation=activation), adjacency(nodes).requires_grad_(), features(nodes, dims[0])
    x.requires_grad_()
    network, expected, cut = composed(maps), x, []
    for one in maps:
        copy = A.detach().clone().requires_grad_()
        cut.append(copy)
        expected = copy @ expected @ one.weight
        expected = expected if activation is None else activation(expected)
    y, upstream = network(A, x), features(nodes, dims[-1], seed=7)
    torch.testing.assert_close(y, expected, **EXACT)
    weights = [one.weight for one in maps]
    assert [id(p) for p in network.parameters()] == [id(p) for p in weights]
    of_a, *ours = torch.autograd.grad(y, [A, x, *weights], upstream)
    *of_copies, of_x = torch.autograd.grad(expected, [*cut, x], upstream, retain_graph=True)
    torch.testing.assert_close(of_a, sum(of_copies), **EXACT)
    torch.testing.assert_close(ours, list(torch.autograd.grad(expected, [x, *weights], upstream)), **EXACT)
    torch.testing.assert_close(ours[0], of_x, **EXACT)


def test_its_laws_hold() -> None:
    f, g, h = layers(3, 3, 4, 2)
    differences = graphs.check_laws(f, g, h, adjacency(), features(6, 3))
    exact = ("identity first", "identity last", "associativity", "in steps", "one graph is copies of it")
    assert {name: differences.pop(name) for name in exact} == dict.fromkeys(exact, 0.0)
    assert max(differences.values()) < 1e-14
    edges = graphs.check_laws(f, g, h, directed(6), features(6, 3))
    assert max(edges.values()) < 1e-12
    assert [*graphs.check_laws(f, g, h, adjacency(), features(6, 3))] == [*edges]


def test_a_broken_law_is_seen() -> None:
    class Counting(graphs.Para):
        """No map: it returns something else in every call."""

        calls = 0

        def forward(self, graph: Tensor, x: Tensor) -> Tensor:
            self.calls += 1
            return x + self.calls

    class OfOrder(graphs.Para):
        """A map that depends on the order of the nodes."""

        def forward(self, graph: Tensor, x: Tensor) -> Tensor:
            return x.cumsum(0)

    _, g, h = layers(3, 3, 4, 2)
    assert graphs.check_laws(Counting(), g, h, adjacency(), features(6, 3))["associativity"] > 1e-3
    assert graphs.check_laws(OfOrder(), g, h, adjacency(), features(6, 3))["another order of the nodes"] > 1e-3


def test_associative_down_to_the_names_of_the_parameters() -> None:
    f, g, h = layers(3, 3, 4, 2)
    left, right, one = (f >> g) >> h, f >> (g >> h), graphs.Para.identity()
    assert [*left.state_dict()] == [*right.state_dict()] == [f"maps.{place}.weight" for place in range(3)]
    assert left.layers == right.layers == (one >> left >> one).layers == f.then(g).then(h).layers
    assert not list((one >> one).parameters())
    assert torch.equal(one(adjacency(), x := features(6, 3)), x)


def test_each_layer_may_have_a_graph_of_its_own() -> None:
    maps, x = layers(3, 4, 2), features(6, 3)
    A, B = adjacency(), adjacency(seed=5)
    expected = torch.tanh(B @ torch.tanh(A @ x @ maps[0].weight) @ maps[1].weight)
    torch.testing.assert_close(composed(maps).locally([A, B], x), expected, **EXACT)
    with pytest.raises(InputError, match=r"^graphs must be 2, one for each layer, not 1$"):
        composed(maps).locally([A], x)


def test_an_activation_of_a_composite_is_no_composite_of_activations() -> None:
    maps, A, x = layers(4, 5, 3, activation=None), adjacency(), features(6, 4)
    relu = graphs.Para.pointwise(torch.relu)
    plain = composed(maps)
    torch.testing.assert_close(plain(A, x), A @ A @ x @ maps[0].weight @ maps[1].weight, **EXACT)
    inside, outside = maps[0] >> relu >> maps[1] >> relu, plain >> relu
    assert (inside(A, x) - outside(A, x)).abs().max() > 0.1


def test_reparameterisation_commutes_with_composition() -> None:
    f, g = layers(3, 3, 2)
    A, x = adjacency(), features(6, 3)
    p, q = features(3, 3, seed=4), features(3, 2, seed=5)
    apart = f.reparameterise(lambda p: [p.exp()], p) >> g.reparameterise(lambda q: [q.sin()], q)
    together = (f >> g).reparameterise(lambda p, q: [p.exp(), q.sin()], p, q)
    results = []
    for network in (apart, together):
        y = network(A, x)
        results.append((y, *torch.autograd.grad(y.square().sum(), list(network.parameters()))))
        assert [tuple(parameter.shape) for parameter in network.parameters()] == [(3, 3), (3, 2)]
    torch.testing.assert_close(*results, **EXACT)
    torch.testing.assert_close(results[0][0], torch.tanh(A @ torch.tanh(A @ x @ p.exp()) @ q.sin()), **EXACT)


def test_a_tied_weight_has_the_sum_of_the_gradients_of_its_copies() -> None:
    f, g = layers(3, 3, 3)
    A, x, w = adjacency(), features(6, 3), features(3, 3, seed=4)
    with torch.no_grad():
        f.weight.copy_(w)
        g.weight.copy_(w)
    free, tied, twice = f >> g, (f >> g).reparameterise(lambda w: (w, w), w), f >> f
    upstream = features(6, 3, seed=8)
    both = torch.autograd.grad(free(A, x), list(free.parameters()), upstream)
    for network in (tied, twice):  # a module that occurs twice has its parameters once
        (parameter,) = network.parameters()
        torch.testing.assert_close(network(A, x), free(A, x), **EXACT)
        torch.testing.assert_close(torch.autograd.grad(network(A, x), parameter, upstream)[0], sum(both), **EXACT)
    again = twice.reparameterise(lambda w: [2 * w], w)
    torch.testing.assert_close(again(A, x), tied.reparameterise(lambda w: [2 * w], w)(A, x), **EXACT)
    with pytest.raises(InputError, match=r"^the reparameterisation returns 1 tensors; it must return 2$"):
        free.reparameterise(lambda w: [w], w)(A, x)


def test_parameters_may_be_arguments() -> None:
    network, A, x = composed(layers(3, 4, 2)), adjacency(), features(6, 3)
    p, q = features(3, 4, seed=2), features(4, 2, seed=3)
    y = functional_call(network, {"maps.0.weight": p, "maps.1.weight": q}, (A, x))
    torch.testing.assert_close(y, torch.tanh(A @ torch.tanh(A @ x @ p) @ q), **EXACT)


def test_it_is_stacked_gcn() -> None:
    edge_index, x = undirected(), features(7, 3)
    convs = [geometric.GCNConv(one, other, bias=False).double() for one, other in ((3, 4), (4, 2))]
    A = torch.eye(7, dtype=torch.float64).index_put(tuple(edge_index.flip(0)), torch.ones(()).double())
    A = A / (A.sum(1, keepdim=True) * A.sum(1)).sqrt()
    expected = convs[1](torch.tanh(convs[0](x, edge_index)), edge_index)
    f, g = layers(3, 4, 2)
    g.activation = None
    with torch.no_grad():
        for one, conv in zip((f, g), convs, strict=True):
            one.weight.copy_(conv.lin.weight.T)
    torch.testing.assert_close((f >> g)(A, x), expected, **EXACT)
    lifted = graphs.Para.of(convs[0]) >> graphs.Para.pointwise(torch.tanh) >> graphs.Para.of(convs[1])
    torch.testing.assert_close(lifted(edge_index, x), expected, **EXACT)


def test_it_is_stacked_gcn_on_any_matrix() -> None:
    f, g = layers(4, 5, 3)
    A, x = adjacency(), features(6, 4)
    convs = [geometric.GCNConv(*one.widths, normalize=False, bias=False).double() for one in (f, g)]
    with torch.no_grad():
        for one, conv in zip((f, g), convs, strict=True):
            conv.lin.weight.copy_(one.weight.T)
    edges = dense_to_sparse(A.T)  # PyTorch Geometric sends along an edge from its first row to its second
    expected = torch.tanh(convs[1](torch.tanh(convs[0](x, *edges)), *edges))
    tanh = graphs.Para.pointwise(torch.tanh)
    lifted = graphs.Para.of(convs[0]) >> tanh >> graphs.Para.of(convs[1]) >> tanh
    for network, graph in ((f >> g, A), (f >> g, edges), (lifted, A), (lifted, edges)):
        torch.testing.assert_close(network(graph, x), expected, **EXACT)


def test_every_form_of_a_graph_is_the_same_graph() -> None:
    edge_index, x, network = directed(), features(7, 3), composed(layers(3, 4, 2))
    A = torch.zeros(7, 7, dtype=torch.float64).index_put(
        tuple(edge_index.flip(0)), torch.ones(()).double(), accumulate=True
    )
    expected = network(A, x)
    lists, order = Lists.of_edges(edge_index, 7)
    weights = torch.ones(24, dtype=torch.float64)
    for graph in (edge_index, (edge_index, weights), lists, (lists, weights[order])):
        torch.testing.assert_close(network(graph, x), expected, **EXACT)
    neighbors = Neighbors(torch.tensor([[[1, 2], [0, 0], [3, 1], [2, 0]]]), features(4, 2, seed=6).unsqueeze(0))
    places = torch.arange(4).repeat_interleave(2), neighbors.indices.flatten()
    B = torch.zeros(4, 4, dtype=torch.float64).index_put(places, neighbors.scores.flatten(), accumulate=True)
    torch.testing.assert_close(network(neighbors, x[:4]), network(B, x[:4]), **EXACT)


def test_it_learns_the_adjacency() -> None:
    network, truth = composed(layers(4, 4, 4)), adjacency(5)
    x = features(40 * 5, 4).view(40, 5, 4)
    target = network(truth, x).detach()
    torch.testing.assert_close(target[7], network(truth, x[7]), **EXACT)
    A = nn.Parameter(torch.zeros(5, 5, dtype=torch.float64) + 0.1)
    optimizer = torch.optim.Adam([A], 0.05)
    errors = []
    for _ in range(150):
        error = (network(A, x) - target).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < errors[0] / 20


def test_bad_input() -> None:
    f, g = layers(3, 4, 2)
    A, x, tanh = adjacency(), features(6, 3), graphs.Para.pointwise(torch.tanh)
    with pytest.raises(InputError, match=r"^GCNN\(4, 2\) returns 2 channels, but GCNN\(3, 4\) reads 3$"):
        g >> f
    with pytest.raises(InputError, match=r"^GCNN\(3, 4\) reads 3 channels, but the output of Pointwise\(\) has 2$"):
        (g >> tanh >> f)(A, features(6, 4))
    with pytest.raises(InputError, match=r"^GCNN\(3, 4\) reads 3 channels, but x has 5$"):
        (f >> g)(A, features(6, 5))
    for bad in (A[:5], A[:5, :5], adjacency(7)):
        with pytest.raises(InputError, match=r"^A of shape \(\d, \d\) must be \(6, 6\) for x of 6 rows$"):
            (f >> g)(bad, x)
    with pytest.raises(InputError, match=r"^ReLU must be a Para: wrap a layer by Para\.of, a function by pointwise$"):
        f >> nn.ReLU()
    with pytest.raises(InputError, match=r"^x of shape \(6, 4\) must be \(n, 3\), a row for each node$"):
        f(A, features(6, 4))
    with pytest.raises(InputError, match=r"^edge_index has sources from 0 to 6; they must lie between 0 and 5$"):
        f(directed(7), x)
    with pytest.raises(InputError, match=r"^in_channels=0 must be an integer of at least 1$"):
        graphs.GCNN(0, 3)
    with pytest.raises(InputError, match=r"^out_channels=0 must be an integer of at least 1$"):
        graphs.GCNN(3, 0)
