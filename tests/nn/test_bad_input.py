"""Tests that every mistake raises an error that names the argument, its value and what would be right."""

import pytest
import torch
from torch import Tensor, nn

from convnn import nn as cnn
from convnn.errors import ConvnnError, InputError
from convnn.nn import functional as F

SEARCHING = [cnn.ConvNN1d, cnn.ConvNN2d, cnn.ConvNN3d, cnn.ConvNNAttn1d, cnn.ConvNNAttn2d]


def _refuses(message: str):
    return pytest.raises(ValueError, match=message)


def _map(*shape: int) -> Tensor:
    return torch.zeros(shape)


@pytest.mark.parametrize("layer_type", SEARCHING)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"K": 0}, r"^K=0 must be an integer of at least 1$"),
        ({"K": -3}, r"^K=-3 must be an integer of at least 1$"),
        ({"K": 2.5}, r"^K=2\.5 must be an integer of at least 1$"),
        ({"K": True}, r"^K=True must be an integer of at least 1$"),
        ({"padding": -1}, r"^padding=-1 must be an integer of at least 0$"),
        ({"sample_padding": -1}, r"^sample_padding=-1 must be an integer of at least 0$"),
        (
            {"sampling_type": "randm"},
            r"^sampling_type='randm' is not one of all, random, spatial; did you mean 'random'\?$",
        ),
        ({"sampling_type": None}, r"^sampling_type=None is not one of all, random, spatial$"),
        ({"metric": "manhattan"}, r"^metric='manhattan' is not one of cosine, euclidean"),
        ({"metric": "cosin"}, r"did you mean 'cosine'\?$"),
        (
            {"aggregation_type": "LocCol"},
            r"^aggregation_type='LocCol' is not one of Col, Loc_Col; did you mean 'Loc_Col'\?$",
        ),
        ({"num_samples": 4}, r"^num_samples=4 must be -1 with sampling_type='all'; choose 'random' or 'spatial'"),
        ({"num_samples": 0, "sampling_type": "random"}, r"^num_samples=0 must be an integer of at least 1$"),
        ({"num_samples": -2, "sampling_type": "spatial"}, r"^num_samples=-2 must be an integer of at least 1$"),
        ({"shuffle_pattern": "AB"}, r"^shuffle_pattern='AB' is not one of NA, B, A, BA"),
        ({"shuffle_pattern": "BA"}, r"^shuffle_scale=0 must be an integer of at least 1$"),
        ({"shuffle_pattern": "B", "shuffle_scale": 1.5}, r"^shuffle_scale=1\.5 must be an integer of at least 1$"),
    ],
    ids=str,
)
def test_settings(layer_type: type[nn.Module], settings: dict, message: str) -> None:
    with _refuses(message) as error:
        layer_type(3, 4, **settings)
    assert isinstance(error.value, InputError)
    assert isinstance(error.value, ConvnnError)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: cnn.ConvNN2d(3, 4, similarity_type="loc"),
            r"^similarity_type='loc' is not one of Col, Loc, Loc_Col, Window; did you",
        ),
        (lambda: cnn.ConvNN2d(3, 4, lambda_param=1.5), r"^lambda_param=1\.5 must lie between 0 and 1$"),
        (lambda: cnn.ConvNN2d(3, 4, lambda_param=float("nan")), r"^lambda_param=nan must lie between 0 and 1$"),
        (lambda: cnn.ConvNN2d(0, 4), r"^in_channels=0 must be an integer of at least 1$"),
        (lambda: cnn.ConvNN2d(3, 0), r"^out_channels=0 must be an integer of at least 1$"),
        (
            lambda: cnn.ConvNNAttn2d(3, 4, attention_dropout=-0.1),
            r"^attention_dropout=-0\.1 must lie between 0 and 1$",
        ),
        (lambda: cnn.ConvNNAttn2d(3.0, 4), r"^in_channels=3\.0 must be an integer of at least 1$"),
        (lambda: cnn.Branching2d(3, 4, branch_ratio=1.01), r"^branch_ratio=1\.01 must lie between 0 and 1$"),
        (lambda: cnn.Branching2d(3, -4), r"^out_channels=-4 must be an integer of at least 1$"),
        (lambda: cnn.Branching2d.with_convnn(3, 4, K=0), r"^K=0 must be an integer of at least 1$"),
        (lambda: cnn.Conv2dNew(3, 4, kernel_size=0), r"^kernel_size=0 must be an integer of at least 1$"),
        (lambda: cnn.Conv2dNew(3, 4, aggregation_type="Loc"), r"^aggregation_type='Loc' is not one of Col, Loc_Col"),
        (lambda: cnn.Conv2dNew(3, 4, shuffle_pattern="A"), r"^shuffle_scale=0 must be an integer of at least 1$"),
        (lambda: F.Search(K=0), r"^K=0 must be an integer of at least 1$"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_settings_of_single_layers(build, message: str) -> None:
    with _refuses(message) as error:
        build()
    assert isinstance(error.value, InputError)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (
            cnn.ConvNN2d(3, 4),
            (2, 5, 6, 6),
            r"input of shape \(2, 5, 6, 6\) must be \(B, 3, H, W\) for ConvNN2d\(3, 4\)",
        ),
        (cnn.ConvNN2d(3, 4), (3, 6), r"input of shape \(3, 6\) must be \(B, 3, H, W\)"),
        (cnn.ConvNN2d(3, 4), (1, 2, 3, 6, 6), r"input of shape \(1, 2, 3, 6, 6\) must be \(B, 3, H, W\)"),
        (cnn.ConvNN1d(3, 4), (2, 4, 6), r"must be \(B, 3, W\) for ConvNN1d\(3, 4\)"),
        (cnn.ConvNN3d(3, 4), (2, 3, 6, 6), r"must be \(B, 3, D, H, W\) for ConvNN3d\(3, 4\)"),
        (cnn.ConvNNAttn2d(3, 4), (2, 4, 6, 6), r"for ConvNNAttn2d\(3, 4\)"),
        (cnn.ConvNNAttn1d(3, 4), (2, 3, 6, 6), r"for ConvNNAttn1d\(3, 4\)"),
        (cnn.Branching2d(3, 4), (2, 4, 6, 6), r"for Branching2d\(3, 4\)"),
        (cnn.Branching1d(3, 4), (4, 6), r"for Branching1d\(3, 4\)"),
        (cnn.Conv2dNew(3, 4), (2, 4, 6, 6), r"for Conv2dNew\(3, 4\)"),
        (cnn.Conv1dNew(3, 4), (6,), r"input of shape \(6,\) must be \(B, 3, W\)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_shapes(layer: nn.Module, shape: tuple[int, ...], message: str) -> None:
    with _refuses(message) as error:
        layer(_map(*shape))
    assert isinstance(error.value, InputError)


@pytest.mark.parametrize("layer_type", [cnn.ConvNN2d, cnn.ConvNNAttn2d])
@pytest.mark.parametrize(
    ("settings", "size", "message"),
    [
        (
            {"K": 5, "padding": 0},
            (2, 2),
            r"^K=5 is more than the 4 positions of a 2x2 map with padding=0; lower K, or raise",
        ),
        ({"K": 17, "padding": 1}, (2, 2), r"^K=17 is more than the 16 positions of a 2x2 map with padding=1"),
        (
            {"K": 5, "padding": 0, "shuffle_pattern": "BA", "shuffle_scale": 2},
            (4, 4),
            r"^K=5 is more than the 4 positions of a 2x2 map",
        ),
        (
            {"K": 6, "sampling_type": "random", "num_samples": 4},
            (6, 6),
            r"^num_samples=4 gives 4 candidates with sampling_type='random', fewer than the 5 neighbours that K=6",
        ),
        (
            {"K": 6, "sampling_type": "spatial", "num_samples": 2},
            (6, 6),
            r"^num_samples=2 gives 4 candidates with sampling_type='spatial', fewer than the 5 neighbours that K=6",
        ),
        (
            {"K": 2, "sampling_type": "spatial", "num_samples": 2, "sample_padding": 3},
            (6, 9),
            r"^sample_padding=3 must be less than half of each side of the 6x9 map$",
        ),
        (
            {"K": 2, "shuffle_pattern": "B", "shuffle_scale": 2},
            (6, 5),
            r"^shuffle_scale=2 must divide every side of the 6x5 map$",
        ),
    ],
    ids=["K", "K-padded", "K-shuffled", "random", "spatial", "margin", "shuffle"],
)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_too_small_maps(
    layer_type: type[nn.Module], settings: dict, size: tuple[int, int], message: str, training: bool
) -> None:
    layer = layer_type(3, 4, **settings).train(training)
    with _refuses(message) as error:
        layer(_map(2, 3, *size))
    assert isinstance(error.value, InputError)
    with _refuses(message):
        layer.neighbors(_map(2, 3, *size))


@pytest.mark.parametrize("size", [(0, 4), (4, 0), (0, 0)], ids=str)
def test_maps_without_positions(size: tuple[int, int]) -> None:
    for layer in (cnn.ConvNN2d(3, 4), cnn.ViG2d(3, 4), cnn.Conv2dNew(3, 4), cnn.Branching2d(3, 4), cnn.SVGA2d(3, 4)):
        with _refuses(
            rf"^input of shape \(2, 3, {size[0]}, {size[1]}\) must have at least one position along every axis"
        ):
            layer(_map(2, 3, *size))


@pytest.mark.parametrize(("pattern", "sizes"), [("A", r"\(6, 4\), \(12, 8\)"), ("B", r"\(3, 2\), \(6, 4\)")])
def test_branches_of_different_sizes(pattern: str, sizes: str) -> None:
    layer = cnn.Branching2d.with_convnn(3, 4, K=3, shuffle_pattern=pattern, shuffle_scale=2)
    with _refuses(rf"^branches make maps of different sizes \[{sizes}\]; they must agree$") as error:
        layer(_map(2, 3, 6, 4))
    assert isinstance(error.value, InputError)


def test_kernel_that_does_not_fit() -> None:
    with _refuses(r"^weight of shape \(4, 3, 5\) must be \(C_out, 3, 9\) for 3 channels, 9 neighbours and groups=1$"):
        F.convnn(_map(2, 3, 6, 6), torch.zeros(4, 3, 5))


@pytest.mark.parametrize(
    "call",
    [
        lambda **kwargs: F.convnn(_map(1, 3, 4, 4), torch.zeros(4, 3, 9), **kwargs),
        lambda **kwargs: F.conv_new(_map(1, 3, 4, 4), torch.zeros(4, 3, 3, 3), **kwargs),
    ],
    ids=["convnn", "conv_new"],
)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"aggregation_type": "Lo"}, r"^aggregation_type='Lo' is not one of Col, Loc_Col"),
        ({"shuffle_pattern": "AB"}, r"^shuffle_pattern='AB' is not one of NA, B, A, BA"),
        ({"shuffle_pattern": "B"}, r"^shuffle_scale=0 must be an integer of at least 1$"),
        ({"shuffle_pattern": "B", "shuffle_scale": 3}, r"^shuffle_scale=3 must divide every side of the 4x4 map$"),
    ],
    ids=["aggregation", "pattern", "no-scale", "scale"],
)
def test_functional_settings(call, settings: dict, message: str) -> None:
    with _refuses(message):
        call(**settings)


def test_whole_numbers_are_no_features() -> None:
    with _refuses(r"^input of torch.int64 must be floating; pass x.float"):
        cnn.ConvNN2d(3, 4)(torch.zeros(1, 3, 4, 4, dtype=torch.long))
