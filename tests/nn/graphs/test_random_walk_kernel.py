"""Random-walk kernels in loops, relabelled graphs, branches by torch_geometric, and bad input."""

import networkx
import pytest
import torch
from torch import Tensor

from convnn.data.geometric import import_geometric
from convnn.errors import InputError
from convnn.nn import graphs
from convnn.nn.graphs.multisets.random_walk_kernel import ego_walks
from small_graphs import features, undirected

EDGES = undirected(8, 11)
BATCH = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])


def kernels_in_loops(layer: torch.nn.Module, x: Tensor, edges: Tensor) -> Tensor:
    """Return the values by the definition, with subgraphs of networkx."""
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(x)))
    graph.add_edges_from(edges.T.tolist())
    filters, n, _ = layer.z.shape
    out = torch.zeros(len(x), filters, dtype=x.dtype)
    for v in range(len(x)):
        ego = networkx.ego_graph(graph, v, radius=layer.hops)
        members = sorted(ego)
        adjacency = torch.from_numpy(networkx.to_numpy_array(ego, nodelist=members))
        own = x[members]
        for m in range(filters):
            weights, place = torch.zeros(n, n, dtype=x.dtype), 0
            for i in range(n):
                for j in range(i + 1, n):
                    weights[i, j] = weights[j, i] = max(layer.theta[m, place].item(), 0)
                    place += 1
            for p in range(layer.max_step):
                walked = torch.linalg.matrix_power(adjacency, p) @ own
                of_filter = torch.linalg.matrix_power(weights, p) @ layer.z[m].detach()
                common = (own @ layer.z[m].detach().mT) * (walked @ of_filter.mT)
                out[v, m] += common.sum() / (len(members) * n * layer.max_step)
    return out


@pytest.mark.parametrize(("max_step", "hops", "nodes"), [(1, 1, 3), (3, 1, 4), (4, 2, 2)])
def test_values_are_those_of_the_definition(max_step: int, hops: int, nodes: int) -> None:
    layer = graphs.RandomWalkKernelConv(3, 5, nodes, max_step=max_step, hops=hops).double()
    x = features(9, 3)  # the last node is isolated
    repeated = torch.cat([EDGES, EDGES[:, :4]], 1)
    expected = kernels_in_loops(layer, x, EDGES)
    torch.testing.assert_close(layer(x, repeated).detach(), expected, rtol=0, atol=1e-12)
    order = torch.randperm(9)
    place = order.argsort()
    torch.testing.assert_close(layer(x[order], place[EDGES]).detach(), expected[order], rtol=0, atol=1e-12)


def test_gradients_are_the_differences_and_start_where_edges_are() -> None:
    layer = graphs.RandomWalkKernelConv(2, 2, 3).double()
    x = features(8, 2).requires_grad_()

    def values(x: Tensor, theta: Tensor, z: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"theta": theta, "z": z}, (x, EDGES))

    assert torch.autograd.gradcheck(values, (x, layer.theta, layer.z))
    (slope,) = torch.autograd.grad(layer(x, EDGES).sum(), layer.theta)
    assert torch.equal(slope == 0, layer.theta < 0)
    assert -1 <= layer.theta.min() < 0 <= layer.z.min() < layer.z.max() <= 1


def test_the_first_branch_is_gin() -> None:
    network = graphs.CoCo(3, 2, out_channels=5, hidden=6, num_layers=2, filters=3, filter_nodes=3).double()
    x = features(8, 3)
    edges = EDGES[:, BATCH[EDGES[0]] == BATCH[EDGES[1]]]
    h, geometric = x, import_geometric("nn")
    for conv in network.convs:
        h = geometric.GINConv(conv.nn)(h, edges)
    z, zk, logits = network(x, edges, BATCH)
    torch.testing.assert_close(z, network.out(geometric.global_add_pool(h, BATCH)))
    torch.testing.assert_close(logits, network.head(z))
    values, readouts = x, []
    for conv, linear in zip(network.kernels.convs, network.kernels.maps, strict=True):
        values = linear(kernels_in_loops(conv, values, edges)).relu().detach()
        readouts.append(torch.stack([values[BATCH == g].mean(0) for g in (0, 1)]))
    torch.testing.assert_close(zk, network.kernels.out(torch.cat(readouts, 1)), rtol=0, atol=1e-10)
    walks = ego_walks(edges, 8, network.kernels.hops, network.kernels.max_step, x.dtype)
    assert torch.equal(network(x, edges, BATCH, walks)[1], zk)
    other = network(x, edges, BATCH, ego_walks(edges[:, :0], 8, 1, 3, x.dtype))  # walks of no edges, and so read
    assert torch.equal(other[0], z)
    assert not torch.equal(other[1], zk)


def test_it_tells_triangles_from_paths() -> None:
    triangle = torch.tensor([[0, 1, 2, 1, 2, 0], [1, 2, 0, 0, 1, 2]])
    path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    edges = torch.cat([part + 3 * i for i, part in enumerate([triangle, path] * 4)], 1)
    batch, labels = torch.arange(8).repeat_interleave(3), torch.tensor([0, 1] * 4)
    network = graphs.RandomWalkKernelNetwork(1, 2, hidden=8, num_layers=1)
    optimizer = torch.optim.Adam(network.parameters(), 0.05)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(network(torch.ones(24, 1), edges, batch), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


def test_encoder_sums_all_before() -> None:
    x = features(8, 3)
    for skip in (False, True):
        encoder = graphs.GCNEncoder(3, 4, 3, act="relu", skip=skip).double()
        assert [conv.out_channels for conv in encoder.convs] == [4 if skip else 8] * 2 + [4]
        h = encoder.convs[0](x, EDGES).relu()
        before = [encoder.skip(x), h] if skip else []
        for conv in encoder.convs[1:]:
            h = conv(sum(before) if skip else h, EDGES).relu()
            before.append(h)
        torch.testing.assert_close(encoder(x, EDGES), h)
    assert graphs.GCNEncoder(3, 4).act.weight.tolist() == [0.25]


X = torch.randn(8, 3)
WRONG = {
    "max_step": (lambda: graphs.RandomWalkKernelConv(3, max_step=0), "^max_step=0 must be an integer of at least 1$"),
    "hops": (lambda: graphs.RandomWalkKernelConv(3, hops=0), "^hops=0 must be an integer of at least 1$"),
    "nodes": (lambda: graphs.RandomWalkKernelConv(3, 4, 1), "^filter_nodes=1 must be an integer of at least 2$"),
    "filters": (lambda: graphs.RandomWalkKernelConv(3, 0), "^filters=0 must be an integer of at least 1$"),
    "width": (lambda: graphs.RandomWalkKernelConv(4)(X, EDGES), r"^x of shape \(8, 3\) and torch.float32 must be"),
    "edges": (lambda: graphs.RandomWalkKernelConv(3)(X[:4], EDGES), "^edge_index has sources from 0 to 7; they must"),
    "unsorted": (lambda: graphs.CoCo(3, 2)(X, EDGES, BATCH.flip(0)), r"^batch of shape \(8,\) and torch.int64 must be"),
    "gap": (lambda: graphs.CoCo(3, 2)(X, EDGES, 2 * BATCH), r"^batch of shape \(8,\) and .* ascends from 0 without a"),
    "layers": (lambda: graphs.GCNEncoder(3, num_layers=1), "^num_layers=1 must be an integer of at least 2$"),
    "act": (lambda: graphs.GCNEncoder(3, act="tanh"), "^act='tanh' is not one of prelu, relu, elu, rrelu$"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
