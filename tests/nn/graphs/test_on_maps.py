"""Graph layers on maps and on tokens, by the graph that the search finds, and by name in any network."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import convnn
from convnn.errors import InputError
from convnn.models import create_model, layers_for
from convnn.nn import (
    ConvNN2d,
    ConvNNAttn2d,
    GraphOnMap1d,
    GraphOnMap2d,
    GraphOnMap3d,
    GraphOnTokens,
    layer_factory,
)
from convnn.nn.graphs import GraphConvNN, GraphConvNNAttn
from convnn.ops import select
from pairwise import one_in


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


class Mean(nn.Module):
    """The mean of the neighbours by their weights, in loops."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.in_channels = self.out_channels = channels

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        weight = x.new_ones(edge_index.shape[1]) if edge_weight is None else edge_weight
        out, sums = [x.new_zeros(x.shape[1]) for _ in x], [x.new_zeros(()) for _ in x]
        for (source, target), w in zip(edge_index.T.tolist(), weight, strict=True):
            out[target] = out[target] + w * x[source]
            sums[target] = sums[target] + w
        return torch.stack(out) / torch.stack(sums).unsqueeze(1)


SEARCHES: dict[str, dict[str, Any]] = {
    "cosine": {},
    "euclidean": {"metric": "euclidean"},
    "places": {"similarity_type": "Loc_Col", "lambda_param": 0.3, "metric": "euclidean"},
    "raster": {"raster_order": True},
    "spatial": {"sampling_type": "spatial", "num_samples": 3},
    "random": {"sampling_type": "random", "num_samples": 9},
}


@pytest.mark.parametrize("name", SEARCHES)
def test_on_the_graph_that_it_finds_convnn_is_the_layer_on_maps(name: str) -> None:
    x, settings = rows(2, 6, 5, 7), SEARCHES[name] | {"K": 5}
    ours = ConvNN2d(6, 8, padding=0, **settings).double().eval()
    on_graph = GraphConvNN(6, 8, K=5).double()
    on_graph.load_state_dict(ours.state_dict())
    wrapped = GraphOnMap2d(on_graph, **settings).eval()
    torch.testing.assert_close(wrapped(x), ours(x))
    torch.testing.assert_close(tuple(wrapped.neighbors(x)[:2]), tuple(ours.neighbors(x)[:2]))


@pytest.mark.parametrize("stride", [1, 2, (2, 3)])
def test_strides_keep_the_middles_of_windows(stride: int | tuple[int, int]) -> None:
    x, settings = rows(2, 4, 7, 9), {"K": 4, "stride": stride, "padding": 1, "window_size": 3}
    ours, conv = ConvNN2d(4, 4, K=4, padding=0).double(), nn.Conv2d(4, 4, 3, stride=stride, padding=1)
    on_graph = GraphConvNN(4, 4, K=4).double()
    on_graph.load_state_dict(ours.state_dict())
    wrapped = GraphOnMap2d(on_graph, **settings)
    down, right = stride if isinstance(stride, tuple) else (stride, stride)
    torch.testing.assert_close(wrapped(x), ours(x)[..., ::down, ::right])
    assert wrapped(x).shape == conv(x.float()).shape
    assert wrapped.neighbors(x).indices.shape == (2, wrapped(x)[0, 0].numel(), 4)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_attention_on_the_graph_of_its_projections_is_the_layer_on_maps(metric: str) -> None:
    ours = ConvNNAttn2d(6, 8, K=5, padding=0, metric=metric).double().eval()
    nn.init.normal_(ours.weight)
    on_graph = GraphConvNNAttn(6, 8, K=5, metric=metric).double().eval()
    on_graph.load_state_dict(ours.state_dict())
    x = rows(1, 6, 4, 5)
    nodes = x.flatten(2)[0].T
    positions = torch.arange(20)
    found = select.nearest(ours.key(nodes)[None], ours.query(nodes)[None], 5, metric=metric, positions=positions)
    edge_index = torch.stack([found.indices.flatten(), positions.repeat_interleave(5)])
    torch.testing.assert_close(on_graph(nodes, edge_index).T, ours(x).flatten(2)[0])


@pytest.mark.parametrize("loop", [True, False])
@pytest.mark.parametrize("edge_weights", ["none", "similarity", "softmax"])
def test_edges_and_their_weights_are_those_of_the_definition(loop: bool, edge_weights: str) -> None:
    x = rows(2, 3, 3, 4).abs().requires_grad_()
    out = GraphOnMap2d(Mean(3), K=4, loop=loop, edge_weights=edge_weights)(x)
    expected = []
    for image in x.flatten(2).mT:
        unit = image / image.norm(dim=1, keepdim=True)
        scores = unit @ unit.T
        for i in range(12):
            order = scores[i].detach().clone().index_fill(0, torch.tensor(i), 2.0 if loop else -2.0)
            chosen = order.argsort(descending=True)[:4]
            weights = {
                "none": x.new_ones(4),
                "similarity": scores[i, chosen],
                "softmax": scores[i, chosen].softmax(0),
            }[edge_weights]
            expected.append(weights @ image[chosen] / weights.sum())
    wanted = torch.stack(expected).view(2, 12, 3).mT.reshape(2, 3, 3, 4)
    torch.testing.assert_close(out, wanted)
    grads = (torch.autograd.grad(y.square().sum(), x)[0] for y in (out, wanted))
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize(("wrapper", "size"), [(GraphOnMap1d, (9,)), (GraphOnMap2d, (3, 1)), (GraphOnMap3d, (2, 3, 2))])
def test_all_axes_and_small_maps(wrapper: type[nn.Module], size: tuple[int, ...]) -> None:
    layer = wrapper(GraphConvNN(4, 5, K=9), K=9).double()
    assert layer(rows(2, 4, *size)).shape == (2, 5, *size)
    assert layer(rows(4, *size)).shape == (5, *size)
    alone = wrapper(Mean(4), K=2, edge_weights="softmax", loop=False)
    assert alone(rows(1, 4, *(1 for _ in size))).isnan().all()  # a mean over nothing


def test_tokens_are_a_map_of_one_axis() -> None:
    conv = GraphConvNN(6, 6, K=3).double()
    x = rows(2, 10, 6)
    settings = {"K": 3, "metric": "euclidean", "edge_weights": "softmax"}
    on_tokens, on_maps = GraphOnTokens(conv, **settings), GraphOnMap1d(conv, **settings)
    torch.testing.assert_close(on_tokens(x), on_maps(x.mT).mT)
    assert torch.equal(on_tokens.neighbors(x).indices, on_maps.neighbors(x.mT).indices)
    assert on_tokens(x[0]).shape == (10, 6)


def test_a_batch_is_one_graph_without_edges_between_maps() -> None:
    layer, x = GraphOnMap2d(GraphConvNN(4, 5, K=4), K=4).double(), rows(3, 4, 4, 4)
    torch.testing.assert_close(layer(x), torch.cat([layer(one[None]) for one in x]))


@pytest.mark.parametrize("model", ["vgg11", "vit", "ckcnn"])
def test_networks_are_built_of_graph_layers_by_name(model: str) -> None:
    assert {"GraphConvNN", "GraphConvNN_Attn", "SGC"} <= set(layers_for(model))
    settings = {"patch_size": 8, "num_layers": 1} if model == "vit" else {"width": 0.125}
    x = torch.randn(2, 3, 32) if model == "ckcnn" else torch.randn(2, 3, 32, 32)
    network = create_model(model, "GraphConvNN", K=4, metric="euclidean", backend="reference", **settings)
    network(x).square().sum().backward()
    layers = [one for one in network.modules() if isinstance(one, GraphConvNN)]
    assert layers
    assert all(one.K == 4 and one.weight.grad is not None for one in layers)
    wrappers = [one for one in network.modules() if isinstance(one, GraphOnMap1d | GraphOnMap2d | GraphOnTokens)]
    assert len(wrappers) == len(layers)
    assert {(one.graph.search.K, one.graph.search.metric, one.backend) for one in wrappers} == {
        (4, "euclidean", "reference")
    }


def test_layers_of_torch_geometric_keep_their_own_settings() -> None:
    pytest.importorskip("torch_geometric")
    layer = layer_factory("SGC", on="maps", hops=3, K=4, metric="euclidean")(6, 8, bias=False)
    assert str(layer) == "GraphOnMap2d(\n  6, 8, K=4, metric='euclidean'\n  (conv): SGC(6, 8, hops=3)\n)"
    assert layer.conv.lin.bias is None
    assert "hops=3" in str(layer_factory("SGC", hops=3, K=4)(6, 8))


def test_they_replace_convolutions_or_attention() -> None:
    cnn = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.Conv2d(8, 8, 3, groups=8))
    assert str(convnn.replace_layers(cnn, "GraphConvNN", metric="matmul")) == (
        "1 layer replaced, 1 left\n"
        "0  Conv2d -> GraphOnMap2d\n"
        "1  Conv2d left: GraphConvNN mixes all channels, and the convolution has groups=8"
    )
    assert cnn[0].graph.search.metric == "matmul"
    assert cnn[0].conv.bias is None
    assert cnn[0].conv.K == 9
    assert cnn(torch.randn(1, 3, 9, 9)).shape == (1, 8, 3, 3)
    both = nn.ModuleDict({"embed": nn.Conv1d(3, 8, 3), "attention": nn.MultiheadAttention(8, 2, batch_first=True)})
    report = convnn.replace_layers(both, "GraphConvNN", K=2)
    assert str(report) == "1 layer replaced, 0 left\nattention  MultiheadAttention -> GraphOnTokens"
    x = torch.randn(2, 5, 8)
    assert both["attention"](x, x, x)[0].shape == (2, 5, 8)
    assert "embed" in str(convnn.replace_layers(both, "GraphConvNN", where="embed"))
    again = nn.ModuleDict({"attention": nn.MultiheadAttention(8, 2)})
    with pytest.raises(InputError, match=r"^similarity_type='Loc' is for maps, and layer='GraphConvNN' takes"):
        convnn.replace_layers(again, "GraphConvNN", similarity_type="Loc")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["torchvision:squeezenet1_1", "timm:vit_tiny_patch16_224"])
def test_they_stand_in_networks_of_other_libraries(model: str) -> None:
    network = create_model(model, "GraphConvNN", K=0, similarity_type="Col", where="*1*")
    wrappers = [one for one in network.modules() if isinstance(one, GraphOnMap2d | GraphOnTokens)]
    assert wrappers
    assert all(one.graph.search.K == one.conv.K == 9 for one in wrappers)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", one_in(4, [{"edge_weights": "softmax"}, {}, {"loop": False}, {"stride": 2, "window_size": 1}])
)
def test_they_compile_as_one_graph(settings: dict[str, Any]) -> None:
    layer, x = GraphOnMap2d(GraphConvNN(4, 5, K=3), K=3, **settings).double(), rows(2, 4, 4, 5)
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x))


class Cached(Mean):
    cached = True


class Plain(nn.Module):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return x


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "weights": (
        lambda: GraphOnMap2d(Mean(3), edge_weights="some"),
        "^edge_weights='some' is not one of none, similarity, softmax",
    ),
    "no weights": (
        lambda: GraphOnMap2d(Plain(), in_channels=3, out_channels=3, edge_weights="softmax"),
        "^edge_weights='softmax' must be 'none' with Plain, which takes no edge_weight$",
    ),
    "channels": (lambda: GraphOnMap2d(Plain()), "^in_channels=None must be given for Plain, which does not tell it$"),
    "window": (lambda: GraphOnMap2d(Mean(3), similarity_type="Window"), "^similarity_type='Window' finds no graph"),
    "cached": (lambda: GraphOnMap2d(Cached(3)), "^cached=True of Cached must be False"),
    "tokens": (
        lambda: GraphOnTokens(GraphConvNN(3, 4)),
        r"^conv=GraphConvNN\(3, 4\) must keep the number of channels$",
    ),
    "K": (lambda: GraphOnMap2d(Mean(3), K=0), "^K=0 must be an integer of at least 1$"),
    "input": (
        lambda: GraphOnMap2d(Mean(3))(rows(2, 4, 3, 3)),
        r"^input of shape \(2, 4, 3, 3\) must be \(B, 3, H, W\)",
    ),
    "setting": (lambda: GraphOnMap2d(Mean(3), k=3), "^GraphOnMap2d has no setting k=3; write K=3$"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name: str) -> None:
    call, message = BAD[name]
    with pytest.raises(InputError, match=message):
        call()


def test_without_torch_geometric_one_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch_geometric", None)
    with pytest.raises(InputError, match=r"^convnn.nn.graphs.SGC needs the package torch_geometric") as error:
        create_model("vgg11", "SGC", width=0.125)
    assert "\n" not in str(error.value)
