"""Factors of a kernel that depend on the mean of the map: for its inputs, outputs, places, and each single weight."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import check_choice
from convnn.nn.kernels.convolution import check_can_normalise
from convnn.nn.kernels.frequency_bands import GATES, gated

SMALL = 1e-6
"""Deviation of the initial weights of factors, which are then near 1."""


class StarReLU(nn.Module):
    r"""An activation with learned scale and offset: :math:`s \, \mathrm{ReLU}(x)^2 + b`; arXiv 2210.13452."""

    def __init__(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(1, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return self.scale * x.relu().square() + self.bias


class GlobalModulation(nn.Module):
    r"""Factors of a kernel from the mean of a map: for its inputs, outputs, places and frequencies.

    .. math:: z = \mathrm{StarReLU}(\operatorname{norm}(W m)), \qquad
        f_h = 2 \, \sigma \! \left( \frac{W_h z + b_h}{\tau} \right)

    for each h of "inputs", "outputs", "places" and "shares", the factors of groups of frequencies.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        places: number of places in the window; with a single one, they have no factor.
        shares: number of factors of frequencies.
        squeeze: ratio of the channels of z to those of the input; z has at least 16.
        gate: "sigmoid", or "tanh" for 1 + tanh instead of twice the sigmoid.
        temperature: tau.
        share_temperature: tau of the factors of frequencies.
        gain: number in place of 2 with "sigmoid", except for the shares.
        device: device of the weights.
        dtype: data type of the weights.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        places: int,
        shares: int,
        squeeze: float = 1 / 16,
        gate: str = "sigmoid",
        temperature: float = 1.0,
        share_temperature: float = 1.0,
        gain: float = 2.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_choice("gate", gate, GATES)
        self.gate, self.gain = gate, gain
        self.temperature, self.share_temperature = temperature, share_temperature
        width = max(int(in_channels * squeeze), 16)
        self.reduce = nn.Linear(in_channels, width, bias=False, device=device, dtype=dtype)
        self.norm = nn.BatchNorm1d(width, device=device, dtype=dtype)
        self.activation = StarReLU(device, dtype)
        self.inputs = nn.Linear(width, in_channels, device=device, dtype=dtype)
        self.outputs = nn.Linear(width, out_channels, device=device, dtype=dtype)
        self.places = nn.Linear(width, places, device=device, dtype=dtype) if places > 1 else None
        self.shares = nn.Linear(width, shares, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights so that all factors begin near 1."""
        nn.init.kaiming_normal_(self.reduce.weight, mode="fan_out", nonlinearity="relu")
        for head in self.heads():
            nn.init.normal_(head.weight, std=SMALL)
            nn.init.zeros_(head.bias)

    def heads(self) -> list[nn.Linear]:
        """Return the last linear maps."""
        return [head for head in (self.inputs, self.outputs, self.places, self.shares) if head is not None]

    def forward(self, means: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map means (B, C) to factors of outputs (B, C_out), of inputs and places (B, places, C), and of frequencies.

        The last are (B, shares); without factors of places, there is a single one for each input.

        Raises:
            InputError: in training mode there is a single image, which batch normalisation cannot train on.
        """
        if isinstance(self.norm, nn.BatchNorm1d):  # one of several processes may have a single image
            check_can_normalise(self.norm, means)
        z = self.activation(self.norm(self.reduce(means)))
        inputs = self._of(self.inputs, z).unsqueeze(1)
        if self.places is not None:
            inputs = self._of(self.places, z).unsqueeze(2) * inputs
        return self._of(self.outputs, z), inputs, gated(self.shares(z) / self.share_temperature, self.gate)

    def _of(self, head: nn.Linear, z: Tensor) -> Tensor:
        return gated(head(z) / self.temperature, self.gate, self.gain)


class LocalModulation(nn.Module):
    r"""A factor for each single weight of a kernel, from the means of neighbouring channels.

    .. math:: f_{oct} = 2 \, \sigma \Big( \sum_{j} v_{otj} \, u_{c + j} \Big), \qquad u = \mathrm{LayerNorm}(m)

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        places: number of places in the window.
        gate: "sigmoid", or "tanh" for 1 + tanh.
        device: device of the weights.
        dtype: data type of the weights.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        places: int,
        gate: str = "sigmoid",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_choice("gate", gate, GATES)
        self.gate, self.out_channels = gate, out_channels
        side = round(math.log2(in_channels) / 2 + 0.5) // 2 * 2 + 1
        number = out_channels * places
        self.norm = nn.LayerNorm(in_channels, device=device, dtype=dtype)
        self.conv = nn.Conv1d(1, number, side, padding=side // 2, bias=False, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set all weights to a small number, so that all factors begin near 1."""
        nn.init.constant_(self.conv.weight, SMALL)

    def forward(self, means: Tensor, factors: Tensor) -> Tensor:
        """Map means (B, C) to f times given factors of inputs and places (B, places, C), (B, C_out, places, C)."""
        side = self.conv.kernel_size[0]
        windows = F.pad(self.norm(means), (side // 2, side // 2)).unfold(1, means.shape[1], 1)  # (B, side, C)
        if self.gate == "tanh":
            windows = 2 * windows  # 1 + tanh(l) is twice the sigmoid of 2 l
        logits = torch.bmm(self.conv.weight.squeeze(1).expand(means.shape[0], -1, -1), windows)
        return logits.sigmoid().unflatten(1, (self.out_channels, -1)) * (2 * factors).unsqueeze(1)
