"""Tests of layers against definitions written position by position, on odd shapes and all combinations of settings."""

import math

import pytest
import torch
from torch import nn

import brute_force
from convnn import nn as cnn
from pairwise import sweep

CONVNN = {1: cnn.ConvNN1d, 2: cnn.ConvNN2d, 3: cnn.ConvNN3d}
ATTENTION = {1: cnn.ConvNNAttn1d, 2: cnn.ConvNNAttn2d}
CONV_NEW = {1: cnn.Conv1dNew, 2: cnn.Conv2dNew}
SHAPES = [(1,), (9,), (1, 1), (1, 7), (5, 3), (7, 7), (2, 3, 4)]
SAMPLED = {
    "all": {},
    "random": {"sampling_type": "random", "num_samples": 6},
    "spatial": {"sampling_type": "spatial", "num_samples": 2},
}
SHUFFLES = {
    "NA": {},
    "A": {"shuffle_pattern": "A", "shuffle_scale": 2},
    "B": {"shuffle_pattern": "B", "shuffle_scale": 2},
    "BA": {"shuffle_pattern": "BA", "shuffle_scale": 2},
}
# cosines of coordinates tie in theory and differ by rounding, so Loc is tested with distances
COMPARISONS = [
    ("cosine", "Col"),
    ("cosine", "Loc_Col"),
    ("euclidean", "Col"),
    ("euclidean", "Loc"),
    ("euclidean", "Loc_Col"),
]


def _input(batch: int, size: tuple[int, ...], channels: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(math.prod(size))
    return torch.randn(batch, channels, *size, dtype=torch.float64, generator=generator)


def _with_draw(settings: dict, size: tuple[int, ...], seed: int = 3) -> dict:
    """Return the settings for the brute force, with the sample that a layer in training draws after this seed."""
    if settings.get("sampling_type") != "random":
        return settings
    scale = settings.get("shuffle_scale", 1) if "B" in settings.get("shuffle_pattern", "NA") else 1
    total = math.prod(n // scale + 2 * settings["padding"] for n in size)
    torch.manual_seed(seed)
    draw = torch.randperm(total)[: settings["num_samples"]].tolist()
    torch.manual_seed(seed)
    return settings | {"draw": draw}


def _randomised(layer: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    return layer.double().train()


def _check_convnn(batch: int, size: tuple[int, ...], settings: dict) -> None:
    layer = _randomised(CONVNN[len(size)](2, 3, **settings))
    x = _input(batch, size)
    slow_settings = _with_draw(settings, size)
    expected = brute_force.convnn(x, layer.weight.detach(), layer.bias.detach(), **slow_settings)
    torch.testing.assert_close(layer(x), expected, rtol=1e-9, atol=1e-9)


def _check_attention(batch: int, size: tuple[int, ...], settings: dict) -> None:
    layer = _randomised(ATTENTION[len(size)](2, 3, **settings, attention_dropout=0.0))
    x = _input(batch, size)
    slow_settings = _with_draw(settings, size)
    parameters = [p.detach() for p in (layer.query.weight, layer.key.weight, layer.value.weight, layer.weight)]
    parameters += [layer.bias.detach(), layer.pointwise.weight.detach(), layer.pointwise.bias.detach()]
    expected = brute_force.attention(x, *parameters, layer.output.weight.detach(), **slow_settings)
    torch.testing.assert_close(layer(x), expected, rtol=1e-9, atol=1e-9)


def _usable_K(K: int, size: tuple[int, ...], padding: int) -> int:
    return min(K, math.prod(n + 2 * padding for n in size))


@sweep(batch=[1, 3], size=SHAPES, comparison=COMPARISONS)
def test_convnn_on_odd_shapes(batch: int, size: tuple[int, ...], comparison: tuple[str, str]) -> None:
    metric, similarity = comparison
    padding = 0 if similarity == "Loc_Col" else 1  # mirrored padding pixels tie except for rounding
    K = _usable_K(4, size, padding)
    aggregation = "Loc_Col" if batch == 1 else "Col"
    settings = {"K": K, "padding": padding, "metric": metric, "similarity_type": similarity}
    _check_convnn(batch, size, settings | {"aggregation_type": aggregation, "lambda_param": 0.3})


@sweep(size=[(12,), (4, 6), (2, 4, 4)], comparison=COMPARISONS, sampling=list(SAMPLED), shuffle=list(SHUFFLES))
def test_convnn_in_every_setting(
    size: tuple[int, ...], comparison: tuple[str, str], sampling: str, shuffle: str
) -> None:
    metric, similarity = comparison
    aggregation = "Loc_Col" if shuffle in ("A", "BA") else "Col"
    search = {"K": 3, "padding": 0, "metric": metric, "similarity_type": similarity} | SAMPLED[sampling]
    _check_convnn(1, size, search | {"aggregation_type": aggregation} | SHUFFLES[shuffle])


@sweep(
    K=["one", "every"],
    size=[(9,), (5, 3), (2, 3, 4)],
    metric=["cosine", "euclidean"],
    sampling=list(SAMPLED),
    padding=[0, 2],
)
def test_convnn_with_one_and_with_every_candidate(
    K: str, size: tuple[int, ...], metric: str, sampling: str, padding: int
) -> None:
    available = {"all": math.prod(n + 2 * padding for n in size), "random": 7, "spatial": 2 ** len(size) + 1}
    settings = {"padding": padding, "metric": metric} | SAMPLED[sampling]
    _check_convnn(1, size, settings | {"K": 1 if K == "one" else available[sampling]})


@pytest.mark.parametrize(
    ("size", "n", "margin"),
    [
        ((9,), 4, 0),
        ((9,), 4, 2),
        ((9,), 1, 0),
        ((24,), 9, 0),
        ((5, 9), 3, 1),
        ((7, 7), 7, 0),
        ((7, 7), 5, 1),
        ((5, 3), 4, 0),
    ],
    ids=str,
)
@pytest.mark.parametrize("padding", [0, 1])
def test_spatial_grids(size: tuple[int, ...], n: int, margin: int, padding: int) -> None:
    settings = {"K": 2, "padding": padding, "metric": "euclidean", "sampling_type": "spatial"}
    _check_convnn(1, size, settings | {"num_samples": n, "sample_padding": margin})


@pytest.mark.parametrize("n", [29, 30, 31])
def test_random_samples_up_to_the_whole_map(n: int) -> None:
    settings = {"K": 3, "padding": 0, "metric": "euclidean", "sampling_type": "random", "num_samples": n}
    _check_convnn(1, (6, 5), settings)


@pytest.mark.parametrize("size", [(1,), (9,), (1, 1), (1, 7), (5, 3), (7, 7)], ids=str)
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_attention_on_odd_shapes(size: tuple[int, ...], metric: str) -> None:
    settings = {"K": _usable_K(4, size, 1), "padding": 1, "metric": metric, "aggregation_type": "Loc_Col"}
    _check_attention(2, size, settings)


@sweep(size=[(12,), (4, 6)], metric=["cosine", "euclidean"], sampling=list(SAMPLED), shuffle=list(SHUFFLES))
def test_attention_in_every_setting(size: tuple[int, ...], metric: str, sampling: str, shuffle: str) -> None:
    aggregation = "Col" if shuffle in ("A", "BA") else "Loc_Col"
    search = {"K": 3, "padding": 0, "metric": metric} | SAMPLED[sampling]
    _check_attention(1, size, search | {"aggregation_type": aggregation} | SHUFFLES[shuffle])


@pytest.mark.parametrize("sampling", SAMPLED)
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("K", ["one", "every"])
def test_attention_with_one_and_with_every_candidate(K: str, metric: str, sampling: str) -> None:
    available = {"all": 35, "random": 7, "spatial": 5}
    settings = {"K": 1 if K == "one" else available[sampling], "padding": 1, "metric": metric}
    _check_attention(1, (5, 3), settings | SAMPLED[sampling])


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch's own, also from nn.Conv2d
@pytest.mark.parametrize("shuffle", SHUFFLES)
@pytest.mark.parametrize("aggregation", ["Col", "Loc_Col"])
@pytest.mark.parametrize("kernel_size", [1, 2, 3])
@pytest.mark.parametrize("size", [(8,), (4, 6)], ids=["8", "4x6"])
def test_conv_new(size: tuple[int, ...], kernel_size: int, aggregation: str, shuffle: str) -> None:
    settings = {"aggregation_type": aggregation} | SHUFFLES[shuffle]
    layer = _randomised(CONV_NEW[len(size)](2, 3, kernel_size=kernel_size, **settings))
    x = _input(2, size)
    expected = brute_force.conv_new(x, layer.weight.detach(), layer.bias.detach(), **settings)
    torch.testing.assert_close(layer(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("ratio", [0, 0.25, 0.5, 0.29, 1])
@pytest.mark.parametrize("size", [(9,), (5, 3)], ids=["9", "5x3"])
def test_branching_mixes_the_branches(size: tuple[int, ...], ratio: float) -> None:
    layer = {1: cnn.Branching1d, 2: cnn.Branching2d}[len(size)].with_convnn(2, 5, K=4, branch_ratio=ratio)
    layer = _randomised(layer)
    x = _input(2, size)
    maps = []
    if layer.branch1 is not None:
        first = {"K": 4, "padding": 1, "metric": "cosine"}
        maps.append(brute_force.convnn(x, layer.branch1.weight.detach(), layer.branch1.bias.detach(), **first))
    if layer.branch2 is not None:
        maps.append(brute_force.conv_new(x, layer.branch2.weight.detach(), layer.branch2.bias.detach()))
    assert [y.shape[1] for y in maps] == [n for n in (int(5 * ratio), 5 - int(5 * ratio)) if n]
    expected = brute_force.branching(maps, layer.pointwise.weight.detach(), layer.pointwise.bias.detach())
    torch.testing.assert_close(layer(x), expected, rtol=1e-9, atol=1e-9)


def test_brute_force_shuffle_undoes_unshuffle() -> None:
    for size in [6], [4, 6], [2, 4, 6]:
        x = torch.randn(2, 3, *size)
        assert torch.equal(brute_force.shuffle(brute_force.unshuffle(x, 2), 2), x)
