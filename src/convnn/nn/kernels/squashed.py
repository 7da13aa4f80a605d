"""Kernels of free taps, as many as the signal is long: small values are squashed to 0, and others come nearer to it."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_choice, check_fraction
from convnn.nn._training import Training
from convnn.nn.kernels.lags import TapsOfLags

TAP_INITS = ("random", "double_exp")
SPREAD_OF_TAPS = 0.002


class SquashedKernel(TapsOfLags):
    r"""A long kernel of free taps that are smoothed if wanted, and squashed.

    .. math:: \bar k = \operatorname{sign}(k) \max(|k| - \lambda, 0)

    which makes it sparse, and its spectrum flat. A tap of at most :math:`\lambda` has no gradient; the initial ones
    have a standard deviation of 0.002.

    Args:
        channels: number of channels.
        heads: kernels for each channel.
        l_max: number of lags.
        lam: :math:`\lambda`.
        ma_window_len: width of a moving average before the squash, an odd number; 0: none.
        smooth_freq: average the spectrum instead, with Gaussian weights.
        bidirectional: taps for the positions to come too.
        weight_init: "random", or "double_exp": taps that fall exponentially, in each channel at another rate.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        offsets (\*P, 1) in positions; kernel (channels heads, 1, \*P).

    Raises:
        InputError: an argument is out of range.

    Reference:
        Fu, Epstein et al., "Simple Hardware-Efficient Long Convolutions for Sequence Modeling", arXiv 2302.06646,
        section 3.
    """

    trained: ClassVar[dict[str, Training]] = {"taps": Training(rate="kernel", decays=False)}

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 1,
        l_max: int = 1024,
        lam: float = 0.001,
        ma_window_len: int = 0,
        smooth_freq: bool = False,
        bidirectional: bool = True,
        weight_init: str = "random",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_at_least("channels", channels, 1)
        check_at_least("l_max", l_max, 1)
        check_fraction("lam", lam)
        check_at_least("ma_window_len", ma_window_len, 0)
        check_choice("weight_init", weight_init, TAP_INITS)
        if ma_window_len and ma_window_len % 2 == 0:
            raise InputError(f"ma_window_len={ma_window_len} must be odd, so that the average has a middle, or 0")
        if smooth_freq and not ma_window_len:
            raise InputError("smooth_freq=True needs the width of the average; give ma_window_len, such as 7")
        super().__init__(channels, heads, l_max, bidirectional=bidirectional)
        self.lam, self.ma_window_len, self.smooth_freq, self.weight_init = lam, ma_window_len, smooth_freq, weight_init
        shape = (heads * (2 if bidirectional else 1), channels, l_max)
        self.taps = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the taps."""
        if self.weight_init == "random":
            nn.init.normal_(self.taps, std=SPREAD_OF_TAPS)
            return
        nn.init.normal_(self.taps, std=10 * SPREAD_OF_TAPS)
        rate = (self.channels / 2) ** (torch.arange(self.channels) / self.channels)
        self.taps.mul_(torch.exp(-rate.unsqueeze(1) * torch.arange(self.length) / self.length).to(self.taps))

    def values(self) -> Tensor:
        """Return the values (heads, channels, length) at the lags 0, 1, ...; after them, heads for -1, -2, ..."""
        taps: Tensor = self.taps
        if self.smooth_freq:
            spectrum = torch.fft.rfft(taps)
            both = torch.view_as_real(spectrum).movedim(-1, 0)
            taps = torch.fft.irfft(torch.complex(*_averaged(both, self._bell(taps))), n=self.length)
        elif self.ma_window_len:
            taps = _averaged(taps, taps.new_full((self.ma_window_len,), 1 / self.ma_window_len))
        return taps.sign() * torch.relu(taps.abs() - self.lam)

    def _bell(self, like: Tensor) -> Tensor:
        places = torch.arange(self.ma_window_len, device=like.device, dtype=like.dtype) - self.ma_window_len // 2
        return torch.exp(-places.square() / 2)


def _averaged(rows: Tensor, weights: Tensor) -> Tensor:
    """Return the sums of neighbours in rows (..., L) with these weights, with zeros beyond the ends."""
    flat = rows.reshape(-1, 1, rows.shape[-1])
    return F.conv1d(flat, weights.view(1, 1, -1), padding=weights.numel() // 2).view(rows.shape)
