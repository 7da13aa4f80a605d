"""Tests that layers on tokens take any length, batch, layout and floating type, compile, and keep no state."""

import copy
import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from convnn import nn as cnn
from convnn.backends import cpu
from layer_cases import EUCLIDEAN_RAW, LOCAL, TOKEN_CASES, TokenCase
from layer_cases import RANDOM_TOKENS as RANDOM
from layer_cases import SPATIAL_TOKENS as SPATIAL
from pairwise import one_in, only

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
COMPARED = {"rtol": 1e-5, "atol": 1e-5}


CHOOSING = {"kvt", "convnn", "convnn-coordinates", "convnn-standard", "convnn-raw", "convnn-random", "convnn-spatial"}
CHOOSING |= {"branch-conv", "branch-attention", "blocks", "blocks-special"}
WITHOUT_DROPOUT = ("offsets", "conv", "blocks", "blocks-special", "scan")
ALONE = ("dense", "sparse-all", "conv", "offsets", "context", "context-local-padded")
"""Those that are computed by PyTorch alone."""
WITH_BACKENDS = [case for case in TOKEN_CASES if case.name not in ALONE]


def _named(name: str) -> TokenCase:
    return next(case for case in TOKEN_CASES if case.name == name)


def test_one_layer_takes_several_lengths(tokens: TokenCase) -> None:
    layer = tokens.layer()
    for length in (16, 25, 9, 100, 16):
        x = tokens.input(length=length)
        out = layer(x)
        assert out.shape == (2, length, 12)
        assert torch.equal(out, tokens.layer()(x))  # as a new layer would


def test_batch_of_none(tokens: TokenCase) -> None:
    layer = tokens.layer().train()
    x = tokens.input(batch=0).requires_grad_()
    out = layer(x)
    assert out.shape == (0, 16, 12)
    out.sum().backward()
    assert x.grad.shape == x.shape
    for parameter in layer.parameters():
        assert parameter.grad is None or parameter.grad.eq(0).all()


def test_single_sequence_without_batch(tokens: TokenCase) -> None:
    layer, x = tokens.layer(), tokens.input(batch=1)
    assert torch.equal(layer(x[0]), layer(x)[0])


def test_strided_input(tokens: TokenCase) -> None:
    layer, x = tokens.layer(), tokens.input()
    backing = torch.full((12, 16, 2, 2), float("nan"))
    view = backing[..., 0].permute(2, 1, 0)
    view.copy_(x)
    assert not view.is_contiguous()
    torch.testing.assert_close(layer(view), layer(x))
    sliced = torch.cat([x, x + 1], dim=1)[:, :16]
    torch.testing.assert_close(layer(sliced), layer(x))


def test_expanded_input(tokens: TokenCase) -> None:
    layer, x = tokens.layer(), tokens.input(batch=1).expand(3, -1, -1)
    torch.testing.assert_close(layer(x), layer(x.contiguous()))


def _name(one: TokenCase | torch.dtype) -> str:
    return one.name if isinstance(one, TokenCase) else str(one).removeprefix("torch.")


@pytest.mark.parametrize(("tokens", "dtype"), one_in(5, product(TOKEN_CASES, DTYPES)), ids=_name)
def test_floating_types(tokens: TokenCase, dtype: torch.dtype) -> None:
    layer, x = tokens.layer().to(dtype), tokens.input(dtype=dtype).requires_grad_()
    out = layer(x)
    assert out.dtype == dtype
    out.sum().backward()
    assert x.grad.dtype == dtype
    assert x.grad.isfinite().all()
    if tokens.name not in CHOOSING:  # rounded projections may choose other neighbours
        exact = copy.deepcopy(layer).double()(x.detach().double())
        torch.testing.assert_close(out.double(), exact, rtol=0.05, atol=0.02)


def test_layers_are_made_in_the_type_asked_for(tokens: TokenCase) -> None:
    layer = tokens.layer(dtype=torch.float64)
    assert {parameter.dtype for parameter in layer.parameters()} == {torch.float64}
    assert layer(tokens.input(dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(("tokens", "dtype"), one_in(3, product(TOKEN_CASES, DTYPES[2:])), ids=_name)
def test_autocast(tokens: TokenCase, dtype: torch.dtype) -> None:
    layer, x = tokens.layer(), tokens.input()
    x[0, 1] = 0
    exact = layer(x)
    x.requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        out = layer(x)
    assert out.dtype == dtype
    assert out.isfinite().all()
    if tokens.name not in CHOOSING:
        torch.testing.assert_close(out.float(), exact, rtol=0.05, atol=0.02)
    out.float().sum().backward()
    assert x.grad.dtype == torch.float32
    assert x.grad.isfinite().all() or _overflows(tokens, dtype)


def test_random_candidates_vary_in_training_and_follow_the_seed() -> None:
    layer = cnn.ConvNNAttention(12, 3, K=4, attention_dropout=0.0, **RANDOM).train()
    x = torch.randn(2, 30, 12)
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append((layer.neighbors(x).indices, layer(x)))
    assert torch.equal(draws[0][0], draws[1][0])
    assert torch.equal(draws[0][1], draws[1][1])
    assert not torch.equal(draws[0][0], draws[2][0])
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))


def test_dropout_acts_in_training_only(tokens: TokenCase) -> None:
    if tokens.name in WITHOUT_DROPOUT:
        pytest.skip("it has no dropout")
    x = tokens.input()
    layer = tokens.layer(attention_dropout=0.5)
    assert torch.equal(layer(x), layer(x))
    assert torch.equal(layer(x), tokens.layer(attention_dropout=0.0)(x))
    layer.train()
    assert not torch.equal(layer(x), layer(x))
    torch.manual_seed(0)
    first = layer(x)
    torch.manual_seed(0)
    assert torch.equal(layer(x), first)


def test_without_dropout_training_is_evaluation(tokens: TokenCase) -> None:
    if tokens.name in (*WITHOUT_DROPOUT, "convnn-random", "branch-attention"):
        pytest.skip("no dropout, or random candidates")
    x, layer = tokens.input(), tokens.layer(attention_dropout=0.0)
    assert torch.equal(layer.train()(x), layer.eval()(x))


def test_full_dropout_silences_everything(tokens: TokenCase) -> None:
    if tokens.name in WITHOUT_DROPOUT or tokens.name.startswith(("branch", "context")):
        pytest.skip("it has no dropout, or a bias")
    assert tokens.layer(attention_dropout=1.0).train()(tokens.input()).eq(0).all()


@pytest.mark.parametrize("name", ["dense", "window", "convnn"])
def test_dropout_keeps_the_mean(name: str) -> None:
    layer, x = _named(name).layer(attention_dropout=0.5), _named(name).input(batch=1)
    mean = layer.train()(x.expand(4000, -1, -1)).mean(dim=0)
    torch.testing.assert_close(mean, layer.eval()(x)[0], rtol=0, atol=0.05)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")], ids=["nan", "inf"])
@pytest.mark.parametrize("name", ["kvt", "convnn", "convnn-coordinates", "convnn-standard", "convnn-spatial"])
def test_one_bad_token_is_never_chosen(name: str, bad: float) -> None:
    case = _named(name)
    layer, clean = case.layer(), case.input()
    x = clean.clone()
    x[0, 5] = bad
    out = layer(x)
    assert (~out.isfinite().all(dim=-1)).nonzero().tolist() == [[0, 5]]
    assert torch.equal(out[1], layer(clean)[1])


LOOKS_AT = {
    "window": lambda distance, start: (distance >= start) & (distance < start + 4),
    "local": lambda distance, start: distance.abs() <= 3,
    "sparse-local": lambda distance, start: distance.abs() <= 2,
    "sparse-strided": lambda distance, start: distance % 5 == 0,
    "conv": lambda distance, start: distance.abs() <= 1,
}


@pytest.mark.parametrize("name", LOOKS_AT)
def test_one_bad_token_reaches_only_those_who_look_at_it(name: str) -> None:
    """Near the ends, lists are padded with invisible tokens; these are absent, and their values must not count."""
    case, length = _named(name), 14
    layer, clean = case.layer(), case.input(batch=1, length=length)
    places = torch.arange(length)
    start = (places - 2).clamp(0, length - 4) - places  # of a window of four, shifted inwards
    for bad in range(length):
        x = clean.clone()
        x[0, bad] = float("nan")
        harmed = layer(x)[0].isnan().any(dim=-1)
        assert torch.equal(harmed, LOOKS_AT[name](bad - places, start)), f"token {bad}"


def test_constant_and_huge_tokens_stay_finite(tokens: TokenCase) -> None:
    layer, x = tokens.layer(), tokens.input()
    for sequence in (torch.zeros_like(x), torch.ones_like(x), x * 1e15, x * 1e-30):
        assert layer(sequence).isfinite().all()


@pytest.mark.parametrize(("tokens", "dtype"), one_in(3, product(TOKEN_CASES, DTYPES[2:])), ids=_name)
def test_zero_tokens_stay_finite_in_half_types(tokens: TokenCase, dtype: torch.dtype) -> None:
    layer, x = tokens.layer().to(dtype), tokens.input(dtype=dtype)
    x[0, 3:9] = 0
    x[1] = 0
    x.requires_grad_()
    out = layer(x)
    assert out.isfinite().all()
    out.sum().backward()
    assert x.grad.isfinite().all() or _overflows(tokens, dtype)


def _overflows(tokens: TokenCase, dtype: torch.dtype) -> bool:
    """Return whether gradients overflow: equal tokens, divided by 0 + 1e-8, have gradients of 1e8."""
    return tokens.name == "convnn-raw" and dtype == torch.float16


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("autocast", [False, True], ids=["plain", "autocast"])
def test_zero_over_zero_distance_is_zero_in_float16(backend: str, autocast: bool) -> None:
    dtype = torch.float32 if autocast else torch.float16
    layer = _named("convnn-raw").layer(backend=backend).to(dtype)
    with torch.autocast("cpu", dtype=torch.float16, enabled=autocast):
        assert layer(torch.zeros(1, 16, 12, dtype=dtype)).eq(0).all()


@pytest.mark.parametrize("case", WITH_BACKENDS, ids=lambda case: case.name)
def test_backends_agree(case: TokenCase) -> None:
    results = []
    for name in ("auto", "reference") if cpu.core is None else ("auto", "reference", "cpu"):
        layer, x = case.layer(backend=name), case.input().requires_grad_()
        out = layer(x)
        results.append([out, *torch.autograd.grad(out.square().sum(), [x, *layer.parameters()])])
    for other in results[1:]:
        torch.testing.assert_close(results[0], other, **COMPARED)


def _compiled(layer: nn.Module, x: Tensor, backend: str = "eager") -> None:
    """Check that the compiled layer has the outputs and gradients of the layer."""
    compiled = torch.compile(layer, fullgraph=True, backend=backend)
    results = []
    for function in (layer, compiled):
        leaf = x.clone().requires_grad_()
        torch.manual_seed(3)
        out = function(leaf)
        results.append([out, *torch.autograd.grad(out.square().sum(), [leaf, *layer.parameters()])])
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("tokens", only(lambda case: "-" not in case.name, TOKEN_CASES), ids=lambda case: case.name)
def test_every_layer_compiles_as_one_graph(tokens: TokenCase) -> None:
    _compiled(tokens.layer(), tokens.input())


@pytest.mark.parametrize("name", ["convnn-random", "window", "branch-attention"])
def test_training_compiles(name: str) -> None:
    case = _named(name)
    _compiled(case.layer(attention_dropout=0.3).train(), case.input())


def _first_two(*names: str) -> list[object]:
    """Return a case with chosen and one with fixed neighbours; the others are in the long run."""
    return [*names[:2], *(pytest.param(name, marks=pytest.mark.long) for name in names[2:])]


@pytest.mark.slow
@pytest.mark.parametrize("name", _first_two("convnn-coordinates", "local", "kvt", "grid", "branch-conv"))
def test_traced_backward(name: str) -> None:
    case = _named(name)
    _compiled(case.layer(), case.input(), backend="aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("name", _first_two("convnn-coordinates", "local", "grid", "sparse-strided", "conv"))
def test_a_compiled_layer_takes_another_length_and_autocast(name: str) -> None:
    case = _named(name)
    layer = case.layer()
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    for batch, length in ((2, 16), (3, 9), (1, 25)):
        x = case.input(batch, length)
        torch.testing.assert_close(compiled(x), layer(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(compiled(x), layer(x))


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)  # torch's warning about graph breaks
def test_errors_speak_through_the_compiler() -> None:
    compiled = torch.compile(cnn.KvtAttention(12, 3, K=30), backend="eager")
    with pytest.raises(ValueError, match="K=30 is more than the 16 tokens of the input; lower K"):
        compiled(torch.randn(1, 16, 12))


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (cnn.KvtAttention(12, 3, K=4), "12, 3, K=4"),
        (cnn.ConvNNAttention(12, 3), "12, 3, K=9"),
        (
            cnn.ConvNNAttention(12, 3, K=4, **EUCLIDEAN_RAW, coordinate_encoding=True, **SPATIAL),
            "12, 3, K=4, sampling_type='spatial', num_samples=6, metric='euclidean', softmax_topk_val=False,"
            " coordinate_encoding=True",
        ),
        (
            cnn.ConvNNAttention(12, 3, K=4, metric="cosine", convolution_type="standard"),
            "12, 3, K=4, metric='cosine', convolution_type='standard'",
        ),
        (cnn.NeighborhoodAttention(12, 3, K=5), "12, 3, K=5"),
        (cnn.NeighborhoodAttention(12, 3, K=(3, 5), size=(4, 6)), "12, 3, K=(3, 5), size=(4, 6)"),
        (cnn.LocalAttention(12, 3), "12, 3, window_size=128, head_width=64"),
        (cnn.SparseAttention(12, 3), "12, 3, sparse_mode='all'"),
        (cnn.SparseAttention(12, 3, **LOCAL), "12, 3, sparse_mode='local', sparse_context_window=4"),
        (cnn.MultiheadConv(12, 3, kernel_size=5), "12, 3, kernel_size=5"),
        (cnn.BranchConv(12, 3), "12, 3, branch_ratio=0.5"),
    ],
    ids=["kvt", "convnn", "raw", "cosine", "window", "grid", "local", "sparse", "sparse-local", "conv", "branch"],
)
def test_repr_says_what_is_no_default_under_the_names_of_the_arguments(layer: nn.Module, text: str) -> None:
    assert layer.extra_repr() == text
    assert repr(layer).startswith(f"{type(layer).__name__}(\n  {text}\n")


def test_convnn_attention_starts_as_plain_attention_and_other_kernels_as_convolutions() -> None:
    assert cnn.ConvNNAttention(12, 3, K=4).weight.eq(1).all()
    torch.manual_seed(0)
    standard = cnn.ConvNNAttention(12, 3, K=4, convolution_type="standard").weight
    assert standard.shape == (4, 4, 4)
    assert 0 < standard.abs().max() <= 1 / math.sqrt(16)  # as nn.Conv1d(4, 4, 4)


@pytest.mark.parametrize(("encoded", "width"), [(False, 4), (True, 5)])
def test_shapes_of_the_kernels(encoded: bool, width: int) -> None:
    shapes = {}
    for kernel in cnn.CONVOLUTION_TYPES:
        layer = cnn.ConvNNAttention(12, 3, K=7, convolution_type=kernel, coordinate_encoding=encoded)
        shapes[kernel] = [tuple(layer.weight.shape), tuple(layer.output.weight.shape)]
        assert {name for name, _ in layer.named_parameters() if "bias" in name} == set()
    assert shapes == {
        "standard": [(4, width, 7), (12, 12)],
        "depthwise": [(width, 1, 7), (12, 3 * width)],
        "depthwise-separable": [(width, 1, 7), (12, 12)],
    }
