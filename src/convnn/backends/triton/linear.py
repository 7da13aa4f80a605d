# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"
"""Linear attention with decay, chunk by chunk: products inside a chunk, and a state that carries what was before it."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from convnn.backends.triton._checks import check_block, check_rows, check_runs
from convnn.backends.triton._launch import computing_on, launch, precision, sum_dtype, tile, tiles
from convnn.backends.triton._tiles import load_rows, multiply, span, store_rows, zeros
from convnn.errors import InputError


def attend_linearly(
    queries: Tensor, keys: Tensor, values: Tensor, slopes: Tensor, *, chunk: int = 64
) -> tuple[Tensor, Tensor]:
    """Return attention (B, T, E) that decays with distance, and its state (B, d, E); see `reference.attend_linearly`.

    Args:
        queries: (B, T, d) float16, bfloat16 or float32, in the interpreter also float64; heads are part of the batch.
        keys: (B, T, d).
        values: (B, T, E).
        slopes: (B,) the decay of each head, at least 0.
        chunk: rows that are multiplied at once, a power of two of at least 16.

    Raises:
        InputError: shapes do not agree, or an argument is out of range.
        UnsupportedError: there is no kernel for the type, the device or the width of the heads.
    """
    _check(queries, keys, values, slopes, chunk)
    with computing_on(values):
        return _walk(queries, keys, values, slopes, chunk, backwards=False)


def attend_linearly_backward(
    grad: Tensor, queries: Tensor, keys: Tensor, values: Tensor, slopes: Tensor, *, chunk: int = 64
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return the gradients of queries, keys and values, from the gradient (B, T, E) of their attention.

    Each of them is linear attention again, from queries to what was before, or from keys and values to what comes
    after, walked backwards:

    .. math:: \partial q_i = \sum_{j \le i} e^{-s (i - j)} (g_i \cdot v_j) k_j, \qquad
        \partial k_j = \sum_{i \ge j} e^{-s (i - j)} (v_j \cdot g_i) q_i, \qquad
        \partial v_j = \sum_{i \ge j} e^{-s (i - j)} (k_j \cdot q_i) g_i

    Raises:
        InputError: shapes do not agree, or an argument is out of range.
        UnsupportedError: there is no kernel for the type, the device or the width of the heads.
    """
    _check(queries, keys, values, slopes, chunk)
    with computing_on(values):
        of_queries, _ = _walk(grad, values, keys, slopes, chunk, backwards=False)
        of_keys, _ = _walk(values, grad, queries, slopes, chunk, backwards=True)
        of_values, _ = _walk(keys, queries, grad, slopes, chunk, backwards=True)
    return of_queries, of_keys, of_values


def _check(queries: Tensor, keys: Tensor, values: Tensor, slopes: Tensor, chunk: int) -> None:
    check_block(chunk)
    check_rows(queries, keys, values)
    check_runs("attend_linearly", values, max(queries.shape[2], values.shape[2]))
    if queries.shape[1] != keys.shape[1]:
        raise InputError(
            f"there are {queries.shape[1]} queries and {keys.shape[1]} keys; each position has one of each"
        )
    if slopes.shape != queries.shape[:1] or not bool((slopes >= 0).all()):
        raise InputError(f"slopes of shape {tuple(slopes.shape)} must be {queries.shape[0]} numbers of at least 0")


def _walk(
    queries: Tensor, keys: Tensor, values: Tensor, slopes: Tensor, chunk: int, *, backwards: bool
) -> tuple[Tensor, Tensor]:
    """Return attention to what was before each position, or backwards to what comes after it, and the last state."""
    (batch, length, channels), of_values = keys.shape, values.shape[2]
    out = torch.empty((batch, length, of_values), dtype=values.dtype, device=values.device)
    state = torch.empty((batch, channels, of_values), dtype=sum_dtype(values), device=values.device)
    block = tile(of_values, 16, 64)
    launch(
        _linear_kernel,
        (batch, tiles(of_values, block)),
        queries.contiguous(),
        keys.contiguous(),
        values.contiguous(),
        slopes.to(sum_dtype(values)).contiguous(),
        out,
        state,
        length,
        channels,
        of_values,
        BACKWARDS=backwards,
        CHUNK=chunk,
        CHANNELS=tile(channels, 16, 256),
        VALUES=block,
        PRECISION=precision(values),
    )
    return out, state


@triton.jit
def _linear_kernel(
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    slopes: tl.tensor,
    out: tl.tensor,
    state: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    of_values: tl.tensor,
    BACKWARDS: tl.constexpr,
    CHUNK: tl.constexpr,
    CHANNELS: tl.constexpr,
    VALUES: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Walk the chunks of one head, for a tile of the channels of its values."""
    head = tl.program_id(0).to(tl.int64)
    c, is_channel = span(0, channels, CHANNELS)
    e, is_value = span(tl.program_id(1) * VALUES, of_values, VALUES)
    slope = tl.load(slopes + head)
    place = tl.arange(0, CHUNK)
    distance = place[:, None] - place[None, :]
    decay = tl.where(distance >= 0, tl.exp(-slope * tl.maximum(distance, 0)), 0.0)
    memory = zeros((CHANNELS, VALUES), values)
    for start in range(0, length, CHUNK):
        step, is_step = span(start, length, CHUNK)
        row = head * length + (length - 1 - step if BACKWARDS else step)
        q = load_rows(queries, row, is_step, c, is_channel, channels)
        k = load_rows(keys, row, is_step, c, is_channel, channels)
        v = load_rows(values, row, is_step, e, is_value, of_values)
        scores = multiply(q, tl.trans(k), PRECISION) * decay
        before = multiply(q, memory.to(q.dtype), PRECISION) * tl.exp(-slope * (place + 1))[:, None]
        total = multiply(scores.to(v.dtype), v, PRECISION, before)
        store_rows(out, total, row, is_step, e, is_value, of_values)
        steps = min(CHUNK, length - start)
        kept = k * tl.exp(-slope * tl.maximum(steps - 1 - place, 0))[:, None]
        memory = multiply(tl.trans(kept.to(v.dtype)), v, PRECISION, memory * tl.exp(-slope * steps))
    store_rows(state, memory, head * channels + c, is_channel, e, is_value, of_values)
