"""Scans over tokens by the compiled core."""

import torch
from torch import Tensor

from convnn.backends.cpu._core import core, dense, run


def bi_wkv(key: Tensor, value: Tensor, decay: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means (B, T, C), and the logarithms of the sums of their weights; see `reference.bi_wkv`."""
    inputs = dense(key, value, decay, first)
    out, logs = torch.empty_like(inputs[0]), torch.empty_like(inputs[0])
    if out.numel():
        run(core.bi_wkv, *inputs, out, logs)
    return out.to(value.dtype), logs.to(torch.promote_types(value.dtype, torch.float32))


def bi_wkv_backward(
    grad: Tensor, taken: Tensor, logs: Tensor, key: Tensor, value: Tensor, decay: Tensor, first: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of key, value, decay and first; see `reference.bi_wkv_backward`."""
    inputs = dense(grad, taken, logs, key, value, decay, first)
    of_key, of_value = torch.empty_like(inputs[0]), torch.empty_like(inputs[0])
    of_decay, of_first = (inputs[0].new_zeros(key.shape[0], key.shape[2]) for _ in range(2))
    if of_key.numel():
        run(core.bi_wkv_backward, *inputs, of_key, of_value, of_decay, of_first)
    sums = of_decay.sum(0).to(decay.dtype), of_first.sum(0).to(first.dtype)
    return of_key.to(key.dtype), of_value.to(value.dtype), *sums


def delta_rule(
    r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, a: Tensor, b: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Return outputs (N, T, V) and the last state (N, V, D); see `reference.delta_rule`."""
    inputs = dense(r, k, v, log_decay, a, b, state)
    out, last = torch.empty_like(inputs[2]), torch.empty_like(inputs[6])
    run(core.delta_rule, *inputs, out, last)
    return out.to(v.dtype), last.to(state.dtype)


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
    inputs = (r, k, v, log_decay, a, b, state)
    rows = dense(grad, grad_last, *inputs)
    found = [torch.empty_like(one) for one in rows[2:]]
    run(core.delta_rule_backward, *rows, *found)
    return tuple(one.to(like.dtype) for one, like in zip(found, inputs, strict=True))
