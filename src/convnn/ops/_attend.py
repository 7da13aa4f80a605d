"""Attention of blocks of queries to blocks of keys as a PyTorch custom op, like those of `_library`."""

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op
from torch.utils.flop_counter import register_flop_formula

from convnn.backends import reference
from convnn.backends.request import Request
from convnn.ops._dispatch import find_kernels
from convnn.ops._library import save_all, second_derivative


@custom_op("convnn::attend_to_blocks", mutates_args=())
def attend_to_blocks(
    queries: Tensor, keys: Tensor, values: Tensor, is_open: Tensor, query_block: int, key_block: int, backend: str
) -> tuple[Tensor, Tensor]:
    """Return the attention (B, N, E) and the logarithms (B, N) of its sums; see `convnn.ops.blocks.attend`."""
    return _kernels(keys, values, backend).attend_to_blocks(queries, keys, values, is_open, query_block, key_block)


@custom_op("convnn::attend_to_blocks_backward", mutates_args=())
def attend_to_blocks_backward(
    grad: Tensor,
    taken: Tensor,
    logs: Tensor,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    is_open: Tensor,
    query_block: int,
    key_block: int,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of queries, keys and values; see `reference.attend_to_blocks_backward`."""
    kernels = _kernels(keys, values, backend)
    return kernels.attend_to_blocks_backward(grad, taken, logs, queries, keys, values, is_open, query_block, key_block)


def _kernels(keys: Tensor, values: Tensor, backend: str) -> Any:
    width = max(keys.shape[2], values.shape[2])
    return find_kernels(backend, Request("attend_to_blocks", keys.device, keys.dtype, 1, width))


@attend_to_blocks.register_fake
def _(queries: Tensor, keys: Tensor, values: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    wide = torch.promote_types(values.dtype, torch.float32)
    return values.new_empty(*queries.shape[:2], values.shape[2]), queries.new_empty(queries.shape[:2], dtype=wide)


@attend_to_blocks_backward.register_fake
def _(
    grad: Tensor, taken: Tensor, logs: Tensor, queries: Tensor, keys: Tensor, values: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    of_queries, of_keys, of_values = (one.new_empty(one.shape) for one in (queries, keys, values))
    return of_queries, of_keys, of_values


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.query_block, ctx.key_block, ctx.backend = inputs
    ctx.save_for_backward(*tensors, *output)


def _differentiate(ctx: Any, grad: Tensor, grad_logs: Tensor) -> tuple[Tensor | None, ...]:
    *inputs, out, logs = ctx.saved_tensors
    taken = (grad.to(logs.dtype) * out.to(logs.dtype)).sum(2) - grad_logs
    gradients = attend_to_blocks_backward(grad, taken, logs, *inputs, ctx.query_block, ctx.key_block, ctx.backend)
    return *gradients, None, None, None, None


def _second(ctx: Any, *grads: Tensor | None) -> Any:
    return second_derivative(ctx, grads, lambda *arguments: reference.attend_to_blocks_backward(*arguments[:-1]))


attend_to_blocks.register_autograd(_differentiate, setup_context=_save)
attend_to_blocks_backward.register_autograd(_second, setup_context=save_all)


@register_flop_formula(torch.ops.convnn.attend_to_blocks, get_raw=True)
def _(queries: Tensor, keys: Tensor, values: Tensor, is_open: Tensor, *_: Any, out_val: Any, **__: Any) -> int:
    return 2 * (keys.shape[2] + values.shape[2]) * _pairs(queries, keys, is_open)


@register_flop_formula(torch.ops.convnn.attend_to_blocks_backward, get_raw=True)
def _(
    grad: Tensor,
    taken: Tensor,
    logs: Tensor,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    is_open: Tensor,
    *_: Any,
    **__: Any,
) -> int:
    return 2 * (3 * keys.shape[2] + 2 * values.shape[2]) * _pairs(queries, keys, is_open)


def _pairs(queries: Tensor, keys: Tensor, is_open: Tensor) -> int:
    """Return about how many pairs of a query and a key are in the blocks that are opened."""
    return int(is_open.sum()) * queries.shape[1] * keys.shape[1] // max(is_open[0].numel(), 1)
