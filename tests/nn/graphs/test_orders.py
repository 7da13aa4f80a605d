"""Layers of several orders of neighbours, against dense matrices and loops."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.nn import graphs


@pytest.fixture
def graph() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return features, edges, weights and the dense matrix of them, rows targets; node 6 has no neighbours."""
    generator = torch.Generator().manual_seed(0)
    pairs = (torch.rand(7, 7, generator=generator) < 0.4).nonzero()
    source, target = pairs[pairs[:, 1] != 6].T
    weights = torch.rand(source.shape[0], dtype=torch.float64, generator=generator)
    dense = torch.zeros(7, 7, dtype=torch.float64)
    dense[target, source] = weights
    return torch.randn(7, 5, dtype=torch.float64, generator=generator), torch.stack([source, target]), weights, dense


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("combine", ["concat", "sum"])
@pytest.mark.parametrize("norm", ["layer", "batch", "none"])
def test_mixed_orders_are_powers_of_the_matrix(graph: tuple, order: int, combine: str, norm: str) -> None:
    x, edges, weights, dense = graph
    layer = graphs.MixedOrders(5, 12, order=order, combine=combine, norm=norm).double()
    parts = []
    for o, (linear, one) in enumerate(zip(layer.linears, layer.norms, strict=True)):
        h = (torch.linalg.matrix_power(dense, o) @ x @ linear.weight.T + linear.bias).relu()
        if norm == "layer":
            h = (h - h.mean(1, keepdim=True)) / (h.var(1, False, keepdim=True) + 1e-9).sqrt() * one.weight + one.bias
        parts.append(h)
    out = torch.cat(parts, 1) if combine == "concat" else sum(parts)
    if norm == "batch":
        out = (out - out.mean(0)) / (out.var(0, False) + 1e-9).sqrt()
    torch.testing.assert_close(layer(x, edges, weights), out)


def test_attention_in_loops(graph: tuple) -> None:
    x, edges, weights, dense = graph
    layer = graphs.AttentiveOrders(5, 12, order=2, heads=2, norm="none").double()
    heads = []
    for head in range(2):
        f = [(x @ layer.linears[o * 2 + head].weight.T + layer.linears[o * 2 + head].bias).relu() for o in range(3)]
        for o in (1, 2):
            own, other = layer.attention[(o - 1) * 2 + head][0].chunk(2)
            for s in range(o):
                new = torch.zeros_like(f[o])
                for v in range(7):
                    for u in range(7):
                        score = F.leaky_relu(own @ f[o - s - 1][v], 0.2) + F.leaky_relu(other @ f[o][u], 0.2)
                        new[v] += score * dense[v, u] * f[o][u]
                f[o] = new
        heads.append(f)
    expected = torch.cat([heads[head][o] for o in range(3) for head in range(2)], 1)
    torch.testing.assert_close(layer(x, edges, weights), expected)


def test_the_network_learns_from_normalised_batches() -> None:
    """Labels are the sign of what the neighbours have; batches of GraphSAINT's sampler, the whole graph to test."""
    from convnn.data.geometric import import_geometric
    from convnn.graphs.sample import GraphSAINTSampler, WalkDraws, normalized_loss

    torch.manual_seed(0)
    edges = import_geometric("utils").barabasi_albert_graph(150, 3)
    data = import_geometric("data").Data(x=torch.randn(150, 4), edge_index=edges)
    sums = torch.zeros(150).index_add(0, edges[1], data.x[edges[0], 0])
    data.y = (sums > 0).long()
    sampler = GraphSAINTSampler(data, WalkDraws(20, 2), coverage=50, num_steps=160)
    model = graphs.GraphSAINT(4, 8, 2, orders=(1,))
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for batch in sampler:
        optimizer.zero_grad()
        normalized_loss(model(batch.x, batch.edge_index, batch.edge_weight), batch.y, batch.node_norm).backward()
        optimizer.step()
    whole = sampler.whole()
    right = model(whole.x, whole.edge_index, whole.edge_weight).argmax(1) == whole.y
    assert right.float().mean() > 0.85
    assert {name for name, p in model.named_parameters() if p.grad is None} == set()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"order": -1}, "order=-1"),
        ({"order": 2, "out_channels": 8}, "out_channels=8 must be a multiple of 3"),
        ({"combine": "mean"}, "combine='mean'"),
        ({"norm": "group"}, "norm='group'"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    for kind in (graphs.MixedOrders, graphs.AttentiveOrders):
        with pytest.raises(InputError, match=message):
            kind(**{"in_channels": 4, "out_channels": 6, **settings})
    with pytest.raises(InputError, match="heads=4 must divide the 3 channels"):
        graphs.AttentiveOrders(4, 6, heads=4)
    with pytest.raises(InputError, match="one for each edge"):
        graphs.MixedOrders(2, 4)(torch.randn(3, 2), torch.tensor([[0], [1]]), torch.ones(2))
