"""U-Nets on volumes with a graph as the deepest level: sizes, the definition on matrices, gradients, refusals."""

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.models import create_model, data_of, load_published, segmentation
from convnn.models.segmentation import GraphBottleneck3d, GraphUNet3d, UNet3d
from convnn.models.segmentation.graph_unet import NodeNorm

pytest.importorskip("torch_geometric")


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def parameters(network: nn.Module) -> int:
    return sum(one.numel() for one in network.parameters())


def test_numbers_of_parameters_are_the_published() -> None:
    assert parameters(GraphUNet3d()) == 226_689
    assert parameters(GraphUNet3d(8, adjacency="knn")) == 56_961
    assert (parameters(UNet3d(4)), parameters(GraphUNet3d(4))) == (22_225, 14_385)
    attention = GraphUNet3d(layer="GAT", num_layers=2, mlp=False)
    unused = 32 * 64 + 64 * 64  # W_s of both layers, which no output of the published code depends on
    assert parameters(attention) == 199_937 - unused
    assert "226,689 parameters" in GraphUNet3d.__doc__


def test_the_norm_divides_by_n_less_one_and_adds_epsilon_outside_of_the_root() -> None:
    norm, x = NodeNorm(5).double(), rows(4, 5)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    usual = F.layer_norm(x, (5,), eps=0) * (4 / 5) ** 0.5
    torch.testing.assert_close(norm(x), norm.weight * usual + norm.bias, rtol=0, atol=1e-5)
    tiny = 1e-6 * x
    spread = torch.from_numpy(tiny.numpy().std(1, ddof=1, keepdims=True))
    expected = (tiny - tiny.mean(1, keepdim=True)) / (spread + 1e-6)
    torch.testing.assert_close(NodeNorm(5).double()(tiny), expected)
    flat = torch.ones(2, 5, dtype=torch.double, requires_grad=True)
    norm(flat).sum().backward()
    assert flat.grad.isfinite().all()


def matrix(x: Tensor, settings: dict) -> Tensor:
    """Who of the voxels of a map (C, D, H, W) counts how much for whom: rows receive."""
    places = torch.cartesian_prod(*map(torch.arange, x.shape[1:])).double()
    away = (places[:, None] - places).abs()
    features = x.flatten(1).T
    if settings.get("adjacency", "grid") == "grid":
        near = {6: away.sum(2) <= 1, 26: away.amax(2) <= 1, 124: away.amax(2) <= 2, 342: away.amax(2) <= 3}
        is_edge = near[settings.get("K", 26)]
    else:
        squares = (features[:, None] - features).square().sum(2)
        if "window" in settings:
            squares = squares.masked_fill(away.amax(2) > settings["window"], torch.inf)
        is_edge = squares <= squares.kthvalue(settings.get("K", 10), dim=1, keepdim=True).values
    return is_edge.double() / is_edge.sum(1, keepdim=True)


def on_matrices(bottleneck: GraphBottleneck3d, x: Tensor, settings: dict) -> Tensor:
    """The definition of the module, volume by volume."""
    mlp, *layers = bottleneck.on_map.conv.mlp, *bottleneck.on_map.conv.layers
    out = []
    for one in x:
        weights, h = matrix(one.detach(), settings), one.flatten(1).T
        h = F.relu(F.relu(h @ mlp[0].weight.T + mlp[0].bias) @ mlp[2].weight.T + mlp[2].bias)
        h = (h - h.mean(1, keepdim=True)) / (h.var(1, keepdim=True).sqrt() + 1e-6)
        for layer in layers:
            own, others = h @ layer.lin_r.weight.T, weights @ (h @ layer.lin_l.weight.T)
            h = F.relu(own + others + layer.lin_l.bias)
        out.append(h.T.unflatten(1, one.shape[1:]))
    return torch.stack(out)


SETTINGS = {
    "26 around": {},
    "6 around": {"K": 6},
    "124 around": {"K": 124},
    "10 similar": {"adjacency": "knn"},
    "4 similar": {"adjacency": "knn", "K": 4},
    "5 similar within 1": {"adjacency": "knn", "K": 5, "window": 1},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_module_is_the_definition_on_matrices(name: str) -> None:
    bottleneck, x = GraphBottleneck3d(3, 6, 4, **SETTINGS[name]).double(), rows(2, 3, 3, 2, 4).requires_grad_()
    found, wanted = bottleneck(x), on_matrices(bottleneck, x, SETTINGS[name])
    torch.testing.assert_close(found, wanted)
    inputs = [x, *(one for key, one in bottleneck.named_parameters() if "mlp.4" not in key)]
    upstream = rows(*found.shape, seed=1)
    torch.testing.assert_close(
        torch.autograd.grad(found, inputs, upstream), torch.autograd.grad(wanted, inputs, upstream)
    )


def test_attention_is_a_softmax_of_additive_scores() -> None:
    settings = {"adjacency": "knn", "K": 4}
    bottleneck = GraphBottleneck3d(3, 6, 4, layer="GAT", num_layers=2, mlp=False, **settings).double()
    x = rows(1, 3, 3, 2, 4)
    is_edge, h = matrix(x[0], settings) > 0, x[0].flatten(1).T
    for layer in bottleneck.on_map.conv.layers:
        z = h @ layer.lin.weight.T
        scores = F.leaky_relu((z @ layer.att_src.flatten())[None] + (z @ layer.att_dst.flatten())[:, None], 0.2)
        h = F.relu(scores.masked_fill(~is_edge, -torch.inf).softmax(1) @ z + layer.bias)
    torch.testing.assert_close(bottleneck(x), h.T.view(1, 4, 3, 2, 4))


def test_any_graph_layer_can_stand_below() -> None:
    volumes = rows(2, 1, 8, 4, 8).float()
    for layer in ("GCN", "GraphConvNN", lambda i, o: nn.Module()):
        if isinstance(layer, str):
            network = GraphUNet3d(2, layer=layer)
            network(volumes).sum().backward()
            assert all(one.grad is not None for one in network.parameters())
            assert not network.is_published
    kinds = {type(one).__name__ for one in GraphUNet3d(2, layer="GIN", num_layers=1).modules()}
    assert "GIN" in kinds
    assert "SAGE" not in kinds


def test_networks_by_name_are_these_classes() -> None:
    sizes = {"in_channels": 1, "num_classes": 2, "width": 0.25}
    names = {
        "unet3d": lambda: UNet3d(4, num_classes=2, levels=2),
        "unet_gnn": lambda: GraphUNet3d(4, num_classes=2, levels=2, K=6, num_layers=3),
        "unet_gnn_knn": lambda: GraphUNet3d(4, num_classes=2, levels=2, adjacency="knn", K=6, num_layers=3),
    }
    x = rows(1, 1, 4, 4, 6).float()
    for name, make in names.items():
        torch.manual_seed(0)
        found = create_model(name, **sizes, levels=2, K=6, num_layers=3)
        torch.manual_seed(0)
        assert torch.equal(found(x), make()(x))
        assert found.is_published
        assert data_of(name) == "volumes"
    with pytest.raises(InputError, match=r"^width=-1 must be a positive number$"):
        create_model("unet3d", width=-1)


@pytest.mark.parametrize("layer", ["ConvNN", "Branching", "LKA", "GAT"])
def test_any_layer_on_volumes_can_stand_in_every_level(layer: str) -> None:
    network = create_model("unet3d", layer, in_channels=1, num_classes=2, width=0.25, K=3)
    kinds = [type(pair[place]).__name__ for pair in network.encoder for place in (0, 2)]
    assert len(set(kinds)) == 1
    assert not any(isinstance(one, nn.Conv3d) for pair in network.encoder for one in pair)
    assert not network.is_published
    network(rows(2, 1, 8, 8, 12).float()).square().mean().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in network.parameters())


def test_layers_without_a_form_for_volumes_are_named() -> None:
    with pytest.raises(InputError, match=r"^layer='SDLSKA' has no form for volumes; choose one that has: Conv2d, "):
        UNet3d(2, layer="SDLSKA")
    with pytest.raises(InputError, match=r"^layer=3 must be the name of a layer"):
        UNet3d(2, layer=3)


@pytest.mark.parametrize("make", [UNet3d, GraphUNet3d])
def test_logits_have_the_size_of_the_volumes_and_gradients_reach_all(make: type[UNet3d]) -> None:
    network = make(2, levels=4, in_channels=2, num_classes=3).double()
    out = network(rows(2, 2, 8, 16, 24))
    assert out.shape == (2, 3, 8, 16, 24)
    assert out.dtype == torch.double
    out.square().mean().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in network.parameters())
    assert make(2, levels=2)(torch.zeros(1, 1, 2, 4, 6)).shape == (1, 1, 2, 4, 6)


def test_the_network_is_the_published_sequence_of_convolutions() -> None:
    network, x = UNet3d(2, bottleneck=lambda i, hidden, o: nn.Conv3d(i, o, 1)).double(), rows(1, 1, 8, 4, 8)
    weights = network.state_dict()

    def pair(x: Tensor, name: str) -> Tensor:
        for i in (0, 2):
            x = F.conv3d(F.pad(x, [1] * 6), weights[f"{name}.{i}.weight"], weights[f"{name}.{i}.bias"]).clamp(min=0)
        return x

    def doubled(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)

    def halved(x: Tensor) -> Tensor:
        return x.unfold(2, 2, 2).unfold(3, 2, 2).unfold(4, 2, 2).amax((5, 6, 7))

    first = pair(x, "encoder.0")
    second = pair(halved(first), "encoder.1")
    deepest = network.bottleneck(halved(second))
    up = pair(torch.cat([doubled(deepest), second], 1), "decoder.0")
    up = pair(torch.cat([doubled(up), first], 1), "decoder.1")
    torch.testing.assert_close(
        network(x), torch.einsum("oc...,bc...->bo...", network.head.weight, up) + network.head.bias
    )


@pytest.mark.parametrize("adjacency", ["grid", "knn"])
def test_volumes_of_a_batch_do_not_see_each_other(adjacency: str) -> None:
    network, volumes = (
        GraphUNet3d(2, adjacency=adjacency, K=None if adjacency == "grid" else 3).double(),
        rows(2, 1, 8, 8, 8),
    )
    torch.testing.assert_close(network(volumes), torch.cat([network(one[None]) for one in volumes]))


def test_its_gradients_are_those_of_differences() -> None:
    torch.manual_seed(0)
    network = GraphUNet3d(2, levels=2, adjacency="knn", K=3).double()
    assert gradcheck(network, rows(1, 1, 4, 4, 4).requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("settings", [{}, {"adjacency": "knn", "K": 3}])
def test_published_checkpoints_are_loaded(settings: dict, tmp_path) -> None:
    """Of matrices that are transposed there, and of sums that are divided by K + 1 for the most similar."""
    network, other = (GraphUNet3d(2, **settings).double() for _ in range(2))
    theirs = {}
    ours = network.state_dict()
    for published in _published_names():
        name = network.our_name(published)
        value = ours.pop(name)
        if name.endswith("lin_l.weight") or name.endswith("lin_r.weight"):
            value = value.T * (4 / 3 if "lin_l" in name and settings else 1)
        theirs[published] = value.clone()
    assert not ours
    torch.save(theirs, tmp_path / "unet.pt")
    load_published(other, tmp_path / "unet.pt")
    volumes = rows(1, 1, 8, 8, 8)
    torch.testing.assert_close(other(volumes), network(volumes))


def _published_names() -> list[str]:
    convs = [f"convolution_{way}_lev{level}_{i}" for way in ("down", "up") for level in (1, 2) for i in (1, 2)]
    linears = [f"gnn_module.full_connect_{i}" for i in (1, 2)]
    both = [f"{name}.{kind}" for name in (*convs, *linears, "classification_last") for kind in ("weight", "bias")]
    graph = [
        f"gnn_module.graph_convol_{i}.{kind}"
        for i in range(1, 5)
        for kind in ("weight_self", "weight_neighbour", "bias")
    ]
    return [*both, *graph, "gnn_module.layer_norm_1.gamma", "gnn_module.layer_norm_1.beta"]


def test_it_learns() -> None:
    torch.manual_seed(0)
    network, volumes = GraphUNet3d(2, adjacency="knn", K=4), rows(2, 1, 8, 8, 8).float()
    target = (F.avg_pool3d(volumes, 3, 1, 1) > 0.1).float()
    optimizer, losses = torch.optim.Adam(network.parameters(), 2e-2), []
    for _ in range(60):
        optimizer.zero_grad()
        losses.append(F.binary_cross_entropy_with_logits(network(volumes), target))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


BAD_SETTINGS = {
    "adjacency": ({"adjacency": "near"}, "^adjacency='near' is not one of grid, knn"),
    "grid": ({"K": 10}, "^K=10 must be one of 6, 26, 124, 342 with adjacency='grid'$"),
    "window": ({"window": 2}, "^window=2 must be None with adjacency='grid', whose neighbours K says$"),
    "K": ({"adjacency": "knn", "K": 0}, "^K=0 must be an integer of at least 1$"),
    "no window": ({"adjacency": "knn", "window": 0}, "^window=0 must be an integer of at least 1$"),
    "periodic": ({"adjacency": "knn", "periodic": True}, "^periodic=True must be False with adjacency='knn'"),
    "layer": ({"layer": "SAG"}, "^layer='SAG' is not one of .*did you mean 'SAGE'"),
    "maps": ({"layer": "Conv2d"}, "^layer='Conv2d' reads maps; choose one that reads graphs: "),
    "kind": ({"layer": 3}, "^layer=3 must be the name of a layer, or a function"),
    "layers": ({"num_layers": 0}, "^num_layers=0 must be an integer of at least 1$"),
    "features": ({"features": 0}, "^features=0 must be an integer of at least 1$"),
    "levels": ({"levels": 1}, "^levels=1 must be an integer of at least 2$"),
    "classes": ({"num_classes": 0}, "^num_classes=0 must be an integer of at least 1$"),
    "channels": ({"in_channels": 0}, "^in_channels=0 must be an integer of at least 1$"),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_bad_settings_are_named(name: str) -> None:
    settings, message = BAD_SETTINGS[name]
    with pytest.raises(InputError, match=message):
        GraphUNet3d(**{"features": 2} | settings)


def test_bad_volumes_are_named() -> None:
    network = GraphUNet3d(2, adjacency="knn")
    for shape, message in (
        ((1, 1, 8, 8), r"^volumes of shape \(1, 1, 8, 8\) must be \(B, 1, D, H, W\)$"),
        ((1, 2, 8, 8, 8), r"^volumes of shape \(1, 2, 8, 8, 8\) must be \(B, 1, D, H, W\)$"),
        ((1, 1, 8, 6, 8), "^volumes of 8x6x8 voxels must have sides that are multiples of 4; pad or crop them$"),
        ((1, 1, 0, 8, 8), "^volumes of 0x8x8 voxels must have sides that are multiples of 4"),
        ((1, 1, 8, 8, 8), "^K=10 is more than the 8 voxels of the deepest map, 2x2x2$"),
    ):
        with pytest.raises(InputError, match=message):
            network(torch.zeros(shape))
    with pytest.raises(InputError, match=r"^volumes of torch.uint8 must be floating; pass volumes.float\(\)"):
        network(torch.zeros(1, 1, 8, 8, 8, dtype=torch.uint8))
    with pytest.raises(InputError, match=r"^K=9 must lie between 1 and 8, the positions of the shortest list"):
        GraphUNet3d(2, adjacency="knn", window=1, K=9)(torch.zeros(1, 1, 16, 16, 16))
    with pytest.raises(InputError, match=r"^channels=1 must be an integer of at least 2$"):
        NodeNorm(1)


@pytest.mark.long
@pytest.mark.parametrize("settings", [{"adjacency": "knn", "K": 3}, {"periodic": True}])
def test_it_compiles_as_one_graph(settings: dict) -> None:
    network, volumes = GraphUNet3d(2, layer="GraphConvNN", **settings).double(), rows(2, 1, 8, 8, 8)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(volumes), network(volumes))


def test_they_are_segmentation_networks() -> None:
    assert issubclass(GraphUNet3d, segmentation.SegmentationNetwork)
    (logits,) = GraphUNet3d(2).maps(torch.zeros(1, 1, 8, 8, 8))
    assert logits.shape == (1, 1, 8, 8, 8)
