"""How many bits numbers take under a learned distribution, as a function that can be minimised."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_choice
from convnn.nn.compression.normalization import lower_bound

FORMS = ("safe", "official")
SCALES = ("bound", "softplus", "clamp")
LEAST_SCALE, LEAST_DIVISOR = 0.11, 1e-5
RARE, RAREST, MOST_BITS = 1e-6, 1e-10, 50.0
OFFICIAL_SHARE = 1e-5


def _bits(probability: Tensor, log_tail: Tensor, form: str) -> Tensor:
    """Return bits of a probability; `log_tail` is its logarithm where it is too small to be computed."""
    if form == "official":
        return -(probability + OFFICIAL_SHARE).log2().clamp(max=0)
    log = torch.where(probability > RARE, probability.clamp_min(RAREST).log(), log_tail)
    return (-log / math.log(2)).clamp(0, MOST_BITS)


def laplace_bits(values: Tensor, scales: Tensor, form: str = "safe") -> Tensor:
    r"""Return how many bits each number takes as a symbol of a Laplace distribution around 0.

    .. math:: b = -\log_2 \big(F((v + \tfrac12) / s) - F((v - \tfrac12) / s)\big)

    Where the probability is at most 1e-6, the safe form has the logarithm of the density,
    :math:`-\ln 2 s - |v| / s`, whose gradient lives on; it ends at 50 bits. The official form is
    :math:`-\log_2(p + 10^{-5})`, which never exceeds 16.6 bits and has no gradient there.

    Args:
        values: v, symbols minus their means.
        scales: s, of the shape of the values, positive.
        form: "safe" or "official".

    Returns:
        Bits, at least 0, of the shape of the values.

    Raises:
        InputError: a scale is not positive, shapes differ, or the form is unknown.

    Reference:
        OpenDCVCs (safe); Li, Li and Lu, "Deep Contextual Video Compression", arXiv 2109.15047 (official).
    """
    check_choice("form", form, FORMS)
    if values.shape != scales.shape:
        raise InputError(f"scales of shape {tuple(scales.shape)} must have that of the values, {tuple(values.shape)}")
    if not bool((scales > 0).all()):
        raise InputError(f"scales must be positive; the smallest is {scales.min().item():g}")
    return _laplace_bits(values, scales, form)


def _laplace_bits(values: Tensor, scales: Tensor, form: str) -> Tensor:
    above, below = _cdf((values + 0.5) / scales), _cdf((values - 0.5) / scales)
    return _bits(above - below, -(2 * scales).log() - values.abs() / scales, form)


def _cdf(x: Tensor) -> Tensor:
    return 0.5 - 0.5 * x.sign() * torch.expm1(-x.abs())


class LaplaceBits(nn.Module):
    r"""Bits of a latent whose scales a network predicts.

    The network's output r becomes a scale s: "bound" :math:`s = \max(r, 0.11)`, with the gradient of `lower_bound`;
    "softplus" :math:`s = \exp(\operatorname{softplus}(r + 2.3) - 2.3)`; "clamp" :math:`s = \max(r, 10^{-5})`. Estimate
    and coder both take s from `scale`.
    (The published softplus form gives r itself to its coder, and pays more than three times the bits for it.)

    Args:
        scale: "bound", "softplus" or "clamp".
        form: "safe" or "official", see `laplace_bits`.

    Raises:
        InputError: a name is unknown.
    """

    def __init__(self, scale: str = "bound", form: str = "safe") -> None:
        super().__init__()
        check_choice("scale", scale, SCALES)
        check_choice("form", form, FORMS)
        self.kind, self.form = scale, form

    def scale(self, raw: Tensor) -> Tensor:
        """Return positive scales, of any shape."""
        if self.kind == "softplus":
            return (F.softplus(raw + 2.3) - 2.3).exp()
        return lower_bound(raw, LEAST_SCALE) if self.kind == "bound" else raw.clamp_min(LEAST_DIVISOR)

    def forward(self, values: Tensor, raw: Tensor) -> Tensor:
        """Return the bits of values (symbols minus means) whose scales are `scale(raw)`; all of one shape."""
        return _laplace_bits(values, self.scale(raw), self.form)

    def extra_repr(self) -> str:
        """Return the settings, for `print`."""
        return f"scale={self.kind!r}, form={self.form!r}"


class FactorizedBits(nn.Module):
    r"""Bits of a latent each of whose channels has a learned distribution of its own.

    .. math:: b = -\log_2 \big(c(z + \tfrac12) - c(z - \tfrac12)\big)

    The distribution function c is three times :math:`x \leftarrow x \operatorname{softplus}(h) + b`,
    :math:`x \leftarrow x + \tanh x \tanh a`, and then :math:`\sigma(x \operatorname{softplus}(h) + b)`: 11 numbers for
    each channel. In the safe form the logarithm of a probability at most 1e-6 goes on as a line.

    Args:
        channels: number of channels.
        form: "safe" or "official", see `laplace_bits`.

    Raises:
        InputError: there is no channel, or the form is unknown; in forward: z has other channels.

    Reference:
        Ballé et al., arXiv 1802.01436, appendix 6.1, in the narrower form of DCVC, arXiv 2109.15047.

    Example:
        >>> FactorizedBits(2)(torch.zeros(1, 2, 3, 3)).shape
        torch.Size([1, 2, 3, 3])
    """

    def __init__(self, channels: int, form: str = "safe") -> None:
        super().__init__()
        check_at_least("channels", channels, 1)
        check_choice("form", form, FORMS)
        self.form = form
        self.slope, self.shift = (nn.Parameter(0.01 * torch.randn(4, channels)) for _ in range(2))
        self.bend = nn.Parameter(0.01 * torch.randn(3, channels))

    def cumulative(self, x: Tensor) -> Tensor:
        """Return c at numbers (B, C, H, W)."""
        slope, shift, bend = (one[..., None, None] for one in (F.softplus(self.slope), self.shift, self.bend.tanh()))
        for layer in range(3):
            x = x * slope[layer] + shift[layer]
            x = x + x.tanh() * bend[layer]
        return torch.sigmoid(x * slope[3] + shift[3])

    def probability(self, z: Tensor) -> Tensor:
        """Return the probability of symbols (B, C, H, W)."""
        return self.cumulative(z + 0.5) - self.cumulative(z - 0.5)

    def forward(self, z: Tensor) -> Tensor:
        """Return the bits of symbols (B, C, H, W), at least 0."""
        channels = self.slope.shape[1]
        if z.dim() != 4 or z.shape[1] != channels:
            raise InputError(f"z of shape {tuple(z.shape)} must be (B, {channels}, H, W)")
        probability = self.probability(z)
        return _bits(probability, math.log(RARE) + (probability - RARE) / RARE, self.form)
