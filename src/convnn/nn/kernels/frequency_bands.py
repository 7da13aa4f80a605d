"""Bands of frequencies of a map, each weighted by position."""

from collections.abc import Sequence
from itertools import pairwise
from math import pi
from typing import NamedTuple

import torch
from torch import Tensor, nn

from convnn.backends.reference import full_precision
from convnn.errors import InputError, check_at_least, check_choice, check_odd
from convnn.nn._grouped import check_groups

MASK_SIDE = 64
"""Side of the map for which the published masks of frequencies are made; for other sides they are resized."""
BOUNDARY = 1e-8
"""By how much a frequency may exceed the limit of a band."""
GATES = ("sigmoid", "tanh")
AT_ONCE = 2**21
"""Bytes of maps that a CPU weighs at once, so that all bands stay in its cache."""


class Filters(NamedTuple):
    """Matrices of a low pass: y = e x r + o x i; without o, where it is zero."""

    even: Tensor
    odd: Tensor | None
    real: Tensor
    imaginary: Tensor


def gated(logits: Tensor, gate: str, gain: float = 2.0) -> Tensor:
    """Return factors around 1: gain times the sigmoid, or 1 + tanh."""
    return gain * logits.sigmoid() if gate == "sigmoid" else 1 + logits.tanh()


class FrequencyBands(nn.Module):
    r"""Weights each band of frequencies of a map by a factor that depends on the position.

    .. math:: y = \sum_i g_i(x) \odot (l_{i-1}(x) - l_i(x)) + l_n(x), \qquad l_0(x) = x

    Here :math:`l_i` keeps the frequencies up to :math:`0.5 / d_i` cycles per position along both axes, and
    :math:`g_i` is a convolution of the map with a sigmoid or tanh, scaled to lie around 1.

    Args:
        channels: number of channels.
        divisors: d, increasing.
        kernel_size: side of the convolutions, an odd number.
        groups: number of blocks of channels, each with its own factors.
        gate: "sigmoid", for factors between 0 and 2, or "tanh", the same.
        weigh_lowest: weight :math:`l_n`, too.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input and output (B, C, H, W).

    Raises:
        InputError: an argument is out of range.

    Reference:
        Chen et al., "Frequency Dynamic Convolution for Dense Image Prediction", arXiv 2503.18783, section 3.4. As in
        the published code, the bands of a map whose sides are no powers of 2 up to 64 are those of a map of 64 x 64,
        resized.
    """

    def __init__(
        self,
        channels: int,
        divisors: Sequence[int] = (2, 4, 8),
        *,
        kernel_size: int = 3,
        groups: int = 1,
        gate: str = "sigmoid",
        weigh_lowest: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_groups(groups, channels)
        check_odd("kernel_size", kernel_size)
        check_choice("gate", gate, GATES)
        for divisor in divisors:
            check_at_least("divisors", divisor, 1)
        if not divisors or list(divisors) != sorted(set(divisors)):
            raise InputError(f"divisors={tuple(divisors)} must be at least one number, in increasing order")
        self.divisors, self.groups, self.gate, self.weigh_lowest = tuple(divisors), groups, gate, weigh_lowest
        self.gates = nn.Conv2d(
            channels,
            groups * (len(self.divisors) + weigh_lowest),
            kernel_size,
            padding=kernel_size // 2,
            groups=groups,
            device=device,
            dtype=dtype,
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights from a normal distribution of deviation 1e-6; biases are 0, so that all factors are 1."""
        nn.init.normal_(self.gates.weight, std=1e-6)
        assert self.gates.bias is not None
        nn.init.zeros_(self.gates.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        filters = band_filters(x.shape[2], x.shape[3], self.divisors)
        if x.device.type != "cpu" or torch.compiler.is_compiling() or x.nbytes <= AT_ONCE:
            return self._weighted(x, filters)
        samples = max(AT_ONCE * x.shape[0] // x.nbytes, 1)
        return torch.cat([self._weighted(part, filters) for part in x.split(samples)])

    def _weighted(self, x: Tensor, filters: list[Filters]) -> Tensor:
        factors = gated(self.gates(x), self.gate).unflatten(1, (self.groups, -1)).unsqueeze(3).unbind(2)
        if not self.weigh_lowest:
            factors = (*factors, torch.ones_like(factors[0]))
        by_group = x.unflatten(1, (self.groups, -1))
        out = by_group * factors[0]
        with full_precision(x):
            lows = low_passes(by_group, filters)
        for low, (outer, inner) in zip(lows, pairwise(factors), strict=True):
            out = torch.addcmul(out, low, (inner - outer).to(low.dtype))
        return out.flatten(1, 2).to(x.dtype)

    def extra_repr(self) -> str:
        """Return the divisors."""
        return f"divisors={self.divisors}"


def band_filters(height: int, width: int, divisors: Sequence[int]) -> list[Filters]:
    """Return what keeps the frequencies up to 0.5 / divisor cycles per position, for each divisor.

    A limit holds along rows and columns, so it is a product of a matrix for each axis. Where resizing made the masks of
    positive and negative frequencies differ, there is a second such product.
    """
    return [Filters(*_of_rows(height, divisor), *_of_columns(width, divisor)) for divisor in divisors]


def low_passes(x: Tensor, filters: Sequence[Filters]) -> list[Tensor]:
    """Return what each filter keeps of maps (..., H, W), at least in single precision."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    found: list[Tensor] = []
    for even, odd, real, imaginary in filters:
        low = even.to(x) @ (x @ real.to(x))
        found.append(low if odd is None else low + odd.to(x) @ (x @ imaginary.to(x)))
    return found


def _of_rows(size: int, divisor: int) -> tuple[Tensor, Tensor | None]:
    """Return the real and the imaginary part of the filter along columns, (H, H); None if it is zero."""
    kept = _mask(size, size, MASK_SIDE, divisor)
    cosine, sine = _waves(size, kept, [1 / size] * len(kept))
    is_even = {(size - one) % size for one in kept} == set(kept)
    return cosine, None if is_even else sine


def _of_columns(size: int, divisor: int) -> tuple[Tensor, Tensor]:
    """Return the filter along rows, of the map and of the imaginary unit times it, (W, W), to multiply from the right.

    Frequencies between 0 and the highest stand for their negatives, too.
    """
    count = size // 2 + 1
    kept = _mask(size, count, MASK_SIDE // 2 + 1, divisor)
    cosine, sine = _waves(size, kept, [(1 if one in (0, size / 2) else 2) / size for one in kept])
    return cosine.T, -sine.T


def _mask(size: int, count: int, published: int, divisor: int) -> list[int]:
    """Return which of the first `count` frequencies are kept, by the mask of the published size, nearest resized."""
    places = (one * published // count for one in range(count))
    limit = 0.5 / divisor + BOUNDARY
    return [one for one, place in enumerate(places) if min(place, MASK_SIDE - place) / MASK_SIDE < limit]


def _waves(size: int, kept: list[int], weights: list[float]) -> tuple[Tensor, Tensor]:
    """Return weighted sums of cosines and sines of 2 pi f (p - q) / size over the frequencies kept, (size, size)."""
    places = torch.arange(size)
    turns = torch.tensor(kept).view(-1, 1, 1) * (places.view(-1, 1) - places) % size
    angles = turns.double() * (2 * pi / size)
    scales = torch.tensor(weights, dtype=torch.double).view(-1, 1, 1)
    return (scales * angles.cos()).sum(0), (scales * angles.sin()).sum(0)
