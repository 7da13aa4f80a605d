"""Tests that every mistake with tokens raises one sentence with the argument, its value and what would be right."""

import pytest
import torch
from torch import Tensor, nn

from convnn import nn as cnn
from convnn.errors import InputError

EVERY = [
    cnn.Attention,
    cnn.KvtAttention,
    cnn.ConvNNAttention,
    cnn.NeighborhoodAttention,
    cnn.LocalAttention,
    cnn.SparseAttention,
    cnn.BlockSparseAttention,
    cnn.MultiheadConv,
    cnn.BranchConv,
    cnn.BranchAttention,
    cnn.LKCAttention,
    cnn.GlobalContext,
    cnn.VRWKV,
]
SPLITTING = [layer for layer in EVERY[:8] if layer is not cnn.LocalAttention]  # whose width does not come from dim
WITHOUT_DROPOUT = (cnn.MultiheadConv, cnn.BlockSparseAttention, cnn.LKCAttention, cnn.VRWKV)
DROPPING = [layer for layer in EVERY if layer not in WITHOUT_DROPOUT]
CHOOSING = [
    layer for layer in EVERY if layer not in (cnn.MultiheadConv, cnn.Attention, cnn.LKCAttention, cnn.GlobalContext)
]  # of a backend
CONVNN = [cnn.ConvNNAttention, cnn.BranchConv, cnn.BranchAttention]


def _refuses(message: str):
    return pytest.raises(InputError, match=message)


def _tokens(*shape: int) -> Tensor:
    return torch.zeros(shape)


@pytest.mark.parametrize("layer_type", EVERY)
@pytest.mark.parametrize(
    ("dim", "heads", "message"),
    [
        (0, 1, r"^dim=0 must be an integer of at least 1$"),
        (-12, 3, r"^dim=-12 must be an integer of at least 1$"),
        (12.0, 3, r"^dim=12\.0 must be an integer of at least 1$"),
        (12, 0, r"^num_heads=0 must be an integer of at least 1$"),
        (12, -3, r"^num_heads=-3 must be an integer of at least 1$"),
        (12, 1.5, r"^num_heads=1\.5 must be an integer of at least 1$"),
        (12, True, r"^num_heads=True must be an integer of at least 1$"),
    ],
    ids=["dim-0", "dim-negative", "dim-float", "heads-0", "heads-negative", "heads-float", "heads-bool"],
)
def test_width_and_heads(layer_type: type[nn.Module], dim: int, heads: int, message: str) -> None:
    with _refuses(message):
        layer_type(dim, heads)


@pytest.mark.parametrize("layer_type", SPLITTING)
def test_heads_that_do_not_divide_the_width(layer_type: type[nn.Module]) -> None:
    with _refuses(r"^dim=12 must be a multiple of num_heads=5$"):
        layer_type(12, 5)


@pytest.mark.parametrize("layer_type", DROPPING)
@pytest.mark.parametrize("dropout", [-0.1, 1.5, float("nan")], ids=str)
def test_dropout(layer_type: type[nn.Module], dropout: float) -> None:
    with _refuses(rf"^attention_dropout={dropout} must lie between 0 and 1$"):
        layer_type(12, 3, attention_dropout=dropout)


@pytest.mark.parametrize("layer_type", CHOOSING)
def test_backends(layer_type: type[nn.Module]) -> None:
    with _refuses(r"^backend='refrence' is not one of auto, cpu, triton, reference; did you mean 'reference'\?$"):
        layer_type(12, 3, backend="refrence")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"block": (0, 4)}, r"^block=0 must be an integer of at least 1$"),
        ({"block": 64}, r"^block=64 must be two numbers, the queries and the keys of a block$"),
        ({"keep": 1.5}, r"^keep=1\.5 must lie between 0 and 1$"),
        ({"mass": -0.1}, r"^mass=-0\.1 must lie between 0 and 1$"),
        ({"pool": "avg"}, r"^pool='avg' is not one of mean, max$"),
        ({"special_tokens": -1}, r"^special_tokens=-1 must be an integer of at least 0$"),
        ({"order": "hilbrt"}, r"^order='hilbrt' is not one of raster, hilbert; did you mean 'hilbert'\?$"),
        ({"size": (4,)}, r"^size=\(4,\) must be two numbers, rows and columns$"),
        (
            {"rotary": True, "num_heads": 2},
            r"^rotary=True needs heads of a multiple of 4 channels, not dim / num_heads=6$",
        ),
    ],
    ids=["block", "one-block", "keep", "mass", "pool", "special", "order", "size", "rotary"],
)
def test_block_settings(settings: dict, message: str) -> None:
    with _refuses(message):
        cnn.BlockSparseAttention(12, **({"num_heads": 3} | settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"special_tokens": 9}, r"^special_tokens=9 leaves no patch of 9 tokens$"),
        ({"order": "hilbert", "special_tokens": 1}, r"^size=None is a square, which 8 patches are not; give size$"),
        (
            {"size": (2, 2), "special_tokens": 1},
            r"^input of 9 tokens must be whole frames of 5: special_tokens=1 and the patches of size=\(2, 2\)$",
        ),
    ],
    ids=["special", "square", "frames"],
)
def test_tokens_that_are_no_frames(settings: dict, message: str) -> None:
    with _refuses(message):
        cnn.BlockSparseAttention(12, 3, **settings)(_tokens(1, 9, 12))


@pytest.mark.parametrize("layer_type", [cnn.KvtAttention, cnn.NeighborhoodAttention, *CONVNN])
@pytest.mark.parametrize(
    ("K", "text"), [(0, "0"), (-3, "-3"), (2.5, r"2\.5"), (True, "True"), ("9", "'9'"), (None, "None")], ids=str
)
def test_neighbors_that_are_no_number(layer_type: type[nn.Module], K: object, text: str) -> None:
    with _refuses(rf"^K={text} must be an integer of at least 1$"):
        layer_type(12, 3, K=K)


@pytest.mark.parametrize("layer_type", CONVNN)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"metric": "matmal"},
            r"^metric='matmal' is not one of cosine, euclidean, matmul; did you mean 'matmul'\?$",
        ),
        ({"metric": "manhattan"}, r"^metric='manhattan' is not one of cosine, euclidean, matmul"),
        (
            {"convolution_type": "depthwise_separable"},
            r"^convolution_type='depthwise_separable' is not one of standard, depthwise, depthwise-separable;"
            r" did you mean 'depthwise-separable'\?$",
        ),
        ({"convolution_type": None}, r"^convolution_type=None is not one of standard, depthwise, depthwise-separable$"),
        (
            {"sampling_type": "randm"},
            r"^sampling_type='randm' is not one of all, random, spatial; did you mean 'random'\?$",
        ),
        ({"num_samples": 4}, r"^num_samples=4 must be -1 with sampling_type='all'; choose 'random' or 'spatial'"),
        ({"num_samples": 0, "sampling_type": "random"}, r"^num_samples=0 must be an integer of at least 1$"),
        ({"num_samples": -2, "sampling_type": "spatial"}, r"^num_samples=-2 must be an integer of at least 1$"),
        ({"sample_padding": -1}, r"^sample_padding=-1 must be an integer of at least 0$"),
    ],
    ids=[
        "magnitude-near",
        "magnitude",
        "convolution-near",
        "convolution",
        "sampling",
        "samples-of-all",
        "samples-0",
        "samples-negative",
        "margin-negative",
    ],
)
def test_settings_of_convnn(layer_type: type[nn.Module], settings: dict, message: str) -> None:
    with _refuses(message):
        layer_type(12, 3, **settings)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: cnn.SparseAttention(12, 3, sparse_mode="stride"),
            r"^sparse_mode='stride' is not one of all, local, strided; did you mean 'strided'\?$",
        ),
        (
            lambda: cnn.SparseAttention(12, 3, sparse_context_window=0),
            r"^sparse_context_window=0 must be an integer of at least 1$",
        ),
        (lambda: cnn.LocalAttention(12, 3, window_size=0), r"^window_size=0 must be an integer of at least 1$"),
        (lambda: cnn.LocalAttention(12, 3, window_size=2.5), r"^window_size=2\.5 must be an integer of at least 1$"),
        (
            lambda: cnn.LocalAttention(12, 3, head_width=7),
            r"^head_width=7 must be even: rotary positions turn pairs of channels$",
        ),
        (lambda: cnn.LocalAttention(12, 3, head_width=0), r"^head_width=0 must be an integer of at least 2$"),
        (lambda: cnn.MultiheadConv(12, 3, kernel_size=0), r"^kernel_size=0 must be an integer of at least 1$"),
        (lambda: cnn.BranchConv(12, 3, kernel_size=0), r"^kernel_size=0 must be an integer of at least 1$"),
        (lambda: cnn.NeighborhoodAttention(12, 3, K=(3, 0)), r"^K=0 must be an integer of at least 1$"),
        (lambda: cnn.NeighborhoodAttention(12, 3, K=(-1, 3)), r"^K=-1 must be an integer of at least 1$"),
    ],
    ids=["mode", "context", "window", "window-float", "odd", "no-width", "kernel", "branch-kernel", "row", "column"],
)
def test_settings_of_single_layers(build, message: str) -> None:
    with _refuses(message):
        build()


@pytest.mark.parametrize("K", [(3,), (3, 3, 3), ()], ids=str)
def test_a_window_of_other_axes_than_a_grid(K: tuple[int, ...]) -> None:
    with _refuses(r"^K="):
        cnn.NeighborhoodAttention(12, 3, K=K)


@pytest.mark.parametrize("size", [(9,), (3, 3, 1), (0, 3), (-3, -3), (4.5, 2)], ids=str)
def test_a_size_that_is_no_rows_and_columns(size: tuple[int, ...]) -> None:
    with _refuses(r"^size="):
        cnn.NeighborhoodAttention(12, 3, K=(1, 1), size=size)(_tokens(1, 9, 12))


@pytest.mark.parametrize("layer_type", [cnn.BranchConv, cnn.BranchAttention])
@pytest.mark.parametrize(
    ("dim", "heads", "ratio", "message"),
    [
        (12, 3, 1.01, r"^branch_ratio=1\.01 must lie between 0 and 1$"),
        (12, 3, -0.1, r"^branch_ratio=-0\.1 must lie between 0 and 1$"),
        (12, 3, float("nan"), r"^branch_ratio=nan must lie between 0 and 1$"),
        (
            9,
            3,
            0.5,
            r"^branch_ratio=0\.5 of dim=9 makes branches of 4 and 5 channels, which must be multiples of num_heads=3$",
        ),
        (12, 4, 0.5, r"^branch_ratio=0\.5 of dim=12 makes branches of 6 and 6 channels, .* num_heads=4$"),
        (12, 5, 1, r"^branch_ratio=1 of dim=12 makes branches of 12 and 0 channels, .* num_heads=5$"),
    ],
    ids=["above", "below", "nan", "odd-width", "heads-of-half", "heads-of-all"],
)
def test_branch_ratios(layer_type: type[nn.Module], dim: int, heads: int, ratio: float, message: str) -> None:
    with _refuses(message):
        layer_type(dim, heads, branch_ratio=ratio)


@pytest.mark.parametrize("layer_type", EVERY)
@pytest.mark.parametrize(
    "shape", [(2, 9, 11), (2, 12, 9), (9, 11), (12,), (1, 2, 9, 12), (), (2, 0, 12), (0, 12)], ids=str
)
def test_shapes(layer_type: type[nn.Module], shape: tuple[int, ...]) -> None:
    text = str(shape).replace("(", r"\(").replace(")", r"\)")
    expected = rf"must be floating and \(B, T, 12\) with T of at least 1 for {layer_type.__name__}$"
    with _refuses(rf"^input of shape {text} and torch.float32 {expected}"):
        layer_type(12, 3)(_tokens(*shape))


@pytest.mark.parametrize("layer_type", EVERY)
def test_tokens_must_be_floating(layer_type: type[nn.Module]) -> None:
    with _refuses(r"^input of shape \(2, 9, 12\) and torch.int64 must be floating"):
        layer_type(12, 3)(torch.zeros(2, 9, 12, dtype=torch.long))


def test_neighbors_refuses_what_forward_refuses() -> None:
    with _refuses(r"^input of shape \(2, 9, 11\)"):
        cnn.ConvNNAttention(12, 3).neighbors(torch.zeros(2, 9, 11))


@pytest.mark.parametrize("layer_type", [cnn.KvtAttention, *CONVNN])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_more_neighbors_than_tokens(layer_type: type[nn.Module], training: bool) -> None:
    layer = layer_type(12, 3, K=10).train(training)
    with _refuses(r"^K=10 is more than the 9 tokens of the input; lower K$"):
        layer(_tokens(2, 9, 12))
    with _refuses(r"^K=10 is more than the 9 tokens of the input; lower K$"):
        layer(_tokens(9, 12))
    if isinstance(layer, cnn.NeighborAttention):
        with _refuses(r"^K=10 is more than the 9 tokens of the input; lower K$"):
            layer.neighbors(_tokens(2, 9, 12))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"K": 6, "sampling_type": "random", "num_samples": 4},
            r"^num_samples=4 gives 4 candidates with sampling_type='random', fewer than the 5 neighbours that K=6",
        ),
        (
            {"K": 6, "sampling_type": "spatial", "num_samples": 4},
            r"^num_samples=4 gives 4 candidates with sampling_type='spatial', fewer than the 5 neighbours that K=6",
        ),
        (
            {"K": 5, "sampling_type": "spatial", "num_samples": 4, "sample_padding": 3},
            r"^num_samples=4 gives 3 candidates with sampling_type='spatial', fewer than the 4 neighbours that K=5",
        ),
        (
            {"K": 2, "sampling_type": "spatial", "num_samples": 4, "sample_padding": 5},
            r"^sample_padding=5 must be less than half of each side of the 9-long map$",
        ),
    ],
    ids=["random", "spatial", "margin", "no-room"],
)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_too_few_samples(settings: dict, message: str, training: bool) -> None:
    layer = cnn.ConvNNAttention(12, 3, **settings).train(training)
    with _refuses(message):
        layer(_tokens(2, 9, 12))
    with _refuses(message):
        layer.neighbors(_tokens(2, 9, 12))


@pytest.mark.parametrize(
    ("K", "length", "message"),
    [
        (11, 10, r"^K=11 .*\b10\b"),
        ((3, 4), 9, r"^K=\(3, 4\) .*\b3\b"),
        ((4, 3), 9, r"^K=\(4, 3\) .*\b3\b"),
    ],
    ids=["sequence", "columns", "rows"],
)
def test_windows_larger_than_the_sequence(K: int | tuple[int, int], length: int, message: str) -> None:
    """The sentence names the argument of the layer, K."""
    with _refuses(message):
        cnn.NeighborhoodAttention(12, 3, K=K)(_tokens(2, length, 12))


@pytest.mark.parametrize(
    ("size", "length", "message"),
    [
        (None, 10, r"^size=None must be rows and columns of the 10 tokens$"),
        ((3, 3), 10, r"^size=\(3, 3\) must be rows and columns of the 10 tokens$"),
        ((3, 4), 9, r"^size=\(3, 4\) must be rows and columns of the 9 tokens$"),
    ],
    ids=["no-square", "too-small", "too-large"],
)
def test_tokens_that_are_no_grid(size: tuple[int, int] | None, length: int, message: str) -> None:
    with _refuses(message):
        cnn.NeighborhoodAttention(12, 3, K=(2, 2), size=size)(_tokens(2, length, 12))


def test_a_grid_for_a_window_on_the_sequence() -> None:
    with _refuses(r"^size=\(3, 3\) is read with rows and columns of a window; give K=\(3, 3\)$"):
        cnn.NeighborhoodAttention(12, 3, K=3, size=(3, 3))
