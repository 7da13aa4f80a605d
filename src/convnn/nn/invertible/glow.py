"""The invertible layers that Glow puts around a convolution (Kingma and Dhariwal, arXiv 1807.03039)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least
from convnn.nn._factory import LayerFactory
from convnn.nn.invertible.protocol import Invertible, of_each_image


class ActNorm2d(Invertible):
    r"""A shift and a scale for each channel, :math:`(x - t) e^{-s}` with log-determinant :math:`-H W \sum s`.

    Args:
        channels: number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.translation = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set shift and scale so that the channels of the output for x have mean 0 and standard deviation 1.

        Raises:
            InputError: x has one value for each channel.
        """
        if x[:, 0].numel() < 2:
            raise InputError(f"images of {tuple(x.shape)} have one value for each channel; give at least two images")
        values = x.transpose(0, 1).flatten(1)
        self.translation.copy_(values.mean(1))
        self.log_scale.copy_((values.std(1) + 1e-8).log())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, H, W) to the output and the log-determinants (B,)."""
        out = (x - self.translation.view(-1, 1, 1)) * (-self.log_scale).exp().view(-1, 1, 1)
        return out, of_each_image(x, -x.shape[2] * x.shape[3] * self.log_scale.sum())

    def inverse(self, z: Tensor) -> Tensor:
        """Return the input with a given output."""
        return z * self.log_scale.exp().view(-1, 1, 1) + self.translation.view(-1, 1, 1)


class InvertiblePointwise(Invertible):
    r"""A 1x1 convolution with a square matrix, :math:`\log |\det J| = H W \log |\det W|`; initially orthogonal.

    Args:
        channels: number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels))
        nn.init.orthogonal_(self.weight)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, H, W) to the output and the log-determinants (B,)."""
        out = F.conv2d(x, self.weight[:, :, None, None])
        return out, of_each_image(x, x.shape[2] * x.shape[3] * torch.linalg.slogdet(self.weight)[1])

    def inverse(self, z: Tensor) -> Tensor:
        """Return the input with a given output."""
        return torch.linalg.solve(self.weight, z.flatten(2)).view_as(z)


class ZeroConv2d(nn.Module):
    r"""A 3x3 convolution that is initially 0, with a learned scale :math:`e^{3 l}` for each output channel."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.logs = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H, W)."""
        return F.conv2d(x, self.weight, self.bias, padding=1) * (3 * self.logs).exp().view(-1, 1, 1)


class AffineCoupling(Invertible):
    r"""Half of the channels scaled and shifted by what a small network makes of the other half.

    .. math:: z_2 = x_2 \odot e^s + t, \quad s = 2 \tanh(u_{0, 2, \dots} / 2), \quad t = u_{1, 3, \dots}, \quad
        u = f(x_1)

    with log-determinant :math:`\sum s`; initially f is 0 and the layer the identity.

    Args:
        channels: number of channels, an even number.
        width: number of channels inside of f, two convolutions with ReLU and `ZeroConv2d`.
        layer: function from channels to the first of them, which need not be invertible; None is one of 3 x 3.

    Raises:
        InputError: the channels are odd.
    """

    def __init__(self, channels: int, width: int = 512, layer: LayerFactory | None = None) -> None:
        super().__init__()
        check_at_least("width", width, 1)
        if channels % 2:
            raise InputError(f"channels={channels} must be even: one half is scaled by the other")
        self.net = nn.Sequential(
            nn.Conv2d(channels // 2, width, 3, padding=1) if layer is None else layer(channels // 2, width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 1),
            nn.ReLU(inplace=True),
            ZeroConv2d(width, channels),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, H, W) to the output and the log-determinants (B,)."""
        kept, other = x.chunk(2, 1)
        log_scale, shift = self._scale_and_shift(kept)
        return torch.cat([kept, other * log_scale.exp() + shift], 1), log_scale.flatten(1).sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        """Return the input with a given output."""
        kept, other = z.chunk(2, 1)
        log_scale, shift = self._scale_and_shift(kept)
        return torch.cat([kept, (other - shift) * (-log_scale).exp()], 1)

    def _scale_and_shift(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        computed = self.net(kept)
        return 2 * torch.tanh(computed[:, 0::2] / 2), computed[:, 1::2]


class Squeeze2d(Invertible):
    """Cells of 2 x 2 positions become channels: (B, C, H, W) to (B, 4 C, H / 2, W / 2)."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, H, W) to the output and log-determinants of 0, (B,).

        Raises:
            InputError: a side of the map is odd.
        """
        if x.shape[2] % 2 or x.shape[3] % 2:
            raise InputError(f"input of shape {tuple(x.shape)} must have even sides, which are halved")
        batch, channels, height, width = x.shape
        if batch == 0:  # whose shape torch leaves as it is
            return x.reshape(0, 4 * channels, height // 2, width // 2), of_each_image(x, 0.0)
        return F.pixel_unshuffle(x, 2), of_each_image(x, 0.0)

    def inverse(self, z: Tensor) -> Tensor:
        """Return the input with a given output."""
        return F.pixel_shuffle(z, 2)


class Logit(Invertible):
    r"""Values of 0 to n spread over the whole line.

    .. math:: \log y - \log(1 - y), \quad y = (x / n + \alpha)(1 - 2 \alpha)

    Args:
        values: n, the number of values that a pixel can have.
        alpha: distance from the ends, where the logarithms are infinite.
    """

    def __init__(self, values: int = 256, alpha: float = 1e-6) -> None:
        super().__init__()
        check_at_least("values", values, 2)
        if not 0 < alpha < 0.5:
            raise InputError(f"alpha={alpha} must lie between 0 and 0.5")
        self.values, self.alpha = values, alpha

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, H, W) to the output and the log-determinants (B,)."""
        y = (x / self.values + self.alpha) * (1 - 2 * self.alpha)
        of_all = x.shape[1:].numel() * math.log((1 - 2 * self.alpha) / self.values)
        log_y, log_rest = y.log(), (1 - y).log()
        return log_y - log_rest, of_all - (log_y + log_rest).flatten(1).sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        """Return the input with a given output."""
        return (z.sigmoid() / (1 - 2 * self.alpha) - self.alpha) * self.values
