"""GENConv and its aggregations against loops, PyTorch Geometric, and their limits."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convnn.errors import InputError

geometric = pytest.importorskip("torch_geometric.nn")

from convnn.nn import graphs  # noqa: E402
from small_graphs import directed, features  # noqa: E402

NODES = 7
EDGES = directed(NODES, 20)
AGGREGATIONS: dict[str, dict[str, Any]] = {
    "softmax": {"aggr": "softmax", "t": 0.7},
    "softmax, learned": {"aggr": "softmax", "t": 0.7, "learn_t": True},
    "softmax, whole gradient": {"aggr": "softmax", "t": 0.7, "semi_grad": False},
    "softmax_sg": {"aggr": "softmax_sg", "t": 0.7},
    "softmax_sum": {"aggr": "softmax_sum", "t": 0.7, "y": 0.3, "learn_t": True, "learn_y": True},
    "power": {"aggr": "power", "p": 2.0},
    "power, learned": {"aggr": "power", "p": 2.0, "learn_p": True},
    "power_sum": {"aggr": "power_sum", "p": 1.0, "y": -0.4, "learn_y": True},
    "add": {"aggr": "add"},
    "mean": {"aggr": "mean"},
    "max": {"aggr": "max"},
}


def layer(in_channels: int = 3, out_channels: int = 4, **settings: Any) -> graphs.GENConv:
    torch.manual_seed(0)
    return graphs.GENConv(in_channels, out_channels, **settings).double()


def in_loops(ours: graphs.GENConv, settings: dict[str, Any], x: Tensor, edge_attr: Tensor | None) -> Tensor:
    """Compute the layer node by node and channel by channel."""
    numbers = dict(ours.named_parameters())
    t, p, y = (
        next((numbers[name] for name in numbers if name.endswith(f".{one}")), settings.get(one)) for one in "tpy"
    )
    rows = []
    for node in range(NODES):
        incoming = (EDGES[1] == node).nonzero().flatten().tolist()
        of_edges = [0 if edge_attr is None else ours.lin_edge(edge_attr[e]) for e in incoming]
        messages = [(x[EDGES[0, e]] + more).relu() + 1e-7 for e, more in zip(incoming, of_edges, strict=True)]
        rows.append(torch.cat([_aggregate(settings, messages, c, t, p, y).view(1) for c in range(x.shape[1])]))
    aggregate = torch.stack(rows)
    if hasattr(ours, "msg_norm"):
        lengths = aggregate.square().sum(1, keepdim=True).clamp_min(1e-24).sqrt()
        aggregate = ours.msg_norm.scale * x.square().sum(1, keepdim=True).sqrt() * aggregate / lengths
    return ours.mlp(x + aggregate)


def _aggregate(settings: dict[str, Any], messages: list[Tensor], c: int, t: Any, p: Any, y: Any) -> Tensor:
    kind, count = settings["aggr"], len(messages)
    values = torch.stack([message[c] for message in messages]) if messages else torch.zeros(0, dtype=torch.double)
    factor = count ** torch.as_tensor(y, dtype=torch.double).sigmoid() if kind.endswith("_sum") else 1
    if kind.startswith("power"):
        mean = (values.clamp(1e-7, 10) ** p).sum() / max(count, 1)
        return factor * mean.clamp(1e-7, 10) ** (1 / p)
    if kind.startswith("softmax"):
        powers = (t * values).exp()
        weights = powers / powers.sum()
        whole = settings.get("learn_t") or settings.get("semi_grad") is False
        return factor * ((weights if whole else weights.detach()) * values).sum()
    if not count:
        return values.sum()
    return {"add": values.sum(), "mean": values.mean(), "max": values.max()}[kind]


def gradients(out: Tensor, x: Tensor, ours: nn.Module) -> list[Tensor]:
    leaves = [x, *(p for p in ours.parameters() if p.requires_grad)]
    found = torch.autograd.grad(out, leaves, features(*out.shape, seed=5), allow_unused=True, retain_graph=True)
    return [torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, found, strict=True)]


def agree(ones: list[Tensor], others: list[Tensor], atol: float = 1e-12) -> None:
    for one, other in zip(ones, others, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=atol)


@pytest.mark.parametrize("more", [{}, {"msg_norm": True, "edge_dim": 2, "mlp_layers": 1}], ids=["plain", "more"])
@pytest.mark.parametrize("settings", AGGREGATIONS.values(), ids=AGGREGATIONS)
def test_ours_is_the_definition_in_loops(settings: dict[str, Any], more: dict[str, Any]) -> None:
    ours = layer(**settings, **more)  # in training, so that the batch is normalised
    x, edge_attr = (2 * features(NODES, 3)).requires_grad_(), features(20, 2, seed=3) if more else None
    out, expected = ours(x, EDGES, edge_attr), in_loops(ours, settings, x, edge_attr)
    agree([out], [expected])
    agree(gradients(out, x, ours), gradients(expected, x, ours), 1e-11)


THEIRS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "softmax, learned": ({"learn_t": True}, {"aggr": "softmax", "learn_t": True}),
    "softmax, whole gradient": ({"semi_grad": False}, {"aggr": "softmax"}),
    "softmax": ({}, {"aggr": "softmax_sg"}),
    "power": (
        {"aggr": "power", "p": 2.3, "learn_p": True},
        {"aggr": "power", "aggr_kwargs": {"p": 2.3, "learn": True, "clamp_min": 1e-7, "clamp_max": 10.0}},
    ),
    "max": ({"aggr": "max"}, {"aggr": "max"}),
}


@pytest.mark.parametrize("msg_norm", [False, True])
@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize(("mine", "others"), THEIRS.values(), ids=THEIRS)
def test_ours_is_that_of_torch_geometric(mine: dict, others: dict, scale: float, msg_norm: bool) -> None:
    ours = layer(3, 3, msg_norm=msg_norm, **mine).eval()
    theirs = geometric.GENConv(3, 3, bias=True, msg_norm=msg_norm, learn_msg_scale=True, **others).double().eval()
    state = {name.replace("mlp.3", "mlp.4"): value for name, value in ours.state_dict().items()}  # after a dropout
    theirs.load_state_dict(state)
    x = (scale * features(NODES, 3)).requires_grad_()
    outs = [one(x, EDGES) for one in (ours, theirs)]
    agree(outs[:1], outs[1:])
    agree(*([torch.autograd.grad(out.sum(), x)[0]] for out in outs))


def test_only_the_gradient_depends_on_semi_grad() -> None:
    x = features(NODES, 3).requires_grad_()
    outs = [layer(3, 3, semi_grad=semi)(x, EDGES) for semi in (True, False)]
    agree(outs[:1], outs[1:])
    grads = [torch.autograd.grad(out.square().sum(), x)[0] for out in outs]
    assert (grads[0] - grads[1]).abs().max() > 0.01


def test_limits_of_the_aggregations() -> None:
    messages, index = features(30, 4).abs(), torch.arange(30) % 7

    def aggregated(**settings: Any) -> Tensor:
        return graphs.generalized_aggregation(**settings).double()(messages, index, dim_size=8)

    torch.testing.assert_close(aggregated(t=1e-6), aggregated(aggr="mean"), rtol=0, atol=1e-5)
    torch.testing.assert_close(aggregated(t=1e3), aggregated(aggr="max"), rtol=0, atol=1e-6)
    torch.testing.assert_close(aggregated(aggr="power", p=1.0)[:7], aggregated(aggr="mean")[:7], rtol=0, atol=1e-15)
    torch.testing.assert_close(aggregated(aggr="softmax_sum", t=0.0, y=40.0), aggregated(aggr="add"))
    torch.testing.assert_close(aggregated(aggr="softmax_sum", t=0.0, y=-800.0), aggregated(aggr="mean"))


@pytest.mark.parametrize(("power", "least"), [(1.0, 1e-7), (3.0, 4.6e-3), (5.0, 0.04)])
def test_bounds_of_the_power_mean(power: float, least: float) -> None:
    power_mean = graphs.generalized_aggregation("power", p=power)
    messages = torch.tensor([[20.0], [30.0]], dtype=torch.double)
    out = power_mean(messages, torch.tensor([0, 0]), dim_size=2)
    assert out.flatten().tolist() == pytest.approx([10 ** (1 / power), least], rel=0.01)
    assert graphs.generalized_aggregation("power_sum", p=power)(messages, torch.zeros(2).long(), dim_size=2)[1] == 0


def test_norms() -> None:
    x = features(5, 6)
    for norm, theirs in (("instance", nn.InstanceNorm1d(5)), ("layer", nn.LayerNorm(6)), ("batch", nn.BatchNorm1d(6))):
        ours = layer(3, 4, norm=norm).mlp[1]
        torch.testing.assert_close(ours(x), theirs.double()(x))
    assert isinstance(layer(3, 4, norm="none").mlp[1], nn.Identity)
    widths = [one.out_features for one in layer(3, 4, mlp_layers=3, norm="layer").mlp if isinstance(one, nn.Linear)]
    assert widths == [6, 6, 4]


@pytest.mark.parametrize("settings", AGGREGATIONS.values(), ids=AGGREGATIONS)
def test_graphs_without_edges_or_nodes(settings: dict[str, Any]) -> None:
    ours, none = layer(**settings).eval(), torch.empty(2, 0, dtype=torch.long)
    x = features(2, 3)
    alone = 1e-7 ** (1 / settings["p"]) if settings["aggr"] == "power" else 0.0
    torch.testing.assert_close(ours(x, none), ours.mlp(x + alone))
    assert ours(x[:0], none).shape == (0, 4)


def test_sources_and_targets_may_differ() -> None:
    ours = layer().eval()
    x, edges = features(5, 3), torch.tensor([[3, 4, 4], [0, 0, 2]])
    torch.testing.assert_close(ours((x, x[:3]), edges), ours(x, edges)[:3])


def test_parameters_are_counted_as_in_the_definition() -> None:
    def count(**settings: Any) -> int:
        return sum(p.numel() for p in layer(5, 7, **settings).parameters())

    assert count(mlp_layers=1) == 5 * 7 + 7
    assert count() == 2 * 25 + 2 * 5 + 4 * 5 + 2 * 5 * 7 + 7
    assert count(mlp_layers=1, learn_t=True) == count(mlp_layers=1) + 1
    assert count(mlp_layers=1, aggr="power_sum", msg_norm=True, learn_msg_scale=False) == count(mlp_layers=1) + 2


def test_it_trains() -> None:
    x, target = features(NODES, 3), features(NODES, 4, seed=9)
    ours = layer(learn_t=True, msg_norm=True)
    optimizer = torch.optim.Adam(ours.parameters(), 0.05)
    losses = []
    for _ in range(40):
        loss = (ours(x, EDGES) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4
    assert ours.aggr_module.t != 1
    assert ours.msg_norm.scale != 1


X = torch.ones(NODES, 3)
WRONG = {
    "aggr": (lambda: graphs.GENConv(3, 4, aggr="softmx"), "^aggr='softmx' is not one of softmax, .*; did you mean"),
    "norm": (lambda: graphs.GENConv(3, 4, norm="group"), "^norm='group' is not one of batch, layer, instance, none$"),
    "p": (lambda: graphs.GENConv(3, 4, aggr="power", p=0.0), "^p=0 must not be 0: the root is 1/p$"),
    "layers": (lambda: graphs.GENConv(3, 4, mlp_layers=0), "^mlp_layers=0 must be an integer of at least 1$"),
    "gradient": (lambda: graphs.GENConv(3, 4, learn_t=True, semi_grad=True), "^learn_t=True must be False where"),
    "gradient by name": (lambda: graphs.GENConv(3, 4, aggr="softmax_sg", learn_t=True), "^learn_t=True must be False"),
    "edge_dim": (lambda: graphs.GENConv(3, 4, edge_dim=0), "^edge_dim=0 must be an integer of at least 1$"),
    "x": (lambda: graphs.GENConv(3, 4)(X[:, :2], EDGES), r"^x of shape \(7, 2\) .* must be floating and \(N, 3\)"),
    "node": (lambda: graphs.GENConv(3, 4)(X[:3], EDGES), "^edge_index has sources from 0 to 6; they must lie between"),
    "width": (
        lambda: graphs.GENConv(3, 4)(X, EDGES, torch.ones(20, 2)),
        r"^edge_attr of shape \(20, 2\) and torch.float32 must be floating and \(20, 3\), a row for each edge$",
    ),
    "rows": (lambda: graphs.GENConv(3, 4, edge_dim=2)(X, EDGES, torch.ones(19, 2)), r"^edge_attr of shape \(19, 2\)"),
    "missing": (lambda: graphs.GENConv(3, 4, edge_dim=2)(X, EDGES), r"^edge_attr=None must be floating and \(20, 2\)"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
