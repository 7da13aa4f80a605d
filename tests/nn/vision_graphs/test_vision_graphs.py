"""Tests of layers whose neighbours form a graph: identities, and agreement with another library."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from against_definition import sloping_maps
from convnn import nn as cnn
from convnn.errors import InputError
from convnn.models.mobilevig import GraphBlock
from convnn.ops import Neighbors, aggregate, select, weigh

SIDES = st.integers(1, 7)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([cnn.SVGA2d, cnn.MGC2d, cnn.DAGC2d]), SIDES, SIDES, st.integers(1, 4))
def test_lists_of_positions_are_rolls(kind: type, height: int, width: int, step: int) -> None:
    layer = kind(3, 4, step=step, positional_size=0).double()
    x = sloping_maps(3, height, width).requires_grad_()
    field = layer.field(x)
    by_list = field.to_map(layer.relative_max(field, field.features))
    by_roll = _relative_max_by_rolls(layer, x)
    assert torch.equal(by_list, by_roll)
    weights = torch.randn_like(by_list)
    gradients = [torch.autograd.grad((m * weights).sum(), x, retain_graph=True)[0] for m in (by_list, by_roll)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


def _relative_max_by_rolls(layer: cnn.MapLayer, x: Tensor) -> Tensor:
    """Compute the maximum as the published networks do, from rolled copies of the map."""
    m = x - x
    height, width = x.shape[2:]
    if isinstance(layer, cnn.DAGC2d) and height * width > 1:
        sample = (x - x.roll((-(-height // 2), -(-width // 2)), (2, 3))).abs().sum(1, keepdim=True)
        threshold = sample.mean((1, 2, 3), keepdim=True) - sample.std((1, 2, 3), keepdim=True)
    for shift in layer.shifts((height, width)).tolist():
        difference = x.roll(shift, (2, 3)) - x
        if isinstance(layer, cnn.SVGA2d):
            difference = -difference
        if isinstance(layer, cnn.DAGC2d):
            difference = torch.where(difference.abs().sum(1, keepdim=True) < threshold, difference, 0)
        m = torch.maximum(m, difference)
    return m


@settings(max_examples=40, deadline=None)
@given(SIDES, SIDES, st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=4))
def test_shifted_lists_are_what_torch_rolls(height: int, width: int, shifts: list[tuple[int, int]]) -> None:
    positions = torch.arange(height * width).view(height, width)
    expected = torch.stack([positions.roll(shift, (0, 1)).flatten() for shift in shifts], dim=1)
    assert torch.equal(select.shifted((height, width), shifts).indices[0], expected)
    assert torch.equal(select.shifted((height, width), torch.tensor(shifts)).indices[0], expected)


@pytest.mark.parametrize("K", [1, 4, 9])
def test_edge_conv_is_that_of_torch_geometric(K: int) -> None:
    geometric = pytest.importorskip("torch_geometric.nn")
    layer = cnn.EdgeConv2d(3, 5, K=K).double()
    x = sloping_maps(3, 4, 6).requires_grad_()
    mlp = nn.Sequential(nn.Linear(6, 5), nn.ReLU()).double()
    edge_conv = geometric.EdgeConv(mlp, aggr="max")  # draws new weights for the MLP
    with torch.no_grad():
        mlp[0].weight.copy_(layer.weight.flatten(1))
        mlp[0].bias.copy_(layer.bias)
    _same(layer(x), edge_conv(*_as_graph(x, layer.neighbors(x))), x)


@pytest.mark.parametrize(("K", "dilation"), [(1, 1), (4, 2), (9, 1)])
def test_vig_takes_the_maximum_of_torch_geometric(K: int, dilation: int) -> None:
    aggr = pytest.importorskip("torch_geometric.nn.aggr")
    layer = cnn.ViG2d(3, 5, K=K, graph_dilation=dilation).double()
    x = sloping_maps(3, 4, 6).requires_grad_()
    nodes, (source, target) = _as_graph(x, layer.neighbors(x))
    most = aggr.MaxAggregation()(nodes[source] - nodes[target], target)
    theirs = torch.cat([nodes, most], dim=1) @ layer.weight.flatten(1).T + layer.bias
    _same(layer(x), theirs, x)


def _as_graph(x: Tensor, neighbors: Neighbors) -> tuple[Tensor, Tensor]:
    """Return the positions of a batch as nodes (B T, C), and edges (2, B T K) from neighbours to positions."""
    nodes = x.flatten(2).transpose(1, 2)
    batch, total = nodes.shape[:2]
    first = torch.arange(batch).view(-1, 1, 1) * total
    source = (neighbors.indices + first).flatten()
    target = torch.arange(batch * total).repeat_interleave(neighbors.K)
    return nodes.flatten(0, 1), torch.stack([source, target])


def _same(ours: Tensor, theirs: Tensor, x: Tensor) -> None:
    theirs = theirs.unflatten(0, (x.shape[0], -1)).transpose(1, 2).reshape(ours.shape)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    weights = torch.randn_like(ours)
    gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.booleans(), st.integers(0, 99))
def test_maximum_is_that_of_everything_gathered(total: int, K: int, centred: bool, seed: int) -> None:
    torch.manual_seed(seed)
    values = torch.randn(2, total, 3, dtype=torch.float64, requires_grad=True)
    indices, scores = torch.randint(total, (2, 4, K)), torch.rand(2, 4, K, dtype=torch.float64, requires_grad=True)
    absent = torch.rand(2, 4, K) < 0.3
    absent[..., 0] = False
    centers = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True) if centred else None
    rows = torch.arange(2).view(2, 1, 1)
    gathered = (values[rows, indices] - (0 if centers is None else centers.unsqueeze(2))) * scores.unsqueeze(-1)
    expected = gathered.masked_fill(absent.unsqueeze(-1), -torch.inf).amax(2)
    actual = aggregate.maximum(values, Neighbors(indices, scores, absent), centers)
    assert torch.equal(actual, expected)
    inputs = [values, scores] + ([centers] if centred else [])
    ours, theirs = (torch.autograd.grad(y.square().sum(), inputs) for y in (actual, expected))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_maximum_keeps_nan(backend: str) -> None:
    values = torch.tensor([[[1.0], [torch.nan], [3.0]]])
    everybody = Neighbors(torch.arange(3).expand(1, 1, 3))
    assert aggregate.maximum(values, everybody, backend=backend).isnan().all()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(1, 6),
    st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 99),
)
def test_every_backend_takes_the_same_slot(
    channels: int, K: int, dtype: torch.dtype, scored: bool, centred: bool, masked: bool, seed: int
) -> None:
    """The values are small integers, so that many tie, and some NaN."""
    generator = torch.Generator().manual_seed(seed)

    def whole(*shape: int) -> Tensor:
        return torch.randint(-2, 3, shape, generator=generator).to(dtype)

    values = whole(2, 7, channels)
    values[0, 0, 0] = torch.nan
    indices = torch.randint(7, (2, 5, K), generator=generator)
    absent = torch.rand(2, 5, K, generator=generator) < 0.4 if masked else None
    neighbors = Neighbors(indices, whole(2, 5, K) if scored else None, absent)
    centers = whole(2, 5, channels) if centred else None
    found = [aggregate.maximum(values, neighbors, centers, backend=b) for b in ("auto", "reference")]
    torch.testing.assert_close(*found, rtol=0, atol=0, equal_nan=True)
    shared = Neighbors(indices[:1].expand(2, -1, -1))
    found = [aggregate.maximum(values, shared, backend=backend) for backend in ("auto", "reference")]
    torch.testing.assert_close(*found, rtol=0, atol=0, equal_nan=True)


def test_a_maximum_of_positions_that_are_not_there_is_refused() -> None:
    with pytest.raises(IndexError, match="outside the positions"):
        aggregate.maximum(torch.zeros(1, 3, 2), Neighbors(torch.full((1, 1, 1), 3)), backend="cpu")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(0, 99))
def test_a_cold_soft_top_keeps_exactly_the_best(K: int, seed: int) -> None:
    torch.manual_seed(seed)
    scores = torch.rand(2, 3, K, dtype=torch.float64)
    degree = torch.randint(0, K + 2, (2, 3)) - 0.5
    kept = weigh.soft_top(Neighbors(torch.arange(K).expand(2, 3, K), scores), degree, temperature=1e-4)
    best, order = scores.sort(dim=-1, descending=True)
    assert torch.equal(kept.indices, order)
    expected = best.masked_fill(torch.arange(K) >= degree.unsqueeze(-1), 0)
    torch.testing.assert_close(kept.scores, expected, rtol=0, atol=1e-12)


def test_scores_that_all_round_to_nothing_leave_the_position_alone() -> None:
    layer = cnn.AdaptiveNeighborhoods2d(2, 3, edge_type="pair", latent_channels=4)
    with torch.no_grad():
        layer.ranker.score.weight.zero_()
        layer.ranker.score.bias.fill_(-200)
    x = sloping_maps(2, 4, 4).float().requires_grad_()
    out = layer(x)
    torch.testing.assert_close(out, layer.own(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
    out.sum().backward()
    assert x.grad.isfinite().all()


def test_what_a_soft_top_keeps_of_the_scores() -> None:
    neighbors = Neighbors(torch.arange(3).expand(1, 1, 3), torch.tensor([[[0.2, 0.9, 0.4]]]))
    degree = torch.tensor([[1.5]])
    scaled, alone, added = (weigh.soft_top(neighbors, degree, keeping=keeping) for keeping in weigh.SOFT_TOPS)
    best = torch.tensor([0.9, 0.4, 0.2])
    h = torch.sigmoid(2 * (1.5 - torch.arange(3.0)))
    for kept, expected in ((scaled, best * h), (alone, h), (added, best + best * h)):
        assert kept.indices.tolist() == [[[1, 2, 0]]]
        torch.testing.assert_close(kept.scores[0, 0], expected)
    with pytest.raises(InputError, match="keeping='all'"):
        weigh.soft_top(neighbors, degree, keeping="all")


def test_a_stochastic_degree_is_drawn_in_training_alone() -> None:
    torch.manual_seed(0)
    layer = cnn.AdaptiveNeighborhoods2d(3, 4, stochastic_degree=True, latent_channels=8).double()
    x = sloping_maps(3, 4, 4)
    plain = cnn.AdaptiveNeighborhoods2d(3, 4, latent_channels=8).double()
    plain.load_state_dict({name: one for name, one in layer.state_dict().items() if "log_variance" not in name})
    assert torch.equal(layer.eval()(x), plain(x))
    layer.train()
    outputs = [layer(x) for _ in range(2)]
    assert not torch.equal(*outputs)
    outputs[0].sum().backward()
    assert layer.degree.log_variance.weight.grad.abs().sum() > 0
    with torch.no_grad():
        layer.degree.log_variance.bias.fill_(-200)  # no deviation
        layer.degree.log_variance.weight.zero_()
    torch.testing.assert_close(layer(x), plain(x))


def test_a_block_without_scales_is_one_with_scales_of_one() -> None:
    torch.manual_seed(0)
    scaled, plain = (GraphBlock(4, cnn.MGC2d, use_layer_scale=use).double().eval() for use in (True, False))
    with torch.no_grad():
        scaled.mixer_scale.fill_(1)
        scaled.ffn_scale.fill_(1)
    plain.load_state_dict({name: one for name, one in scaled.state_dict().items() if "_scale" not in name})
    x = sloping_maps(4, 6, 5)
    torch.testing.assert_close(plain(x), scaled(x))
    names, others = (dict(block.named_parameters()).keys() for block in (scaled, plain))
    assert names - others == {"mixer_scale", "ffn_scale"}


def test_a_grapher_leaves_norm_and_activation_to_its_layer() -> None:
    torch.manual_seed(0)
    grapher = cnn.Grapher2d(4, cnn.ViG2d, norm=False, activation="none").double().eval()
    x = sloping_maps(4, 5, 4)
    torch.testing.assert_close(grapher(x), grapher.after(grapher.layer(grapher.before(x))))
    relu = cnn.Grapher2d(4, cnn.ViG2d, norm=False, activation="relu").double().eval()
    relu.load_state_dict(grapher.state_dict())
    torch.testing.assert_close(relu(x), grapher.after(grapher.layer(grapher.before(x)).relu()))
    with pytest.raises(InputError, match="activation='prelu'"):
        cnn.Grapher2d(4, cnn.ViG2d, activation="prelu")


def test_whom_dagc_keeps_is_closer_than_the_threshold() -> None:
    layer = cnn.DAGC2d(3, 4, step=1, positional_size=0)
    x = sloping_maps(3, 6, 6)
    indices, _, absent = layer.neighbors(x)
    rows = x.flatten(2).transpose(1, 2)
    away = (rows[torch.arange(2).view(2, 1, 1), indices] - rows.unsqueeze(2)).abs().sum(-1)
    for i in range(2):
        assert absent[i].any()
        assert not absent[i, :, 1:].all()
        assert away[i][~absent[i]].max() < away[i][absent[i]].min()


@pytest.mark.parametrize("name", ["ViG", "EdgeConv", "NonLocal"])
def test_only_an_encoding_tells_places_apart(name: str) -> None:
    """Permuting positions permutes the outputs: without an encoding the layer does not know places."""
    torch.manual_seed(0)
    x, order = sloping_maps(3, 4, 5), torch.randperm(20)
    shuffled = x.flatten(2)[..., order].unflatten(2, (4, 5))
    for size in (0, 3):
        layer = cnn.layer_factory(name, K=4)(3, 4, positional_size=size).double()
        outputs = layer(x).flatten(2)[..., order], layer(shuffled).flatten(2)
        assert torch.allclose(*outputs) == (size == 0)


def test_codes_of_positions_need_quarters_of_channels() -> None:
    with pytest.raises(InputError, match="in_channels=6 must be a multiple of 4 with relative_side=7"):
        cnn.ViG2d(6, 6, relative_side=7)


def test_what_needs_rows_of_neighbours_refuses_others() -> None:
    values, neighbors = torch.zeros(1, 4, 2), Neighbors(torch.zeros(1, 3, 2, dtype=torch.long))
    with pytest.raises(InputError, match=r"centers of shape \(1, 4, 2\) must be \(1, 3, 2\)"):
        aggregate.maximum(values, neighbors, values)
    with pytest.raises(InputError, match=r"shifts=\[\(1,\)\]"):
        select.shifted((3, 3), [(1,)])
    for none in ([], torch.zeros(0, 2, dtype=torch.long)):
        with pytest.raises(InputError, match=r"shifts=\[\]"):
            select.shifted((3, 3), none)
