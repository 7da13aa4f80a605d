"""SIR-GCN and SINC-GCN: loops, the layers of PyTorch Geometric that they contain, solutions by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

geometric = pytest.importorskip("torch_geometric.nn")
from torch_geometric.utils import add_self_loops, softmax  # noqa: E402

from convnn.errors import InputError  # noqa: E402
from convnn.nn import graphs  # noqa: E402
from pairwise import only  # noqa: E402
from small_graphs import directed, features, undirected  # noqa: E402

AGGREGATIONS = ("sum", "mean", "max", "sym")
EXACT = {"rtol": 0, "atol": 1e-12}


def aggregated(rows: list[Tensor], weights: list[float], aggr: str, width: int) -> Tensor:
    """Aggregate the rows that enter one node."""
    if not rows:
        return torch.zeros(width, dtype=torch.float64)
    stacked = torch.stack(rows)
    if aggr == "sym":
        return (stacked * torch.tensor(weights, dtype=torch.float64).unsqueeze(1)).sum(0)
    return {"sum": stacked.sum(0), "mean": stacked.mean(0), "max": stacked.amax(0)}[aggr]


def in_loops(layer: nn.Module, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None) -> Tensor:
    """Compute SIR-GCN and SINC-GCN node by node, edge by edge."""
    edges = edge_index.T.tolist()
    leaving, entering = ([sum(edge[end] == node for edge in edges) for node in range(len(x))] for end in (0, 1))
    out = []
    for u in range(len(x)):
        into = [(number, v) for number, (v, target) in enumerate(edges) if target == u]
        weights = [(leaving[v] * entering[u]) ** -0.5 for _, v in into]
        query = layer.linear_query(x[u])
        if isinstance(layer, graphs.SINCGCN):
            context = aggregated([x[v] for _, v in into], weights, layer.context_aggr, x.shape[1])
            query = query + layer.linear_neigh(context)
        messages = []
        for number, v in into:
            of_edge = 0 if edge_attr is None else layer.linear_edge(edge_attr[number])
            messages.append(layer.activation(query + layer.linear_key(x[v]) + of_edge))
        if layer.aggregation == "max":
            out.append(aggregated([layer.linear_relation(z) for z in messages], [], "max", layer.out_channels))
        else:
            y = aggregated(messages, weights, layer.aggregation, layer.hidden_channels)
            out.append(layer.linear_relation(y))
    return torch.stack(out)


def check_loops(layer: nn.Module, x: Tensor, *graph: Tensor) -> None:
    leaves = [x.requires_grad_(), *layer.parameters()]
    upstream = features(len(x), layer.out_channels, seed=9)
    outputs = layer(x, *graph), in_loops(layer, x, *graph)
    results = ((y, *torch.autograd.grad(y, leaves, upstream, materialize_grads=True)) for y in outputs)
    torch.testing.assert_close(*results, **EXACT)


@pytest.mark.parametrize("aggr", AGGREGATIONS)
def test_messages_are_what_loops_compute(aggr: str) -> None:
    x, edge_index, edge_attr = features(7, 3), directed(), features(24, 2, seed=2)
    layer = graphs.SIRGCN(3, 5, hidden_channels=4, aggr=aggr, edge_dim=2, edge_activation=torch.tanh).double()
    check_loops(layer, x, edge_index, edge_attr)
    plain = graphs.SIRGCN(3, 5, aggr=aggr, inner_bias=False, outer_bias=False, edge_activation="leaky_relu").double()
    check_loops(plain, x, edge_index)
    check_loops(plain, x[:1], torch.zeros(2, 1, dtype=torch.long))


@pytest.mark.parametrize("aggr", AGGREGATIONS)
@pytest.mark.parametrize("context_aggr", AGGREGATIONS)
def test_contexts_are_what_loops_compute(aggr: str, context_aggr: str) -> None:
    layer = graphs.SINCGCN(3, 2, hidden_channels=4, aggr=aggr, context_aggr=context_aggr, edge_activation="gelu")
    check_loops(layer.double(), features(7, 3), directed())


@pytest.mark.parametrize("aggr", AGGREGATIONS)
@pytest.mark.parametrize("name", ["SIRGCN", "SINCGCN"])
def test_without_edges_a_node_has_the_bias_and_under_a_maximum_0(name: str, aggr: str) -> None:
    layer = getattr(graphs, name)(3, 4, aggr=aggr).double()
    y = layer(features(5, 3), torch.empty(2, 0, dtype=torch.long))
    expected = torch.zeros(4, dtype=torch.float64) if aggr == "max" else layer.linear_relation.bias
    assert torch.equal(y, expected.expand(5, -1))
    assert layer(features(0, 3), torch.empty(2, 0, dtype=torch.long)).shape == (0, 4)


def as_edge_conv(layer: nn.Module, aggr: str) -> nn.Module:
    """Return EdgeConv with the weights of SIR-GCN."""
    network = nn.Sequential(nn.Linear(2 * layer.in_channels, layer.hidden_channels), nn.ReLU(), nn.Linear(5, 4))
    conv = geometric.EdgeConv(network, aggr=aggr).double()  # draws the weights anew, so they come after it
    of_query, of_key = layer.linear_query.weight, layer.linear_key.weight
    with torch.no_grad():
        network[0].weight.copy_(torch.cat([of_query + of_key, of_key], dim=1))
        network[0].bias.copy_(layer.linear_query.bias)
        network[2].weight.copy_(layer.linear_relation.weight)
        network[2].bias.copy_(0 if layer.linear_relation.bias is None else layer.linear_relation.bias)
    return conv


@pytest.mark.parametrize("aggr", ["max", "sum", "mean"])
def test_edge_conv_is_a_special_case(aggr: str) -> None:
    x, edge_index = features(7, 3), directed()
    layer = graphs.SIRGCN(3, 4, hidden_channels=5, aggr=aggr, outer_bias=aggr != "sum").double()
    ours, theirs = layer(x, edge_index), as_edge_conv(layer, aggr)(x, edge_index)
    if aggr == "mean":  # EdgeConv has 0 where no edge enters
        ours, theirs = ours[:-1], theirs[:-1]
    torch.testing.assert_close(ours, theirs, **EXACT)


def linear(aggr: str, *, root: bool = False) -> nn.Module:
    """Return SIR-GCN without activation: of neighbours alone, or of the node too."""
    layer = graphs.SIRGCN(3, 4, hidden_channels=3, edge_activation="none", aggr=aggr, inner_bias=False).double()
    with torch.no_grad():
        if not root:
            layer.linear_query.weight.zero_()
            layer.linear_key.weight.copy_(torch.eye(3))
    return layer


def test_gcn_is_a_special_case_on_undirected_graphs() -> None:
    x, layer, conv = features(7, 3), linear("sym"), geometric.GCNConv(3, 4).double()
    conv.lin.weight, conv.bias = layer.linear_relation.weight, layer.linear_relation.bias
    edge_index = undirected()
    torch.testing.assert_close(layer(x, add_self_loops(edge_index)[0]), conv(x, edge_index), **EXACT)
    one_way = edge_index[:, edge_index[0] < edge_index[1]]  # GCN takes the number of edges into both ends
    assert (layer(x, add_self_loops(one_way, num_nodes=7)[0]) - conv(x, one_way)).abs().max() > 1e-3


def test_sage_is_a_special_case() -> None:
    x, layer, conv = features(7, 3), linear("mean", root=True), geometric.SAGEConv(3, 4, aggr="mean").double()
    relation = layer.linear_relation
    with torch.no_grad():
        conv.lin_l.weight.copy_(relation.weight @ layer.linear_key.weight)
        conv.lin_l.bias.copy_(relation.bias)
        conv.lin_r.weight.copy_(relation.weight @ layer.linear_query.weight)
    edge_index = add_self_loops(directed())[0]  # so that an edge enters every node
    torch.testing.assert_close(layer(x, edge_index), conv(x, edge_index), **EXACT)


def test_gin_is_a_special_case() -> None:
    x, layer = features(7, 3), linear("sum")
    network = nn.Linear(3, 4).double()
    conv = geometric.GINConv(network, eps=0.0).double()
    network.weight, network.bias = layer.linear_relation.weight, layer.linear_relation.bias
    torch.testing.assert_close(layer(x, add_self_loops(directed())[0]), conv(x, directed()), **EXACT)


def test_the_scores_of_gatv2_are_messages() -> None:
    x, edge_index = features(7, 3), directed()
    layer = graphs.SIRGCN(
        3, 1, hidden_channels=5, edge_activation="leaky_relu", inner_bias=False, outer_bias=False
    ).double()
    conv = geometric.GATv2Conv(3, 5, bias=False, add_self_loops=False, negative_slope=0.2).double()
    with torch.no_grad():
        conv.lin_l.weight.copy_(layer.linear_key.weight)
        conv.lin_r.weight.copy_(layer.linear_query.weight)
        conv.att.copy_(layer.linear_relation.weight.view_as(conv.att))
    _, (_, theirs) = conv(x, edge_index, return_attention_weights=True)
    source, target = edge_index
    messages = layer.message(layer.linear_query(x)[target], layer.linear_key(x)[source], None, None)
    torch.testing.assert_close(softmax(layer.linear_relation(messages), target), theirs, **EXACT)


@pytest.mark.parametrize("aggr", AGGREGATIONS)
def test_any_network_of_both_ends_contains_it(aggr: str) -> None:
    x, edge_index, edge_attr = features(7, 3), directed(), features(24, 2, seed=2)
    layer = graphs.SIRGCN(3, 4, hidden_channels=5, aggr=aggr, edge_dim=2, outer_bias=aggr == "max").double()
    network = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 4)).double()
    parts = (layer.linear_query, layer.linear_key, layer.linear_edge)
    with torch.no_grad():
        network[0].weight.copy_(torch.cat([part.weight for part in parts], dim=1))
        network[0].bias.copy_(layer.linear_query.bias)
        network[2].weight.copy_(layer.linear_relation.weight)
        network[2].bias.copy_(0 if layer.linear_relation.bias is None else layer.linear_relation.bias)
    pairs = graphs.PairConv(network, aggr=aggr)
    torch.testing.assert_close(pairs(x, edge_index, edge_attr), layer(x, edge_index, edge_attr), **EXACT)


@pytest.mark.parametrize("name", ["SIRGCN", "SINCGCN"])
def test_nodes_in_another_order_give_rows_in_that_order(name: str) -> None:
    x, edge_index, order = features(7, 3), directed(), torch.randperm(7, generator=torch.Generator().manual_seed(3))
    layer = getattr(graphs, name)(3, 4).double()
    torch.testing.assert_close(layer(x[order], order.argsort()[edge_index]), layer(x, edge_index)[order], **EXACT)


@pytest.mark.parametrize("name", ["SIRGCN", "SINCGCN"])
@pytest.mark.parametrize("aggr", AGGREGATIONS)
def test_sources_and_targets_may_be_different_nodes(name: str, aggr: str) -> None:
    settings = {"aggr": aggr} | ({"context_aggr": aggr} if name == "SINCGCN" else {})
    layer = getattr(graphs, name)(3, 4, **settings).double()
    sources, targets = features(5, 3), features(2, 3, seed=4)
    edge_index = torch.tensor([[0, 1, 1, 4], [0, 0, 1, 1]])
    together = layer(torch.cat([sources, targets]), edge_index + torch.tensor([[0], [5]]))
    torch.testing.assert_close(layer((sources, targets), edge_index), together[5:], **EXACT)


@pytest.mark.parametrize("aggr", AGGREGATIONS)
def test_context_without_weights_is_sir_gcn(aggr: str) -> None:
    x, edge_index = features(7, 3), directed()
    layer = graphs.SINCGCN(3, 4, hidden_channels=5, aggr=aggr).double()
    nn.init.zeros_(layer.linear_neigh.weight)
    plain = graphs.SIRGCN(3, 4, hidden_channels=5, aggr=aggr).double()
    plain.load_state_dict({name: value for name, value in layer.state_dict().items() if "neigh" not in name})
    assert torch.equal(layer(x, edge_index), plain(x, edge_index))


@pytest.mark.parametrize("context_aggr", ["sum", "mean", "max"])
def test_context_is_sir_gcn_and_edge_conv_on_widened_features(context_aggr: str) -> None:
    x, edge_index = features(7, 3), directed()
    layer = graphs.SINCGCN(3, 4, hidden_channels=5, context_aggr=context_aggr, outer_bias=False).double()
    wide = torch.cat([x, geometric.SimpleConv(aggr=context_aggr)(x, edge_index)], dim=1)
    plain = graphs.SIRGCN(6, 4, hidden_channels=5, outer_bias=False).double()
    with torch.no_grad():
        plain.linear_query.weight.copy_(torch.cat([layer.linear_query.weight, layer.linear_neigh.weight], dim=1))
        plain.linear_query.bias.copy_(layer.linear_query.bias)
        plain.linear_key.weight.copy_(F.pad(layer.linear_key.weight, (0, 3)))
        plain.linear_relation.weight.copy_(layer.linear_relation.weight)
    torch.testing.assert_close(layer(x, edge_index), plain(wide, edge_index), **EXACT)
    torch.testing.assert_close(layer(x, edge_index), as_edge_conv(plain, "sum")(wide, edge_index), **EXACT)


def test_parameters() -> None:
    assert sum(p.numel() for p in graphs.SIRGCN(40, 40).parameters()) == 4880
    assert sum(p.numel() for p in graphs.SINCGCN(1, 16).parameters()) == 336


def test_edges_between_labels_are_counted_exactly() -> None:
    labels = torch.randint(4, (12,), generator=torch.Generator().manual_seed(0))
    edge_index, x = undirected(12, 40), F.one_hot(labels, 4).double()
    layer = graphs.SIRGCN(4, 1, hidden_channels=4).double()
    with torch.no_grad():
        layer.linear_query.weight.copy_(torch.eye(4))
        layer.linear_key.weight.copy_(-torch.eye(4))
        layer.linear_relation.weight.fill_(1)
        layer.linear_query.bias.zero_()
        layer.linear_relation.bias.zero_()
    assert layer(x, edge_index).sum() == (labels[edge_index[0]] != labels[edge_index[1]]).sum()


def test_a_neighbour_equal_to_the_sum_of_all_is_found_by_hand() -> None:
    layer = graphs.SINCGCN(1, 1, hidden_channels=3).double()
    weights = {
        "linear_query.weight": [[0.0]] * 3,
        "linear_query.bias": [1.0, 0, -1],  # a hat around 0, of the neighbour minus the sum
        "linear_key.weight": [[1.0]] * 3,
        "linear_neigh.weight": [[-1.0]] * 3,
        "linear_relation.weight": [[1.0, -2, 1]],
        "linear_relation.bias": [-0.5],
    }
    layer.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    generator, answers = torch.Generator().manual_seed(0), set()
    for seed in range(20):
        edge_index = undirected(12, 30, seed=seed)
        x = torch.randint(-2, 3, (12, 1), generator=generator).double()
        adjacency = torch.zeros(12, 12, dtype=torch.bool)
        adjacency[edge_index[1], edge_index[0]] = True
        sums = adjacency.double() @ x
        expected = (adjacency & (x.T == sums)).any(1)
        assert torch.equal(layer(x, edge_index)[:, 0] > 0, expected)
        answers |= set(expected.tolist())
    assert answers == {True, False}


def test_dropout_is_of_nodes_and_edges_apart_and_of_training_alone() -> None:
    x, edge_index, edge_attr = features(50, 3), directed(50, 400), torch.ones(400, 1, dtype=torch.float64)
    layer = graphs.SIRGCN(3, 40, aggr="sum", edge_dim=1, dropout=0.5).double()
    seen: dict[str, Tensor] = {}
    layer.register_propagate_forward_pre_hook(lambda _, inputs: seen.update(inputs[-1]))
    torch.manual_seed(0)
    layer(x, edge_index, edge_attr)
    full = {
        "query": layer.linear_query(x),
        "key": layer.linear_key(x),
        "edge": layer.linear_edge(edge_attr),
    }
    kept = {name: seen[name] != 0 for name in full}
    for name, values in full.items():
        assert 0.4 < kept[name].double().mean() < 0.6
        torch.testing.assert_close(seen[name], 2 * values * kept[name], **EXACT)
    assert 0.4 < (kept["query"] == kept["key"]).double().mean() < 0.6
    layer.eval()
    assert torch.equal(layer(x, edge_index, edge_attr), layer(x, edge_index, edge_attr))
    torch.testing.assert_close(layer(x, edge_index, edge_attr), in_loops(layer, x, edge_index, edge_attr), **EXACT)


@pytest.mark.slow
def test_it_learns_to_look_up_and_gcn_cannot() -> None:
    count, generator = 4, torch.Generator().manual_seed(0)
    keys = torch.arange(count)
    edge_index = torch.stack([keys.repeat(count), count + keys.repeat_interleave(count)])
    values = torch.stack([torch.randperm(count, generator=generator) for _ in range(32)])
    one_hot = F.one_hot(values, count).float()
    known = torch.cat([F.one_hot(keys, count).float().expand(32, -1, -1), one_hot], dim=2)
    asked = torch.cat([F.one_hot(keys, count).float(), torch.zeros(count, count)], dim=1).expand(32, -1, -1)
    x = torch.cat([known, asked], dim=1).flatten(0, 1)
    edges = torch.cat([edge_index + 2 * count * graph for graph in range(32)], dim=1)
    accuracy = {}
    for name, build in (("SIRGCN", graphs.SIRGCN), ("GCN", geometric.GCNConv)):
        torch.manual_seed(0)
        layer = build(2 * count, 32)
        network = geometric.Sequential("x, edges", [(layer, "x, edges -> x"), nn.ReLU(), nn.Linear(32, count)])
        optimizer = torch.optim.Adam(network.parameters(), 0.02)
        for _ in range(120):
            logits = network(x, edges).view(32, 2 * count, count)[:, count:]
            optimizer.zero_grad()
            F.cross_entropy(logits.flatten(0, 1), values.flatten()).backward()
            optimizer.step()
        accuracy[name] = (logits.argmax(2) == values).double().mean().item()
    assert accuracy["SIRGCN"] > 0.95
    assert accuracy["GCN"] < 0.5


class OneLayer(nn.Module):
    """A network that `to_hetero` can trace."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.layer(x, edge_index)


@pytest.mark.slow
@pytest.mark.parametrize("name", only("SIRGCN".__eq__, ["SIRGCN", "SINCGCN"]))
def test_it_stands_in_networks_of_several_kinds_of_edges_and_in_compiled_ones(name: str) -> None:
    layer = getattr(graphs, name)(3, 4)
    kinds = [("user", "likes", "item"), ("item", "liked", "user")]
    network = geometric.to_hetero(OneLayer(layer), (["user", "item"], kinds))
    ends = {"user": torch.randn(5, 3), "item": torch.randn(2, 3)}
    edges = {kinds[0]: torch.tensor([[0, 4], [0, 1]]), kinds[1]: torch.tensor([[0], [3]])}
    outputs, likes = network(ends, edges), network.layer["user__likes__item"]
    torch.testing.assert_close(outputs["item"], likes((ends["user"], ends["item"]), edges[kinds[0]]))
    x, edge_index = torch.randn(7, 3), directed()
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, edge_index), layer(x, edge_index))


EDGES = torch.tensor([[0, 1], [1, 2]])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"aggr": "add"}, r"^aggr='add' is not one of sum, mean, max, sym"),
        ({"dropout": 1.0}, r"^dropout=1\.0 must be at least 0 and less than 1$"),
        ({"hidden_channels": 0}, r"^hidden_channels=0 must be an integer of at least 1$"),
        ({"edge_activation": "reluu"}, r"^edge_activation='reluu' is not one of .*did you mean 'relu'\?$"),
        ({"edge_dim": 0}, r"^edge_dim=0 must be an integer of at least 1$"),
        ({"in_channels": 0}, r"^in_channels=0 must be an integer of at least 1$"),
        ({"context_aggr": "add"}, r"^context_aggr='add' is not one of sum, mean, max, sym"),
    ],
    ids=str,
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    kind = graphs.SINCGCN if "context_aggr" in settings else graphs.SIRGCN
    with pytest.raises(InputError, match=message):
        kind(**{"in_channels": 3, "out_channels": 4} | settings)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((torch.zeros(3), EDGES), r"^x of shape \(3,\) and torch\.float32 must be floating and \(N, 3\), a row"),
        ((torch.zeros(3, 2), EDGES), r"^x of shape \(3, 2\) and torch\.float32 must be floating and \(N, 3\)"),
        ((torch.zeros(3, 3), EDGES[0]), r"^edge_index of shape \(2,\) and torch\.int64 must be \(2, E\) int64$"),
        (
            (torch.zeros(3, 3), EDGES.float()),
            r"^edge_index of shape \(2, 2\) and torch\.float32 must be \(2, E\) int64$",
        ),
        ((torch.zeros(2, 3), EDGES), r"^edge_index has targets from 1 to 2; they must lie between 0 and 1$"),
        ((torch.zeros(3, 3), -EDGES), r"^edge_index has sources from -1 to 0; they must lie between 0 and 2$"),
        (
            (torch.zeros(3, 3), EDGES, torch.zeros(2, 1)),
            r"^edge_attr of shape \(2, 1\) is not read; build the layer with edge_dim, their number$",
        ),
    ],
    ids=str,
)
def test_inputs_are_checked(inputs: tuple[Tensor, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        graphs.SIRGCN(3, 4)(*inputs)


@pytest.mark.parametrize("edge_attr", [None, torch.zeros(3, 2), torch.zeros(2, 1)])
def test_features_of_edges_are_checked(edge_attr: Tensor | None) -> None:
    with pytest.raises(InputError, match=r"^edge_attr.* must be floating and \(2, 2\), a row for each edge"):
        graphs.SIRGCN(3, 4, edge_dim=2)(torch.zeros(3, 3), EDGES, edge_attr)
