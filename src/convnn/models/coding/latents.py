"""A latent with its distribution: a second, smaller latent is sent first and tells what to expect of the first."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from convnn.errors import check_choice
from convnn.nn.compression import AutoregressivePrior, CheckerboardPrior, FactorizedBits, LaplaceBits, QuadPrior
from convnn.nn.compression.priors import joint_parameters, uniform_noise

Prior = AutoregressivePrior | CheckerboardPrior | QuadPrior
PRIORS = ("ar", "dual", "quad")


class Sent(NamedTuple):
    """What the decoder has of a latent, and the bits of each of its numbers.

    Attributes:
        y_hat: the latent, (B, C, h, w).
        bits_y: (B, C, h, w).
        bits_z: of the second latent, (B, N, h / 4, w / 4).
        y: the latent before quantisation.
        z: the second latent before quantisation.
    """

    y_hat: Tensor
    bits_y: Tensor
    bits_z: Tensor
    y: Tensor
    z: Tensor


class LatentCoder(Protocol):
    """What writes both latents to a stream, or reads them."""

    def laplace(self, symbols: Tensor | None, means: Tensor, scales: Tensor) -> Tensor:
        """Write or read integers (N,) of Laplace distributions with means and positive scales (N,)."""
        ...

    def factorized(self, symbols: Tensor | None, bits: FactorizedBits, size: tuple[int, int]) -> Tensor:
        """Write or read integers (1, C, *size), whose channels have distributions of their own."""
        ...


class HyperLatent(nn.Module):
    """A latent y that is quantised and coded by a prior, whose parameters come from a second latent z.

    Args:
        channels: of y.
        encoder: from y to z, at a quarter of the resolution.
        decoder: from z to parameters of y.
        hyper_channels: of z.
        param_channels: of the parameters, and whatever else is known, together.
        prior: "ar", "dual" or "quad".
        scale: see `LaplaceBits`.
        form: see `laplace_bits`.

    Raises:
        InputError: a name is unknown, or the channels do not suit the prior.

    Reference:
        Ballé et al., arXiv 1802.01436.
    """

    def __init__(
        self,
        channels: int,
        encoder: nn.Module,
        decoder: nn.Module,
        hyper_channels: int,
        param_channels: int,
        *,
        prior: str = "ar",
        scale: str = "softplus",
        form: str = "safe",
    ) -> None:
        super().__init__()
        check_choice("prior", prior, PRIORS)
        self.encoder, self.decoder = encoder, decoder
        self.bits_z, self.bits_y = FactorizedBits(hyper_channels, form), LaplaceBits(scale, form)
        if prior == "ar":
            self.join = nn.Sequential()
            self.prior: Prior = AutoregressivePrior(channels, param_channels)
        else:
            self.join = joint_parameters(param_channels, channels, 3 * channels)
            nn.init.ones_(self.join.get_parameter("4.bias").detach()[: 2 * channels])  # steps and scales
            self.prior = CheckerboardPrior(channels) if prior == "dual" else QuadPrior(channels)

    def forward(self, y: Tensor, known: Sequence[Tensor] = ()) -> Sent:
        """Quantise y (B, C, h, w), given maps of its size that the decoder has too; their channels come first."""
        z = self.encoder(y)
        z_hat = z + uniform_noise(z) if self.training else z.round()
        coded = self.prior(y, self.join(torch.cat([*known, self.decoder(z_hat)], 1)))
        costs = coded.symbols
        if self.training and self.prior.rounds:
            costs = coded.residual + uniform_noise(y)
        return Sent(coded.y_hat, self.bits_y(costs, coded.scales), self.bits_z(z_hat), y, z)

    @torch.no_grad()
    def code(
        self, coder: LatentCoder, known: Sequence[Tensor], size: tuple[int, int], y: Tensor | None = None
    ) -> Tensor:
        """Write y (1, C, *size) to a stream, or read it, and return what the decoder has; both by the same steps."""
        z = None if y is None else self.encoder(y).round()
        z_hat = coder.factorized(z, self.bits_z, (size[0] // 4, size[1] // 4))
        params = self.join(torch.cat([*known, self.decoder(z_hat)], 1))

        def code(symbols: Tensor | None, means: Tensor, scales: Tensor) -> Tensor:
            return coder.laplace(symbols, means, self.bits_y.scale(scales))

        return self.prior.code(code, params, y)
