"""Windows with queries of the whole image, against loops, timm and attention."""

import math

import pytest
import torch
from timm.models import gcvit
from torch import Tensor, nn
from torchvision.models.swin_transformer import shifted_window_attention

from convnn import nn as cnn
from convnn.errors import InputError


def _attention(scope: str, side: int = 2, **settings: object) -> cnn.WindowAttention:
    torch.manual_seed(0)
    layer = cnn.WindowAttention(12, 3, side, scope=scope, **settings).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    return layer


def _queries(layer: cnn.WindowAttention, x: Tensor) -> Tensor | None:
    if layer.scope == "local":
        return None
    return torch.randn(x.shape[0], *layer.sides(*x.shape[1:3]), x.shape[3], dtype=x.dtype, requires_grad=True)


def _in_loops(layer: cnn.WindowAttention, x: Tensor, queries: Tensor | None) -> Tensor:
    """Compute the definition, position by position."""
    images, height, width, channels = x.shape
    d = channels // layer.num_heads
    down, right = layer.sides(height, width)
    qkv = layer.qkv(x)
    keys, values = qkv[..., -2 * channels : -channels], qkv[..., -channels:]
    rows = []
    for image in range(images):
        for y in range(height):
            for z in range(width):
                top, left = (
                    (i - layer.shift % side) // side * side + layer.shift % side for i, side in ((y, down), (z, right))
                )
                rows_of, columns_of = (
                    range(max(top, 0), min(top + down, height)),
                    range(max(left, 0), min(left + right, width)),
                )
                window = [(v, w) for v in rows_of for w in columns_of]
                asked = qkv[image, y, z, :channels] if queries is None else queries[image, y - top, z - left]
                heads = []
                for head in range(layer.num_heads):
                    part = slice(head * d, (head + 1) * d)
                    scores = torch.stack(
                        [
                            asked[part] @ keys[image, v, w, part] / math.sqrt(d)
                            + layer.relative_bias[head, y - v + layer.side - 1, z - w + layer.side - 1]
                            for v, w in window
                        ]
                    )
                    found = torch.stack([values[image, v, w, part] for v, w in window])
                    heads.append(scores.softmax(0) @ found)
                rows.append(layer.output(torch.cat(heads)))
    return torch.stack(rows).view_as(x)


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize(
    ("size", "side", "shift"), [((4, 6), 2, 0), ((5, 4), 3, 0), ((2, 5), 3, 0), ((5, 4), 3, 2), ((2, 5), 3, 1)], ids=str
)
def test_outputs_and_gradients_are_those_of_loops(scope: str, size: tuple[int, int], side: int, shift: int) -> None:
    layer = _attention(scope, side, shift=shift, qkv_bias=side == 2)
    x = torch.randn(2, *size, 12, dtype=torch.float64, requires_grad=True)
    queries = _queries(layer, x)
    ours, theirs = layer(x, queries), _in_loops(layer, x, queries)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    leaves = [x, *layer.parameters(), *([] if queries is None else [queries])]
    upstream = torch.randn_like(ours)
    grads = (torch.autograd.grad(out, leaves, upstream) for out in (ours, theirs))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("scope", ["local", "global"])
def test_attention_is_timms(scope: str) -> None:
    layer = _attention(scope, 3)
    theirs = gcvit.WindowAttentionGlobal(12, 3, (3, 3), use_global=scope == "global").double()
    table = layer.relative_bias.detach().flatten(1).T
    theirs.load_state_dict(
        {f"qkv.{name}": value for name, value in layer.qkv.state_dict().items()}
        | {f"proj.{name}": value for name, value in layer.output.state_dict().items()}
        | {"rel_pos.relative_position_bias_table": table},
        strict=False,
    )
    x = torch.randn(2, 6, 9, 12, dtype=torch.float64)
    queries = _queries(layer, x)
    windows = gcvit.window_partition(x, (3, 3)).flatten(1, 2)
    asked = None if queries is None else queries.flatten(1, 2)
    expected = gcvit.window_reverse(theirs(windows, asked), (3, 3), (6, 9))
    torch.testing.assert_close(layer(x, queries), expected, rtol=0, atol=1e-14)


def test_shifted_windows_are_torchvisions() -> None:
    layer = _attention("local", 4, shift=2)
    x = torch.randn(2, 8, 12, 12, dtype=torch.float64)
    places = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    down, right = (places[:, None] - places + 3).unbind(-1)
    weights = (layer.qkv.weight, layer.output.weight, layer.relative_bias[:, down, right].unsqueeze(0))
    biases = {"qkv_bias": layer.qkv.bias, "proj_bias": layer.output.bias}
    expected = shifted_window_attention(x, *weights, [4, 4], 3, [2, 2], **biases)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("poolings", [0, 1, 2])
def test_queries_are_timms(poolings: int) -> None:
    torch.manual_seed(0)
    ours = cnn.GlobalQueries(32, poolings).double()  # of 32 channels timm gates from a quarter, too
    theirs = gcvit.FeatureBlock(32, poolings).double()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    x = torch.randn(2, 32, 12, 8, dtype=torch.float64)
    sides = (12 >> poolings, 8 >> poolings)
    torch.testing.assert_close(ours(x, sides), theirs(x).permute(0, 2, 3, 1), rtol=0, atol=1e-14)


def test_a_window_as_large_as_the_map_is_attention_to_all() -> None:
    torch.manual_seed(0)
    layer = cnn.GlobalContext(12, 3, window_side=4, scope="local", attention_dropout=0.0).double()
    nn.init.zeros_(layer.attention.relative_bias)
    dense = cnn.Attention(12, 3, attention_dropout=0.0, bias=True).double()
    parts = zip(("query", "key", "value"), *(p.chunk(3) for p in layer.attention.qkv.parameters()), strict=True)
    state = {f"{name}.{kind}": one for name, *both in parts for kind, one in zip(("weight", "bias"), both, strict=True)}
    dense.load_state_dict(state | {f"output.{k}": v for k, v in layer.attention.output.state_dict().items()})
    x = torch.randn(2, 16, 12, dtype=torch.float64)
    torch.testing.assert_close(layer(x), dense(x), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("scope", "reach"), [("local", 4), ("global", 64)])
def test_what_a_position_depends_on(scope: str, reach: int) -> None:
    torch.manual_seed(0)
    layer = cnn.GlobalContext(8, 2, window_side=2, scope=scope, query_poolings=2).double().eval()
    x = torch.randn(1, 64, 8, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(layer(x)[0, 27].square().sum(), x)
    assert slope[0].any(dim=1).sum() == reach


def test_images_do_not_ask_for_each_other() -> None:
    torch.manual_seed(0)
    layer = cnn.GlobalContext(12, 3, window_side=2).double().eval()
    x = torch.randn(3, 17, 12, dtype=torch.float64)
    torch.testing.assert_close(layer(x), torch.stack([layer(one) for one in x]), rtol=0, atol=1e-14)


@pytest.mark.parametrize("scope", ["local", "global"])
def test_tokens_without_a_place_receive_the_mean_of_the_patches(scope: str) -> None:
    torch.manual_seed(0)
    layer = cnn.GlobalContext(12, 3, window_side=3, scope=scope, size=(4, 5)).double().eval()
    x = torch.randn(2, 22, 12, dtype=torch.float64)
    out = layer(x)
    torch.testing.assert_close(out[:, 2:], layer(x[:, 2:]), rtol=0, atol=1e-14)
    torch.testing.assert_close(out[:, :2], out[:, 2:].mean(1, keepdim=True).expand(-1, 2, -1), rtol=0, atol=1e-14)


def test_biases_of_offsets_are_small_at_first() -> None:
    torch.manual_seed(0)
    layer = cnn.GlobalContext(48, 3)
    assert layer.attention.relative_bias.detach().std() == pytest.approx(0.02, rel=0.2)
    assert repr(layer).startswith("GlobalContext(\n  48, 3, window_side=7, scope='global'\n")


def _asked(scope: str, shape: tuple[int, ...] | None) -> None:
    _attention(scope)(torch.zeros(2, 4, 4, 12).double(), None if shape is None else torch.zeros(shape).double())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cnn.GlobalContext(12, 5), "dim=12 must be a multiple of num_heads=5"),
        (lambda: cnn.GlobalContext(12, 3, window_side=0), "window_side=0 must be an integer of at least 1"),
        (lambda: cnn.GlobalContext(12, 3, scope="globl"), "scope='globl' is not one of global, local; did you mean"),
        (lambda: _attention("local", 2, shift=2), "shift=2 must be at most 1"),
        (lambda: _attention("local", 2, shift=-1), "shift=-1 must be an integer of at least 0"),
        (lambda: cnn.GlobalContext(12, 3, query_poolings=-1), "query_poolings=-1 must be an integer of at least 0"),
        (lambda: cnn.GlobalContext(3, 3), "dim=3 must be at least 4 for scope='global'"),
        (lambda: cnn.GatedConvolution(3), "channels=3 must be at least 4"),
        (
            lambda: cnn.GlobalContext(12, 3, size=(3, 4))(torch.zeros(1, 11, 12)),
            r"size=\(3, 4\) has more patches than the 11 tokens of the input",
        ),
        (lambda: _asked("global", None), "queries=None must be those of the image, since scope='global'"),
        (lambda: _asked("local", (2, 2, 2, 12)), r"queries of shape \(2, 2, 2, 12\) are not read, since scope='local'"),
        (lambda: _asked("global", (3, 2, 2, 12)), r"queries of shape \(3, 2, 2, 12\) must be \(2, 2, 2, 12\)"),
        (lambda: _asked("global", (2, 4, 4, 12)), r"queries of shape \(2, 4, 4, 12\) must be \(2, 2, 2, 12\)"),
        (lambda: _asked("global", (2, 2, 2, 8)), r"queries of shape \(2, 2, 2, 8\) must be \(2, 2, 2, 12\)"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
