r"""Long convolutions: directly, or in O(T log T) by the Fourier transform.

.. math:: y_{ot} = b_o + \sum_{i, k} K_{oik} \, x_{i, \, t + (k - a) \delta}

for the output positions t = first, first + stride, ..., a kernel with a taps before its middle, dilation delta, and
zeros around the map.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from math import log2, prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.backends._windows import CONVOLVE
from convnn.errors import InputError, check_choice
from convnn.nn._grid import Sides, each_side
from convnn.nn.generated.correlate import BUTTERFLY, Layout, correlate, correlated
from convnn.nn.kernels.taps import spread

USES_OF_FFT = ("auto", "never", "always", "butterfly")
HALVES = (torch.float16, torch.bfloat16)
TRANSFORM, MIX, FACTOR = 4.0, 50.0, 10.0
"""Time of a butterfly of a Fourier transform, of a product of spectra whose channels mix, and of one for each channel,
in units of a multiplication in a direct convolution, as measured on a processor."""
BLOCK = 2**21
"""Number of values of the maps that are transformed together, where each channel has its own kernels."""

FEWEST_TAPS, MANY_TAPS = 32, 512
"""With fewer, a kernel is always convolved directly; compiled, one with many is convolved by FFT."""


class Targets(NamedTuple):
    """The positions along an axis at which the output is computed."""

    first: int
    positions: int
    stride: int = 1


def convolve(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None = None,
    *,
    before: Sides,
    targets: Sequence[Targets] | None = None,
    dilation: Sides = 1,
    groups: int = 1,
    use_fft: str = "auto",
) -> Tensor:
    r"""Convolve maps with a kernel of any length, in the way that takes the least time.

    Args:
        x: maps (B, C_in, \*S).
        kernel: (C_out, C_in / groups, \*K).
        bias: (C_out,) or None.
        before: number of taps before the one that multiplies the position itself, for each axis.
        targets: output positions along each axis; None: all of them.
        dilation: distance between the positions under two taps.
        groups: number of blocks of channels that do not mix.
        use_fft: "auto", "never", "always", or "butterfly": the transform as products of small matrices.

    Returns:
        (B, C_out, \*counts).

    Raises:
        InputError: channels, groups or axes do not fit, or `use_fft` has another value.
    """
    axes = kernel.dim() - 2
    check_choice("use_fft", use_fft, USES_OF_FFT)
    if x.dim() != axes + 2 or x.shape[1] != kernel.shape[1] * groups:
        raise InputError(
            f"input of shape {tuple(x.shape)} must have {kernel.shape[1] * groups} channels and {axes} further axes"
            f" for a kernel of shape {tuple(kernel.shape)} and groups={groups}"
        )
    a, apart = each_side("before", before, axes), each_side("dilation", dilation, axes)
    if targets is None:
        targets = [Targets(0, n) for n in x.shape[2:]]
    if torch.compiler.is_exporting():  # other formats have no complex numbers
        use_fft = "never"
    elif use_fft == "auto":
        use_fft = "always" if is_faster_by_fft(x.shape, kernel.shape, targets, groups) else "never"
    if use_fft == "never" or x.shape[0] == 0:
        return _direct(x, kernel, bias, a, targets, apart, groups)
    with without_autocast(x.device):
        by_matrices = use_fft == "butterfly"
        blocks = _blocks_of(x, kernel, groups)
        if len(blocks) == 1:
            out = _by_fft(x, kernel, a, targets, apart, groups, by_matrices)
        else:
            per_group = kernel.shape[0] // groups
            parts = [
                _by_fft(x[:, i:j], kernel[i * per_group : j * per_group], a, targets, apart, j - i, by_matrices)
                for i, j in blocks
            ]
            out = torch.cat(parts, dim=1)
        # What was cut out of a transform is copied, since a view would keep all of it.
        out = out.contiguous() if bias is None else out + bias.to(out.dtype).view(-1, *[1] * axes)
    return out.to(_type_of_result(x))


def _blocks_of(x: Tensor, kernel: Tensor, groups: int) -> list[tuple[int, int]]:
    """Return ranges of channels, each with its own kernels, whose spectra fit into the cache of a processor."""
    if kernel.shape[1] > 1 or x.device.type != "cpu" or torch.compiler.is_compiling():
        return [(0, groups)]
    values = x.shape[0] * prod([n + k for n, k in zip(x.shape[2:], kernel.shape[2:], strict=True)])
    count = max(BLOCK // values, 1)
    return [(i, min(i + count, groups)) for i in range(0, groups, count)]


def is_faster_by_fft(shape: Sequence[int], kernel: Sequence[int], targets: Sequence[Targets], groups: int) -> bool:
    """Return whether the Fourier transform takes less time than a direct convolution."""
    taps = prod(kernel[2:])
    if torch.compiler.is_compiling():  # a graph should not depend on the size of the map
        return taps >= MANY_TAPS
    if taps < FEWEST_TAPS:
        return False
    batch, inputs, outputs, per_group = shape[0], shape[1], kernel[0], kernel[1]
    direct = batch * outputs * per_group * taps * prod([t.positions for t in targets])
    points = prod([fast_length(n + k) for n, k in zip(shape[2:], kernel[2:], strict=True)])
    transforms = (batch * inputs + batch * outputs + outputs * per_group) * points * log2(max(points, 2))
    product = FACTOR if per_group == 1 else MIX
    return direct > TRANSFORM * transforms + product * batch * outputs * per_group * points


def _direct(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    before: Sequence[int],
    targets: Sequence[Targets],
    apart: Sequence[int],
    groups: int,
) -> Tensor:
    margins = []
    for k, a, target, d in zip(kernel.shape[2:], before, targets, apart, strict=True):
        margins.append((a * d - target.first, (k - 1 - a) * d))
    padded = F.pad(x, [side for margin in reversed(margins) for side in margin])
    out = CONVOLVE[len(margins) - 1](
        padded,
        _in_type_of(x, kernel),
        None if bias is None else _in_type_of(x, bias),
        stride=[target.stride for target in targets],
        dilation=list(apart),
        groups=groups,
    )
    index: Any = (..., *(slice(target.positions) for target in targets))
    return out[index]


def _by_fft(
    x: Tensor,
    kernel: Tensor,
    before: Sequence[int],
    targets: Sequence[Targets],
    apart: Sequence[int],
    groups: int,
    by_matrices: bool,
) -> Tensor:
    """Correlate the map, continued by zeros, circularly with the kernel.

    The zeros beyond the end are also those before the beginning, so that one margin of the longer reach is enough.
    """
    precise = torch.promote_types(torch.promote_types(x.dtype, kernel.dtype), torch.float32)
    x, kernel = x.to(precise), kernel.to(precise)
    if any(d > 1 for d in apart):
        kernel = spread(kernel, apart)
    lengths, starts = [], []
    for n, k, a, target, d in zip(x.shape[2:], kernel.shape[2:], before, targets, apart, strict=True):
        margin = max(a * d, k - 1 - a * d, 0)
        lengths.append(max(n + margin, k))
        starts.append(target.first - a * d)
    exact = torch.compiler.is_compiling() and not by_matrices
    layout = Layout(
        sizes=tuple(lengths if exact else map(fast_length, lengths)),
        zeros=tuple(max(-start, 0) for start in starts),
        starts=tuple(max(start, 0) for start in starts),
        extents=tuple((target.positions - 1) * target.stride + 1 for target in targets),
        groups=groups,
    )
    out = correlated(x, kernel, layout, BUTTERFLY) if by_matrices else correlate(x, kernel, layout)
    index: Any = (..., *(slice(None, None, target.stride) for target in targets))
    return out[index] if any(target.stride > 1 for target in targets) else out


def fast_length(n: int) -> int:
    """Return the smallest number of at least n that is a product of twos, threes and fives, and even.

    Example:
        >>> [fast_length(n) for n in (1, 7, 97, 1021)]
        [2, 8, 100, 1024]
    """
    best = 2 ** max((n - 1).bit_length(), 1)
    fives = 1
    while fives < best:
        threes = fives
        while threes < best:
            twos = 2
            while twos * threes < n:
                twos *= 2
            best = min(best, twos * threes)
            threes *= 3
        fives *= 5
    return best


def _in_type_of(x: Tensor, weight: Tensor) -> Tensor:
    """Return a generated kernel in the data type of a half-precision map, for which it was computed in float32."""
    return weight.to(x.dtype) if x.dtype in HALVES and weight.dtype not in HALVES else weight


def _type_of_result(x: Tensor) -> torch.dtype:
    kind = x.device.type
    casts = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if casts else x.dtype


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Return a block in which a device computes in the types of the tensors."""
    kind = device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
