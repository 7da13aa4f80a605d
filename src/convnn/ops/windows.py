r"""Windows: neighbours that are fixed by place, with a kernel for each channel."""

import torch
from torch import Tensor

from convnn.backends import reference
from convnn.backends._windows import map_of, rows_of, window_counts
from convnn.errors import InputError, check_at_least
from convnn.ops import _windows
from convnn.ops._dispatch import check_backend
from convnn.ops._transforms import is_transformed
from convnn.words import counted


def depthwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    backend: str = "auto",
) -> Tensor:
    r"""Convolve every channel with its own kernel.

    .. math:: y_{oc} = b_c + \sum_{k} W_{ck} \, x_{(o s + k d - p) c}

    This is the convolution of PyTorch with as many groups as channels. On the CPU its two gradients are those of the
    compiled core: they take about as long as two convolutions, and have the same bits for any number of threads.
    Gradients of half types are computed in float32. Where the map ends, the core leaves out most products with the
    zeros around it, so that an infinite or NaN number may or may not make those results NaN that it meets only there.

    Args:
        x: (B, C, \*S), along one, two or three axes. It is quickest in the memory format `torch.channels_last`.
        weight: (C, 1, \*K).
        bias: (C,) or None.
        stride, padding, dilation: as in `torch.nn.Conv2d`, a number or one for each axis.
        backend: backend that computes it, as in `select.nearest`.

    Returns:
        (B, C, \*S') in the memory order (B, \*S', C), in the type of the map; under autocast in the autocast type.

    Raises:
        InputError: the weight or bias does not fit the map, a number is out of range, no window fits on the map, or the
            backend is unknown.
        UnsupportedError: the named backend cannot compute this.
    """
    x, weight, bias = cast_by_autocast(x, weight, bias)
    axes = _check_map(x, weight, bias)
    check_backend(backend)
    steps, margins, gaps = (
        _of_each_axis(name, value, axes, least)
        for name, value, least in (("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1))
    )
    if min(window_counts(x.shape[2:], weight.shape[2:], steps, margins, gaps)) < 1:
        raise InputError(
            f"weight of shape {tuple(weight.shape)} with dilation={dilation} is larger than the map"
            f" {tuple(x.shape)} with padding={padding}; give more padding, or a smaller kernel"
        )
    if is_transformed():
        return reference.depthwise(x, weight, bias, steps, margins, gaps)
    rows = map_of(rows_of(x))
    return _windows.depthwise(rows, weight, bias, steps, margins, gaps, backend)


def _check_map(x: Tensor, weight: Tensor, bias: Tensor | None) -> int:
    """Check that kernels fit a map, and return how many axes it has."""
    axes = x.dim() - 2
    if not 1 <= axes <= 3 or not x.is_floating_point():
        raise InputError(
            f"x of shape {tuple(x.shape)} and {x.dtype} must be floating and (B, C, *S) along one, two or three axes"
        )
    if weight.dim() != x.dim() or weight.shape[:2] != (x.shape[1], 1) or weight.dtype != x.dtype or 0 in weight.shape:
        raise InputError(
            f"weight of shape {tuple(weight.shape)} and {weight.dtype} must be ({x.shape[1]}, 1, *K) with"
            f" {counted(axes, 'side')} K of at least 1 and {x.dtype}, for a map {tuple(x.shape)}"
        )
    if bias is not None and (bias.shape != weight.shape[:1] or bias.dtype != x.dtype):
        raise InputError(
            f"bias of shape {tuple(bias.shape)} and {bias.dtype} must be ({x.shape[1]},) and {x.dtype}, a number for"
            " each channel"
        )
    return axes


def _of_each_axis(name: str, value: int | tuple[int, ...], axes: int, least: int) -> list[int]:
    values = list(value) if isinstance(value, tuple | list) else [value] * axes
    if len(values) != axes:
        raise InputError(
            f"{name}={value} must be one number, or {axes} for the {counted(axes, 'axis', 'axes')} of the map"
        )
    for one in values:
        check_at_least(name, one, least)
    return values


def cast_by_autocast(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cast all as autocast does for a convolution: it does not know our custom op."""
    kind = x.device.type
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return x, weight, bias
    dtype = torch.get_autocast_dtype(kind)
    return x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
