"""Scans over tokens: the dense softmax, recurrences in loops, gradients, the custom ops."""

import re

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from convnn.backends import cpu
from convnn.errors import InputError
from convnn.ops import _scan, scan

BACKENDS = ["reference", pytest.param("cpu", marks=pytest.mark.skipif(cpu.core is None, reason="not compiled"))]
LENGTHS = [1, 2, 5, 32, 33, 97]
LOOKED_AT = ("test_schema", "test_autograd_registration", "test_faketensor")


def wkv_inputs(length: int, channels: int = 3, batch: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length)
    shapes = [(batch, length, channels), (batch, length, channels), (channels,), (channels,)]
    key, value, _, first = (torch.randn(shape, generator=generator, dtype=torch.double) for shape in shapes)
    decay = torch.tensor([0.3, -0.05, 4.0] * channels, dtype=torch.double)[:channels]
    return [one.requires_grad_() for one in (key, value, decay, first)]


def dense_wkv(key: Tensor, value: Tensor, decay: Tensor, first: Tensor) -> Tensor:
    """Return the softmax over all pairs of tokens."""
    place = torch.arange(key.shape[1])
    between = ((place[:, None] - place).abs() - 1).clamp_min(0).unsqueeze(2)
    own = torch.eye(key.shape[1], dtype=key.dtype).unsqueeze(2)
    logits = key.unsqueeze(1) - between * decay + own * first
    return (logits.softmax(2) * value.unsqueeze(1)).sum(2)


def scanned_wkv(key: Tensor, value: Tensor, decay: Tensor, first: Tensor) -> Tensor:
    """Return the recurrence from both ends, token by token."""

    def sums(order: range) -> list[tuple[Tensor, Tensor]]:
        above, below, found = torch.zeros_like(key[:, 0]), torch.zeros_like(key[:, 0]), {}
        for t in order:
            found[t] = above, below
            above = (-decay).exp() * above + key[:, t].exp() * value[:, t]
            below = (-decay).exp() * below + key[:, t].exp()
        return [found[t] for t in sorted(found)]

    length = key.shape[1]
    own = (key + first).exp()
    pairs = enumerate(zip(sums(range(length)), sums(range(length - 1, -1, -1)), strict=True))
    means = [
        (a + c + own[:, t] * value[:, t]) / (b + d + own[:, t]) for t, ((a, b), (c, d)) in pairs
    ]  # fmt: skip
    return torch.stack(means, 1)


def rule_inputs(length: int, keys: int = 5, values: int = 4, batch: int = 2, heads: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length)

    def rows(width: int) -> Tensor:
        return torch.randn(batch, heads, length, width, generator=generator, dtype=torch.double)

    direction = F.normalize(rows(keys), dim=-1)
    state = torch.randn(batch, heads, values, keys, generator=generator, dtype=torch.double)
    inputs = (rows(keys), rows(keys), rows(values), -rows(keys).abs(), -direction, direction * rows(keys).sigmoid())
    return [one.requires_grad_() for one in (*inputs, state)]


def step_by_step(
    r: Tensor, k: Tensor, v: Tensor, w: Tensor, a: Tensor, b: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    outputs = []
    for t in range(r.shape[2]):
        held = state @ a[:, :, t].unsqueeze(3)
        written = held * b[:, :, t].unsqueeze(2) + v[:, :, t].unsqueeze(3) * k[:, :, t].unsqueeze(2)
        state = state * w[:, :, t].exp().unsqueeze(2) + written
        outputs.append((state @ r[:, :, t].unsqueeze(3)).squeeze(3))
    return torch.stack(outputs, 2), state


def assert_same_gradients(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], inputs: list[Tensor]) -> None:
    generator = torch.Generator().manual_seed(1)
    grads = [torch.randn(one.shape, generator=generator, dtype=one.dtype) for one in expected]
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, grads), torch.autograd.grad(expected, inputs, grads), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("length", LENGTHS)
def test_wkv_is_the_dense_softmax_and_the_recurrence(length: int, backend: str) -> None:
    inputs = wkv_inputs(length)
    found, expected = scan.bi_wkv(*inputs, backend=backend), dense_wkv(*inputs)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found, scanned_wkv(*inputs), rtol=1e-12, atol=1e-12)
    assert_same_gradients((found,), (expected,), inputs)


def test_without_decay_all_tokens_have_the_same_mean() -> None:
    key, value, decay, _ = (one.detach() for one in wkv_inputs(40))
    found = scan.bi_wkv(key, value, 0 * decay, 0 * decay)
    torch.testing.assert_close(found, (key.softmax(1) * value).sum(1, keepdim=True).expand_as(found))


def test_two_cumulative_sums_are_the_same() -> None:
    # The factors e^(iw / T) are bounded: those that the layer passes are small.
    key, value, _, first = (one.detach() for one in wkv_inputs(97))
    decay, place = torch.tensor([3.0, -5.0, 0.1], dtype=torch.double) / 97, torch.arange(97.0).double().unsqueeze(1)
    ones = torch.stack([value, torch.ones_like(value)])

    def before(rows: Tensor) -> Tensor:
        return F.pad(rows.cumsum(2), (0, 0, 1, -1))

    left = before((key + place * decay).exp() * ones) * (-(place - 1) * decay).exp()
    right = before(((key - place * decay).exp() * ones).flip(2)).flip(2) * ((place + 1) * decay).exp()
    above, below = left + right + (key + first).exp() * ones
    torch.testing.assert_close(scan.bi_wkv(key, value, decay, first), above / below, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("decay", [500.0, 1e-6, -0.1])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_large_keys_and_decays_are_safe_in_float32(scale: float, decay: float, backend: str) -> None:
    key, value, _, first = wkv_inputs(97)
    inputs = [(scale * key), value, torch.full_like(first, decay), first]
    inputs = [one.detach().requires_grad_() for one in inputs]
    singles = [one.detach().float().requires_grad_() for one in inputs]
    found, expected = (
        scan.bi_wkv(*singles, backend=backend),
        dense_wkv(*[one.detach().double().requires_grad_() for one in singles]),
    )
    torch.testing.assert_close(found, expected.float(), rtol=2e-4, atol=2e-4)
    assert all(one.isfinite().all() for one in torch.autograd.grad(found.sum(), singles))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_long_sequence_in_float32(backend: str) -> None:
    generator = torch.Generator().manual_seed(0)
    key, value = (torch.randn(1, 5003, 2, generator=generator, dtype=torch.double) for _ in range(2))
    decay, first = torch.tensor([3.0, -5.0]).double() / 5003, torch.ones(2).double() / 5003
    exact = scan.bi_wkv(key, value, decay, first, backend="reference")
    found = scan.bi_wkv(key.float(), value.float(), decay.float(), first.float(), backend=backend)
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 50])
def test_delta_rule_is_the_recurrence(length: int, backend: str) -> None:
    inputs = rule_inputs(length)
    found, expected = scan.delta_rule(*inputs, backend=backend), step_by_step(*inputs)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)
    assert_same_gradients(found, expected, inputs)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_token_leaves_the_state(backend: str) -> None:
    *rows, state = rule_inputs(3)
    out, last = scan.delta_rule(*(one[:, :, :0] for one in rows), state, backend=backend)
    assert out.shape == (2, 3, 0, 4)
    assert torch.equal(last, state)
    assert torch.equal(*torch.autograd.grad(last.sum(), state), torch.ones_like(state))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_text_may_be_split(backend: str) -> None:
    *rows, state = (one.detach() for one in rule_inputs(29))
    whole, last = scan.delta_rule(*rows, state, backend=backend)
    first, state = scan.delta_rule(*(one[:, :, :11] for one in rows), state, backend=backend)
    second, state = scan.delta_rule(*(one[:, :, 11:] for one in rows), state, backend=backend)
    torch.testing.assert_close(torch.cat([first, second], 2), whole)
    torch.testing.assert_close(state, last)


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_decay_and_rate_it_is_causal_linear_attention(backend: str) -> None:
    r, k, v, *_ = (one.detach() for one in rule_inputs(40))
    nothing = torch.zeros_like(r)
    found, _ = scan.delta_rule(r, k, v, nothing, nothing, nothing, backend=backend)
    torch.testing.assert_close(found, (r @ k.mT).tril() @ v)


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_tracks_permutations(backend: str) -> None:
    generator = torch.Generator().manual_seed(0)
    swaps = [torch.randperm(5, generator=generator)[:2].tolist() for _ in range(50)]
    order, rows = torch.arange(5), torch.zeros(1, 1, 50, 5, dtype=torch.double)
    for t, (i, j) in enumerate(swaps):
        rows[..., t, i], rows[..., t, j] = 0.5**0.5, -(0.5**0.5)
        order[[i, j]] = order[[j, i]]
    nothing, start = torch.zeros_like(rows), torch.eye(5, dtype=torch.double)[None, None]
    _, state = scan.delta_rule(nothing, nothing, nothing, nothing, -rows, 2 * rows, start, backend=backend)
    torch.testing.assert_close(state[0, 0], torch.eye(5, dtype=torch.double)[:, order], rtol=0, atol=1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
def test_large_decays_forget_in_float32(backend: str) -> None:
    r, k, v, w, a, b, state = (one.detach() for one in rule_inputs(40))
    inputs = [one.float().requires_grad_() for one in (r, k, v, 300 * w, a, b, state)]
    found = scan.delta_rule(*inputs, backend=backend)
    expected = step_by_step(*(one.detach().double() for one in inputs))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs.float(), rtol=1e-4, atol=1e-4)
    assert all(one.isfinite().all() for one in torch.autograd.grad(found[0].sum(), inputs))


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_of_first_and_second_order(backend: str) -> None:
    def wkv(*inputs: Tensor) -> Tensor:
        return scan.bi_wkv(*inputs, backend=backend)

    def rule(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        return scan.delta_rule(*inputs, backend=backend)

    for operator, inputs in ((wkv, wkv_inputs(4)), (rule, rule_inputs(3, keys=3, values=2, batch=1, heads=1))):
        assert torch.autograd.gradcheck(operator, inputs, fast_mode=True)
        assert torch.autograd.gradgradcheck(operator, inputs, fast_mode=True)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("backend", BACKENDS)
def test_opcheck(backend: str) -> None:
    key, value, decay, first = wkv_inputs(4)
    torch.library.opcheck(_scan.bi_wkv, (key, value, decay, first, backend), test_utils=LOOKED_AT)
    backward = (value, value, key, key, value, decay, first, backend)
    torch.library.opcheck(_scan.bi_wkv_backward, backward, test_utils=LOOKED_AT)
    rows = [one.detach().flatten(0, 1).requires_grad_() for one in rule_inputs(3)]
    torch.library.opcheck(_scan.delta_rule, (*rows, backend), test_utils=LOOKED_AT)
    torch.library.opcheck(_scan.delta_rule_backward, (rows[2], rows[6], *rows, backend), test_utils=LOOKED_AT)


def test_transforms_and_cost() -> None:
    inputs = wkv_inputs(5)
    gradient = torch.func.grad(lambda key: scan.bi_wkv(key, *inputs[1:]).square().sum())(inputs[0].detach())
    torch.testing.assert_close(gradient, *torch.autograd.grad(dense_wkv(*inputs).square().sum(), inputs[0]))
    with FlopCounterMode(display=False) as counter:
        scan.bi_wkv(*(one.detach() for one in inputs))
    assert counter.get_total_flops() == 10 * 2 * 5 * 3
    with FlopCounterMode(display=False) as counter:
        scan.delta_rule(*(one.detach() for one in rule_inputs(7)))
    assert counter.get_total_flops() == 9 * 2 * 3 * 7 * 5 * 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda k, v, w, u: scan.bi_wkv(k, v[:, :3], w, u), "key (2, 5, 3) and value (2, 3, 3) must have one shape"),
        (lambda k, v, w, u: scan.bi_wkv(k[0], v, w, u), "key of shape (5, 3)"),
        (lambda k, v, w, u: scan.bi_wkv(k, v, w[:2], u), "decay of shape (2,) must be (3,), a number for each channel"),
        (lambda k, v, w, u: scan.bi_wkv(k, v, w, u[None]), "first of shape (1, 3) must be (3,)"),
        (lambda k, v, w, u: scan.bi_wkv(k, v, w, u, backend="cuda"), "backend='cuda'"),
        (lambda k, v, w, u: scan.bi_wkv(k, v.to("meta"), w, u), "value on meta must be on cpu, where key is"),
    ],
)
def test_wkv_refuses(call, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        call(*wkv_inputs(5))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({3: lambda w: -w}, "log_decay must be at most 0, but its largest number is"),
        ({1: lambda k: k[..., :2]}, "k of shape (2, 3, 5, 2) and torch.float64 must be floating and (B, H, T, D)"),
        ({2: lambda v: v[:, :, :2]}, "v of shape (2, 3, 2, 4) and torch.float64 must be floating and (B, H, T, V)"),
        ({4: lambda a: a.to("meta")}, "a on meta must be on cpu, where r is"),
        ({6: lambda s: s.to("meta")}, "initial_state on meta must be on cpu, where r is"),
        ({4: lambda a: a.long()}, "a of shape (2, 3, 5, 5) and torch.int64 must be floating"),
        (
            {6: lambda s: s.mT},
            "initial_state of shape (2, 3, 5, 4) and torch.float64 must be floating and (2, 3, 4, 5)",
        ),
    ],
)
def test_delta_rule_refuses(changed: dict, message: str) -> None:
    inputs = rule_inputs(5)
    with pytest.raises(InputError, match=re.escape(message)):
        scan.delta_rule(*(changed.get(i, lambda x: x)(one) for i, one in enumerate(inputs)))
