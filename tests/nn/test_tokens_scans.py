"""Layers around scans: shifts in four directions, initial values, class tokens, states read by other tokens."""

import math
import re

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn import nn as cnn
from convnn.errors import InputError


def shifted_by_loops(x: Tensor, rows: int, columns: int, step: int, share: float) -> Tensor:
    places, out = x.unflatten(1, (rows, columns)), torch.zeros(x.shape[0], rows, columns, x.shape[2], dtype=x.dtype)
    cuts = [int(x.shape[2] * share * j) for j in range(1, 5)]
    for h in range(rows):
        for w in range(columns):
            for c in range(x.shape[2]):
                side = sum(c >= cut for cut in cuts)
                down, right = [(0, -step), (0, step), (-step, 0), (step, 0), (0, 0)][side]
                if 0 <= h + down < rows and 0 <= w + right < columns:
                    out[:, h, w, c] = places[:, h + down, w + right, c]
    return out.flatten(1, 2)


@pytest.mark.parametrize(
    ("size", "width", "step", "share"),
    [((3, 4), 8, 1, 0.25), ((3, 4), 10, 2, 0.2), ((1, 6), 8, 1, 0.25), ((2, 2), 7, 5, 0.1), ((3, 3), 4, 1, 0.0)],
)
def test_shift(size: tuple[int, int], width: int, step: int, share: float) -> None:
    x = torch.randn(2, size[0] * size[1], width)
    found = cnn.FourSideShift(step, share, size)(x)
    assert torch.equal(found, shifted_by_loops(x, *size, step, share))
    assert torch.equal(found, cnn.FourSideShift(step, share)(x, size))


def test_tokens_before_the_map_are_not_shifted() -> None:
    x = torch.randn(2, 2 + 9, 8)
    for shift in (cnn.FourSideShift(), cnn.FourSideShift(size=(3, 3), class_tokens=2)):
        assert torch.equal(shift(x)[:, :2], x[:, :2])
        assert torch.equal(shift(x)[:, 2:], cnn.FourSideShift()(x[:, 2:]))


def test_every_token_is_read_with_weights_by_distance() -> None:
    layer, x = cnn.VRWKV(8, 2, key_norm=True, size=(3, 4)).double(), torch.randn(2, 12, 8, dtype=torch.double)
    shifted = shifted_by_loops(x, 3, 4, 1, 0.25)
    key, value, gate = (
        linear(x * mix + shifted * (1 - mix))
        for linear, mix in ((layer.key, layer.key_mix), (layer.value, layer.value_mix), (layer.gate, layer.gate_mix))
    )
    logits = torch.stack([key] * 12, 1)
    for t in range(12):
        for i in range(12):
            logits[:, t, i] += layer.first / 12 if i == t else -(abs(t - i) - 1) * layer.decay / 12
    means = (logits.softmax(2) * value.unsqueeze(1)).sum(2)
    expected = layer.output(gate.sigmoid() * F.layer_norm(means, (8,), layer.norm.weight, layer.norm.bias))
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


def test_initial_values() -> None:
    layer = cnn.VRWKV(6, 1, place=(2, 6), dtype=torch.double)
    mix = cnn.ChannelMix(6, place=(2, 6), dtype=torch.double)
    a, b = 2 / 5, 1 - 2 / 6
    for i in range(6):
        assert layer.decay[i].item() == pytest.approx(-5 + 8 * (i / 5) ** (0.7 + 1.3 * a))
        assert layer.first[i].item() == pytest.approx(math.log(0.3) + 0.5 * ((i + 1) % 3 - 1))
        assert layer.key_mix[i].item() == mix.key_mix[i].item() == mix.gate_mix[i].item() == pytest.approx((i / 6) ** b)
        assert layer.value_mix[i].item() == pytest.approx((i / 6) ** b + 0.3 * a)
        assert layer.gate_mix[i].item() == pytest.approx((i / 6) ** (0.5 * b))
    for init, decay, mixed in (("local", 1, 1), ("global", 0, 0.5)):
        layer = cnn.VRWKV(1, 1, init=init)
        assert (layer.decay.item(), layer.first.item(), layer.key_mix.item()) == (decay, decay, mixed)


@pytest.mark.parametrize("width", [8, 12])
def test_parameters(width: int) -> None:
    def count(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    assert count(cnn.VRWKV(width, 1)) == 4 * width**2 + 5 * width
    assert count(cnn.VRWKV(width, 1, key_norm=True)) == 4 * width**2 + 7 * width
    assert count(cnn.ChannelMix(width, hidden_rate=3)) == 7 * width**2 + 2 * width
    assert count(cnn.ChannelMix(width, hidden_rate=3, key_norm=True)) == 7 * width**2 + 8 * width
    ranks = {"decay_rank": 3, "rate_rank": 4, "gate_rank": 5}
    loras = 3 * 2 * width + width + 4 * 2 * width + width + 5 * 2 * width
    assert count(cnn.RWKV7(width, 2, **ranks)) == 4 * width**2 + 8 * width + width + loras + 2 * width


def cross(**settings: object) -> cnn.CrossWKV:
    torch.manual_seed(0)
    return cnn.CrossWKV(8, 6, head_dim=4, decay_rank=3, rate_rank=3, gate_rank=3, **settings).double()


def test_tokens_read_the_state_in_any_order_and_a_text_goes_on() -> None:
    layer = cross()
    x, context = torch.randn(2, 7, 8, dtype=torch.double), torch.randn(2, 9, 6, dtype=torch.double)
    out, order = layer(x, context), torch.randperm(7)
    torch.testing.assert_close(layer(x[:, order], context), out[:, order], rtol=1e-12, atol=1e-12)
    changed = layer(x, context.flip(1))
    assert not torch.allclose(changed, out)  # the text has an order
    with torch.no_grad():
        layer.writer.mix.zero_()  # without the token before, nothing crosses the cut but the state
    state = layer.state(context[:, 4:], initial_state=layer.state(context[:, :4]))
    torch.testing.assert_close(state, layer.state(context), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer(x, context[:, 4:], initial_state=layer.state(context[:, :4])), layer(x, context))


@pytest.mark.parametrize("length", [1, 5])
def test_padding_on_the_left_is_not_there(length: int) -> None:
    layer, x = cross(), torch.randn(2, 3, 8, dtype=torch.double)
    context = torch.randn(2, length, 6, dtype=torch.double)
    padded = torch.cat([torch.randn(2, 4, 6, dtype=torch.double), context], 1)
    mask = torch.arange(length + 4).expand(2, -1) >= 4
    torch.testing.assert_close(layer(x, padded, mask), layer(x, context), rtol=0, atol=1e-14)
    alone = cnn.RWKV7(6, 2).double()
    torch.testing.assert_close(alone(padded, mask)[:, 4:], alone(context), rtol=0, atol=1e-14)


def test_an_empty_text_leaves_the_bias_of_the_norm() -> None:
    layer, x = cross(), torch.randn(2, 3, 8, dtype=torch.double)
    nn.init.normal_(layer.norm.bias)
    expected = layer.output(layer.norm.bias * layer.gate(x))
    torch.testing.assert_close(layer(x, torch.zeros(2, 0, 6, dtype=torch.double)), expected)


def test_no_token_sees_later_ones() -> None:
    layer, x = cnn.RWKV7(8, 2), torch.randn(1, 10, 8)
    changed = x.clone()
    changed[:, 6:] = 9
    torch.testing.assert_close(layer(changed)[:, :6], layer(x)[:, :6])


def test_the_last_value_of_a_key_is_learned() -> None:
    torch.manual_seed(0)
    layer = cnn.CrossWKV(16, 16, head_dim=8, decay_rank=4, rate_rank=4, gate_rank=4)
    queries, pairs, head = nn.Embedding(4, 16), nn.Embedding(16, 16), nn.Linear(16, 4)
    modules = nn.ModuleList([layer, queries, pairs, head])
    optimizer = torch.optim.Adam(modules.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        keys, values = torch.randint(4, (2, 64, 6))
        last = values.gather(1, 5 - (keys.flip(1).unsqueeze(2) == torch.arange(4)).int().argmax(1))
        out = head(layer(queries.weight.expand(64, -1, -1), pairs(4 * keys + values)))
        there = (keys.unsqueeze(2) == torch.arange(4)).any(1)
        losses.append(F.cross_entropy(out[there], last[there]))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cnn.VRWKV(8, 1, gamma=0.3), "gamma=0.3 must be between 0 and 1/4, the share of each of four sides"),
        (lambda: cnn.VRWKV(8, 1, shift=0), "shift=0 must be an integer of at least 1"),
        (lambda: cnn.VRWKV(1, 1), "dim=1 must be at least 2 for init='fancy', which differs by channel"),
        (lambda: cnn.VRWKV(8, 1, place=(0, 1)), "place=(0, 1) must be the number of a block, from 0, and that of the"),
        (lambda: cnn.VRWKV(8, 1, init="random"), "init='random'"),
        (
            lambda: cnn.VRWKV(8, 1, size=(3, 4))(torch.zeros(1, 13, 8)),
            "13 tokens must be the 3 x 4 of size=(3, 4)",
        ),
        (
            lambda: cnn.ChannelMix(8, size=(3, 4), class_tokens=2)(torch.zeros(1, 13, 8)),
            "13 tokens must be the 3 x 4 of size=(3, 4) after class_tokens=2",
        ),
        (lambda: cnn.ChannelMix(8, hidden_rate=0.1), "hidden_rate=0.1 leaves no hidden channel of dim=8"),
        (lambda: cnn.RWKV7(8, 3), "dim=8 must be a multiple of num_heads=3"),
        (lambda: cnn.CrossWKV(8, 6, head_dim=3), "dim=8 must be a multiple of head_dim=3"),
        (lambda: cnn.CrossWKV(8, 6, head_dim=4, gate_rank=0), "rank=0 must be an integer of at least 1"),
        (
            lambda: cross()(torch.zeros(2, 3, 8).double(), torch.zeros(1, 3, 6).double()),
            "context of batch 1 must have the batch 2 of the input",
        ),
        (
            lambda: cross()(torch.zeros(2, 3, 8).double(), torch.zeros(2, 3, 5).double()),
            "context of shape (2, 3, 5) and torch.float64 must be floating and (B, T, 6)",
        ),
        (
            lambda: cross().state(torch.zeros(2, 3, 6).double(), torch.ones(2, 4)),
            "context_mask of shape (2, 4) must be (2, 3), batch and tokens",
        ),
        (
            lambda: cross().state(torch.zeros(2, 3, 6).double(), torch.tensor([[1, 1, 0], [1, 1, 1]])),
            "context_mask must have its padding, zeros, on the left of all other tokens",
        ),
    ],
)
def test_refuses(call, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        call()
