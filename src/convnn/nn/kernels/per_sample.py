"""Kernels that every sample has for itself: their mixture, and the convolution with them."""

from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from convnn.backends._windows import CONVOLVE
from convnn.nn._grid import Grid, each_side
from convnn.ops._transforms import is_transformed

FEW = 128
"""Number of windows times kernels up to which a CPU convolves with all kernels faster than it mixes them."""
AT_ONCE = 2**24
"""Bytes of kernels that a CPU mixes at once: the system reuses such memory, and hands out larger pieces anew."""


def mixed(shares: Tensor, kernels: Tensor) -> Tensor:
    r"""Return a mixture of kernels for every sample.

    .. math:: w_b = \sum_e r_{be} W_e

    Args:
        shares: r (B, E).
        kernels: W (E, \*K).

    Returns:
        (B, \*K).
    """
    return torch.mm(shares, kernels.flatten(1)).unflatten(1, kernels.shape[1:])


def mixture(x: Tensor, shares: Tensor, kernels: Tensor, biases: Tensor | None = None, *, grid: Grid) -> Tensor:
    r"""Convolve every map with its own mixture of kernels.

    .. math:: y_b = \Big( \sum_e r_{be} W_e \Big) * x_b + \sum_e r_{be} c_e = \sum_e r_{be} (W_e * x_b + c_e)

    The kernels of all samples have B / E times as many values as those that they are mixed of. Where maps are small, it
    takes longer to write them than to convolve with all kernels and to mix the outputs.

    Args:
        x: (B, C, \*S).
        shares: r (B, E).
        kernels: W (E, C_out, C / groups, \*k).
        biases: c (E, C_out), or None.
        grid: stride, padding and dilation, with windows of the size of the kernels.

    Returns:
        (B, C_out, \*S').

    Raises:
        InputError: the kernels do not fit the map, or it cannot be padded.
    """
    bias = None if biases is None else mixed(shares, biases)
    if not _should_mix_outputs(x, kernels, grid):
        is_eager = x.device.type == "cpu" and not torch.compiler.is_compiling()
        samples = max(AT_ONCE // max(kernels[0].nbytes, 1), 1)
        if is_eager and x.shape[0] > samples:
            parts = zip(x.split(samples), shares.split(samples), strict=True)
            return torch.cat([mixture(one, some, kernels, biases, grid=grid) for one, some in parts])
        return per_sample(x, mixed(shares, kernels), bias, grid=grid)
    out = _mixed_outputs(x, shares, kernels, grid)
    return out if bias is None else out + bias.view(*bias.shape, *[1] * (x.dim() - 2))


def _should_mix_outputs(x: Tensor, kernels: Tensor, grid: Grid) -> bool:
    is_depthwise = kernels.shape[2] == 1
    if torch.compiler.is_compiling() or x.device.type != "cpu" or is_depthwise or x.shape[0] <= kernels.shape[0]:
        return False
    windows = prod(axis.count for axis in grid.axes(x.shape[2:], "kernel_size"))
    return windows * kernels.shape[0] <= FEW


def _mixed_outputs(x: Tensor, shares: Tensor, kernels: Tensor, grid: Grid) -> Tensor:
    """Convolve with all kernels at once, and mix their outputs."""
    groups = x.shape[1] // kernels.shape[2]
    of_groups = kernels.unflatten(1, (groups, -1)).transpose(0, 1)  # (groups, E, C_out / groups, C / groups, *k)
    out = convolved(x, of_groups.flatten(0, 2), grid=grid).unflatten(1, of_groups.shape[:3])
    return torch.einsum("be,bgeo...->bgo...", shares, out).flatten(1, 2)


def at_once(x: Tensor, weights: int, out_channels: int, grid: Grid) -> int:
    r"""Return how many samples of x (B, C, \*S), whose kernels have so many weights each, `by_windows` is to convolve.

    It is 0 where another form of the convolution is better: on other devices, under `torch.compile`, and where the
    windows take more than twice the memory of the kernels.
    """
    grid.check(x.shape[2:], "kernel_size")
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return 0
    ratio = prod(axis.count for axis in grid.axes(x.shape[2:], "kernel_size")) / out_channels
    return 0 if ratio > 2 else max(int(AT_ONCE / (max(ratio, 1) * weights * x.element_size())), 1)


def recomputed(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Return a function of inputs, whose intermediate results are computed again for the gradient, not kept till then.

    They are kept under `torch.compile`, which decides that itself, and under transforms that cannot do it.
    """
    if torch.compiler.is_compiling() or is_transformed() or not torch.is_grad_enabled():
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)


def per_sample(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, grid: Grid) -> Tensor:
    r"""Convolve every map with its own kernel.

    .. math:: y_b = w_b * x_b + c_b

    Args:
        x: (B, C, \*S).
        weight: w (B, C_out, C / groups, \*k).
        bias: c (B, C_out), or None.
        grid: stride, padding and dilation, with windows of the size of the kernels.

    Returns:
        (B, C_out, \*S').

    Raises:
        InputError: the kernels do not fit the map, or it cannot be padded.
    """
    grid.check(x.shape[2:], "kernel_size")
    if torch.compiler.is_exporting():
        return _by_taps(x, weight, bias, grid)
    x, geometry = _padded(x, grid)
    is_depthwise = weight.shape[2] == 1
    if x.shape[0] == 0 or (x.device.type == "cpu" and not is_depthwise and not torch.compiler.is_compiling()):
        return _one_by_one(x, weight, bias, *geometry)
    return _in_groups(x, weight, bias, *geometry)


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, grid: Grid) -> Tensor:
    r"""Convolve all maps (B, C, \*S) with one kernel (C_out, C / groups, \*k), with the geometry of a grid.

    Raises:
        InputError: the kernel does not fit the map, or it cannot be padded.
    """
    grid.check(x.shape[2:], "kernel_size")
    x, geometry = _padded(x, grid)
    stride, padding, dilation = geometry
    return CONVOLVE[x.dim() - 3](x, weight, bias, stride, padding, dilation, x.shape[1] // weight.shape[1])


def _padded(x: Tensor, grid: Grid) -> tuple[Tensor, tuple[Any, ...]]:
    """Return a map, padded unless torch does so itself, and the geometry of torch's convolution."""
    is_plain = grid.padding_mode == "zeros" and (grid.padding != "same" or grid.stride == 1)
    padding = grid.padding if is_plain else 0
    return x if is_plain else grid.pad(x), (grid.stride, padding, grid.dilation)


def _in_groups(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any) -> Tensor:
    """Convolve all samples at once, as groups of the channels of one map."""
    (batch, channels), groups = x.shape[:2], x.shape[1] // weight.shape[2]
    one_map = x.reshape(1, batch * channels, *x.shape[2:])
    bias = None if bias is None else bias.flatten()
    out = CONVOLVE[x.dim() - 3](one_map, weight.flatten(0, 1), bias, stride, padding, dilation, batch * groups)
    return out.reshape(batch, weight.shape[1], *out.shape[2:])


def _one_by_one(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any) -> Tensor:
    """Convolve sample by sample, which a CPU does faster than many groups of few channels."""
    convolve, groups = CONVOLVE[x.dim() - 3], x.shape[1] // weight.shape[2]
    if x.shape[0] == 0:
        return convolve(x, weight.sum(0), None if bias is None else bias.sum(0), stride, padding, dilation, groups)
    biases = [None] * x.shape[0] if bias is None else bias.unbind()
    parts = zip(x.split(1), weight.unbind(), biases, strict=True)
    return torch.cat([convolve(one, w, c, stride, padding, dilation, groups) for one, w, c in parts])


def by_windows(x: Tensor, weight: Tensor, *, grid: Grid) -> Tensor:
    r"""Convolve every map with its own kernel, as a product of two matrices.

    Where maps are small, this is as fast as `per_sample`. All samples are one step, which `recomputed` can omit.

    Args:
        x: (B, C, \*S).
        weight: (B, C_out, \*k, C).
        grid: stride, padding and dilation, with windows of the size of the kernels.

    Returns:
        (B, C_out, \*S').

    Raises:
        InputError: the kernels do not fit the map, or it cannot be padded.
    """
    seen = _windows(x, grid, weight.shape[2:-1])
    windows = torch.stack(seen, 1).flatten(1, 2).flatten(2)  # (B, k C, S')
    return torch.bmm(weight.flatten(2), windows).unflatten(2, seen[0].shape[2:])


def _windows(x: Tensor, grid: Grid, sides: Sequence[int]) -> list[Tensor]:
    """Return for each place of the window what all windows have there, (B, C, *S')."""
    axes, n = grid.axes(x.shape[2:], "kernel_size"), x.dim() - 2
    strides, dilations = each_side("stride", grid.stride, n), each_side("dilation", grid.dilation, n)
    x, found = grid.pad(x), []
    for tap in product(*map(range, sides)):
        starts = [place * apart for place, apart in zip(tap, dilations, strict=True)]
        seen = [slice(a, a + s * (axis.count - 1) + 1, s) for a, s, axis in zip(starts, strides, axes, strict=True)]
        place: tuple[Any, ...] = (slice(None), slice(None), *seen)
        found.append(x[place])
    return found


def _by_taps(x: Tensor, weight: Tensor, bias: Tensor | None, grid: Grid) -> Tensor:
    """Convolve as a sum over the taps of products of matrices: in a file, the number of groups cannot depend on B."""
    groups = x.shape[1] // weight.shape[2]
    weight = weight.unflatten(1, (groups, -1))  # (B, groups, C_out / groups, C / groups, *k)
    seen = _windows(x, grid, weight.shape[4:])
    out: Any = 0
    for window, tap in zip(seen, product(*map(range, weight.shape[4:])), strict=True):
        place: tuple[Any, ...] = (..., *tap)
        out = out + torch.matmul(weight[place], window.unflatten(1, (groups, -1)).flatten(3))
    out = out.flatten(1, 2)
    out = out if bias is None else out + bias.unsqueeze(2)
    return out.unflatten(2, seen[0].shape[2:])
