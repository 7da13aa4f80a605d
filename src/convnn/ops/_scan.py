"""The scans as PyTorch custom ops, like those of `_library`."""

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op
from torch.utils.flop_counter import register_flop_formula

from convnn.backends import _bi_wkv, _delta_rule
from convnn.backends.request import Request
from convnn.errors import InputError
from convnn.ops._dispatch import find_kernels
from convnn.ops._library import save_all, second_derivative

# Bidirectional WKV.


@custom_op("convnn::bi_wkv", mutates_args=())
def bi_wkv(key: Tensor, value: Tensor, decay: Tensor, first: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    """Return the means (B, T, C) and the logarithms of the sums of their weights; see `convnn.ops.scan.bi_wkv`."""
    return _bi_wkv_kernels(value, backend).bi_wkv(key, value, decay, first)


@custom_op("convnn::bi_wkv_backward", mutates_args=())
def bi_wkv_backward(
    grad: Tensor,
    taken: Tensor,
    logs: Tensor,
    key: Tensor,
    value: Tensor,
    decay: Tensor,
    first: Tensor,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of key, value, decay and first; see `reference.bi_wkv_backward`."""
    return _bi_wkv_kernels(value, backend).bi_wkv_backward(grad, taken, logs, key, value, decay, first)


def _bi_wkv_kernels(value: Tensor, backend: str) -> Any:
    return find_kernels(backend, Request("bi_wkv", value.device, value.dtype, 1, value.shape[2]))


@bi_wkv.register_fake
def _(key: Tensor, value: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    wide = torch.promote_types(value.dtype, torch.float32)
    return value.new_empty(value.shape), value.new_empty(value.shape, dtype=wide)


@bi_wkv_backward.register_fake
def _(
    grad: Tensor, taken: Tensor, logs: Tensor, key: Tensor, value: Tensor, decay: Tensor, first: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    of_key, of_value, of_decay, of_first = (one.new_empty(one.shape) for one in (key, value, decay, first))
    return of_key, of_value, of_decay, of_first


def _save_bi_wkv(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.backend = inputs
    ctx.save_for_backward(*tensors, *output)


def _differentiate_bi_wkv(ctx: Any, grad: Tensor, grad_logs: Tensor) -> tuple[Tensor | None, ...]:
    *inputs, out, logs = ctx.saved_tensors
    taken = grad.to(logs.dtype) * out.to(logs.dtype) - grad_logs
    return *bi_wkv_backward(grad, taken, logs, *inputs, ctx.backend), None


def _second_of_bi_wkv(ctx: Any, *grads: Tensor | None) -> Any:
    return second_derivative(ctx, grads, lambda *arguments: _bi_wkv.bi_wkv_backward(*arguments[:-1]))


bi_wkv.register_autograd(_differentiate_bi_wkv, setup_context=_save_bi_wkv)
bi_wkv_backward.register_autograd(_second_of_bi_wkv, setup_context=save_all)


@register_flop_formula(torch.ops.convnn.bi_wkv)
def _(key: tuple[int, ...], *_: Any, **__: Any) -> int:
    return 10 * prod(key)  # two sums from each side, and their means


@register_flop_formula(torch.ops.convnn.bi_wkv_backward)
def _(grad: tuple[int, ...], *_: Any, **__: Any) -> int:
    return 20 * prod(grad)


# The delta rule.


@custom_op("convnn::delta_rule", mutates_args=())
def delta_rule(
    r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, a: Tensor, b: Tensor, state: Tensor, backend: str
) -> tuple[Tensor, Tensor]:
    """Return outputs (N, T, V) and the last state (N, V, D); see `convnn.ops.scan.delta_rule`."""
    if log_decay.numel() and float(log_decay.max()) > 0:
        raise InputError(f"log_decay must be at most 0, but its largest number is {float(log_decay.max()):.4g}")
    return _delta_rule_kernels(v, r, backend).delta_rule(r, k, v, log_decay, a, b, state)


@custom_op("convnn::delta_rule_backward", mutates_args=())
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
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of r, k, v, log_decay, a, b and the state."""
    kernels = _delta_rule_kernels(v, r, backend)
    return kernels.delta_rule_backward(grad, grad_last, r, k, v, log_decay, a, b, state)


def _delta_rule_kernels(v: Tensor, r: Tensor, backend: str) -> Any:
    return find_kernels(backend, Request("delta_rule", v.device, v.dtype, 1, max(v.shape[2], r.shape[2])))


@delta_rule.register_fake
def _(
    r: Tensor, k: Tensor, v: Tensor, w: Tensor, a: Tensor, b: Tensor, state: Tensor, *_: Any
) -> tuple[Tensor, Tensor]:
    return v.new_empty(v.shape), state.new_empty(state.shape)


@delta_rule_backward.register_fake
def _(grad: Tensor, grad_last: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
    return tuple(one.new_empty(one.shape) for one in inputs[:-1])


def _save_delta_rule(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.backend = inputs
    ctx.save_for_backward(*tensors)


def _differentiate_delta_rule(ctx: Any, grad: Tensor, grad_last: Tensor) -> tuple[Tensor | None, ...]:
    return *delta_rule_backward(grad, grad_last, *ctx.saved_tensors, ctx.backend), None


def _second_of_delta_rule(ctx: Any, *grads: Tensor | None) -> Any:
    return second_derivative(ctx, grads, lambda *arguments: _delta_rule.delta_rule_backward(*arguments[:-1]))


delta_rule.register_autograd(_differentiate_delta_rule, setup_context=_save_delta_rule)
delta_rule_backward.register_autograd(_second_of_delta_rule, setup_context=save_all)


@register_flop_formula(torch.ops.convnn.delta_rule)
def _(r: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], *_: Any, **__: Any) -> int:
    return 9 * prod(r) * v[2]  # two products with the state, its decay and two outer products


@register_flop_formula(torch.ops.convnn.delta_rule_backward)
def _(grad: tuple[int, ...], last: tuple[int, ...], r: tuple[int, ...], *_: Any, **__: Any) -> int:
    return 30 * prod(r) * grad[2]
