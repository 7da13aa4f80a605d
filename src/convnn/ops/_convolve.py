"""Convolutions by whatever computes them quickest: PyTorch, or one of the two operators of the core."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from convnn.backends import cpu
from convnn.backends._windows import CONVOLVE
from convnn.errors import UnsupportedError
from convnn.ops import _sliding, windows
from convnn.ops._transforms import is_transformed

# Where `sliding` is quicker on contiguous maps with stride 1, by `python -m benchmarks --only sliding`: up to so many
# pairs of an input and an output channel in a group. Its vectors hold positions, those of oneDNN channels, which few
# channels do not fill. For rows of more than 13 taps oneDNN has no kernel of its own, and in float64 it has none.
_MOST_PAIRS = {torch.float32: 64, torch.float64: 4096}
_LONG_SIDE, _MOST_PAIRS_OF_LONG = 14, 256
_LEAST_PRODUCTS = 1 << 20  # with fewer, the call takes longer than it saves: 0.1 ms, and 0.5 ms in training
_LINE = 16  # channels that fill the vectors of `depthwise`

# Taps of the smallest kernels with which `depthwise` is quicker: in training; in inference, on maps in
# `torch.channels_last` and on contiguous ones, of which it makes a copy.
_TAPS_IN_TRAINING, _TAPS_IN_ROWS, _TAPS_OF_CONTIGUOUS = 25, 100, 196
_ALWAYS_QUICKER = (torch.float64, torch.float16)  # oneDNN does not train, or not compute, in these types


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int] | int,
    padding: Sequence[int] | int | str,
    dilation: Sequence[int] | int,
    groups: int,
    backend: str = "auto",
) -> Tensor:
    """Convolve (B, C, *S) or (C, *S) as PyTorch does, with its arguments, errors and memory format of the output.

    Raises:
        UnsupportedError: the named backend cannot compute this.
    """
    axes = weight.dim() - 2
    steps, gaps = _of_each_axis(stride, axes), _of_each_axis(dilation, axes)
    margins = _margins(padding, weight, gaps)
    operator = None
    if margins is not None and _is_plain(x, weight, groups):
        operator = _quicker(x, weight, bias, steps) if backend == "auto" else _named(backend, x, weight, steps)
    elif backend not in ("auto", "reference"):
        raise UnsupportedError(f"backend={backend!r} has no convolution with padding={padding!r} of an even extent")
    if margins is None or operator is None:
        return CONVOLVE[axes - 1](x, weight, bias, steps, padding, gaps, groups)
    maps = x if x.dim() == weight.dim() else x.unsqueeze(0)
    if operator == "sliding":
        maps, weight, bias = windows.cast_by_autocast(maps, weight, bias)
        out = _sliding.sliding(maps.contiguous(), weight, bias, margins, gaps, backend)
    else:
        out = windows.depthwise(maps, weight, bias, stride=steps, padding=margins, dilation=gaps, backend=backend)
        out = out.contiguous() if x.is_contiguous() else out
    return out if x.dim() == weight.dim() else out.squeeze(0)


def _quicker(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int]) -> str | None:
    """Return the operator that is quicker than PyTorch's convolution, if one is and nothing stands against it.

    Exported networks should have PyTorch's convolutions, and bad input PyTorch's errors.
    """
    if x.device.type != "cpu" or weight.device.type != "cpu" or cpu.unavailable_reasons():
        return None
    is_traced = torch.jit.is_tracing()  # type: ignore[attr-defined]  # documented, but not marked as exported
    if is_traced or torch.compiler.is_exporting() or is_transformed():
        return None
    is_cast = torch.is_autocast_enabled("cpu")
    if not is_cast and not x.dtype == weight.dtype == (weight if bias is None else bias).dtype:
        return None
    dtype = torch.get_autocast_dtype("cpu") if is_cast else x.dtype
    if _slides(x, weight, stride, dtype):
        return "sliding"
    trains = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    least = _TAPS_IN_TRAINING if trains else _TAPS_OF_CONTIGUOUS if x.is_contiguous() else _TAPS_IN_ROWS
    is_many = dtype in _ALWAYS_QUICKER or prod(weight.shape[2:]) >= least
    return "depthwise" if _is_depthwise(x, weight) and dtype.is_floating_point and is_many else None


def _slides(x: Tensor, weight: Tensor, stride: Sequence[int], dtype: torch.dtype) -> bool:
    """Return whether `sliding` is quicker than PyTorch's convolution, and than `depthwise`."""
    if dtype not in _MOST_PAIRS or not x.is_contiguous() or max(stride) > 1 or not x.numel():
        return False
    sides, channels = weight.shape[2:], x.shape[1 - weight.dim()]
    if cpu.INSTRUCTION_SET == "portable" or prod(sides) == 1 or (_is_depthwise(x, weight) and channels >= _LINE):
        return False
    if x.numel() // channels * weight.numel() < _LEAST_PRODUCTS:
        return False
    pairs = weight.shape[1] * (weight.shape[0] * weight.shape[1] // channels)
    return pairs <= max(_MOST_PAIRS[dtype], _MOST_PAIRS_OF_LONG if max(sides) >= _LONG_SIDE else 0)


def _named(backend: str, x: Tensor, weight: Tensor, stride: Sequence[int]) -> str | None:
    """Return the operator with which a named backend computes this."""
    if backend == "reference" or is_transformed():
        return None
    is_strided = max(stride) > 1
    if _is_depthwise(x, weight) and (is_strided or x.shape[1 - weight.dim()] >= _LINE or backend != "cpu"):
        return "depthwise"
    if is_strided:
        raise UnsupportedError(
            f"backend={backend!r} has no convolution of several channels with stride={tuple(stride)}; it must be 1"
        )
    return "sliding"


def _is_plain(x: Tensor, weight: Tensor, groups: int) -> bool:
    """Return whether the channels of map and weight fit together."""
    if x.dim() not in (weight.dim(), weight.dim() - 1) or not weight.numel() or weight.shape[0] % groups:
        return False
    return x.shape[1 - weight.dim()] == weight.shape[1] * groups


def _is_depthwise(x: Tensor, weight: Tensor) -> bool:
    return weight.shape[1] == 1 and weight.shape[0] == x.shape[1 - weight.dim()]


def _of_each_axis(value: Sequence[int] | int, axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value)


def _margins(padding: Sequence[int] | int | str, weight: Tensor, dilation: Sequence[int]) -> tuple[int, ...] | None:
    """Return the zeros on both sides of each axis; None if there are more on one side."""
    if not isinstance(padding, str):
        return _of_each_axis(padding, weight.dim() - 2)
    if padding == "valid":
        return (0,) * len(dilation)
    both = [d * (side - 1) for side, d in zip(weight.shape[2:], dilation, strict=True)]
    return None if any(zeros % 2 for zeros in both) else tuple(zeros // 2 for zeros in both)
