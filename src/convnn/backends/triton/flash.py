"""Attention between the pairs that a mask or the order leaves: that between blocks, without the empty ones."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.backends.triton._checks import check_block, check_rows, check_runs
from convnn.backends.triton._launch import computing_on, sum_dtype
from convnn.backends.triton.blocks import Pairs, attend_to_pairs, gradients_of_pairs
from convnn.errors import InputError


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    *,
    block: int = 64,
) -> tuple[Tensor, Tensor]:
    """Return attention (B, N, E), and the logarithms (B, N) of its sums; see `reference.attend`.

    Args:
        queries: (B, N, d) float16, bfloat16 or float32, in the interpreter also float64; heads are part of the batch.
        keys: (B, T, d).
        values: (B, T, E).
        mask: bool, expands to (B, N, T), True where a query sees a key; None for all pairs.
        causal: whether query i sees only keys up to i + T - N.
        scale: factor of the scores, by default 1 / sqrt(d).
        block: rows of a block, a power of two of at least 16.

    Raises:
        InputError: shapes do not agree, or `block` is out of range.
        UnsupportedError: there is no kernel for the type, the device or the width of the heads.
    """
    pairs = _check(queries, keys, values, mask, causal, block)
    with computing_on(values):
        out, logarithms = attend_to_pairs(queries, keys, values, pairs, _scale(queries, scale))
        return out, logarithms * math.log(2)


def attend_backward(
    grad: Tensor,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    out: Tensor,
    logarithms: Tensor,
    mask: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    *,
    block: int = 64,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of queries, keys and values, from that of `out`; all but `grad` as `attend` had them.

    Raises:
        InputError: shapes do not agree, or `block` is out of range.
        UnsupportedError: there is no kernel for the type, the device or the width of the heads.
    """
    pairs = _check(queries, keys, values, mask, causal, block)
    with computing_on(values):
        means = (grad.to(sum_dtype(values)) * out).sum(2)
        logarithms = logarithms / math.log(2)
        return gradients_of_pairs(grad, queries, keys, values, means, logarithms, pairs, _scale(queries, scale))


def _scale(queries: Tensor, scale: float | None) -> float:
    return queries.shape[2] ** -0.5 if scale is None else float(scale)


def _check(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool, block: int) -> Pairs:
    """Check the arguments and return who sees whom."""
    check_block(block)
    check_rows(queries, keys, values)
    check_runs("attend", values, max(queries.shape[2], values.shape[2]))
    shape = (queries.shape[0], queries.shape[1], keys.shape[1])
    if mask is not None:
        if mask.dtype != torch.bool:
            raise InputError(f"mask is {mask.dtype}; it must be bool, True where a query sees a key")
        try:
            mask = mask.expand(shape)
        except RuntimeError:
            raise InputError(f"mask of shape {tuple(mask.shape)} does not expand to (B, N, T) = {shape}") from None
    shift = keys.shape[1] - queries.shape[1] if causal else None
    return Pairs(_open_blocks(shape, mask, shift, block, values.device), block, block, mask, shift)


def _open_blocks(
    shape: tuple[int, int, int], mask: Tensor | None, shift: int | None, block: int, device: torch.device
) -> Tensor:
    """Return which blocks of keys a block of queries sees any key of, (B, Q, J)."""
    batch, count, length = shape
    rows, columns = -(-count // block), -(-length // block)
    is_open = torch.ones(batch, rows, columns, dtype=torch.bool, device=device)
    if mask is not None:
        padded = F.pad(mask, (0, columns * block - length, 0, rows * block - count))
        is_open &= padded.unflatten(2, (columns, block)).unflatten(1, (rows, block)).any(4).any(2)
    if shift is not None:
        last = (torch.arange(1, rows + 1, device=device) * block).clamp_max(count) - 1 + shift
        is_open &= torch.arange(columns, device=device) * block <= last[:, None]
    return is_open
