"""Wavelets of the channels of a map, moved and scaled for each pair of an output and an input channel."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from convnn.errors import check_choice


def mexican_hat(u: Tensor) -> Tensor:
    r"""Return :math:`\frac{2}{\sqrt 3 \pi^{1/4}} (u^2 - 1) e^{-u^2 / 2}`, with the sign of the published code."""
    square = u * u
    return 2 / (math.sqrt(3) * math.pi**0.25) * (square - 1) * torch.exp(-0.5 * square)


def morlet(u: Tensor) -> Tensor:
    r"""Return :math:`\cos(5 u) e^{-u^2 / 2}`."""
    return torch.cos(5 * u) * torch.exp(-0.5 * u * u)


def dog(u: Tensor) -> Tensor:
    r"""Return the derivative of a Gaussian, :math:`-u e^{-u^2 / 2}`."""
    return -u * torch.exp(-0.5 * u * u)


def meyer(u: Tensor) -> Tensor:
    r"""Return :math:`\sin(\pi |u|)` times a window that falls smoothly from 1 at |u| = 1/2 to 0 at |u| = 1."""
    v = u.abs()
    t = (2 * v - 1).clamp(0, 1)
    return torch.sin(math.pi * v) * torch.cos(math.pi / 2 * t**4 * (35 - 84 * t + 70 * t**2 - 20 * t**3))


def shannon(u: Tensor) -> Tensor:
    r"""Return :math:`\sin(u) / u` times a Hamming window over the input channels, axis 2 of u (B, O, C, \*S)."""
    channels = u.shape[2]
    window = torch.hamming_window(channels, periodic=False, dtype=u.dtype, device=u.device)
    return torch.sinc(u / math.pi) * window.view(channels, *(1,) * (u.dim() - 3))


WAVELETS: dict[str, Callable[[Tensor], Tensor]] = {
    "mexican_hat": mexican_hat,
    "morlet": morlet,
    "dog": dog,
    "meyer": meyer,
    "shannon": shannon,
}


class Wavelets(nn.Module):
    r"""The wavelets :math:`\psi((x_c - \tau_{oc}) / s_{oc})` of every output channel o and input channel c.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        groups: number of blocks of channels that do not mix.
        wavelet_type: "mexican_hat", "morlet", "dog", "meyer" or "shannon".
        device: device of scales and translations.
        dtype: data type of scales and translations.

    Shapes:
        input (B, C_in, \*S); output (B, C_out * C_in / groups, \*S), those of an output channel side by side.

    Raises:
        InputError: the wavelet is unknown.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        groups: int = 1,
        wavelet_type: str = "mexican_hat",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_choice("wavelet_type", wavelet_type, WAVELETS)
        self.groups, self.wavelet_type = groups, wavelet_type
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.scale = nn.Parameter(torch.empty(out_channels, in_channels // groups, **where))
        self.translation = nn.Parameter(torch.empty(out_channels, in_channels // groups, **where))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set all scales to 1 and all translations to 0."""
        nn.init.ones_(self.scale)
        nn.init.zeros_(self.translation)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, *S) to (B, C_out * C_in / groups, *S)."""
        of_pairs = (*self.scale.shape, *(1,) * (x.dim() - 2))
        per_group = self.scale.shape[0] // self.groups
        by_output = x.unflatten(1, (self.groups, 1, -1)).expand(-1, -1, per_group, *(-1,) * (x.dim() - 1)).flatten(1, 2)
        u = (by_output - self.translation.view(of_pairs)) / self.scale.view(of_pairs)
        return WAVELETS[self.wavelet_type](u).flatten(1, 2)
