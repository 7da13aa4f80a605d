"""The neighbours that layers choose, and the query pixels."""

from itertools import product

import pytest
import torch
from torch import nn

from convnn.errors import InputError
from convnn.models import create_model
from convnn.models.vit import sinusoidal_positions
from convnn.nn import (
    LAYERS,
    Attention,
    Branching2d,
    Conv2dNew,
    ConvNN1d,
    ConvNN2d,
    ConvNNAttn2d,
    DAGC2d,
    SparseAttention,
    UnpaddedLayer,
    list_layers,
)
from convnn.viz import choose_queries, find_neighbors
from open_page import by_hand, nearest_query


class Failing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no further")


class Transposed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mT


BY_PLACE = ("LKCAttention", "GlobalContext", "VRWKV")
"""Layers on tokens that choose nobody."""
VIT = {"patch_size": 4, "num_layers": 2, "d_hidden": 8, "d_mlp": 8}


def image(*shape: int) -> torch.Tensor:
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_pre_hooks) for module in model.modules())


@pytest.mark.parametrize("layer_type", [ConvNN2d, ConvNNAttn2d])
def test_choices_are_those_of_the_layer(layer_type):
    layer, x = layer_type(3, 4, K=5).eval(), image(3, 6, 4)
    [found] = find_neighbors(layer, x)
    indices, scores, _ = layer.neighbors(x)
    assert found.name == layer_type.__name__
    assert found.size == (6, 4)
    assert found.places.dtype == found.queries.dtype == torch.int64
    assert torch.equal(found.queries, torch.cartesian_prod(torch.arange(6), torch.arange(4)))
    padded_width = 4 + 2
    assert torch.equal((found.places[..., 0] + 1) * padded_width + found.places[..., 1] + 1, indices[0])
    assert torch.equal(found.scores, scores[0])
    assert not found.scores.requires_grad


def test_layers_come_in_order_of_execution_with_the_size_they_searched():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = ConvNN2d(8, 8, K=4)
            self.first = Branching2d.with_convnn(2, 8, K=9)

        def forward(self, x):
            return self.last(nn.functional.max_pool2d(self.first(x), 2))

    found = find_neighbors(Backwards(), image(2, 8, 6))
    assert [(layer.name, layer.size) for layer in found] == [("first.branch1", (8, 6)), ("last", (4, 3))]
    assert [tuple(layer.places.shape) for layer in found] == [(48, 9, 2), (12, 4, 2)]


def test_shuffled_layer_reports_the_folded_map():
    layer = ConvNN2d(2, 2, K=4, padding=0, shuffle_pattern="BA", shuffle_scale=2)
    [found] = find_neighbors(layer, image(2, 8, 6))
    assert found.size == (4, 3)
    assert torch.equal(found.places[:, 0], torch.cartesian_prod(torch.arange(4), torch.arange(3)))
    assert found.places.min() >= 0
    assert (found.places < torch.tensor(found.size)).all()


def test_nearest_places_are_the_window():
    layer = ConvNN2d(1, 1, K=9, padding=1, similarity_type="Loc", metric="euclidean")
    [found] = find_neighbors(layer, image(1, 4, 5))
    window = torch.cartesian_prod(torch.arange(-1, 2), torch.arange(-1, 2))
    centers = torch.cartesian_prod(torch.arange(4), torch.arange(5))
    assert torch.equal(found.places, centers[:, None] + window)


@pytest.mark.parametrize(("K", "window"), [(1, 1), (2, 3), (5, 3), (9, 3), (10, 5), (25, 5), (26, 7)])
def test_the_window_is_the_smallest_odd_square_that_holds_K(K, window):
    [found] = find_neighbors(ConvNN2d(1, 1, K=K), image(1, 6, 6))
    assert found.window == window
    assert window**2 >= K > (window - 2) ** 2 * (window > 1)


def test_the_query_at_a_pixel_is_the_nearest_and_the_first_of_several():
    every_other = by_hand([(0, 0)], (4, 4), stride=2)
    expected = {(0, 0): 0, (0, 1): 0, (0, 2): 1, (0, 3): 1, (1, 1): 0, (1, 3): 1, (2, 1): 2, (3, 0): 2, (3, 3): 3}
    assert {pixel: every_other.query_at(pixel, (4, 4)) for pixel in expected} == expected
    assert [every_other.query_at((n, n), (32, 32)) for n in (0, 11, 12, 15, 31)] == [0, 0, 3, 3, 3]


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(4, 4), (5, 3), (1, 7), (6, 9)])
@pytest.mark.parametrize("image_size", [(8, 8), (5, 12), (12, 9)])
def test_no_query_is_nearer_to_a_pixel_than_the_one_that_answers(stride, size, image_size):
    layer = by_hand([(0, 0)], size, stride)
    for pixel in product(*map(range, image_size)):
        assert tuple(layer.queries[layer.query_at(pixel, image_size)].tolist()) == nearest_query(
            layer, pixel, image_size
        )


def test_a_layer_called_twice_is_reported_twice():
    layer = ConvNN2d(2, 2, K=3)
    found = find_neighbors(nn.Sequential(layer, layer), image(2, 4, 4))
    assert [each.name for each in found] == ["0", "0"]


def test_tokens_are_patches_behind_the_class_token():
    torch.manual_seed(0)
    network = create_model("vit", "ConvNNAttention", K=3, num_heads=2, **VIT).eval()
    x = image(3, 16, 24)
    found = find_neighbors(network, x)
    assert [layer.name for layer in found] == ["blocks.0.attention", "blocks.1.attention"]
    tokens = network.embed(x)
    inputs = torch.cat([network.class_token, tokens], dim=1)
    first = network.blocks[0]
    neighbors = first.attention.neighbors(first.attention_norm(inputs + sinusoidal_positions(inputs)))
    assert found[0].size == (4, 6)
    assert found[0].places.shape == (24, 2 * 3, 2)
    assert found[0].queries.tolist() == [[row, column] for row in range(4) for column in range(6)]
    assert (found[0].outside, found[0].heads, found[0].window) == ("class token", 2, 3)
    for patch in range(24):
        of_heads = neighbors.indices[:, 1 + patch].flatten().tolist()
        expected = [[-1, -1] if token == 0 else list(divmod(token - 1, 6)) for token in of_heads]
        assert found[0].places[patch].tolist() == expected
        torch.testing.assert_close(found[0].scores[patch], neighbors.scores[:, 1 + patch].detach().flatten())


@pytest.mark.parametrize("layer", [name for name in list_layers("tokens") if name not in BY_PLACE])
def test_every_layer_on_tokens_shows_its_neighbours(layer):
    network = create_model("vit", layer, K=3, num_heads=2, sparse_mode="strided", sparse_context_window=5, **VIT)
    found = find_neighbors(network, image(3, 16, 16))
    assert len(found) == 2, "one a block: dense attention beside ConvNN is left out"
    for one in found:
        assert one.size == (4, 4)
        assert one.places.shape[0] == one.scores.shape[0] == 16
        assert one.places.min() >= -1
        assert one.places.max() < 4


UNPADDED = [name for name in list_layers("maps") if UnpaddedLayer in getattr(LAYERS[name].build, "__mro__", ())]


@pytest.mark.parametrize("layer", UNPADDED)
def test_every_layer_without_padding_shows_its_neighbours(layer):
    network = create_model("resnet18", layer, K=3, width=1 / 16, step=1)
    found = find_neighbors(network, image(3, 6, 5))
    assert len(found) == 16
    for one in found:
        assert one.size == (6, 5)
        assert one.places.shape[0] == one.scores.shape[0] == 30
        assert one.places.min() >= 0
        assert (one.places < torch.tensor(one.size)).all()
        assert (one.scores > 0).any(-1).all()


def test_who_is_not_close_enough_weighs_nothing():
    layer, x = DAGC2d(3, 4, step=1, positional_size=0), image(3, 6, 6)
    [found] = find_neighbors(layer, x)
    absent = layer.neighbors(x).absent[0]
    assert absent.any()
    assert torch.equal(found.scores == 0, absent)


def test_slots_that_nobody_fills_repeat_a_neighbour_without_weight():
    layer = SparseAttention(4, 1, sparse_mode="local", sparse_context_window=2)
    [found] = find_neighbors(nn.Sequential(nn.Flatten(2), Transposed(), layer), image(4, 1, 3))
    assert found.places[0].tolist() == [[0, 0], [0, 1], [0, 1]]
    assert found.scores[0, 2] == 0


def test_tokens_that_are_no_patches_are_refused():
    model = nn.Sequential(nn.Flatten(2), Transposed(), Attention(4, 1))
    model[0].register_forward_hook(lambda _, __, out: out[..., :5])
    with pytest.raises(InputError, match="5 tokens cannot be the patches of an image of 2x3 pixels"):
        find_neighbors(model, image(4, 2, 3))


def test_layers_on_signals_are_left_out():
    model = nn.Sequential(ConvNN2d(2, 3, K=3), nn.Flatten(2), ConvNN1d(3, 3, K=3))
    assert [layer.name for layer in find_neighbors(model, image(2, 4, 4))] == ["0"]


def test_training_modes_and_hooks_are_restored():
    model = nn.Sequential(ConvNN2d(2, 2, K=3), nn.BatchNorm2d(2).eval(), nn.Dropout()).train()
    model[1].eval()
    mean = model[1].running_mean.clone()
    find_neighbors(model, image(2, 4, 4))
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert hooks(model) == 0
    assert torch.equal(model[1].running_mean, mean)


def test_training_modes_and_hooks_are_restored_after_an_error():
    model = nn.Sequential(ConvNN2d(2, 2, K=3), Failing()).train()
    with pytest.raises(RuntimeError, match="no further"):
        find_neighbors(model, image(2, 4, 4))
    assert all(module.training for module in model.modules())
    assert hooks(model) == 0


def test_the_forward_pass_is_in_evaluation_without_gradients():
    seen = []
    model = nn.Sequential(ConvNN2d(2, 2, K=3), nn.Identity())
    model[1].register_forward_hook(lambda module, _, out: seen.append((module.training, out.requires_grad)))
    find_neighbors(model.train(), image(2, 4, 4))
    assert seen == [(False, False)]
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("model", [nn.Conv2d(2, 2, 3), Conv2dNew(2, 2), ConvNN1d(2, 2, K=3)])
def test_model_without_such_a_layer_is_refused(model):
    with pytest.raises(InputError, match=rf"model {type(model).__name__} has no layer that chooses neighbours"):
        find_neighbors(model, image(2, 4, 4))


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 2, 4, 4)])
def test_anything_but_one_image_is_refused(shape):
    with pytest.raises(InputError, match=r"must be one image \(1, C, H, W\)"):
        find_neighbors(ConvNN2d(2, 2, K=3), torch.zeros(shape))


@pytest.mark.parametrize("n", [1, 4, 48])
@pytest.mark.parametrize("pixels", [image(3, 6, 8), torch.zeros(1, 6, 8)], ids=["random", "flat"])
def test_queries_are_distinct_pixels_and_the_same_each_time(pixels, n):
    queries = choose_queries(pixels, n)
    assert len(set(queries)) == n
    assert all(0 <= row < 6 and 0 <= column < 8 for row, column in queries)
    assert choose_queries(pixels, n) == queries


def test_queries_look_for_contrast_and_spread_out():
    pixels = torch.zeros(1, 24, 24)
    pixels[0, 4:8, 4:8] = 1
    pixels[0, 16:20, 16:20] = 1
    (row, column), (other_row, other_column) = sorted(choose_queries(pixels, 2))
    assert 3 <= min(row, column) <= max(row, column) <= 8
    assert 15 <= min(other_row, other_column) <= max(other_row, other_column) <= 20


@pytest.mark.parametrize("n", [0, 5])
def test_too_many_or_no_queries_are_refused(n):
    with pytest.raises(InputError, match=f"n={n}"):
        choose_queries(torch.zeros(1, 2, 2), n)
