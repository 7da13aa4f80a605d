import pytest
import torch
from torch import nn

from convnn.errors import InputError
from convnn.models import (
    VGG,
    _registry,
    create_model,
    default_layer,
    describe_model,
    list_models,
    model_settings,
    own_loss_of,
    reads_of,
    register_model,
    task_of,
)
from convnn.models.resnet import ResidualBlock
from kernel_layers import KERNELS
from pairwise import one_in


def _count(*args: object, **settings: object) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in create_model(*args, **settings).parameters())


@pytest.mark.parametrize(
    ("layer", "settings", "published"),
    [
        ("Conv2d", {}, 128_812_810),
        ("Branching", {"branch_ratio": 0.0}, 130_015_690),
        ("Branching", {"branch_ratio": 0.125}, 130_015_690),
        ("Branching", {"branch_ratio": 0.5}, 130_015_690),
        ("Branching", {"branch_ratio": 1.0}, 130_015_690),
        ("Branching", {"branch_ratio": 0.5, "aggregation_type": "Loc_Col"}, 130_040_458),
        ("Branching_Attn", {"branch_ratio": 0.5}, 129_055_363),
        ("Branching_Attn", {"branch_ratio": 1.0}, 125_858_691),
        ("Branching", {"branch_ratio": 0.5, "shuffle_pattern": "BA", "shuffle_scale": 2}, 199_152_778),
    ],
)
def test_vgg11_has_the_published_number_of_parameters(layer: str, settings: dict, published: int) -> None:
    assert _count("vgg11", layer, **settings) == published
    assert _count("vgg11", layer, num_classes=100, **settings) == published + 368_730


OTHERS = ("graphs", "interactions", "triples", "mixtures")
NETWORKS = [
    name
    for name in list_models()
    if reads_of(name) not in OTHERS and own_loss_of(name) is None and task_of(name) == "classification"
]
"""Classifiers of images and sequences; the others have their own tests."""


@pytest.mark.parametrize("name", one_in(4, NETWORKS[1:]))
def test_any_channels_classes_and_resolutions(name: str) -> None:
    settings = KERNELS.get(default_layer(name), {})
    network = create_model(name, in_channels=2, num_classes=5, width=1 / 16, **settings).eval()
    for side in (32, 48):
        size = (side,) if reads_of(name) == "sequences" else (side, side + 16)
        assert network(torch.randn(1, 2, *size)).shape == (1, 5)


@pytest.mark.parametrize("name", one_in(4, NETWORKS))
def test_features_then_head_is_the_network(name: str) -> None:
    layer = "Attention" if reads_of(name) == "tokens" else "Conv2d"  # a choice of neighbours would amplify rounding
    network = create_model(name, layer, width=1 / 16).eval()
    x = torch.randn(2, 3, 32) if network.reads == "sequences" else torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(network(x), network.forward_head(network.forward_features(x)))


def test_width_scales_the_network() -> None:
    assert _count("resnet18", "Conv2d", width=0.5) < _count("resnet18", "Conv2d") / 3


def test_residual_block_adds_its_input() -> None:
    block = ResidualBlock(3, 3, lambda i, o: nn.Conv2d(i, o, 1)).eval()
    nn.init.zeros_(block.residual[4].weight)
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(block(x), x.relu())


def test_residual_block_projects_where_channels_change() -> None:
    block = ResidualBlock(3, 5, lambda i, o: nn.Conv2d(i, o, 1))
    assert isinstance(block.identity, nn.Conv2d)
    assert block.identity.kernel_size == (1, 1)
    assert block(torch.randn(2, 3, 4, 4)).shape == (2, 5, 4, 4)


def test_resnet_keeps_the_resolution_and_densenet_divides_it_by_eight() -> None:
    x = torch.randn(1, 3, 16, 16)
    assert create_model("resnet18", "Conv2d", width=1 / 16).forward_features(x).shape[2:] == (16, 16)
    assert create_model("densenet121", "Conv2d", width=1 / 16).forward_features(x).shape[2:] == (2, 2)


def test_seed_fixes_the_weights() -> None:
    torch.manual_seed(3)
    first = create_model("resnet18", "ConvNN", width=1 / 16)
    torch.manual_seed(3)
    second = create_model("resnet18", "ConvNN", width=1 / 16)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_patterns_list_models() -> None:
    assert list_models("vgg*") == ["vgg11", "vgg13", "vgg16", "vgg19"]
    assert list_models("none*") == []
    assert "8 blocks" in describe_model("resnet18")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "vgg12"}, "model='vgg12' is not one of .*did you mean 'vgg1"),
        ({"name": "vgg11", "layer": "Convnn"}, "layer='Convnn' is not one of .*did you mean 'ConvNN'"),
        ({"name": "vgg11", "brnch_ratio": 0.5}, "'brnch_ratio' is unknown; did you mean 'branch_ratio'"),
        ({"name": "vgg11", "width": 0.0}, r"width=0.0 must be positive"),
        ({"name": "vgg11", "in_channels": 0}, r"in_channels=0 must be an integer of at least 1"),
        ({"name": "vgg11", "num_classes": 0}, r"num_classes=0 must be an integer of at least 1"),
        ({"name": "vgg11", "K": 0}, r"K=0 must be an integer of at least 1"),
    ],
)
def test_bad_arguments_are_named(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        create_model(**settings)


def test_images_too_small_or_of_other_channels_are_named() -> None:
    network = create_model("vgg11", "Conv2d", width=1 / 16)
    with pytest.raises(InputError, match=r"images of 8x31 pixels are too small for VGG.*resize=32"):
        network(torch.randn(1, 3, 8, 31))
    with pytest.raises(InputError, match=r"images of shape \(1, 1, 32, 32\) must be \(B, 3, H, W\)"):
        network(torch.randn(1, 1, 32, 32))


def test_more_neighbours_than_positions_names_both_and_the_map() -> None:
    network = create_model("vgg11", "ConvNN", K=9, padding=0, width=1 / 16)
    with pytest.raises(InputError, match=r"K=9 is more than the 4 positions of a 2x2 map with padding=0"):
        network(torch.randn(1, 3, 32, 32))


def test_a_name_is_registered_once() -> None:
    def vgg11() -> None: ...

    with pytest.raises(InputError, match="model 'vgg11' is registered already"):
        register_model(VGG)(vgg11)


def test_a_model_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_registry, "_MODELS", dict(_registry._MODELS))

    @register_model(VGG)
    def vgg3(layer: object, *, dropout: float = 0.1, **settings: object) -> VGG:
        """Create a small VGG."""
        return VGG((1, 0, 0, 0, 0), layer, dropout=dropout, **settings)

    assert model_settings("vgg3") == {"share_kernels": "none", "dropout": 0.1}
    assert default_layer("vgg3") == "ConvNN"
    network = create_model("vgg3", "Conv2d", width=1 / 64, dropout=0.3)
    assert network.head[4].p == 0.3


@pytest.mark.parametrize(
    ("model", "layer", "fitting"),
    [
        ("vit", "ConvNN", "layer='ConvNN' reads maps; model='vit' is built of .* tokens: Attention, ConvNNAttention, "),
        ("vgg11", "Attention", "layer='Attention' reads tokens; model='vgg11' is .* maps: Conv2d, Conv2d_New, ConvNN,"),
        ("vit", "Atention", "layer='Atention' is not one of .*; did you mean 'Attention'"),
    ],
)
def test_a_layer_that_a_network_cannot_take_is_refused_with_those_it_can(model: str, layer: str, fitting: str) -> None:
    with pytest.raises(InputError, match=fitting):
        create_model(model, layer)


def test_settings_that_neither_network_nor_layer_reads_are_left_out() -> None:
    assert _count("vgg11", "Conv2d", patch_size=8, num_heads=5, sparse_mode="local") == 128_812_810
