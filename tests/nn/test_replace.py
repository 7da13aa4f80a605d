"""Tests of replacing layers of other networks."""

import re
from itertools import product
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

import convnn
import convnn.nn as cnn
from convnn.errors import InputError, UnsupportedError
from pairwise import only

NETWORKS = ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1", "densenet121", "convnext_tiny"]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8, bias=False),
        nn.Conv2d(8, 8, 1),
        nn.Sequential(nn.Conv2d(8, 8, (1, 3), padding=(0, 1)), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1)),
    )


def names(report: cnn.ReplacementReport) -> list[str]:
    return [fate.name for fate in report.replaced]


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        *only(lambda one: one[0] in NETWORKS[::2], product(NETWORKS, ["ConvNN"])),
        *only(lambda one: one[0] in NETWORKS[1::2], product(NETWORKS, ["Branching"])),
    ],
)
def test_with_the_positions_of_its_windows_a_network_computes_what_it_did(name: str, layer: str) -> None:
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(num_classes=10).double()
    x = torch.randn(2, 3, 64, 64, dtype=torch.double)

    def logits() -> Tensor:
        torch.manual_seed(1)  # of dropout
        return model(x)  # in training: signals vanish in batch normalisation with initial statistics

    before = logits()
    report = convnn.replace_layers(model, layer, keep_weights=True, similarity_type="Window")
    torch.testing.assert_close(logits(), before, rtol=0, atol=1e-9)
    assert len(report.replaced) > 5
    moved = next(module for module in model.modules() if isinstance(module, cnn.ConvNN2d))
    moved.search = cnn.Search(moved.search.K)
    assert (logits() - before).abs().max() > 1e-4


def test_layers_keep_their_geometry_device_type_and_mode() -> None:
    model = network().double().eval()
    convnn.replace_layers(model, "ConvNN", K=4)
    layer = model[2]
    assert (layer.in_channels, layer.out_channels, layer.groups, layer.bias) == (8, 8, 8, None)
    assert (layer.grid.window_size, layer.grid.stride, layer.grid.padding) == (3, 2, 1)
    assert (layer.weight.shape, layer.weight.dtype, layer.training) == ((8, 1, 4), torch.double, False)
    assert model[4][0].grid.window_size == (1, 3)


def test_the_report_names_every_convolution_and_says_why_it_was_left() -> None:
    model = network()
    model[4][2] = nn.utils.parametrizations.weight_norm(model[4][2])
    report = convnn.replace_layers(model, "ConvNN", where="[0-3]")
    assert str(report).splitlines() == [
        "2 layers replaced, 3 left",
        "0    Conv2d -> ConvNN2d",
        "2    Conv2d -> ConvNN2d",
        "3    Conv2d left: its window is a single position",
        "4.0  Conv2d left: its name does not fit '[0-3]'",
        "4.2  ParametrizedConv2d left: ParametrizedConv2d computes more than a convolution, or not the same",
    ]


@pytest.mark.parametrize(
    ("where", "replaced"),
    [
        ("4.*", ["4.0", "4.2"]),
        (("0", "4.2"), ["0", "4.2"]),
        (nn.Conv2d, ["0", "2", "4.0", "4.2"]),
        (["0", "4.2"], ["0", "4.2"]),
        ((nn.Conv1d, nn.Conv2d), ["0", "2", "4.0", "4.2"]),
        (lambda name, layer: name > "1" and layer.out_channels > 0, ["2", "4.0", "4.2"]),
        (cnn.Where(names="4.*", predicate=lambda name, layer: name != "4.0"), ["4.2"]),
        (cnn.Where(fraction=0.5), ["4.0", "4.2"]),
        (cnn.Where(names="[0-2]", fraction=0.5), ["2"]),
        (cnn.Where(map_size=(1, 5)), ["4.0", "4.2"]),
        (cnn.Where(map_size=(6, 99), types=nn.Conv2d), ["0", "2"]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_where_picks_by_name_class_size_and_share(where: Any, replaced: list[str]) -> None:
    model = network()
    state = [module.training for module in model.modules()]
    report = convnn.replace_layers(model, "ConvNN", where=where, example=torch.randn(2, 3, 9, 9))
    assert names(report) == replaced
    assert not model[1].running_mean.any(), "the example must teach the model nothing"
    assert state == [module.training for module in network().modules()]


def test_a_layer_with_two_names_stays_one_layer() -> None:
    shared = nn.Conv2d(4, 4, 3, padding=1)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    assert names(convnn.replace_layers(model)) == ["0", "2"]
    assert model[0] is model[2]


def test_a_layer_with_two_names_is_replaced_under_both_or_neither() -> None:
    shared, other = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
    model = nn.Sequential(shared, other, shared)
    report = convnn.replace_layers(model, "ConvNN", where=("0", "1"))
    assert names(report) == ["1"]
    assert model[0] is model[2] is shared
    assert report.fates[0].reason == "it is the same layer as 2, which is left"
    with pytest.raises(InputError, match="0 was left: it is the same layer as 1, which is left"):
        convnn.replace_layers(nn.Sequential(shared, shared), "ConvNN", where="0")


@pytest.mark.parametrize("keep_weights", [False, True])
def test_layers_that_share_a_parameter_are_left_and_said_so(keep_weights: bool) -> None:
    model = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3)))
    model[2].weight = model[0].weight
    report = convnn.replace_layers(model, "ConvNN", keep_weights=keep_weights, similarity_type="Window")
    assert names(report) == ["1"]
    assert model[0].weight is model[2].weight
    assert "0  Conv2d left: it shares a parameter with 2, and would no longer" in str(report)
    assert "2  Conv2d left: it shares a parameter with 0, and would no longer" in str(report)


def test_sharing_with_a_layer_of_another_kind_counts_too() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.attend = nn.Conv2d(3, 4, 3), nn.MultiheadAttention(4, 2)
            self.decode, self.free = nn.ConvTranspose2d(4, 3, 3), nn.Conv2d(3, 4, 3)
            self.decode.weight = self.encode.weight
            self.scale = self.attend.out_proj.weight

    report = convnn.replace_layers(Tied(), "ConvNN")
    assert names(report) == ["free"]
    assert report.left[0].reason == "it shares a parameter with decode, and would no longer"
    with pytest.raises(InputError, match="attend was left: it shares a parameter with Tied, and would no longer"):
        convnn.replace_layers(Tied(), "ConvNNAttention", K=2)


def test_parts_of_our_own_layers_are_left_in_peace() -> None:
    model = nn.Sequential(cnn.Branching2d(3, 4), nn.Conv2d(4, 4, 3))
    assert names(convnn.replace_layers(model)) == ["1"]
    assert isinstance(model[0].branch2, nn.Conv2d)


def test_a_function_may_make_the_layers() -> None:
    model = network()
    report = convnn.replace_layers(model, lambda conv: nn.Conv2d(conv.in_channels, conv.out_channels, 1), where="0")
    assert names(report) == ["0"]
    assert model[0].kernel_size == (1, 1)


def test_signals_and_volumes_are_replaced_too() -> None:
    model = nn.Sequential(nn.Conv1d(3, 4, 5, padding=2), nn.Flatten(2), nn.Unflatten(2, (4, 2, 2)), nn.Conv3d(4, 2, 2))
    x = torch.randn(2, 3, 16)
    before = model(x)
    convnn.replace_layers(model, keep_weights=True, similarity_type="Window")
    assert [type(model[i]).__name__ for i in (0, 3)] == ["ConvNN1d", "ConvNN3d"]
    torch.testing.assert_close(model(x), before)


class Conv2dSame(nn.Conv2d):
    """A convolution that pads as TensorFlow does, like timm's of this name."""

    def forward(self, x: Tensor) -> Tensor:
        axes = zip(x.shape[2:], self.kernel_size, self.stride, strict=True)
        sides = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in axes]
        return super().forward(nn.functional.pad(x, [side for n in sides[::-1] for side in (n // 2, n - n // 2)]))


@pytest.mark.parametrize("layer", ["ConvNN", "Branching", "Conv2d_New"])
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_of_tensorflow_is_kept(layer: str, stride: int) -> None:
    model, x = nn.Sequential(Conv2dSame(3, 4, 3, stride=stride)), torch.randn(1, 3, 8, 7)
    before = model(x)
    settings = {} if layer == "Conv2d_New" else {"similarity_type": "Window"}
    convnn.replace_layers(model, layer, keep_weights=True, **settings)
    torch.testing.assert_close(model(x), before)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("layer", cnn.list_layers("tokens"))
def test_the_attention_of_torch_becomes_any_layer_on_tokens(layer: str, batch_first: bool) -> None:
    model = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=batch_first)
    settings = {"kernel_size": 3} if layer == "BranchConv" else {}
    settings |= {"K": 3} if "K" in cnn.LAYERS[layer].settings else {}
    report = convnn.replace_layers(model, layer, **settings)
    assert names(report) == ["self_attn"]
    x = torch.randn(2, 5, 8)
    inner = model.self_attn.layer
    inner.eval()
    expected = model.norm1(x + inner(x))
    expected = model.norm2(expected + model.linear2(model.linear1(expected).relu()))
    actual = model(x if batch_first else x.transpose(0, 1))
    torch.testing.assert_close(actual if batch_first else actual.transpose(0, 1), expected)
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(x if batch_first else x.transpose(0, 1)), actual)


def test_attention_of_timm_becomes_a_layer_on_tokens() -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=10)
    report = convnn.replace_layers(model, "ConvNNAttention", where="blocks.1?.*", K=5)
    assert names(report) == ["blocks.10.attn", "blocks.11.attn"]
    model(torch.randn(1, 3, 64, 64)).sum().backward()
    assert model.blocks[11].attn.layer.query.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("masks", [{"attn_mask": torch.zeros(5, 5)}, {"is_causal": True}], ids=["mask", "causal"])
def test_masks_are_refused_in_words(masks: dict[str, Any]) -> None:
    model = nn.ModuleList([nn.MultiheadAttention(8, 2, batch_first=True)])
    convnn.replace_layers(model, "ConvNNAttention", K=3)
    x = torch.randn(1, 5, 8)
    with pytest.raises(UnsupportedError, match=f"{next(iter(masks))} is not supported"):
        model[0](x, x, x, **masks)
    with pytest.raises(UnsupportedError, match="query, key, value differ"):
        model[0](x, x.clone(), x)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "layer": ({"layer": "ConvN"}, "layer='ConvN' is not one of .*did you mean 'ConvNN'"),
    "setting": ({"k": 3}, "setting 'k' is unknown; did you mean 'K'"),
    "padding": ({"padding": 1}, "padding=1 is kept from each convolution"),
    "stride": ({"stride": 1}, "setting 'stride' is unknown"),
    "nothing": ({"where": "9"}, "where admits no layer of Sequential: names='9' fits none of 0, 2, 3 and 2 more"),
    "attention": (
        {"layer": "Attention"},
        "^model=Sequential has no self-attention that layer='Attention' could replace$",
    ),
    "conv": ({"layer": "Conv2d"}, "layer='Conv2d' takes no convolution's place"),
    "example": ({"where": cnn.Where(map_size=(1, 2))}, r"map_size=\(1, 2\), which needs example="),
    "weights": (
        {"keep_weights": True, "similarity_type": "Window", "K": 4},
        "keep_weights=True needs a layer with weights of shape",
    ),
    "window": (
        {"keep_weights": True},
        "keep_weights=True with layer='ConvNN' needs similarity_type='Window', with which",
    ),
    "branching": ({"layer": "Branching", "keep_weights": True}, "layer='Branching' needs similarity_type='Window'"),
    "typo": ({"where": "4.1"}, r"where admits no layer of Sequential: .*; did you mean '4.[02]'\?$"),
    "single": ({"where": "3"}, "no layer of Sequential; 3 was left: its window is a single position"),
    "predicate": ({"where": lambda name, layer: False}, "where admits no layer of Sequential: what it says fits none"),
    "where number": ({"where": 3}, "where=3 must be a pattern of names such as 'layer4"),
    "where class": ({"where": int}, "where=<class 'int'> must be a pattern of names"),
    "where mixed": ({"where": ["0", nn.Conv2d]}, "must be a pattern of names"),
    "layer number": ({"layer": 3}, "layer=3 must be a name, a layer class, or a function"),
    "layer class": ({"layer": nn.Conv2d}, "cannot be called with the old layer alone; give a function such as"),
    "function's setting": ({"layer": lambda old: old, "K": 3}, "K=3 is for a layer by name; a function sees to it"),
    "function's weights": (
        {"layer": lambda old: old, "keep_weights": True},
        "keep_weights=True is for a layer by name",
    ),
    "example list": ({"where": cnn.Where(map_size=(1, 2)), "example": [1]}, r"example=\[1\] must be a tensor"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_and_changes_nothing(name: str) -> None:
    arguments, message = BAD[name]
    model = network()
    with pytest.raises(InputError, match=message):
        convnn.replace_layers(model, **arguments)
    assert repr(model) == repr(network())


def test_a_network_without_such_layers_and_a_layer_alone_are_refused_by_what_they_are() -> None:
    with pytest.raises(InputError, match=r"^model=Linear has no convolution that layer='ConvNN' could replace$"):
        convnn.replace_layers(nn.Linear(3, 4), "ConvNN")
    with pytest.raises(InputError, match=r"^model=Conv1d is a single layer, not a network; wrap it"):
        convnn.replace_layers(nn.Conv1d(3, 4, 3), "ConvNN")


def test_where_refuses_what_makes_no_sense() -> None:
    with pytest.raises(InputError, match="fraction=2 "):
        cnn.Where(fraction=2)
    for sides in ((5, 1), 16, (16,), ("1", "2")):
        with pytest.raises(
            InputError, match=rf"map_size={re.escape(repr(sides))} must be the smallest and the largest"
        ):
            cnn.Where(map_size=sides)
    for settings in ({"names": 3}, {"types": "Conv2d"}, {"fraction": "half"}, {"predicate": "0"}):
        [(name, value)] = settings.items()
        with pytest.raises(InputError, match=rf"^{name}={value!r} must be "):
            cnn.Where(**settings)
    with pytest.raises(InputError, match=r"^model=3 must be a torch\.nn\.Module"):
        convnn.replace_layers(3)


def test_weights_of_a_convolution_mean_nothing_to_attention() -> None:
    with pytest.raises(UnsupportedError, match="ConvNNAttn2d has not"):
        convnn.replace_layers(network(), "ConvNN_Attn", keep_weights=True)


def test_a_class_is_a_layer_too() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv1d(3, 4, 3))
    report = convnn.replace_layers(model, cnn.ConvNN2d, K=5)
    assert (type(model[0]), model[0].search.K) == (cnn.ConvNN2d, 5)
    assert report.left[0].reason == "the layer reads maps of 2 axes"
    for layer in (cnn.ConvNN1d, cnn.ViG2d, cnn.Branching2d, cnn.NeighborhoodAttention2d):
        model = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv1d(8, 8, 3))
        convnn.replace_layers(model, layer)
        assert layer in {type(module) for module in model}
    model = nn.ModuleList([nn.MultiheadAttention(8, 2)])
    convnn.replace_layers(model, cnn.KvtAttention, K=3)
    assert isinstance(model[0].layer, cnn.KvtAttention)


def trained(model: nn.Module) -> nn.Module:
    """Return the model with changed weights and biases, including those initialised to zeros."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / 5)
    return model.eval()


def attention_of_torch(bias: bool = True) -> tuple[nn.Module, Tensor]:
    layer = nn.TransformerEncoderLayer(12, 3, 16, batch_first=True, bias=bias, dtype=torch.float64)
    return trained(layer), torch.randn(2, 7, 12, dtype=torch.float64)


def attention_of_timm() -> tuple[nn.Module, Tensor]:
    timm = pytest.importorskip("timm")
    settings = {"patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 5}
    model = timm.models.VisionTransformer(img_size=32, **settings)
    return trained(model).double(), torch.randn(2, 3, 32, 32, dtype=torch.float64)


@pytest.mark.parametrize("make", [attention_of_torch, lambda: attention_of_torch(bias=False), attention_of_timm])
@pytest.mark.parametrize(("layer", "settings"), [("Attention", {}), ("ConvNNAttention", {"K": None})])
def test_with_its_weights_attention_computes_what_it_did(make, layer: str, settings: dict[str, Any]) -> None:
    model, x = make()
    expected = model(x)
    settings = {name: x.shape[1] if x.dim() == 3 else 5 for name in settings}  # K of all tokens
    report = convnn.replace_layers(model, layer, keep_weights=True, **settings)
    assert report.replaced
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-9)


def test_every_attention_keeps_projections_and_biases() -> None:
    for layer in ("KvtAttention", "NeighborhoodAttention", "SparseAttention"):
        model, _ = attention_of_torch()
        old = model.self_attn
        convnn.replace_layers(model, layer, keep_weights=True)
        new = model.self_attn.layer
        assert torch.equal(torch.cat([new.query.weight, new.key.weight, new.value.weight]), old.in_proj_weight)
        assert torch.equal(torch.cat([new.query.bias, new.key.bias, new.value.bias]), old.in_proj_bias)
        assert torch.equal(new.output.weight, old.out_proj.weight)
        assert torch.equal(new.output.bias, old.out_proj.bias)


def test_weights_that_have_no_place_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="the projections of attention, which BranchAttention does not have"):
        convnn.replace_layers(attention_of_torch()[0], "BranchAttention", keep_weights=True)
    with pytest.raises(
        InputError, match=r"needs projections of shape \(12, 12\), and the new layer's have \(192, 12\)"
    ):
        convnn.replace_layers(attention_of_torch()[0], "LocalAttention", keep_weights=True)
    model = nn.ModuleList([nn.MultiheadAttention(12, 3, add_bias_kv=True)])
    with pytest.raises(UnsupportedError, match="the old attention has the weight bias_k, which Attention has not"):
        convnn.replace_layers(model, "Attention", keep_weights=True)


def test_the_type_of_attention_stays() -> None:
    model, x = attention_of_torch()
    convnn.replace_layers(model, "BranchAttention", K=3)
    assert model(x).dtype == torch.float64
