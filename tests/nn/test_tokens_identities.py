"""Tests of identities on tokens for any weights: dense attention as a limit, masks, branches, symmetries."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from convnn import nn as cnn
from convnn.ops import aggregate, select, weigh
from token_layers import LAYERS, exact, joined, random

SILENT = {"attention_dropout": 0.0}
PROJECTIONS = ("query", "key", "value", "output")
seeds = st.integers(0, 2**31)


def _with_projections_of(layer: nn.Module, other: nn.Module, **renamed: str) -> nn.Module:
    """Copy the projections of another layer into this one; `renamed` maps their names."""
    with torch.no_grad():
        for name in PROJECTIONS:
            getattr(layer, name).weight.copy_(getattr(other, renamed.get(name, name)).weight)
    return layer


def _heads(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Compute queries, keys and values, (B, H, T, d) each, without the layer."""
    return [
        getattr(layer, name)(x).view(*x.shape[:2], layer.num_heads, -1).transpose(1, 2)
        for name in ("query", "key", "value")
    ]


def _masked_attention(layer: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    """Compute dense attention with a mask (T, T) or (B, H, T, T) of the visible tokens."""
    return joined(layer, F.scaled_dot_product_attention(*_heads(layer, x), attn_mask=mask))


def _distances(length: int) -> Tensor:
    places = torch.arange(length)
    return (places[:, None] - places).abs()


def _assert_same(ours, theirs, x: Tensor, pairs: list[tuple[nn.Parameter, nn.Parameter]]) -> None:
    """Assert that two functions of x have the same values and gradients of x and of corresponding parameters."""
    upstream = random(*ours(x).shape, seed=99)
    results = []
    for function, parameters in zip((ours, theirs), zip(*pairs, strict=True), strict=True):
        leaf = x.clone().requires_grad_()
        out = function(leaf)
        results.append([out, *torch.autograd.grad(out, [leaf, *parameters], upstream)])
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-10)


def _pairs(layer: nn.Module, other: nn.Module, **renamed: str) -> list[tuple[nn.Parameter, nn.Parameter]]:
    return [(getattr(layer, name).weight, getattr(other, renamed.get(name, name)).weight) for name in PROJECTIONS]


def _convnn_like(other: nn.Module, K: int, **more: object) -> cnn.ConvNNAttention:
    """Return ConvNN attention with a kernel of ones; its keys are the other layer's queries."""
    layer = exact(cnn.ConvNNAttention(other.dim, other.num_heads, K=K, **SILENT, **more))
    assert layer.weight.eq(1).all()
    return _with_projections_of(layer, other, query="key", key="query")


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("length", [1, 2, 11])
def test_convnn_of_everybody_is_attention(length: int, heads: int) -> None:
    dense = exact(cnn.Attention(12, heads, **SILENT))
    layer = _convnn_like(dense, K=length)
    _assert_same(layer, dense, random(2, length, 12), _pairs(layer, dense, query="key", key="query"))


@pytest.mark.parametrize("heads", [1, 3])
def test_attention_is_what_torch_computes(heads: int) -> None:
    dense = exact(cnn.Attention(12, heads, **SILENT))
    torchs = nn.MultiheadAttention(12, heads, bias=False, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        torchs.in_proj_weight.copy_(torch.cat([dense.query.weight, dense.key.weight, dense.value.weight]))
        torchs.out_proj.weight.copy_(dense.output.weight)
    x = random(2, 11, 12)
    _assert_same(dense, lambda y: torchs(y, y, y)[0], x, [(dense.output.weight, torchs.out_proj.weight)])
    ours = torch.autograd.grad(dense(x).square().sum(), [getattr(dense, name).weight for name in PROJECTIONS[:3]])
    (theirs,) = torch.autograd.grad(torchs(x, x, x)[0].square().sum(), torchs.in_proj_weight)
    torch.testing.assert_close(torch.cat(ours), theirs, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(_convnn_like(dense, K=11)(x), torchs(x, x, x)[0], rtol=1e-10, atol=1e-10)
    by_formula = joined(dense, F.scaled_dot_product_attention(*_heads(dense, x)))
    torch.testing.assert_close(dense(x), by_formula, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("K", [1, 3, 4, 11])
@pytest.mark.parametrize("kernel", ["ones", "random"])
def test_the_kernel_over_a_window_is_masked_attention(kernel: str, K: int) -> None:
    """With fixed neighbours: masked attention for a kernel of ones, else a convolution of weighted rows."""
    queries, keys, values = (random(6, 11, 4, seed=seed).requires_grad_() for seed in range(3))
    neighbors = select.window([11], [K]).for_each_of(6)
    neighbors = weigh.softmax(weigh.similarity(neighbors, 0.5 * queries, keys, metric="matmul"))
    mask = torch.zeros(11, 11, dtype=torch.bool).scatter(1, neighbors.indices[0], True)
    if kernel == "ones":
        ours = aggregate.convolve(values, neighbors, random(4, 1, K).fill_(1), groups=4)
        theirs = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        torch.testing.assert_close(aggregate.weighted_sum(values, neighbors), theirs, rtol=1e-10, atol=1e-10)
    else:
        weight = random(4, 1, K, seed=5)
        ours = aggregate.convolve(values, neighbors, weight, groups=4)
        weights = (queries @ keys.mT / 2).masked_fill(~mask, -torch.inf).softmax(-1)
        shifts = (torch.arange(11) - K // 2).clamp(0, 11 - K)  # the slot of key j of query i is j - shift
        slots = (torch.arange(11) - shifts[:, None]).clamp(0, K - 1)
        theirs = torch.einsum("bij,cij,bjc->bic", weights, weight[:, 0][:, slots], values)
    upstream = random(6, 11, 4, seed=7)
    found = torch.autograd.grad(ours, [queries, keys, values], upstream)
    expected = torch.autograd.grad(theirs, [queries, keys, values], upstream)
    torch.testing.assert_close([ours, *found], [theirs, *expected], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("K", [1, 4, 11])
def test_kvt_is_attention_with_all_but_the_largest_masked(K: int) -> None:
    layer = exact(cnn.KvtAttention(12, 3, K=K, **SILENT))

    def masked(x: Tensor) -> Tensor:
        queries, keys, _ = _heads(layer, x)
        scores = queries @ keys.mT
        return _masked_attention(layer, x, scores >= scores.topk(K).values[..., -1:])

    _assert_same(layer, masked, random(2, 11, 12), _pairs(layer, layer))


def test_kvt_of_everybody_is_attention() -> None:
    dense = exact(cnn.Attention(12, 3, **SILENT))
    layer = _with_projections_of(exact(cnn.KvtAttention(12, 3, K=11, **SILENT)), dense)
    _assert_same(layer, dense, random(2, 11, 12), _pairs(layer, dense))


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("special", [0, 2], ids=["patches", "special"])
def test_all_blocks_are_attention(special: int, backend: str) -> None:
    dense = exact(cnn.Attention(12, 3, **SILENT))
    blocks = {"block": (4, 3), "keep": 1.0, "special_tokens": special, "backend": backend}
    layer = _with_projections_of(exact(cnn.BlockSparseAttention(12, 3, **blocks)), dense)
    _assert_same(layer, dense, random(2, 11, 12), _pairs(layer, dense))


BLOCKS = {
    "keep": {"block": (4, 3), "keep": 0.5},
    "specials-in-a-block-of-patches": {"block": (4, 3), "keep": 0.0, "special_tokens": 4},
    "mass-of-frames": {"block": (4, 2), "keep": 0.0, "mass": 0.6, "size": (2, 5), "special_tokens": 1, "pool": "max"},
    "curve": {
        "block": (5, 4),
        "size": (4, 5),
        "special_tokens": 2,
        "order": "hilbert",
        "qk_norm": True,
        "rotary": True,
    },
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_are_neighbors(name: str) -> None:
    """Select, weigh and aggregate, one by one, give the same as attention block by block."""
    layer = exact(cnn.BlockSparseAttention(12, 3, **BLOCKS[name]))
    heads = layer.project(random(2, 22, 12))
    torch.testing.assert_close(layer.attend(*heads), cnn.NeighborAttention.attend(layer, *heads))
    seen = layer.neighbors(random(2, 22, 12))
    assert (seen.scores == 0).any()
    torch.testing.assert_close(seen.scores.sum(-1), torch.ones(6, 22, dtype=torch.float64))


def test_special_tokens_see_all_tokens() -> None:
    dense = exact(cnn.Attention(12, 3, **SILENT))
    blocks = {"block": (4, 3), "keep": 0.0, "size": (3, 3), "special_tokens": 2}
    layer = _with_projections_of(exact(cnn.BlockSparseAttention(12, 3, **blocks)), dense)
    x = random(2, 22, 12)
    torch.testing.assert_close(layer(x)[:, [0, 1, 11, 12]], dense(x)[:, [0, 1, 11, 12]])
    assert not torch.allclose(layer(x), dense(x))


def test_convnn_with_ones_and_kvt_look_at_the_same() -> None:
    kvt = exact(cnn.KvtAttention(12, 3, K=4, **SILENT))
    layer = _convnn_like(kvt, K=4)
    _assert_same(layer, kvt, random(2, 11, 12), _pairs(layer, kvt, query="key", key="query"))


@pytest.mark.parametrize("context", [1, 2, 3, 5, 8, 11, 100])
@pytest.mark.parametrize("mode", ["local", "strided", "all"])
def test_sparse_is_attention_under_a_mask(mode: str, context: int) -> None:
    layer = exact(cnn.SparseAttention(12, 3, sparse_mode=mode, sparse_context_window=context, **SILENT))
    distance = _distances(11)
    mask = {"local": distance <= context // 2, "strided": distance % context == 0, "all": distance >= 0}[mode]
    _assert_same(layer, lambda x: _masked_attention(layer, x, mask), random(2, 11, 12), _pairs(layer, layer))


def _turned(heads: Tensor, start: int) -> Tensor:
    """Rotate channels c and c + d / 2, as a complex number, by the place of the token."""
    speeds = (1 / 10000 ** (torch.arange(0, heads.shape[-1], 2) / heads.shape[-1])).double()
    angles = torch.arange(start, start + heads.shape[-2])[:, None] * speeds
    turned = torch.complex(*heads.chunk(2, dim=-1)) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag], dim=-1)


@pytest.mark.parametrize("window", [1, 3, 10, 11, 50])
def test_local_is_rotary_attention_under_a_mask(window: int) -> None:
    layer = exact(cnn.LocalAttention(12, 3, window_size=window, head_width=8, **SILENT))
    mask = _distances(11) <= window
    assert mask.all() == (window >= 10)  # from there on, attention is dense

    def rotary(x: Tensor) -> Tensor:
        queries, keys, values = _heads(layer, x)
        queries, keys = _turned(queries, window), _turned(keys, 0)
        return joined(layer, F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask))

    _assert_same(layer, rotary, random(2, 11, 12), _pairs(layer, layer))


def test_local_attention_sees_distances_only() -> None:
    """Far from the ends, shifting a sequence by one shifts the output by one."""
    layer = exact(cnn.LocalAttention(12, 3, window_size=3, head_width=8))
    x = random(2, 21, 12)
    torch.testing.assert_close(layer(x.roll(1, dims=1))[:, 4:17], layer(x)[:, 3:16])


@pytest.mark.parametrize(("K", "size"), [(12, None), ((3, 4), (3, 4)), ((12, 1), (12, 1))], ids=str)
def test_neighborhood_of_everybody_is_attention(K: int | tuple[int, int], size: tuple[int, int] | None) -> None:
    dense = exact(cnn.Attention(12, 3, **SILENT))
    layer = _with_projections_of(exact(cnn.NeighborhoodAttention(12, 3, K=K, size=size, **SILENT)), dense)
    _assert_same(layer, dense, random(2, 12, 12), _pairs(layer, dense))


@pytest.mark.parametrize("K", [1, 4, 5])
def test_neighborhood_of_one_row_is_that_of_a_sequence(K: int) -> None:
    row = exact(cnn.NeighborhoodAttention(12, 3, K=(1, K), size=(1, 11)))
    sequence = _with_projections_of(exact(cnn.NeighborhoodAttention(12, 3, K=K)), row)
    x = random(2, 11, 12)
    assert torch.equal(row(x), sequence(x))


@pytest.mark.parametrize("layer_type", [cnn.BranchConv, cnn.BranchAttention])
@pytest.mark.parametrize(("ratio", "left"), [(0, "partner"), (1, "convnn")])
def test_branching_at_the_ends_is_one_layer(ratio: int, left: str, layer_type: type[nn.Module]) -> None:
    layer = exact(layer_type(12, 3, branch_ratio=ratio, K=4))
    assert {name for name, _ in layer.named_children()} == {left}
    x = random(2, 11, 12)
    assert torch.equal(layer(x), getattr(layer, left)(x))


def test_branching_at_the_ends_is_the_single_layer_with_its_settings() -> None:
    settings = {"metric": "cosine", "convolution_type": "standard", "coordinate_encoding": True}
    layer = exact(cnn.BranchConv(12, 3, branch_ratio=1, K=4, **settings))
    single = exact(cnn.ConvNNAttention(12, 3, K=4, **settings))
    single.load_state_dict(layer.convnn.state_dict())
    x = random(2, 11, 12)
    assert torch.equal(layer(x), single(x))
    layer = exact(cnn.BranchConv(12, 3, branch_ratio=0, kernel_size=5))
    single = exact(cnn.MultiheadConv(12, 3, kernel_size=5))
    single.load_state_dict(layer.partner.state_dict())
    assert torch.equal(layer(x), single(x))


def test_custom_partner() -> None:
    layer = exact(
        cnn.TokenBranching(12, 3, lambda dim, heads: cnn.KvtAttention(dim, heads, K=2), branch_ratio=0.25, K=4)
    )
    x = random(2, 11, 12)
    parts = torch.cat([layer.convnn(x[..., :3]), layer.partner(x[..., 3:])], dim=-1)
    torch.testing.assert_close(layer(x), F.linear(parts, layer.mix.weight, layer.mix.bias))


@pytest.mark.parametrize("silenced", [0, 1, 2])
@pytest.mark.parametrize("name", LAYERS)
def test_heads_are_independent(name: str, silenced: int) -> None:
    """Changing one head's projections does not change the outputs of the other heads."""
    layer, x = exact(LAYERS[name]()), random(2, 11, 12)
    with torch.no_grad():
        layer.output.weight.view(12, 3, -1)[:, silenced] = 0
        before = layer(x)
        for projection in (layer.query, layer.key, layer.value):
            projection.weight.view(3, -1, 12)[silenced] *= -5
        assert torch.equal(layer(x), before)
        for projection in (layer.query, layer.key, layer.value):
            projection.weight.view(3, -1, 12)[silenced - 1] *= -5
        assert not torch.allclose(layer(x), before)


def test_heads_of_a_convolution_are_independent() -> None:
    layer, x = exact(cnn.MultiheadConv(12, 3, kernel_size=3)), random(2, 11, 12)
    with torch.no_grad():
        layer.output.weight.view(12, 3, 4)[:, 1] = 0
        before = layer(x)
        layer.input.weight.view(3, 4, 12)[1] *= -5
    assert torch.equal(layer(x), before)


@pytest.mark.parametrize("name", LAYERS)
def test_sequences_of_a_batch_are_independent(name: str) -> None:
    layer, x = exact(LAYERS[name]()), random(3, 11, 12)
    alone = torch.cat([layer(one.unsqueeze(0)) for one in x])
    torch.testing.assert_close(layer(x), alone)
    changed = x.clone()
    changed[1] *= -7
    torch.testing.assert_close(layer(changed)[[0, 2]], alone[[0, 2]])


EQUIVARIANT = {
    "dense": lambda: cnn.Attention(6, 3),
    "kvt": lambda: cnn.KvtAttention(6, 3, K=4),
    "sparse-all": lambda: cnn.SparseAttention(6, 3),
    "matmul": lambda: cnn.ConvNNAttention(6, 3, K=4),
    "cosine": lambda: cnn.ConvNNAttention(6, 3, K=4, metric="cosine", convolution_type="standard"),
    "euclidean": lambda: cnn.ConvNNAttention(6, 3, K=4, metric="euclidean", softmax_topk_val=False),
}


@pytest.mark.parametrize("name", EQUIVARIANT)
@settings(max_examples=20, deadline=None)
@given(seed=seeds, length=st.integers(4, 20))
def test_permuted_tokens_give_permuted_outputs(name: str, seed: int, length: int) -> None:
    layer = exact(EQUIVARIANT[name]())
    x = random(2, length, 6, seed=seed)
    order = torch.randperm(length, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order], rtol=1e-8, atol=1e-8)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, scale=st.floats(1e-3, 1e3))
def test_scaling_leaves_cosine_neighbors_and_their_weights_alone(seed: int, scale: float) -> None:
    layer = exact(cnn.ConvNNAttention(6, 3, K=4, metric="cosine"))
    x = random(2, 9, 6, seed=seed)
    ours, scaled = layer.neighbors(x), layer.neighbors(x * scale)
    assert torch.equal(ours.indices, scaled.indices)
    torch.testing.assert_close(ours.scores, scaled.scores)
