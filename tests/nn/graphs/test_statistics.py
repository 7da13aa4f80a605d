"""PNA against loops, PyTorch Geometric, and its special cases."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convnn.errors import InputError

geometric = pytest.importorskip("torch_geometric.nn")

from convnn.nn import graphs  # noqa: E402
from small_graphs import directed, features  # noqa: E402

NODES = 7
EDGES = directed(NODES, 20)  # with a loop, repeated edges, and a node that no edge enters
HISTOGRAM = torch.tensor([1, 4, 2, 5, 0, 1])
ALL = {
    "aggregators": ["sum", "mean", "min", "max", "var", "std"],
    "scalers": ["identity", "amplification", "attenuation", "linear", "inverse_linear"],
}


def layer(in_channels: int = 4, out_channels: int = 6, **settings: Any) -> graphs.PNAConv:
    return graphs.PNAConv(in_channels, out_channels, **settings).double()


def averages() -> tuple[float, float]:
    degrees = [k for k, count in enumerate(HISTOGRAM.tolist()) for _ in range(count)]
    return sum(math.log(k + 1) for k in degrees) / len(degrees), sum(degrees) / len(degrees)


def statistics(messages: list[Tensor], width: int) -> dict[str, Tensor]:
    m = torch.stack(messages) if messages else torch.zeros(1, width, dtype=torch.double)
    variance = m.square().mean(0) - m.mean(0).square()
    return {
        "sum": m.sum(0),
        "mean": m.mean(0),
        "min": m.amin(0),
        "max": m.amax(0),
        "var": variance,
        "std": (variance.relu() + 1e-5).sqrt(),
    }


def factors(k: int) -> dict[str, float]:
    log_average, average = averages()
    return {
        "identity": 1.0,
        "amplification": math.log(k + 1) / log_average,
        "attenuation": log_average / math.log(k + 1) if k else 1.0,
        "linear": k / average,
        "inverse_linear": average / k if k else 1.0,
    }


def scaled(ours: nn.Module, messages: list[Tensor], width: int) -> Tensor:
    found, by = statistics(messages, width), factors(len(messages))
    aggregation = ours.aggr_module
    return torch.cat([by[s] * found[a] for s in aggregation.scalers for a in aggregation.aggregators])


def in_loops(ours: graphs.PNAConv, x: Tensor, edge_attr: Tensor | None) -> Tensor:
    """Compute the layer node by node and tower by tower."""
    rows = []
    for i in range(NODES):
        incoming = (EDGES[1] == i).nonzero().flatten().tolist()
        towers = []
        for q, (pre, post) in enumerate(zip(ours.pre_nns, ours.post_nns, strict=True)):
            part = slice(q * ours.F_in, (q + 1) * ours.F_in) if ours.divide_input else slice(None)
            own = x[i, part]
            messages = []
            for e in incoming:
                of_edge = [] if edge_attr is None else [ours.edge_encoder(edge_attr[e])]
                messages.append(pre(torch.cat([own, x[EDGES[0, e], part], *of_edge])))
            towers.append(post(torch.cat([own, scaled(ours, messages, ours.F_in)])))
        rows.append(ours.lin(torch.cat(towers)))
    return torch.stack(rows)


def check_same(outs: tuple[Tensor, Tensor], leaves: list[Tensor], atol: float = 1e-12) -> None:
    torch.testing.assert_close(*outs, rtol=0, atol=atol)
    upstream = features(*outs[0].shape, seed=5)
    for one, other in zip(*(torch.autograd.grad(out, leaves, upstream) for out in outs), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=10 * atol)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        ALL,
        {"towers": 2, "divide_input": True, "edge_dim": 3},
        {"towers": 3, "pre_layers": 2, "post_layers": 3, "scalers": "linear,identity", "aggregators": "std"},
    ],
    ids=["default", "all", "divided", "deep"],
)
def test_ours_is_the_definition_in_loops(settings: dict[str, Any]) -> None:
    ours, x = layer(deg=HISTOGRAM, **settings), features(NODES, 4).requires_grad_()
    edge_attr = features(20, 3, seed=4).requires_grad_() if "edge_dim" in settings else None
    leaves = [x, *ours.parameters(), *([] if edge_attr is None else [edge_attr])]
    check_same((ours(x, EDGES, edge_attr), in_loops(ours, x, edge_attr)), leaves)


def test_the_short_form_in_loops() -> None:
    ours, x = graphs.PNAConvSimple(4, 6, deg=HISTOGRAM, post_layers=2, **ALL).double(), features(NODES, 4)
    x.requires_grad_()
    incoming = [EDGES[0, EDGES[1] == i].tolist() for i in range(NODES)]
    expected = torch.stack([ours.post(scaled(ours, [x[j] for j in sources], 4)) for sources in incoming])
    check_same((ours(x, EDGES, features(20, 2)), expected), [x, *ours.parameters()])


def test_torch_geometric_has_another_deviation_and_another_attenuation_of_nothing() -> None:
    settings = {"aggregators": ["mean", "max", "min", "std"], "scalers": ["identity", "amplification", "attenuation"]}
    ours, x = layer(deg=HISTOGRAM, **settings), features(NODES, 4)

    class Deviation(geometric.aggr.VarAggregation):
        def forward(self, *arguments: Any, **named: Any) -> Tensor:
            return (super().forward(*arguments, **named).relu() + 1e-5).sqrt()

    torch.set_default_dtype(torch.double)  # its averages are rounded to the default type
    try:
        own = {"aggregators": ["mean", "max", "min", Deviation()], "scalers": settings["scalers"]}
        theirs, with_theirs = (geometric.PNAConv(4, 6, deg=HISTOGRAM, **one) for one in (own, settings))
    finally:
        torch.set_default_dtype(torch.float)
    for other in (theirs, with_theirs):
        other.load_state_dict(ours.state_dict(), strict=False)
        log_average, average = averages()
        other.aggr_module.avg_deg_log.fill_(log_average)  # of a histogram in float32
        other.aggr_module.avg_deg_lin.fill_(average)
    difference = (ours(x, EDGES) - theirs(x, EDGES)).abs().amax(1)
    assert difference[:-1].max() < 1e-14
    assert 1e-5 < difference[-1] < 1e-2  # no edge enters the last node
    assert (ours(x, EDGES) - with_theirs(x, EDGES)).abs()[:-1].max() > 1e-6


def test_scalers_turn_a_mean_into_a_sum() -> None:
    x, (_, average) = features(NODES, 4), averages()
    summing = graphs.DegreeScalerAggregation("sum", "identity", HISTOGRAM)
    averaging = graphs.DegreeScalerAggregation("mean", "linear", HISTOGRAM)
    found = [one(x[EDGES[0]], EDGES[1], dim_size=NODES) for one in (summing, averaging)]
    torch.testing.assert_close(found[0], average * found[1], rtol=0, atol=1e-14)
    expected = torch.zeros(NODES, 4, dtype=torch.double).index_add(0, EDGES[1], x[EDGES[0]])
    torch.testing.assert_close(found[0], expected)


def test_sum_without_scalers_is_message_passing() -> None:
    ours, x = layer(aggregators="sum", scalers="identity"), features(NODES, 4)
    messages = ours.pre_nns[0](torch.cat([x[EDGES[1]], x[EDGES[0]]], 1))
    sums = torch.zeros(NODES, 4, dtype=torch.double).index_add(0, EDGES[1], messages)
    torch.testing.assert_close(ours(x, EDGES), ours.lin(ours.post_nns[0](torch.cat([x, sums], 1))))


def test_of_one_neighbour_and_of_none() -> None:
    aggregation = graphs.DegreeScalerAggregation("mean,std", "identity,attenuation", torch.tensor([0, 1]))
    out = aggregation(torch.ones(1, 2, dtype=torch.double), torch.tensor([0]), dim_size=2)
    little = 1e-5**0.5
    assert out[0].tolist() == pytest.approx([1, 1, little, little] * 2)
    assert out[1].tolist() == pytest.approx([0, 0, little, little] * 2)


def test_averages_are_measured_in_the_first_step_of_training_and_kept() -> None:
    few, many = EDGES[:, :5], EDGES
    x, degrees = features(NODES, 4), torch.bincount(few[1], minlength=NODES)
    ours, told = layer(), layer(deg=torch.bincount(degrees))
    told.load_state_dict(ours.state_dict(), strict=False)
    ours.eval()(x, many)  # measures for itself
    assert torch.equal(ours.aggr_module.averages, torch.zeros(2, dtype=torch.double))
    torch.testing.assert_close(ours(x, few), told(x, few), rtol=0, atol=1e-14)
    ours.train()(x, few)
    torch.testing.assert_close(ours(x, many), told(x, many), rtol=0, atol=1e-14)
    again = layer()
    again.load_state_dict(ours.state_dict())
    assert torch.equal(again(x, many), ours(x, many))
    ours.reset_parameters()
    assert not ours.aggr_module.averages.any()


def test_graphs_without_edges_or_nodes() -> None:
    ours, none, x = layer(**ALL), torch.empty(2, 0, dtype=torch.long), features(NODES, 4)
    out = ours(x, none)
    assert out.isfinite().all()
    assert not ours.aggr_module.averages.any()  # nothing to measure
    assert ours(x[:0], none).shape == (0, 6)
    assert ours(x[:1], torch.zeros(2, 1).long()).isfinite().all()


def test_histogram_of_several_graphs() -> None:
    from torch_geometric.data import Data

    data = [Data(edge_index=EDGES, num_nodes=NODES), Data(edge_index=EDGES[:, :3], num_nodes=NODES)]
    degrees = torch.cat([torch.bincount(one.edge_index[1], minlength=NODES) for one in data])
    assert torch.equal(graphs.PNAConv.get_degree_histogram(data), torch.bincount(degrees))


def test_parameters_are_counted_as_in_the_definition() -> None:
    ours = layer(4, 6, towers=2, pre_layers=2, post_layers=2, edge_dim=3)
    tower = 3 * 16 + 4 + (16 + 4) + 13 * 4 * 3 + 3 + (9 + 3)
    assert sum(p.numel() for p in ours.parameters()) == 2 * tower + 36 + 6 + 3 * 4 + 4


def test_it_trains() -> None:
    """The degree is hidden from means, but not from scaled ones."""
    x, target = features(NODES, 4), torch.bincount(EDGES[1], minlength=NODES).double().unsqueeze(1)
    ours = layer(4, 1)
    optimizer = torch.optim.Adam(ours.parameters(), 0.02)
    losses = []
    for _ in range(60):
        loss = (ours(x, EDGES) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 20


X = torch.ones(NODES, 4)
WRONG = {
    "aggregator": (
        lambda: layer(aggregators="mean,median"),
        "^aggregators='median' is not one of sum, mean, min, max,",
    ),
    "scaler": (
        lambda: layer(scalers=["identiti"]),
        "^scalers='identiti' is not one of identity, .*; did you mean 'ide",
    ),
    "nothing": (lambda: layer(scalers=[]), r"^scalers=\[\] must name at least one of identity"),
    "towers": (lambda: layer(towers=4), "^towers=4 must divide out_channels=6$"),
    "input": (lambda: layer(towers=3, divide_input=True), "^towers=3 must divide in_channels=4 and out_channels=6$"),
    "pre": (lambda: layer(pre_layers=0), "^pre_layers=0 must be an integer of at least 1$"),
    "post": (lambda: layer(post_layers=-1), "^post_layers=-1 must be an integer of at least 1$"),
    "empty": (lambda: layer(deg=torch.tensor([])), r"^deg of shape \(0,\) must be a list of counts"),
    "negative": (lambda: layer(deg=torch.tensor([1, -1])), r"^deg of shape \(2,\) must be a list of counts"),
    "no edge": (
        lambda: layer(deg=torch.tensor([4, 0])),
        r"^deg of shape \(2,\) must be .*, and count a node with one$",
    ),
    "x": (lambda: layer()(X.double()[:, :3], EDGES), r"^x of shape \(7, 3\) .* must be floating and \(N, 4\)"),
    "node": (
        lambda: layer()(X.double()[:3], EDGES),
        "^edge_index has sources from 0 to 6; they must lie between 0 and 2",
    ),
    "extra": (lambda: layer()(X.double(), EDGES, torch.ones(20, 2)), "must be None, since edge_dim=None$"),
    "missing": (lambda: layer(edge_dim=2)(X.double(), EDGES), r"^edge_attr=None must be floating and \(20, 2\)"),
    "width": (lambda: layer(edge_dim=2)(X.double(), EDGES, torch.ones(20, 3)), r"^edge_attr of shape \(20, 3\)"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
