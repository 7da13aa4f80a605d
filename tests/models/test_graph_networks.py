"""The network on graphs against the same written out, its pooling, and what it refuses."""

import pytest
import torch
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.models import READOUTS, create_model
from convnn.models.gnn import pool_nodes
from convnn.nn.graphs.batch import GraphBatch, side_by_side

C, CLASSES = 5, 3


def graph(nodes: int = 7) -> GraphBatch:
    torch.manual_seed(nodes)
    edges = torch.randint(0, nodes, (2, 3 * nodes))
    return GraphBatch(torch.randn(nodes, C), edges, nodes=torch.tensor([0, 2, nodes - 1]))


def network(layer: str = "GCN", **settings: object) -> torch.nn.Module:
    torch.manual_seed(1)
    return create_model("gnn", layer, in_channels=C, num_classes=CLASSES, **settings).eval()


def test_without_residuals_the_last_layer_gives_the_logits() -> None:
    net, one = network(num_layers=3, node_norm="layer", hidden_activation="elu"), graph()
    first, second, last = net.layers
    h = F.elu(net.norms[0](first(one.x, one.edge_index)))
    h = F.elu(net.norms[1](second(h, one.edge_index)))
    assert torch.equal(net(one), last(h, one.edge_index)[one.nodes])


def test_pre_activation_is_the_layer_of_pytorch_geometric() -> None:
    from torch_geometric.nn import DeepGCNLayer

    net, one = network("SAGE", num_layers=3, node_norm="batch", residual="res+", dropout=0.0), graph()
    h = net.layers[0](net.encoder(one.x), one.edge_index) + net.encoder(one.x)
    for layer, norm in zip(net.layers[1:], net.norms[:2], strict=True):
        h = DeepGCNLayer(layer, norm, torch.nn.ReLU(), block="res+").eval()(h, one.edge_index)
    expected = net.head(net.norms[2](h).relu())[one.nodes]
    torch.testing.assert_close(net(one), expected)


def test_residual_after_the_activation() -> None:
    net, one = network("SAGE", num_layers=2, residual="res"), graph()
    h = net.encoder(one.x)
    for layer in net.layers:
        h = h + layer(h, one.edge_index).relu()
    torch.testing.assert_close(net(one), net.head(h)[one.nodes])


@pytest.mark.parametrize("how", READOUTS)
def test_graphs_are_pooled_one_by_one(how: str) -> None:
    net, graphs = network(linear_head=True, readout=how), [graph(n) for n in (3, 5, 4)]
    together = net(side_by_side(graphs, C))
    apart = torch.cat([net(side_by_side([one], C)) for one in graphs])
    torch.testing.assert_close(together, apart)
    h = net.embed(graphs[1])
    pooled = {"mean": h.mean(0), "sum": h.sum(0), "max": h.amax(0)}[how]
    torch.testing.assert_close(together[1], net.head(pooled))


@pytest.mark.parametrize("how", READOUTS)
def test_a_graph_without_nodes_pools_to_zeros(how: str) -> None:
    x = torch.tensor([[-1.0, 2.0], [-3.0, 4.0]], requires_grad=True)
    pooled = pool_nodes(x, torch.tensor([1, 1]), 3, how)
    assert torch.equal(pooled[[0, 2]], torch.zeros(2, 2))
    expected = {"mean": [-2.0, 3.0], "sum": [-4.0, 6.0], "max": [-1.0, 4.0]}[how]
    assert pooled[1].tolist() == expected
    pooled.sum().backward()
    assert x.grad is not None


def test_dropout_is_for_training_only() -> None:
    net, one = network(dropout=0.5), graph()
    assert torch.equal(net(one), net(one))
    net.train()
    assert not torch.equal(net(one), net(one))


def test_it_learns_the_blocks_of_a_graph() -> None:
    from convnn.data import load_data

    data = load_data("sbm")
    (batch,), (test,) = data.train, data.test
    torch.manual_seed(0)
    net = create_model("gnn", in_channels=16, num_classes=4)
    optimizer = torch.optim.Adam(net.parameters(), 0.05)
    for _ in range(30):
        optimizer.zero_grad()
        F.cross_entropy(net(batch.inputs), batch.labels).backward()
        optimizer.step()
    assert (net.eval()(test.inputs).argmax(1) == test.labels).float().mean() > 0.85  # by chance 0.25


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_layers": 0}, "num_layers=0 must be an integer of at least 1"),
        ({"dropout": 1.5}, "dropout=1.5 must"),
        ({"hidden_activation": "rulu"}, "hidden_activation='rulu' is not one of .*; did you mean 'relu'"),
        ({"node_norm": "group"}, "node_norm='group' is not one of none, batch, layer"),
        ({"residual": "yes"}, "residual='yes' is not one of none, res"),
        ({"readout": "median"}, "readout='median' is not one of mean, sum, max"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        network(**settings)


def test_other_features_and_other_layers_are_refused() -> None:
    with pytest.raises(InputError, match=r"x of shape \(7, 5\) must be \(N, 4\)"):
        create_model("gnn", in_channels=4)(graph())
    with pytest.raises(InputError, match="layer='ConvNN' reads maps; model='gnn' is built of layers that read graphs"):
        create_model("gnn", "ConvNN")
