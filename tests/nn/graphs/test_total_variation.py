"""Total variation: the step, its dense form, and the balanced pooling, against derivatives and known partitions."""

import pytest
import torch
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.nn import graphs


def random_graph(nodes: int, edges: int, *, seed: int = 0, directed: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    both = torch.randint(nodes, (2, edges), generator=generator)
    both = both[:, both[0] != both[1]].unique(dim=1)
    return both if directed else torch.cat([both, both.flip(0)], dim=1).unique(dim=1)


def bare(channels: int = 1, **settings: object) -> nn.Module:
    """A layer without its map, bias and activation."""
    layer = graphs.GTVConv(channels, channels, bias=False, act=None, **settings).double()
    with torch.no_grad():
        layer.weight.copy_(torch.eye(channels))
    return layer


def laplacian(edge_index: Tensor, nodes: int) -> Tensor:
    adjacency = torch.zeros(nodes, nodes, dtype=torch.double).index_put_(
        tuple(edge_index), torch.ones((), dtype=torch.double), accumulate=True
    )
    return adjacency.sum(1).diag() - adjacency


def in_loops(layer: nn.Module, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
    """The definition, edge by edge."""
    z = x @ layer.weight
    out = z.clone()
    for (i, j), weight in zip(edge_index.T.tolist(), edge_weight, strict=True):
        gamma = weight / max((z[i] - z[j]).abs().sum().item(), layer.eps)
        out[i] -= layer.delta * gamma * (z[i] - z[j])
    return layer.act(out + layer.bias)


def test_a_step_of_one_channel_is_down_the_total_variation() -> None:
    x = torch.randn(34, 1, dtype=torch.double, requires_grad=True)
    edges = random_graph(34, 78)
    variation = (x[edges[0]] - x[edges[1]]).abs().sum() / 2
    (slope,) = torch.autograd.grad(variation, x)
    torch.testing.assert_close(bare(eps=1e-12)(x, edges), x - slope, rtol=0, atol=1e-12)


def test_with_a_large_eps_it_is_the_heat_equation() -> None:
    x = torch.randn(20, 3, dtype=torch.double)
    edges = random_graph(20, 40)
    wanted = x - 0.7 / 1e4 * laplacian(edges, 20) @ x
    torch.testing.assert_close(bare(3, delta=0.7, eps=1e4)(x, edges), wanted, rtol=0, atol=1e-12)


def test_it_reads_against_the_edges_of_a_graph_of_one_way() -> None:
    layer = graphs.GTVConv(3, 4, act="tanh", delta=0.4).double()
    nn.init.normal_(layer.bias)
    edges = random_graph(12, 30, directed=True)
    edges = torch.cat([edges, edges[:, :3], torch.tensor([[4, 5], [4, 5]])], dim=1)  # repeated, and loops
    x, weight = torch.randn(14, 3, dtype=torch.double), torch.rand(edges.shape[1], dtype=torch.double)
    x[1] = x[0]
    out = layer(x, edges, weight)
    torch.testing.assert_close(out, in_loops(layer, x, edges, weight), rtol=0, atol=1e-12)
    lonely = layer.act(x[12:] @ layer.weight + layer.bias)
    torch.testing.assert_close(out[12:], lonely, rtol=0, atol=1e-12)


def test_the_gradient_goes_through_the_distance() -> None:
    layer = graphs.GTVConv(2, 3, act="elu", eps=1e-3).double()
    edges = random_graph(6, 9)
    x = torch.randn(6, 2, dtype=torch.double, requires_grad=True)
    weight = torch.rand(edges.shape[1], dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, weight: layer(x, edges, weight), (x, weight), fast_mode=True)


def test_dense_graphs_are_sparse_ones() -> None:
    sparse, dense = graphs.GTVConv(3, 4, delta=0.5).double(), graphs.DenseGTVConv(3, 4, delta=0.5).double()
    nn.init.normal_(sparse.bias)
    dense.load_state_dict(sparse.state_dict())
    x = torch.randn(2, 9, 3, dtype=torch.double)
    adj = torch.zeros(2, 9, 9, dtype=torch.double)
    edges = [random_graph(9, 14, seed=1), random_graph(6, 9, seed=2)]
    weights = [torch.rand(edge.shape[1], dtype=torch.double) for edge in edges]
    for matrix, edge, weight in zip(adj, edges, weights, strict=True):
        matrix[edge[0], edge[1]] = weight
    mask = torch.arange(9) < torch.tensor([[9], [6]])
    out = dense(x, adj, mask)
    for b, (edge, weight) in enumerate(zip(edges, weights, strict=True)):
        size = int(mask[b].sum())
        torch.testing.assert_close(out[b, :size], sparse(x[b, :size], edge, weight), rtol=0, atol=1e-12)
    assert (out[1, 6:] == 0).all()
    torch.testing.assert_close(dense(x[0], adj[0]), out[:1])


def cliques(groups: int, size: int) -> Tensor:
    """The adjacency of complete graphs in a row, each linked to the next by one edge."""
    adj = torch.block_diag(*[torch.ones(size, size, dtype=torch.double).fill_diagonal_(0)] * groups)
    for first in range(size - 1, groups * size - 1, size):
        adj[first, first + 1] = adj[first + 1, first] = 1
    return adj


def test_losses_of_partitions_are_known() -> None:
    adj, s = cliques(3, 4), torch.eye(3, dtype=torch.double).repeat_interleave(4, 0)
    edges = adj.nonzero().T
    cut, whole = 2, edges.shape[1] / 2
    assert graphs.total_variation_loss(s, edges).item() == pytest.approx(cut / whole)
    assert graphs.asymmetric_balance_loss(s).item() == pytest.approx(0)
    uniform = torch.full_like(s, 1 / 3)
    assert graphs.total_variation_loss(uniform, edges).item() == 0
    assert graphs.asymmetric_balance_loss(uniform).item() == pytest.approx(1)
    assert graphs.total_variation_loss(s, edges[:, :0]).item() == 0
    everything = torch.zeros_like(s)
    everything[:, 0] = 1
    assert graphs.asymmetric_balance_loss(everything).item() == pytest.approx(1)


def test_losses_of_batches_are_means_over_their_graphs() -> None:
    s = torch.randn(11, 3, dtype=torch.double).softmax(1)
    parts, edges = (s[:7], s[7:]), (random_graph(7, 9), random_graph(4, 5, seed=3))
    batch = torch.tensor([0] * 7 + [1] * 4)
    both = torch.cat([edges[0], edges[1] + 7], dim=1)
    cut = torch.stack([graphs.total_variation_loss(part, edge) for part, edge in zip(parts, edges, strict=True)])
    torch.testing.assert_close(graphs.total_variation_loss(s, both, batch=batch), cut.mean())
    balance = torch.stack([graphs.asymmetric_balance_loss(part) for part in parts])
    torch.testing.assert_close(graphs.asymmetric_balance_loss(s, batch), balance.mean())


def balance_in_loops(s: Tensor) -> float:
    nodes, clusters = s.shape
    total = 0.0
    for column in s.T.tolist():
        quantile = sorted(column, reverse=True)[nodes // clusters]
        total += sum((clusters - 1) * (v - quantile) if v >= quantile else quantile - v for v in column)
    return 1 - total / (nodes * (clusters - 1))


@pytest.mark.parametrize(("nodes", "clusters"), [(10, 3), (7, 2), (3, 5)])
def test_balance_is_its_definition(nodes: int, clusters: int) -> None:
    s = torch.randn(nodes, clusters, dtype=torch.double).softmax(1)
    assert graphs.asymmetric_balance_loss(s).item() == pytest.approx(balance_in_loops(s))


def test_pooling_gives_the_pooled_graph_and_the_losses_of_its_functions() -> None:
    pool = graphs.AsymCheegerCutPool(3, [2, 5], totvar_coeff=0.5).double()
    adj, x = cliques(3, 4), torch.randn(12, 2, dtype=torch.double)
    s, pooled_x, pooled_adj, cut, balance = pool(x, adj)
    torch.testing.assert_close(pooled_x[0], s[0].T @ x)
    torch.testing.assert_close(pooled_adj[0], s[0].T @ adj @ s[0])
    edges = adj.nonzero().T
    torch.testing.assert_close(cut, 0.5 * graphs.total_variation_loss(s[0], edges, adj[tuple(edges)]))
    torch.testing.assert_close(balance, graphs.asymmetric_balance_loss(s[0]))


def test_padded_nodes_count_in_the_balance_as_published() -> None:
    pool = graphs.AsymCheegerCutPool(2, [3]).double()
    x, adj = torch.randn(1, 6, 3, dtype=torch.double), cliques(2, 3).unsqueeze(0)
    mask = torch.ones(1, 9, dtype=torch.bool)
    mask[0, 6:] = False
    padded = pool(nn.functional.pad(x, (0, 0, 0, 3)), nn.functional.pad(adj, (0, 3, 0, 3)), mask)
    plain = pool(x, adj)
    for ours, theirs in zip(padded[1:4], plain[1:4], strict=True):
        torch.testing.assert_close(ours, theirs)
    assert abs(padded[4] - plain[4]) > 1e-3
    torch.testing.assert_close(graphs.asymmetric_balance_loss(padded[0][0, :6]), plain[4])


def test_pooling_finds_the_cliques() -> None:
    adj = cliques(2, 6)
    x = adj + torch.eye(12, dtype=torch.double)
    pool = graphs.AsymCheegerCutPool(2, [12, 8]).double()
    optimizer = torch.optim.Adam(pool.parameters(), 0.02)
    for _ in range(200):
        s, _, _, cut, balance = pool(x, adj)
        optimizer.zero_grad()
        (cut + balance).backward()
        optimizer.step()
    assert (cut + balance).item() < 0.1
    assert s[0, :6].argmax(1).unique().numel() == s[0, 6:].argmax(1).unique().numel() == 1


def test_the_network_trains() -> None:
    torch.manual_seed(0)
    network = graphs.TVGNN(4, 2, max_nodes=12, hidden=8, delta=0.3)
    edges = torch.cat([cliques(3, 4).nonzero().T, random_graph(12, 16) + 12], dim=1)
    x, batch, labels = torch.randn(24, 4), torch.arange(24) // 12, torch.tensor([0, 1])
    optimizer, losses = torch.optim.Adam(network.parameters(), 0.02), []
    for _ in range(25):
        out, loss = network(x, edges, batch)
        losses.append(nn.functional.cross_entropy(out, labels).item())
        optimizer.zero_grad()
        (nn.functional.cross_entropy(out, labels) + loss).backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 2


def test_compiled_it_is_the_same() -> None:
    layer, x, edges = graphs.GTVConv(3, 4), torch.randn(12, 3), random_graph(12, 30)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, edges), layer(x, edges))


def one(**settings: object) -> nn.Module:
    return graphs.GTVConv(3, 4, **settings)


X, EDGES = torch.zeros(5, 3), torch.tensor([[0, 1], [1, 0]])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: one(eps=0), r"eps=0 must be a positive number"),
        (lambda: one(delta=float("nan")), r"delta=nan must be a finite number"),
        (
            lambda: one()(torch.zeros(5, 2), EDGES),
            r"x of shape \(5, 2\) and torch.float32 must be floating and \(N, 3\), .*",
        ),
        (lambda: one()(X, EDGES + 4), r"edge_index has sources from 4 to 5; they must lie between 0 and 4"),
        (lambda: one()(X, EDGES.T[0]), r"edge_index of shape \(2,\) and torch.int64 must be \(2, E\) int64"),
        (lambda: one()(X, EDGES.float()), r"edge_index of shape \(2, 2\) and torch.float32 must be \(2, E\) int64"),
        (
            lambda: one()(X, EDGES, torch.ones(3)),
            r"edge_weight of shape \(3,\) and torch.float32 must be floating and \(2,\), one .*",
        ),
        (
            lambda: graphs.DenseGTVConv(3, 4)(X, torch.ones(5, 4)),
            r"adj of shape \(1, 5, 4\) must be \(1, 5, 5\), square, for 5 nodes",
        ),
        (lambda: graphs.AsymCheegerCutPool(1, [3]), r"k=1 must be an integer of at least 2"),
        (lambda: graphs.AsymCheegerCutPool(2, []), r"mlp_channels must have at least one number, .*"),
        (
            lambda: graphs.AsymCheegerCutPool(2, [3], return_selection=False, return_pooled_graph=False),
            r"return_selection or return_pooled_graph must be true, or there is no result",
        ),
        (
            lambda: graphs.asymmetric_balance_loss(torch.ones(5, 1)),
            r"the number of clusters=1 must be an integer of at least 2",
        ),
        (
            lambda: graphs.asymmetric_balance_loss(torch.ones(5, 2), torch.zeros(4)),
            r"batch of shape \(4,\) must be \(5,\), the graph of each node",
        ),
    ],
)
def test_bad_input_is_one_sentence(wrong, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        wrong()
