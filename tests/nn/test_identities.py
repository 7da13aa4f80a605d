"""Tests of identities for any weights: convolutions, attention and symmetries as special cases."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from convnn import nn as cnn

CONVOLUTIONS = {1: (cnn.ConvNN1d, nn.Conv1d), 2: (cnn.ConvNN2d, nn.Conv2d), 3: (cnn.ConvNN3d, nn.Conv3d)}
seeds = st.integers(0, 2**31)


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("k", "size"),
    [
        *[(k, (length,)) for k in (1, 3, 5, 7) for length in (1, 6, 13)],
        *[(k, size) for k in (1, 3, 5) for size in ((7, 7), (8, 8), (4, 9), (10, 3), (1, 6), (1, 1), (2, 15))],
        *[(k, size) for k in (1, 3) for size in ((4, 4, 4), (2, 3, 5), (5, 1, 2))],
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_nearest_places_are_a_convolution(k: int, size: tuple[int, ...], dtype: torch.dtype) -> None:
    axes = len(size)
    ours, theirs = CONVOLUTIONS[axes]
    search = {"padding": k // 2, "similarity_type": "Loc", "metric": "euclidean"}
    layer = ours(3, 4, K=k**axes, **search, dtype=dtype)
    conv = theirs(3, 4, k, padding=k // 2, dtype=dtype)
    with torch.no_grad():
        conv.weight.copy_(layer.weight.view(conv.weight.shape))
        conv.bias.copy_(layer.bias)
    x = _random(2, 3, *size).to(dtype).requires_grad_()
    y = x.detach().clone().requires_grad_()
    torch.testing.assert_close(layer(x), conv(y))
    upstream = _random(2, 4, *size, seed=1).to(dtype)
    layer(x).backward(upstream)
    conv(y).backward(upstream)
    torch.testing.assert_close(x.grad, y.grad)
    torch.testing.assert_close(layer.weight.grad.view(conv.weight.shape), conv.weight.grad)


@pytest.mark.parametrize("size", [(9,), (4, 5), (2, 3, 4)], ids=str)
def test_one_neighbour_is_a_1x1_convolution(size: tuple[int, ...]) -> None:
    ours, theirs = CONVOLUTIONS[len(size)]
    layer, conv = ours(3, 4, K=1, dtype=torch.float64), theirs(3, 4, 1, dtype=torch.float64)
    with torch.no_grad():
        conv.weight.copy_(layer.weight.view(conv.weight.shape))
        conv.bias.copy_(layer.bias)
    x = _random(2, 3, *size)
    torch.testing.assert_close(layer(x), conv(x))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("layer_type", [cnn.ConvNN2d, cnn.ConvNNAttn2d])
@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_permuted_positions_give_permuted_outputs(layer_type: type[nn.Module], metric: str, seed: int) -> None:
    layer = layer_type(3, 4, K=4, padding=0, metric=metric, dtype=torch.float64).eval()
    x = _random(2, 3, 4, 5, seed=seed)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(seed))
    permuted = layer(x.flatten(2)[..., order].unflatten(2, (4, 5)))
    torch.testing.assert_close(permuted.flatten(2), layer(x).flatten(2)[..., order])


@pytest.mark.parametrize("sampling", ["all", "random", "spatial"])
@settings(max_examples=20, deadline=None)
@given(seed=seeds, scale=st.floats(1e-3, 1e3))
def test_scaling_leaves_cosine_neighbours_alone(sampling: str, seed: int, scale: float) -> None:
    samples = {"sampling_type": sampling, "num_samples": -1 if sampling == "all" else 4}
    layer = cnn.ConvNN2d(3, 4, K=4, metric="cosine", **samples).eval()
    x = _random(2, 3, 5, 4, seed=seed)
    assert torch.equal(layer.neighbors(x * scale).indices, layer.neighbors(x).indices)


@pytest.mark.parametrize("similarity", ["Col", "Loc_Col"])
@settings(max_examples=20, deadline=None)
@given(seed=seeds, shift=st.floats(-100, 100))
def test_translation_leaves_euclidean_neighbours_alone(similarity: str, seed: int, shift: float) -> None:
    layer = cnn.ConvNN2d(3, 4, K=4, padding=0, metric="euclidean", similarity_type=similarity)
    x = _random(2, 3, 5, 4, seed=seed)
    by_channel = torch.tensor([shift, -shift, shift / 3], dtype=x.dtype).view(3, 1, 1)
    moved = x + (
        by_channel if similarity == "Col" else shift
    )  # a different shift per channel would change the standard deviation
    assert torch.equal(layer.neighbors(moved).indices, layer.neighbors(x).indices)


@pytest.mark.parametrize("shift", [3.0, 30.0])
def test_translation_in_float32_keeps_nearly_all_euclidean_neighbours(shift: float) -> None:
    layer = cnn.ConvNN2d(3, 4, K=4, padding=0, metric="euclidean")
    x = (_random(1, 3, 12, 12) * 64).round() / 64  # multiples of 1/64: the shifted input is exact
    moved = (x + shift).float()
    exact = layer.neighbors(moved.double()).indices
    assert (layer.neighbors(moved).indices == exact).float().mean() > 0.95


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_rotating_features_leaves_neighbours_alone(seed: int) -> None:
    rotation = torch.linalg.qr(_random(3, 3, seed=seed)).Q
    x = _random(1, 3, 5, 4, seed=seed + 1)
    rotated = torch.einsum("dc,bchw->bdhw", rotation, x)
    for metric in ("cosine", "euclidean"):
        layer = cnn.ConvNN2d(3, 4, K=4, metric=metric)
        assert torch.equal(layer.neighbors(rotated).indices, layer.neighbors(x).indices)


def _layers() -> dict[str, nn.Module]:
    both = {"similarity_type": "Loc_Col", "aggregation_type": "Loc_Col"}
    return {
        "convnn": cnn.ConvNN2d(3, 4),
        "convnn-loc-col": cnn.ConvNN2d(3, 4, metric="euclidean", padding=0, **both),
        "convnn-random": cnn.ConvNN2d(3, 4, sampling_type="random", num_samples=12),
        "attention": cnn.ConvNNAttn2d(3, 4),
        "branching": cnn.Branching2d(3, 4),
        "conv-new": cnn.Conv2dNew(3, 4, aggregation_type="Loc_Col"),
    }


@pytest.mark.parametrize("name", _layers())
def test_images_of_a_batch_are_independent(name: str) -> None:
    layer = _layers()[name].double().eval()
    x = _random(3, 3, 6, 5)
    alone = torch.cat([layer(image.unsqueeze(0)) for image in x])
    torch.testing.assert_close(layer(x), alone)
    changed = x.clone()
    changed[1] *= -7
    torch.testing.assert_close(layer(changed)[[0, 2]], alone[[0, 2]])


@pytest.mark.parametrize(("ratio", "left"), [(0, "branch2"), (1, "branch1")])
@pytest.mark.parametrize("build", ["with_convnn", "with_attention"])
def test_branching_at_the_ends_is_one_layer_and_a_mix(ratio: int, left: str, build: str) -> None:
    layer = getattr(cnn.Branching2d, build)(3, 4, branch_ratio=ratio).double().eval()
    branches = {"branch1": layer.branch1, "branch2": layer.branch2}
    branch = branches.pop(left)
    assert list(branches.values()) == [None]
    x = _random(2, 3, 6, 5)
    mix = layer.pointwise
    expected = F.conv2d(branch(x), mix.weight[..., None, None], mix.bias)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize(("ratio", "first"), [(0.29, 29), (0.57, 57), (0.999, 99), (0.001, 0), (0.5, 50)])
def test_branch_ratio_is_rounded_down_but_not_by_floating_point(ratio: float, first: int) -> None:
    layer = cnn.Branching1d(2, 100, branch_ratio=ratio)
    assert (layer.branch1.out_channels if layer.branch1 else 0) == first
    assert layer.branch2.out_channels == 100 - first


def test_custom_branches() -> None:
    layer = cnn.Branching2d(3, 6, branch1=lambda i, o: nn.Conv2d(i, o, 1), branch2=cnn.Conv2dNew, branch_ratio=0.5)
    x = torch.randn(2, 3, 5, 4)
    stacked = torch.cat([layer.branch1(x), layer.branch2(x)], dim=1)
    torch.testing.assert_close(
        layer(x), F.conv2d(stacked, layer.pointwise.weight[..., None, None], layer.pointwise.bias)
    )


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_attention_to_everyone_is_dense_attention(metric: str) -> None:
    size, T = (4, 5), 20
    layer = cnn.ConvNNAttn2d(3, 4, K=T, padding=0, metric=metric, dtype=torch.float64).eval()
    x = _random(2, 3, *size)
    rows = x.flatten(2).mT
    queries, keys, values = layer.key(rows), layer.query(rows), layer.value(rows)  # row t scores j by s(k_t, q_j)
    if metric == "cosine":
        logits, own = F.cosine_similarity(queries.unsqueeze(2), keys.unsqueeze(1), dim=-1), 1.1
    else:
        logits, own = -torch.cdist(queries, keys).square(), 0.1
    weights = logits.masked_fill(torch.eye(T, dtype=torch.bool), own).softmax(dim=-1)
    expected = layer.output(layer.pointwise(weights @ values + layer.bias)).mT.unflatten(2, size)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("sampling", ["all", "random", "spatial"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("K", [1, 4, 5])
def test_attention_weights_sum_to_one_and_self_is_first(K: int, metric: str, sampling: str) -> None:
    samples = {"sampling_type": sampling, "num_samples": {"all": -1, "random": 4, "spatial": 2}[sampling]}
    layer = cnn.ConvNNAttn2d(3, 4, K=K, padding=0, metric=metric, **samples, dtype=torch.float64)
    neighbors = layer.neighbors(_random(2, 3, 4, 5))
    assert torch.equal(neighbors.indices[..., 0], torch.arange(20).expand(2, -1))
    torch.testing.assert_close(neighbors.scores.sum(-1), torch.ones(2, 20, dtype=torch.float64))
    assert (neighbors.scores >= 0).all()
    if sampling == "all" or K < 5:  # among exactly K - 1 samples, a sample fills its last slot with itself
        slots = neighbors.scores[..., 1:]
        assert (slots[..., :-1] >= slots[..., 1:]).all()  # best first, so weights decrease


def test_loc_neighbours_stand_in_raster_order() -> None:
    layer = cnn.ConvNN2d(1, 1, K=9, padding=1, similarity_type="Loc", metric="euclidean")
    x = torch.zeros(1, 1, 3, 4)
    places = layer.field(x).places(layer.neighbors(x).indices)[0]
    for t, window in enumerate(places.tolist()):
        row, column = divmod(t, 4)
        assert window == [[row + dr, column + dc] for dr in (-1, 0, 1) for dc in (-1, 0, 1)]


@pytest.mark.parametrize("size", [(12,), (4, 6), (2, 4, 6)], ids=str)
def test_shuffling_around_a_layer_is_shuffling_around_it_by_hand(size: tuple[int, ...]) -> None:
    layer_type, factor = CONVOLUTIONS[len(size)][0], 2 ** len(size)
    layer = layer_type(3, 4, K=2, padding=0, shuffle_pattern="BA", shuffle_scale=2, dtype=torch.float64)
    plain = layer_type(3 * factor, 4 * factor, K=2, padding=0, dtype=torch.float64)
    plain.load_state_dict(layer.state_dict())
    x = _random(2, 3, *size)
    by_hand = cnn.functional.pixel_shuffle(plain(cnn.functional.pixel_unshuffle(x, 2)), 2)
    torch.testing.assert_close(layer(x), by_hand, rtol=0, atol=0)
    assert layer(x).shape == (2, 4, *size)


def test_convnn_starts_from_the_weights_of_a_convolution_over_its_neighbours() -> None:
    torch.manual_seed(0)
    ours = cnn.ConvNN2d(3, 4, K=9)
    torch.manual_seed(0)
    theirs = nn.Conv1d(3, 4, 9)
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)
    assert ours.bias.abs().max() <= 1 / math.sqrt(27)
