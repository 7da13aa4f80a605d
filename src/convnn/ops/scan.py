"""Scans: sums over all tokens whose cost grows with their number, not with its square."""

import torch
from torch import Tensor

from convnn.backends import _bi_wkv, _delta_rule
from convnn.errors import InputError
from convnn.ops import _scan
from convnn.ops._dispatch import check_backend
from convnn.ops._transforms import is_transformed
from convnn.ops._validate import check_one_device, check_rows


def bi_wkv(key: Tensor, value: Tensor, decay: Tensor, first: Tensor, *, backend: str = "auto") -> Tensor:
    r"""Take the mean of all values, weighted by their keys and by their distance along the sequence.

    .. math:: y_t = \frac{\sum_{i \ne t} e^{k_i - (|t - i| - 1) w} v_i + e^{k_t + u} v_t}
        {\sum_{i \ne t} e^{k_i - (|t - i| - 1) w} + e^{k_t + u}}

    in every channel: a softmax over all tokens. It is scanned from both ends, in time and memory of order T. Weights
    are relative to the largest, so that keys and decays of any size are safe; for the gradients, the logarithms of the
    denominators are kept.

    Args:
        key: k, (B, T, C), finite.
        value: v, (B, T, C).
        decay: w, (C,), the decay for each step of distance; where it is negative, far tokens weigh more.
        first: u, (C,), what is added to the key of the token itself.
        backend: implementation: "auto" (the fastest available), "cpu", "triton" or "reference".

    Returns:
        (B, T, C), of the type of the values.

    Raises:
        InputError: the shapes do not fit, or the tensors are not on one device.
        UnsupportedError: the named backend cannot compute this.

    Reference:
        Duan et al., "Vision-RWKV", arXiv 2403.02308. There w and u are divided by T before they get here; the published
        CUDA kernel departs from the formula (by one more step of decay where every thread has one token).
    """
    check_backend(backend)
    check_rows("key", key)
    check_rows("value", value)
    if key.shape != value.shape:
        raise InputError(f"key {tuple(key.shape)} and value {tuple(value.shape)} must have one shape")
    for name, one in (("decay", decay), ("first", first)):
        if one.shape != key.shape[2:]:
            raise InputError(f"{name} of shape {tuple(one.shape)} must be ({key.shape[2]},), a number for each channel")
    check_one_device(key=key, value=value, decay=decay, first=first)
    if is_transformed():
        return _bi_wkv.bi_wkv(key, value, decay, first)[0]
    return _scan.bi_wkv(key, value, decay, first, backend)[0]


def delta_rule(
    r: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    a: Tensor,
    b: Tensor,
    initial_state: Tensor | None = None,
    *,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    r"""Write every token into a state from which some is forgotten, and read it.

    .. math:: S_t = S_{t-1} \operatorname{diag}(e^{w_t}) + (S_{t-1} a_t) b_t^\top + v_t k_t^\top, \qquad o_t = S_t r_t

    With :math:`a = -\kappa, b = \alpha \kappa` for a key :math:`\kappa` of length 1, what the state held for it is
    replaced to the share :math:`\alpha`: the delta rule. For the gradients no state is kept but the first; they compute
    the others again from some of them.

    Args:
        r: (B, H, T, D) what reads the state; a scale of the output is a factor of it.
        k: (B, H, T, D) keys.
        v: (B, H, T, V) values.
        log_decay: w, (B, H, T, D), at most 0.
        a: (B, H, T, D) what is read from the state before it decays.
        b: (B, H, T, D) where that is written.
        initial_state: (B, H, V, D); None is zeros.
        backend: implementation: "auto" (the fastest available), "cpu", "triton" or "reference".

    Returns:
        The outputs (B, H, T, V), and the last state (B, H, V, D).

    Raises:
        InputError: the shapes do not fit, the tensors are not on one device, or a decay is above 0.
        UnsupportedError: the named backend cannot compute this.

    Reference:
        Peng et al., "RWKV-7", arXiv 2503.14456, the recurrence WKV-7; chunks with a triangular system are those of Yang
        et al., "Parallelizing Linear Transformers with the Delta Rule", arXiv 2406.06484.
    """
    check_backend(backend)
    state = _checked_state(r, k, v, log_decay, a, b, initial_state)
    rows = [one.flatten(0, 1) for one in (r, k, v, log_decay, a, b, state)]
    if is_transformed():
        out, last = _delta_rule.delta_rule(*rows)
    else:
        out, last = _scan.delta_rule(*rows, backend)
    return out.unflatten(0, r.shape[:2]), last.unflatten(0, r.shape[:2])


def _checked_state(
    r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, a: Tensor, b: Tensor, initial_state: Tensor | None
) -> Tensor:
    """Return the initial state of inputs that fit.

    Raises:
        InputError: they do not.
    """
    for name, one in {"r": r, "k": k, "v": v, "log_decay": log_decay, "a": a, "b": b}.items():
        is_right = one.shape[:3] == r.shape[:3] if name == "v" else one.shape == r.shape
        if one.dim() != 4 or not one.is_floating_point() or not is_right:
            expected = "(B, H, T, V)" if name == "v" else "(B, H, T, D)"
            raise InputError(
                f"{name} of shape {tuple(one.shape)} and {one.dtype} must be floating and {expected}, with r of"
                f" {tuple(r.shape)}"
            )
    check_one_device(r=r, k=k, v=v, log_decay=log_decay, a=a, b=b)
    shape = (*r.shape[:2], v.shape[3], r.shape[3])
    if initial_state is None:
        return v.new_zeros(shape, dtype=torch.promote_types(v.dtype, torch.float32))
    if initial_state.shape != shape or not initial_state.is_floating_point():
        raise InputError(
            f"initial_state of shape {tuple(initial_state.shape)} and {initial_state.dtype} must be floating and"
            f" {shape}"
        )
    check_one_device(r=r, initial_state=initial_state)
    return initial_state
