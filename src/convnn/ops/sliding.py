r"""Sums and other reductions over a window that slides along an axis, without unfolding it."""

from collections.abc import Callable

import torch
from torch import Tensor

from convnn.backends._windows import window_counts
from convnn.errors import InputError, UnsupportedError, check_at_least, check_choice
from convnn.ops._convolve import convolve
from convnn.ops._dispatch import check_backend
from convnn.ops._transforms import is_transformed

REDUCTIONS = ("sum", "mean", "max", "min")
"""Ways to reduce a window, for `sliding_reduce`."""


def sliding_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
    *,
    backend: str = "auto",
) -> Tensor:
    r"""Convolve along one, two or three axes: `torch.nn.functional.conv1d`, `conv2d` and `conv3d` in one.

    .. math:: y_{ot} = b_o + \sum_{c, k} W_{ock} \, x_{c (t s + k d - p)}

    for the input channels c of the group of output channel o. On the CPU the compiled core computes it where that is
    quicker than PyTorch: contiguous maps of few channels with stride 1, in float32 and float64. Its vectors hold
    neighbouring positions of a row: every tap multiplies the row moved by one, so that nothing is unfolded, and each
    number that is loaded is used by several rows or output channels in registers. Both gradients are computed likewise,
    that of the map by the convolution with the mirrored kernel. With a kernel for each of 16 or more channels, vectors
    hold channels instead (`windows.depthwise`). Everything else is PyTorch's.

    Args:
        x: (B, C, \*S) or (C, \*S).
        weight: (C_out, C / groups, \*K).
        bias: (C_out,) or None.
        stride, padding, dilation, groups: as in `torch.nn.functional.conv2d`.
        backend: "cpu" for the core, "reference" for PyTorch, "auto" for the quicker one.

    Returns:
        (B, C_out, \*S') or (C_out, \*S').

    Raises:
        InputError: the weight, the bias or the groups do not fit the map, a number is out of range, no window fits on
            the map, or the backend is unknown.
        UnsupportedError: the type is not floating, or the named backend cannot compute this.

    Reference:
        Snytsar, "Accelerating Machine Learning Primitives on Commodity Hardware", arXiv 2310.05218.

    Example:
        >>> sliding_conv(torch.randn(1, 1, 64, 64), torch.randn(1, 1, 17, 17), padding=8).shape
        torch.Size([1, 1, 64, 64])
    """
    check_backend(backend)
    _check_tensors(x, weight, bias, groups)
    axes = weight.dim() - 2
    for name, value, least in (("stride", stride, 1), ("dilation", dilation, 1), ("padding", padding, 0)):
        _check_each_axis(name, value, axes, least)
    if isinstance(padding, str):
        check_choice("padding", padding, ("same", "valid"))
        strides = stride if isinstance(stride, tuple | list) else (stride,)
        if padding == "same" and max(strides) > 1:
            raise InputError(f"stride={stride} must be 1 with padding='same'")
    _check_extent(x, weight, padding, dilation)
    return convolve(x, weight, bias, stride, padding, dilation, groups, backend)


def sliding_reduce(x: Tensor, window: int, op: str = "sum") -> Tensor:
    r"""Reduce every window along the last axis.

    .. math:: y_i = x_i \circ x_{i+1} \circ \dots \circ x_{i+w-1}, \qquad i = 0, \dots, n - w

    by doubling: with :math:`S_1 = x` and :math:`S_{2m,i} = S_{m,i} \circ S_{m,i+m}`, a window is put together from the
    :math:`S_m` of its binary digits, and for the maximum and minimum from two that overlap: at most
    :math:`2 \log_2 w` passes. Sums are added in pairs, so that their rounding does not grow along the axis as that of
    differences of `torch.cumsum` does.

    Args:
        x: (..., n).
        window: number of neighbours w, from 1 to n.
        op: "sum", "mean", "max" or "min". The gradient of an extremum goes to the first of those that attain it; NaN
            makes every window that contains it NaN.

    Returns:
        (..., n - w + 1).

    Raises:
        InputError: there is no axis, the window is out of range, or the reduction is unknown.
        UnsupportedError: the type is not floating.

    Reference:
        Snytsar, "Sliding Window Sum Algorithms for Deep Neural Networks", arXiv 2305.16513.

    Example:
        >>> sliding_reduce(torch.tensor([1.0, 3.0, 2.0, 5.0]), 2, "max")
        tensor([3., 3., 5.])
    """
    check_choice("op", op, REDUCTIONS)
    check_at_least("window", window, 1)
    _check_floating("x", x)
    if x.dim() == 0 or window > x.shape[-1]:
        raise InputError(f"window={window} must be at most the last axis of x, of shape {tuple(x.shape)}")
    if op in ("sum", "mean"):
        total = _total(x, window)
        return total / window if op == "mean" else total
    if torch.is_grad_enabled() and (x.requires_grad or is_transformed()):
        return x.gather(-1, _first_extremum(x.detach(), window, op))
    return _overlapping(x, window, torch.maximum if op == "max" else torch.minimum)


def _total(x: Tensor, window: int) -> Tensor:
    length = x.shape[-1] - window + 1
    total, reached = None, 0
    for bit in range(window.bit_length()):
        size = 1 << bit
        if bit:
            x = x[..., : -size // 2] + x[..., size // 2 :]
        if window & size:
            part = x[..., reached : reached + length]
            total, reached = part if total is None else total + part, reached + size
    assert total is not None
    return total if window > 1 else total.clone()


def _overlapping(x: Tensor, window: int, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Combine two windows of the largest power of two, at both ends of each window."""
    length, size = x.shape[-1] - window + 1, 1
    while 2 * size <= window:
        x, size = combine(x[..., :-size], x[..., size:]), 2 * size
    return combine(x[..., :length], x[..., window - size :]) if window > size else x.clone()


def _first_extremum(x: Tensor, window: int, op: str) -> Tensor:
    """Return the index of each window's extremum: the first one, or the first NaN."""
    places = torch.arange(x.shape[-1], device=x.device).expand(x.shape)

    def later(first: Tensor, second: Tensor) -> Tensor:
        a, b = x.gather(-1, first), x.gather(-1, second)
        is_better = (b > a if op == "max" else b < a) | (b.isnan() & ~a.isnan())
        return torch.where(is_better, second, first)

    return _overlapping(places, window, later)


def _check_floating(name: str, x: Tensor) -> None:
    if not x.is_floating_point():
        raise UnsupportedError(f"{name} of {x.dtype} has no sliding windows here; it must be floating")


def _check_tensors(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    _check_floating("x", x)
    axes = weight.dim() - 2
    if not 1 <= axes <= 3 or 0 in weight.shape:
        raise InputError(
            f"weight of shape {tuple(weight.shape)} must be (C_out, C / groups, *K) with one, two or three sides of at"
            " least 1"
        )
    if x.dim() not in (axes + 1, axes + 2):
        raise InputError(f"x of shape {tuple(x.shape)} must be (B, C, *S) or (C, *S) for {axes} sides of the weight")
    channels, outputs = x.shape[-axes - 1], weight.shape[0]
    check_at_least("groups", groups, 1)
    if channels % groups or outputs % groups:
        raise InputError(f"groups={groups} must divide the {channels} channels of x and the {outputs} of the weight")
    if weight.shape[1] * groups != channels or weight.dtype != x.dtype:
        raise InputError(
            f"weight of shape {tuple(weight.shape)} and {weight.dtype} must have {channels // groups} input channels"
            f" and {x.dtype}, for {channels} channels of x in groups={groups}"
        )
    if bias is not None and (bias.shape != weight.shape[:1] or bias.dtype != x.dtype):
        raise InputError(f"bias of shape {tuple(bias.shape)} and {bias.dtype} must be ({outputs},) and {x.dtype}")


def _check_each_axis(name: str, value: int | tuple[int, ...] | str, axes: int, least: int) -> None:
    if isinstance(value, str):
        return
    values = value if isinstance(value, tuple | list) else (value,) * axes
    if len(values) != axes:
        raise InputError(f"{name}={value} must be one number, or {axes}, one for each side of the weight")
    for one in values:
        check_at_least(name, one, least)


def _check_extent(
    x: Tensor, weight: Tensor, padding: int | tuple[int, ...] | str, dilation: int | tuple[int, ...]
) -> None:
    sides = weight.shape[2:]
    axes = len(sides)
    if padding == "same":
        return
    margins, gaps = (
        value if isinstance(value, tuple | list) else (value,) * axes
        for value in (0 if isinstance(padding, str) else padding, dilation)
    )
    if min(window_counts(x.shape[-axes:], sides, (1,) * axes, margins, gaps)) < 1:
        raise InputError(
            f"weight of shape {tuple(weight.shape)} with dilation={dilation} is larger than the map {tuple(x.shape)}"
            f" with padding={padding}; give more padding, or a smaller kernel"
        )
