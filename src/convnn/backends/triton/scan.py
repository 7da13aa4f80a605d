# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"
"""Scans over tokens: a program walks along the tokens of some channels, or of a head, with its state in registers.

What lies to the right of each token is written by a walk from the right, in memory that is given back; gradients of the
delta rule keep about sqrt(T) states and compute the others again.
"""

from math import isqrt
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from convnn.backends.triton._launch import computing_on, launch, tile, tiles

_NOTHING = -1e30  # the logarithm of a weight


def bi_wkv(key: Tensor, value: Tensor, decay: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means (B, T, C), and the logarithms of the sums of their weights; see `reference.bi_wkv`."""
    ones = torch.ones_like(value)
    with computing_on(value):
        k, w, u = key.float(), decay.float(), first.float()
        (above, below), logs = _walk(k, torch.stack([value.float(), ones.float()]), w, u, moments=False)
        return (above / below).to(value.dtype), logs + below.log()


def bi_wkv_backward(
    grad: Tensor, taken: Tensor, logs: Tensor, key: Tensor, value: Tensor, decay: Tensor, first: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of key, value, decay and first; see `reference.bi_wkv_backward`."""
    with computing_on(value):
        g, z, k, v, w, u = (one.float() for one in (grad, taken, key, value, decay, first))
        sums, level = _walk(-logs, torch.stack([g, z]), w, u, moments=True)
        weight = (k + level).exp()
        of_key = weight * (v * sums[0] - sums[1])
        of_decay = -(weight * (v * sums[2] - sums[3])).sum((0, 1))
        of_first = ((k + u - logs).exp() * (g * v - z)).sum((0, 1))
        found = of_key, weight * sums[0], of_decay, of_first
    inputs = (key, value, decay, first)
    of_key, of_value, of_decay, of_first = (one.to(like.dtype) for one, like in zip(found, inputs, strict=True))
    return of_key, of_value, of_decay, of_first


def _walk(logs: Tensor, values: Tensor, decay: Tensor, first: Tensor, *, moments: bool) -> tuple[Tensor, Tensor]:
    """Return sums of two values (2, B, T, C) by their weights, and the logarithm by which all were divided.

    With moments there are four: the others are those of the values times the number of tokens between.
    """
    batch, length, channels = logs.shape
    out = logs.new_empty((4 if moments else 2, batch, length, channels))
    level = torch.empty_like(logs)
    block = tile(channels, 16, 64)
    for is_left in (False, True):
        launch(
            _walk_kernel,
            (batch * tiles(channels, block),),
            logs.contiguous(),
            values.contiguous(),
            decay.contiguous(),
            first.contiguous(),
            out,
            level,
            length,
            channels,
            logs.numel(),
            IS_LEFT=is_left,
            MOMENTS=moments,
            CHANNELS=block,
            NOTHING=_NOTHING,
        )
    return out, level


@triton.jit
def _passed_on(decayed: tl.tensor, log: tl.tensor) -> tl.tensor:
    """Return the highest of both logarithms, and the factors of what is under each, relative to it."""
    highest = tl.maximum(decayed, log)
    return highest, tl.exp(decayed - highest), tl.exp(log - highest)


@triton.jit
def _walk_kernel(
    logs: tl.tensor,
    values: tl.tensor,
    decay: tl.tensor,
    first: tl.tensor,
    out: tl.tensor,
    level: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    size: tl.tensor,
    IS_LEFT: tl.constexpr,
    MOMENTS: tl.constexpr,
    CHANNELS: tl.constexpr,
    NOTHING: tl.constexpr,
) -> None:
    """Write the sums on the right of each token, or add those on the left and the token's own to them."""
    blocks = tl.cdiv(channels, CHANNELS)
    c = tl.program_id(0) % blocks * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = c < channels
    sequence = (tl.program_id(0) // blocks).to(tl.int64) * length
    w = tl.load(decay + c, mask=is_channel, other=0.0)
    u = tl.load(first + c, mask=is_channel, other=0.0)
    highest = tl.full((CHANNELS,), NOTHING, tl.float32)
    a = tl.zeros((CHANNELS,), tl.float32)
    b, of_a, of_b = a, a, a
    for step in range(length):
        t = step if IS_LEFT else length - 1 - step
        at = (sequence + t) * channels + c
        log = tl.load(logs + at, mask=is_channel, other=0.0)
        x = tl.load(values + at, mask=is_channel, other=0.0)
        y = tl.load(values + size + at, mask=is_channel, other=0.0)
        if IS_LEFT:
            beyond = tl.load(level + at, mask=is_channel, other=NOTHING)
            top = tl.maximum(tl.maximum(highest, beyond), log + u)
            left, right, own = tl.exp(highest - top), tl.exp(beyond - top), tl.exp(log + u - top)
            sum_a = left * a + right * tl.load(out + at, mask=is_channel, other=0.0) + own * x
            sum_b = left * b + right * tl.load(out + size + at, mask=is_channel, other=0.0) + own * y
            tl.store(level + at, top, mask=is_channel)
            tl.store(out + at, sum_a, mask=is_channel)
            tl.store(out + size + at, sum_b, mask=is_channel)
            if MOMENTS:
                moment_a = left * of_a + right * tl.load(out + 2 * size + at, mask=is_channel, other=0.0)
                moment_b = left * of_b + right * tl.load(out + 3 * size + at, mask=is_channel, other=0.0)
                tl.store(out + 2 * size + at, moment_a, mask=is_channel)
                tl.store(out + 3 * size + at, moment_b, mask=is_channel)
        else:
            tl.store(level + at, highest, mask=is_channel)
            tl.store(out + at, a, mask=is_channel)
            tl.store(out + size + at, b, mask=is_channel)
            if MOMENTS:
                tl.store(out + 2 * size + at, of_a, mask=is_channel)
                tl.store(out + 3 * size + at, of_b, mask=is_channel)
        of_a, of_b = of_a + a, of_b + b
        highest, keep, take = _passed_on(highest - w, log)
        of_a, of_b = keep * of_a, keep * of_b
        a, b = keep * a + take * x, keep * b + take * y


def delta_rule(
    r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, a: Tensor, b: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Return outputs (N, T, V) and the last state (N, V, D); see `reference.delta_rule`."""
    out, last = torch.empty_like(v, memory_format=torch.contiguous_format), torch.empty_like(state)
    rows = [one.contiguous() for one in (r, k, v, log_decay, a, b)]
    with computing_on(v):
        launch(
            _rule_kernel,
            (r.shape[0],),
            *rows,
            state.contiguous(),
            out,
            last,
            last,
            r.shape[1],
            r.shape[2],
            v.shape[2],
            r.shape[1],
            READS=True,
            **_widths(r, v),
        )
    return out, last


def delta_rule_backward(
    grad: Tensor,
    grad_last: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    a: Tensor,
    b: Tensor,
    state: Tensor,
) -> tuple[Tensor, ...]:
    """Return the gradients of r, k, v, log_decay, a, b and the state; see `reference.delta_rule_backward`."""
    rows = [one.contiguous() for one in (r, k, v, log_decay, a, b)]
    found = [torch.empty_like(one) for one in (*rows, state)]
    length = r.shape[1]
    chunk = max(1, isqrt(length))
    chunks = tiles(length, chunk)
    with computing_on(v):
        kept = torch.empty((r.shape[0], chunks, *state.shape[1:]), device=v.device)
        within = torch.empty((r.shape[0], chunk + 1, *state.shape[1:]), device=v.device)
        sizes = length, r.shape[2], v.shape[2], chunk
        widths = _widths(r, v)
        state = state.contiguous()
        launch(_rule_kernel, (r.shape[0],), *rows, state, kept, kept, kept, *sizes, READS=False, **widths)
        launch(
            _gradient_kernel,
            (r.shape[0],),
            grad.contiguous(),
            grad_last.contiguous(),
            *rows,
            kept,
            within,
            *found,
            *sizes,
            **widths,
        )
    return tuple(found)


def _widths(r: Tensor, v: Tensor) -> dict[str, Any]:
    return {"KEYS": triton.next_power_of_2(r.shape[2]), "VALUES": triton.next_power_of_2(v.shape[2])}


@triton.jit
def _row(rows: tl.tensor, at: tl.tensor, count: tl.tensor, WIDTH: tl.constexpr) -> tl.tensor:
    """Load row `at` (WIDTH,), zero outside."""
    c = tl.arange(0, WIDTH)
    return tl.load(rows + at * count + c, mask=c < count, other=0.0).to(tl.float32)


@triton.jit
def _store_row(rows: tl.tensor, at: tl.tensor, count: tl.tensor, row: tl.tensor, WIDTH: tl.constexpr) -> None:
    c = tl.arange(0, WIDTH)
    tl.store(rows + at * count + c, row.to(rows.dtype.element_ty), mask=c < count)


@triton.jit
def _places(
    at: tl.tensor, keys: tl.tensor, values: tl.tensor, KEYS: tl.constexpr, VALUES: tl.constexpr
) -> tuple[tl.tensor, ...]:
    """Return where state `at` (VALUES, KEYS) lies, and its mask."""
    i, c = tl.arange(0, VALUES)[:, None], tl.arange(0, KEYS)[None, :]
    return (at * values + i) * keys + c, (i < values) & (c < keys)


@triton.jit
def _after(
    state: tl.tensor, k: tl.tensor, v: tl.tensor, decay: tl.tensor, a: tl.tensor, b: tl.tensor
) -> tuple[tl.tensor, tl.tensor]:
    """Return the state after a token, and what was read with its a."""
    u = tl.sum(state * a[None, :], axis=1)
    return state * decay[None, :] + u[:, None] * b[None, :] + v[:, None] * k[None, :], u


@triton.jit
def _rule_kernel(
    r: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    log_decay: tl.tensor,
    a: tl.tensor,
    b: tl.tensor,
    first: tl.tensor,
    out: tl.tensor,
    last: tl.tensor,
    kept: tl.tensor,
    length: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    chunk: tl.tensor,
    READS: tl.constexpr,
    KEYS: tl.constexpr,
    VALUES: tl.constexpr,
) -> None:
    """Write outputs and the last state of a sequence, or the states before each chunk."""
    n = tl.program_id(0).to(tl.int64)
    place, mask = _places(n, keys, values, KEYS, VALUES)
    state = tl.load(first + place, mask=mask, other=0.0).to(tl.float32)
    for t in range(length):
        if not READS:  # noqa: SIM102  (decided when it is compiled)
            if t % chunk == 0:
                at, is_there = _places(n * tl.cdiv(length, chunk) + t // chunk, keys, values, KEYS, VALUES)
                tl.store(kept + at, state, mask=is_there)
        row = n * length + t
        decay = tl.exp(_row(log_decay, row, keys, KEYS))
        state, _ = _after(
            state,
            _row(k, row, keys, KEYS),
            _row(v, row, values, VALUES),
            decay,
            _row(a, row, keys, KEYS),
            _row(b, row, keys, KEYS),
        )
        if READS:
            read = tl.sum(state * _row(r, row, keys, KEYS)[None, :], axis=1)
            _store_row(out, row, values, read, VALUES)
    if READS:
        tl.store(last + place, state.to(last.dtype.element_ty), mask=mask)


@triton.jit
def _keep_states(
    state: tl.tensor,
    within: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    log_decay: tl.tensor,
    a: tl.tensor,
    b: tl.tensor,
    first: tl.tensor,
    place_of_first: tl.tensor,
    count: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    KEYS: tl.constexpr,
    VALUES: tl.constexpr,
) -> tl.tensor:
    """Walk along a chunk, keep the state before each of its tokens, and return that after the last one."""
    for i in range(count):
        row = first + i
        at, mask = _places(place_of_first + i, keys, values, KEYS, VALUES)
        tl.store(within + at, state, mask=mask)
        decay = tl.exp(_row(log_decay, row, keys, KEYS))
        key, value = _row(k, row, keys, KEYS), _row(v, row, values, VALUES)
        state, _ = _after(state, key, value, decay, _row(a, row, keys, KEYS), _row(b, row, keys, KEYS))
    return state


@triton.jit
def _gradient_kernel(
    grad: tl.tensor,
    grad_last: tl.tensor,
    r: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    log_decay: tl.tensor,
    a: tl.tensor,
    b: tl.tensor,
    kept: tl.tensor,
    within: tl.tensor,
    of_r: tl.tensor,
    of_k: tl.tensor,
    of_v: tl.tensor,
    of_decay: tl.tensor,
    of_a: tl.tensor,
    of_b: tl.tensor,
    of_first: tl.tensor,
    length: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    chunk: tl.tensor,
    KEYS: tl.constexpr,
    VALUES: tl.constexpr,
) -> None:
    """Walk back along a sequence; the states of a chunk are computed again before it is walked."""
    n = tl.program_id(0).to(tl.int64)
    chunks = tl.cdiv(length, chunk)
    place, mask = _places(n, keys, values, KEYS, VALUES)
    above = tl.load(grad_last + place, mask=mask, other=0.0).to(tl.float32)
    for number in range(chunks):
        start = (chunks - 1 - number) * chunk
        count = tl.minimum(chunk, length - start)
        at, _ = _places(n * chunks + start // chunk, keys, values, KEYS, VALUES)
        state = tl.load(kept + at, mask=mask, other=0.0)
        first, place_of_first = n * length + start, n * (chunk + 1)
        state = _keep_states(
            state, within, k, v, log_decay, a, b, first, place_of_first, count, keys, values, KEYS, VALUES
        )
        tl.debug_barrier()  # the threads that read states may be others than those that wrote them
        for step in range(count):
            i = count - 1 - step
            row = first + i
            at, _ = _places(place_of_first + i, keys, values, KEYS, VALUES)
            before = tl.load(within + at, mask=mask, other=0.0)
            key, value = _row(k, row, keys, KEYS), _row(v, row, values, VALUES)
            from_a, to_b = _row(a, row, keys, KEYS), _row(b, row, keys, KEYS)
            decay = tl.exp(_row(log_decay, row, keys, KEYS))
            g = _row(grad, row, values, VALUES)
            above += g[:, None] * _row(r, row, keys, KEYS)[None, :]
            u = tl.sum(before * from_a[None, :], axis=1)
            p = tl.sum(above * to_b[None, :], axis=1)
            _store_row(of_r, row, keys, tl.sum(g[:, None] * state, axis=0), KEYS)
            _store_row(of_k, row, keys, tl.sum(value[:, None] * above, axis=0), KEYS)
            _store_row(of_v, row, values, tl.sum(above * key[None, :], axis=1), VALUES)
            _store_row(of_b, row, keys, tl.sum(u[:, None] * above, axis=0), KEYS)
            _store_row(of_a, row, keys, tl.sum(p[:, None] * before, axis=0), KEYS)
            _store_row(of_decay, row, keys, decay * tl.sum(before * above, axis=0), KEYS)
            above = above * decay[None, :] + p[:, None] * from_a[None, :]
            state = before
        tl.debug_barrier()
    tl.store(of_first + place, above.to(of_first.dtype.element_ty), mask=mask)
