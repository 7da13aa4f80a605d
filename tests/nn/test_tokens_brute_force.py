"""Tests of layers on tokens against definitions written token by token, on odd lengths and all settings."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.func import functional_call

import brute_force_tokens as slow
from convnn import nn as cnn
from pairwise import sweep

LENGTHS = [1, 2, 7, 13]
HEADS = [1, 3]
METRICS = ["matmul", "cosine", "euclidean"]
KERNELS = ["standard", "depthwise", "depthwise-separable"]
SAMPLED = {
    "all": {},
    "random": {"sampling_type": "random", "num_samples": 4},
    "spatial": {"sampling_type": "spatial", "num_samples": 4},
}
EVERY_SETTING = {
    "metric": METRICS,
    "kernel": KERNELS,
    "soft": [False, True],
    "encoded": [False, True],
    "sampling": list(SAMPLED),
}


def _input(length: int, dim: int = 6, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randn(batch, length, dim, dtype=torch.float64, generator=generator)


def _randomised(layer: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape, generator=generator))
    return layer.double().train()


def _check(layer: nn.Module, x: Tensor, definition, seed: int = 3) -> None:
    layer = _randomised(layer)
    torch.manual_seed(seed)
    torch.testing.assert_close(layer(x), definition(x, layer.state_dict()), rtol=1e-10, atol=1e-10)


def _sampling(settings: dict, length: int, seed: int = 3) -> dict:
    """Return the settings for the definition, with the sample that a layer in training draws after this seed."""
    if settings.get("sampling_type") != "random":
        return settings
    torch.manual_seed(seed)
    return settings | {"draw": torch.randperm(length)[: settings["num_samples"]].tolist()}


def _check_convnn(length: int, heads: int, K: int, metric: str, kernel: str, soft: bool, encoded: bool, **sampling):
    layer = cnn.ConvNNAttention(
        6,
        heads,
        K=K,
        metric=metric,
        convolution_type=kernel,
        softmax_topk_val=soft,
        coordinate_encoding=encoded,
        attention_dropout=0.0,
        **sampling,
    )
    how = {"metric": metric, "soft": soft, "encoded": encoded} | _sampling(sampling, length)
    _check(layer, _input(length), partial(slow.convnn_attention, heads=heads, K=K, **how))


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("length", LENGTHS)
def test_attention(length: int, heads: int) -> None:
    layer = cnn.Attention(6, heads, attention_dropout=0.0)
    _check(layer, _input(length), partial(slow.attention, heads=heads))


@pytest.mark.parametrize("K", [1, 4, 13])
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("length", LENGTHS)
def test_kvt(length: int, heads: int, K: int) -> None:
    K = min(K, length)
    _check(cnn.KvtAttention(6, heads, K=K, attention_dropout=0.0), _input(length), partial(slow.kvt, heads=heads, K=K))


@sweep(**EVERY_SETTING, heads=HEADS)
def test_convnn_in_every_setting(
    metric: str, kernel: str, soft: bool, encoded: bool, sampling: str, heads: int
) -> None:
    _check_convnn(7 + heads % 2, heads, 3, metric, kernel, soft, encoded, **SAMPLED[sampling])


@sweep(length=LENGTHS, heads=HEADS, encoded=[False, True], metric=METRICS)
def test_convnn_on_odd_lengths(length: int, heads: int, encoded: bool, metric: str) -> None:
    for K in {1, min(length, 5), length}:
        _check_convnn(length, heads, K, metric, "standard", True, encoded)


@sweep(num_samples=[-1, 1, 2, 3, 8, 9, 10], kind=["random", "spatial"], soft=[False, True], metric=METRICS)
def test_convnn_with_one_and_with_every_sample(num_samples: int, kind: str, soft: bool, metric: str) -> None:
    length = 9
    sampled = {"sampling_type": kind, "num_samples": num_samples}
    available = length if num_samples in (-1, 10) else min(num_samples + 1, length)
    for K in {1, available - 1, available} - {0}:
        _check_convnn(length, 3, K, metric, "depthwise", soft, True, **sampled)


@pytest.mark.parametrize(
    ("num_samples", "margin"), [(1, 0), (2, 3), (3, 2), (4, 1), (5, 4), (8, 3), (9, 0)], ids=str
)  # the last but one has more points than places
@pytest.mark.parametrize("length", [9, 12])
def test_spatial_samples_keep_their_distance(length: int, num_samples: int, margin: int) -> None:
    sampled = {"sampling_type": "spatial", "num_samples": num_samples, "sample_padding": margin}
    _check_convnn(length, 1, 2, "cosine", "depthwise", True, False, **sampled)


@pytest.mark.parametrize("K", [1, 2, 3, 4, 7, 13])
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("length", LENGTHS)
def test_neighborhood_on_a_sequence(length: int, heads: int, K: int) -> None:
    K = min(K, length)
    layer = cnn.NeighborhoodAttention(6, heads, K=K, attention_dropout=0.0)
    _check(layer, _input(length), partial(slow.neighborhood, heads=heads, size=(length,), window=(K,)))


@pytest.mark.parametrize(
    ("size", "window"),
    [
        ((1, 1), (1, 1)),
        ((3, 3), (3, 3)),
        ((4, 4), (3, 3)),
        ((4, 4), (2, 2)),
        ((5, 5), (2, 4)),
        ((5, 3), (3, 2)),
        ((3, 5), (3, 2)),
        ((1, 7), (1, 4)),
        ((7, 1), (5, 1)),
        ((2, 6), (2, 5)),
        ((4, 5), (4, 5)),
    ],
    ids=str,
)
@pytest.mark.parametrize("heads", HEADS)
def test_neighborhood_on_a_grid(heads: int, size: tuple[int, int], window: tuple[int, int]) -> None:
    named = None if size[0] == size[1] else size  # a square need not be named
    layer = cnn.NeighborhoodAttention(6, heads, K=window, size=named, attention_dropout=0.0)
    x = _input(size[0] * size[1])
    _check(layer, x, partial(slow.neighborhood, heads=heads, size=size, window=window))


@sweep(length=LENGTHS, heads=HEADS, width=[2, 4], window=[1, 2, 5, 20])
def test_local(length: int, heads: int, width: int, window: int) -> None:
    layer = cnn.LocalAttention(6, heads, window_size=window, head_width=width, attention_dropout=0.0)
    _check(layer, _input(length), partial(slow.local, heads=heads, window=window))


@pytest.mark.slow
def test_local_with_its_published_widths() -> None:
    layer = cnn.LocalAttention(6, 2, attention_dropout=0.0)
    assert (layer.head_width, layer.window_size) == (64, 128)
    _check(layer, _input(140, batch=1), partial(slow.local, heads=2, window=128))


@sweep(length=LENGTHS, heads=HEADS, context=[1, 2, 3, 4, 7, 30], mode=cnn.SPARSE_MODES)
def test_sparse(length: int, heads: int, context: int, mode: str) -> None:
    layer = cnn.SparseAttention(6, heads, sparse_mode=mode, sparse_context_window=context, attention_dropout=0.0)
    _check(layer, _input(length), partial(slow.sparse, heads=heads, mode=mode, context=context))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch's own, also from nn.Conv1d
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("length", LENGTHS)
def test_convolution(length: int, heads: int, kernel_size: int) -> None:
    _check(cnn.MultiheadConv(6, heads, kernel_size=kernel_size), _input(length), partial(slow.convolution, heads=heads))


@pytest.mark.parametrize("partner", ["convolution", "attention"])
@pytest.mark.parametrize("ratio", [0, 0.25, 0.5, 0.75, 1])
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("length", [2, 7])
def test_branching(length: int, heads: int, ratio: float, partner: str) -> None:
    layer_type, settings = {
        "convolution": (cnn.BranchConv, {"kernel_size": 3}),
        "attention": (cnn.BranchAttention, {}),
    }[partner]
    settings |= {"K": 2, "metric": "euclidean", "attention_dropout": 0.0}
    layer = layer_type(12, heads, branch_ratio=ratio, **settings)
    first = partial(slow.convnn_attention, heads=heads, K=2, metric="euclidean", soft=True, encoded=False)
    second = partial(getattr(slow, partner), heads=heads)
    _check(layer, _input(length, dim=12), partial(slow.branching, ratio=ratio, first=first, second=second))


def test_the_branches_take_their_share_rounded_down() -> None:
    layer = cnn.BranchAttention(10, 1, branch_ratio=0.39, K=2, attention_dropout=0.0)
    assert layer.widths == (3, 7)
    first = partial(slow.convnn_attention, heads=1, K=2, metric="matmul", soft=True, encoded=False)
    second = partial(slow.attention, heads=1)
    _check(layer, _input(5, dim=10), partial(slow.branching, ratio=0.39, first=first, second=second))


def test_a_share_is_not_rounded_down_by_floating_point() -> None:
    assert cnn.BranchAttention(100, 1, branch_ratio=0.29).widths == (29, 71)  # 100 * 0.29 is 28.999999999999996


def _check_gradients(layer: nn.Module, length: int = 5) -> None:
    """Check the gradients of the input and all weights against finite differences."""
    layer = _randomised(layer).eval()
    names = [name for name, _ in layer.named_parameters()]
    point = [_input(length, layer.dim, batch=1), *(p.detach().clone() for p in layer.parameters())]

    def function(x: Tensor, *parameters: Tensor) -> Tensor:
        return functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert gradcheck(function, [one.requires_grad_() for one in point], fast_mode=True)


@sweep(**EVERY_SETTING)
def test_convnn_gradients(metric: str, kernel: str, soft: bool, encoded: bool, sampling: str) -> None:
    types = {"metric": metric, "convolution_type": kernel}
    switches = {"softmax_topk_val": soft, "coordinate_encoding": encoded}
    _check_gradients(cnn.ConvNNAttention(6, 3, K=3, **types, **switches, **SAMPLED[sampling]))


@pytest.mark.parametrize(
    "layer",
    [
        cnn.Attention(6, 3),
        cnn.KvtAttention(6, 3, K=2),
        cnn.NeighborhoodAttention(6, 3, K=3),
        cnn.NeighborhoodAttention(6, 3, K=(2, 1), size=(5, 1)),
        cnn.LocalAttention(6, 3, window_size=2, head_width=4),
        cnn.SparseAttention(6, 3, sparse_mode="local", sparse_context_window=2),
        cnn.SparseAttention(6, 3, sparse_mode="strided", sparse_context_window=3),
        cnn.BlockSparseAttention(6, 3, block=(2, 2), keep=0.5, special_tokens=1),
        cnn.MultiheadConv(6, 3, kernel_size=3),
        cnn.BranchConv(12, 3, K=2, kernel_size=3),
        cnn.BranchAttention(12, 3, K=2),
    ],
    ids=[
        "dense",
        "kvt",
        "window",
        "grid",
        "local",
        "sparse-local",
        "sparse-strided",
        "blocks",
        "conv",
        "b-conv",
        "b-attention",
    ],
)
def test_gradients(layer: nn.Module) -> None:
    _check_gradients(layer)
