"""Tests of the vision transformer: sizes, positions, blocks, and errors."""

import math

import pytest
import torch
from torch import nn

from convnn.errors import InputError
from convnn.models import create_model, vit
from convnn.models.vit import Block, PatchEmbedding, sinusoidal_positions

SMALL = {"patch_size": 8, "num_layers": 2, "d_hidden": 12, "d_mlp": 16, "num_classes": 5}


def _count(name: str, layer: str, **settings: object) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in create_model(name, layer, **settings).parameters())


@pytest.mark.parametrize(
    ("layer", "settings", "published"),
    [
        ("Attention", {}, 5_479_306),
        ("Attention", {"num_heads": 1}, 5_479_306),
        ("ConvNNAttention", {"num_heads": 1}, 5_500_042),
        ("ConvNNAttention", {"num_heads": 1, "K": 16}, 5_516_170),
        ("ConvNNAttention", {"num_heads": 3}, 5_486_218),
        ("ConvNNAttention", {"num_heads": 1, "convolution_type": "standard"}, 9_460_618),
        ("ConvNNAttention", {"num_heads": 1, "convolution_type": "depthwise-separable"}, 5_942_410),
        ("LocalAttention", {"num_heads": 1}, 4_299_658),
        ("LocalAttention", {"num_heads": 3}, 5_479_306),
        ("SparseAttention", {}, 5_479_306),
        ("KvtAttention", {}, 5_479_306),
        ("BranchAttention", {"num_heads": 1}, 5_049_610),
    ],
)
def test_vit_tiny_has_the_published_number_of_parameters(layer: str, settings: dict, published: int) -> None:
    assert _count("vit_tiny", layer, **settings) == published
    assert _count("vit", layer, **settings) == published


@pytest.mark.parametrize(("name", "dim", "heads"), [("vit_tiny", 192, 3), ("vit_small", 384, 6), ("vit_base", 768, 12)])
def test_presets(name: str, dim: int, heads: int) -> None:
    with torch.device("meta"):
        network = create_model(name, "ConvNNAttention")
    layer = network.blocks[0].attention
    assert (layer.dim, layer.num_heads, len(network.blocks)) == (dim, heads, 12)
    assert network.blocks[0].mlp[0].out_features == 4 * dim


def test_what_is_given_goes_before_the_preset() -> None:
    with torch.device("meta"):
        network = create_model("vit_small", num_heads=2, num_layers=1)
    assert (network.blocks[0].attention.num_heads, len(network.blocks)) == (2, 1)


def test_a_layer_of_ones_own() -> None:
    network = vit(lambda dim, heads: nn.Linear(dim, dim), num_layers=1)
    assert isinstance(network.blocks[0].attention, nn.Linear)
    assert network(torch.randn(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.parametrize("size", [(8, 8), (16, 40), (32, 32)], ids=str)
def test_any_whole_number_of_patches(size: tuple[int, int]) -> None:
    network = create_model("vit", **SMALL).eval()
    x = torch.randn(2, 3, *size)
    assert network.forward_features(x).shape == (2, 1 + size[0] * size[1] // 64, 12)
    assert network(x).shape == (2, 5)


def test_patches_are_rows_of_the_image() -> None:
    embed = PatchEmbedding(1, 2, 4)
    embed.norm = nn.Identity()
    x = torch.arange(8 * 12.0).view(1, 1, 8, 12)
    tokens = embed(x)
    kernel = embed.project.weight.flatten(1)
    for row in range(2):
        for column in range(3):
            patch = x[0, 0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].flatten()
            torch.testing.assert_close(tokens[0, 3 * row + column], kernel @ patch + embed.project.bias)


@pytest.mark.parametrize("dim", [6, 7])
def test_positions_are_sines_and_cosines(dim: int) -> None:
    positions = sinusoidal_positions(torch.zeros(2, 50, dim))
    assert positions.shape == (50, dim)
    for t in (0, 1, 49):
        for c in range(dim):
            angle = t * 10000 ** (-(c - c % 2) / dim)
            expected = math.cos(angle) if c % 2 else math.sin(angle)
            assert positions[t, c].item() == pytest.approx(expected, abs=1e-5)


def test_a_block_is_two_branches_beside_shortcuts() -> None:
    block = Block(6, 2, 8, 0.5, lambda dim, heads: nn.Linear(dim, dim)).eval()
    x = torch.randn(2, 5, 6)
    between = x + block.attention(block.attention_norm(x))
    torch.testing.assert_close(block(x), between + block.mlp(block.mlp_norm(between)))


def test_the_class_token_alone_is_classified() -> None:
    network = create_model("vit", **SMALL).eval()
    features = torch.randn(2, 17, 12)
    changed = features.clone()
    changed[:, 1:] = 0
    assert torch.equal(network.forward_head(features), network.forward_head(changed))


def test_with_a_distillation_token_three_answer() -> None:
    network = create_model("vit", distillation_token=True, **SMALL).eval()
    x = torch.randn(2, 3, 32, 24)
    features = network.forward_features(x)
    assert features.shape == (2, 2 + 4 * 3, 12)
    image, token, patches = network.responses(features)
    assert torch.equal(image, network.head(features[:, 0]))
    taught = torch.stack([network.distillation_head(one) for one in features[:, 1:].unbind(1)], 1)
    torch.testing.assert_close(torch.cat([token[:, None], patches], 1), taught)
    torch.testing.assert_close(network(x), (image + token + sum(patches.unbind(1)) / 12) / 3)
    plain = create_model("vit", **SMALL)
    assert "distillation_token" not in plain.state_dict()
    with pytest.raises(
        InputError, match=r"^a ViT without a distillation token has one answer only; build it with one$"
    ):
        plain.responses(features)


def test_dropout_acts_in_training_only() -> None:
    network = create_model("vit", dropout=0.5, attention_dropout=0.0, **SMALL)
    x = torch.randn(2, 3, 16, 16)
    assert not torch.equal(network(x), network(x))
    assert torch.equal(network.eval()(x), network(x))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"d_hidden": 100}, "^d_hidden=100 must be a multiple of num_heads=3$"),
        ({"width": 0.51}, "^d_hidden=192 times width=0.51 must be a multiple of num_heads=3$"),
        ({"patch_size": 0}, "^patch_size=0 must be an integer of at least 1$"),
        ({"num_layers": 0}, "^num_layers=0 must be an integer of at least 1$"),
        ({"num_heads": 0}, "^num_heads=0 must be an integer of at least 1$"),
        ({"d_mlp": -1}, "^d_mlp=-1 must be an integer of at least 1$"),
        ({"dropout": 1.5}, "^dropout=1.5 must lie between 0 and 1$"),
    ],
)
def test_bad_sizes_are_named(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        create_model("vit", **settings)


@pytest.mark.parametrize(("size", "remedy"), [((32, 30), 32), ((4, 4), 8), ((220, 224), 224)], ids=str)
def test_images_that_are_no_whole_number_of_patches_are_named(size: tuple[int, int], remedy: int) -> None:
    network = create_model("vit", **SMALL)
    height, width = size
    message = f"images of {height}x{width} pixels must have .* multiples of patch_size=8; resize them: resize={remedy}$"
    with pytest.raises(InputError, match=message):
        network(torch.randn(1, 3, *size))


def test_more_neighbours_than_tokens_names_both() -> None:
    network = create_model("vit", "ConvNNAttention", K=9, **SMALL)
    with pytest.raises(InputError, match="K=9 is more than the 5 tokens of the input; lower K"):
        network(torch.randn(1, 3, 16, 16))
