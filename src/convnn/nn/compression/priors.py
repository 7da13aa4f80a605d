"""Priors of a latent: each part is predicted from what was decoded before it, in one order for encoder and decoder."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_odd
from convnn.nn.compression.normalization import lower_bound

LEAST_STEP = 0.5
HIDDEN_THIRDS = (10, 8)
"""Channels inside of the network that joins parameters, in thirds of those of the latent; as published."""

Symbols = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From the mask of a pass, its means and scales (as the network gives them) to its symbols, 0 elsewhere."""


class Coded(NamedTuple):
    """A latent and what coding it takes.

    Attributes:
        y_hat: the latent that the decoder has, (B, C, H, W).
        residual: the latent minus its means, before rounding; with the uniform noise of an autoregressive prior.
        symbols: what is coded, minus its means.
        scales: what the network says of the scales; `LaplaceBits.scale` makes them positive.
        streams: for each pass its symbols and scales, (B, C / groups, H, W).
    """

    y_hat: Tensor
    residual: Tensor
    symbols: Tensor
    scales: Tensor
    streams: tuple[tuple[Tensor, Tensor], ...] = ()


class SymbolCoder(Protocol):
    """What writes symbols to a stream, or reads them from it."""

    def __call__(self, symbols: Tensor | None, means: Tensor, scales: Tensor) -> Tensor:
        """Write integers (N,), or read as many if there are none, and return them.

        Args:
            symbols: integers in a floating type, or None.
            means, scales: (N,) of their Laplace distributions; scales as `Coded.scales`.
        """
        ...


class _RoundThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


def round_through(x: Tensor) -> Tensor:
    """Return x rounded, halves to even, with the gradient of the identity."""
    return _RoundThrough.apply(x)


def uniform_noise(like: Tensor) -> Tensor:
    """Return uniform numbers from -1/2 to 1/2, which in training stand for rounding."""
    return torch.rand_like(like) - 0.5


class MaskedConv2d(nn.Conv2d):
    """A convolution that sees the rows above, and in its own row what is left of the centre.

    Masked weights take no part and have no gradient. (The published code overwrites them with 0 in every forward, and
    trains them all the same.)

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        kernel_size: side of the window, odd.

    Raises:
        InputError: the side is even.

    Reference:
        PixelCNN, arXiv 1601.06759, mask A.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 5) -> None:
        check_odd("kernel_size", kernel_size)
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        seen = torch.arange(kernel_size**2).view(kernel_size, kernel_size) < kernel_size**2 // 2
        self.register_buffer("seen", seen, persistent=False)
        self.seen: Tensor

    def kernel(self) -> Tensor:
        """Return the weights with zeros where the mask is."""
        return self.weight * self.seen

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H, W)."""
        return F.conv2d(x, self.kernel(), self.bias, padding=self.padding)


class AutoregressivePrior(nn.Module):
    r"""Means and scales of a position from the decoded positions before it, row by row.

    .. math:: (\mu, r) = g([p, \operatorname{conv}_{\text{masked}}(\hat y)])

    In training :math:`\hat y` is y with uniform noise, otherwise rounded; what is coded is :math:`\hat y` itself, an
    integer whose distribution has the mean :math:`\mu`. So the encoder sees all positions at once and knows what the
    decoder, position by position, will have. (The published code estimates this, but codes
    :math:`\operatorname{round}(y - \mu)`, so that its decoder has a latent that no forward has seen.)

    Args:
        channels: of the latent.
        param_channels: of the parameters p.

    Raises:
        InputError: there is no channel.

    Reference:
        Minnen, Ballé and Toderici, arXiv 1809.02736; DCVC, arXiv 2109.15047.
    """

    rounds: bool = False

    def __init__(self, channels: int, param_channels: int) -> None:
        super().__init__()
        check_at_least("channels", channels, 1)
        check_at_least("param_channels", param_channels, 1)
        self.channels = channels
        self.context = MaskedConv2d(channels, 2 * channels)
        self.mix = joint_parameters(param_channels + 2 * channels, channels, 2 * channels)

    def forward(self, y: Tensor, params: Tensor) -> Coded:
        """Return what coding a latent (B, C, H, W) takes, by parameters (B, P, H, W)."""
        y_hat = y + uniform_noise(y) if self.training else y.round()
        means, scales = self.mix(torch.cat([params, self.context(y_hat)], 1)).chunk(2, 1)
        residual = y_hat - means
        return Coded(y_hat, residual, residual, scales)

    @torch.no_grad()
    def code(self, coder: SymbolCoder, params: Tensor, y: Tensor | None = None) -> Tensor:
        """Write a latent (1, C, H, W), or read it, position by position, and return what the decoder has."""
        height, width = params.shape[2:]
        reach = self.context.kernel_size[0] // 2
        padded = params.new_zeros(1, self.channels, height + 2 * reach, width + 2 * reach)
        kernel = self.context.kernel()
        for i in range(height):
            for j in range(width):
                window = padded[:, :, i : i + 2 * reach + 1, j : j + 2 * reach + 1]
                context = F.conv2d(window, kernel, self.context.bias)
                means, scales = self.mix(torch.cat([params[:, :, i : i + 1, j : j + 1], context], 1)).chunk(2, 1)
                given = None if y is None else y[0, :, i, j].round()
                padded[0, :, i + reach, j + reach] = coder(given, means.flatten(), scales.flatten())
        return padded[:, :, reach:-reach, reach:-reach]


class _MaskedPasses(nn.Module):
    """The engine of priors that decode a latent in a few passes, each at other positions for each group of channels.

    Attributes:
        orders: for each pass and group, the class of positions that it decodes.
    """

    rounds: bool = True
    orders: tuple[tuple[int, ...], ...]

    def __init__(self, channels: int) -> None:
        super().__init__()
        check_at_least("channels", channels, 1)
        if channels % len(self.orders[0]):
            raise InputError(f"channels={channels} must be a multiple of {len(self.orders[0])}, the groups of channels")
        self.channels = channels

    @abstractmethod
    def classes(self, like: Tensor) -> Tensor:
        """Return the class (H, W) of each position of a map (B, C, H, W)."""

    @abstractmethod
    def bounded(self, step: Tensor) -> Tensor:
        """Return the steps of quantisation, at least 0.5."""

    @abstractmethod
    def refined(self, number: int, y_hat: Tensor, params: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Return scales and means of a pass after the first, from what is decoded, the parameters and bounded steps."""

    def forward(self, y: Tensor, params: Tensor) -> Coded:
        """Return what coding a latent (B, C, H, W) takes, by q, scales and means: (B, 3 C, H, W)."""
        if y.shape[1] != self.channels:
            raise InputError(f"y of shape {tuple(y.shape)} must be (B, {self.channels}, H, W)")
        step = self._step(params)
        scaled, residual, streams = y / step, torch.zeros_like(y), []

        def rounded(mask: Tensor, means: Tensor, scales: Tensor) -> Tensor:
            nonlocal residual
            rest = (scaled - means) * mask
            residual = residual + rest
            symbols = round_through(rest)
            streams.append((self._gathered(symbols), self._gathered(scales * mask)))
            return symbols

        y_hat, symbols, scales = self._passes(params, step, rounded)
        return Coded(y_hat, residual, symbols, scales, tuple(streams))

    @torch.no_grad()
    def code(self, coder: SymbolCoder, params: Tensor, y: Tensor | None = None) -> Tensor:
        """Write a latent (1, C, H, W), or read it, pass by pass, and return what the decoder has."""
        step = self._step(params)

        def through(mask: Tensor, means: Tensor, scales: Tensor) -> Tensor:
            here = mask.expand_as(means).bool()
            given = None if y is None else ((y / step - means) * mask)[here].round()
            symbols = torch.zeros_like(means)
            symbols[here] = coder(given, torch.zeros_like(means[here]), scales[here])
            return symbols

        return self._passes(params, step, through)[0]

    def _step(self, params: Tensor) -> Tensor:
        """Return the bounded steps of quantisation."""
        if params.dim() != 4 or params.shape[1] != 3 * self.channels:
            raise InputError(f"params of shape {tuple(params.shape)} must be (B, {3 * self.channels}, H, W)")
        return self.bounded(params[:, : self.channels])

    def _passes(self, params: Tensor, step: Tensor, symbols_of: Symbols) -> tuple[Tensor, Tensor, Tensor]:
        """Return the decoded latent, all symbols, and the scales of all passes.

        The bounded steps are given, because the bound must see the whole of their gradient at once.
        """
        _, scales, means = params.chunk(3, 1)
        classes = self.classes(means)
        y_hat, symbols, used = (torch.zeros_like(means) for _ in range(3))
        for number, order in enumerate(self.orders):
            if number:
                scales, means = self.refined(number, y_hat, params, step)
            mask = torch.stack([classes == one for one in order]).to(means.dtype)
            mask = mask.repeat_interleave(self.channels // len(order), 0)
            found = symbols_of(mask, means, scales)
            symbols, used = symbols + found, used + scales * mask
            y_hat = y_hat + found + means * mask
        return y_hat * step, symbols, used

    def _gathered(self, x: Tensor) -> Tensor:
        """Sum over the groups, of which each position has one: (B, C, H, W) to (B, C / groups, H, W)."""
        return x.unflatten(1, (len(self.orders[0]), -1)).sum(1)


class CheckerboardPrior(_MaskedPasses):
    """Two passes: the first half of the channels on black fields and the second on white, then the others.

    Args:
        channels: C, even.
        network: from [y_hat, means, scales, q] (B, 4 C, H, W) to scales and means of the first half, then of the second
            (B, 2 C, H, W); None makes two convolutions. The published input has y_hat as two halves, which is the same.

    Raises:
        InputError: the channels are odd; in forward: shapes do not agree, or a side is odd.

    Reference:
        Li, Li and Lu, DCVC-HEM, arXiv 2207.05894, "dual prior".
    """

    orders = ((0, 1), (1, 0))

    def __init__(self, channels: int, network: nn.Module | None = None) -> None:
        super().__init__(channels)
        self.network = network if network is not None else spatial_network(4 * channels, 2 * channels)

    def classes(self, like: Tensor) -> Tensor:
        """Return 0 on black fields and 1 on white."""
        height, width = like.shape[2:]
        if height % 2 or width % 2:
            raise InputError(f"y of {height}x{width} positions must have even sides")
        rows, columns = (torch.arange(n, device=like.device) for n in (height, width))
        return (rows.unsqueeze(1) + columns) % 2

    def bounded(self, step: Tensor) -> Tensor:
        """Return the steps, with a gradient that can raise them."""
        return lower_bound(step, LEAST_STEP)

    def refined(self, number: int, y_hat: Tensor, params: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Return scales and means of the second pass."""
        _, scales, means = params.chunk(3, 1)
        first, mean, second, other = self.network(torch.cat([y_hat, means, scales, step], 1)).chunk(4, 1)
        return torch.cat([first, second], 1), torch.cat([mean, other], 1)


class QuadPrior(_MaskedPasses):
    """Four passes: each quarter of the channels visits the four places of every 2 x 2 cell in an order of its own.

    So each place is known of one quarter after the first pass. Sides may be odd.

    Args:
        channels: C, a multiple of 4.
        network: from (B, 3 C, H, W) to scales and means (B, 2 C, H, W), shared by the passes; None makes two
            convolutions. Before it each pass has a 1x1 convolution of [y_hat, q, scales, means].

    Raises:
        InputError: the channels are no multiple of 4; in forward: shapes do not agree.

    Reference:
        Li, Li and Lu, DCVC-DC, arXiv 2302.14402, section 3.4.

    Example:
        >>> coded = QuadPrior(4)(torch.randn(1, 4, 5, 7), torch.randn(1, 12, 5, 7))
        >>> tuple(coded.y_hat.shape), len(coded.streams)
        ((1, 4, 5, 7), 4)
    """

    orders = ((0, 1, 2, 3), (3, 2, 1, 0), (2, 3, 0, 1), (1, 0, 3, 2))

    def __init__(self, channels: int, network: nn.Module | None = None) -> None:
        super().__init__(channels)
        self.adapt = nn.ModuleList(nn.Conv2d(4 * channels, 3 * channels, 1) for _ in range(3))
        self.network = network if network is not None else spatial_network(3 * channels, 2 * channels)

    def classes(self, like: Tensor) -> Tensor:
        """Return 2 (row % 2) + column % 2."""
        rows, columns = (torch.arange(n, device=like.device) % 2 for n in like.shape[2:])
        return 2 * rows.unsqueeze(1) + columns

    def bounded(self, step: Tensor) -> Tensor:
        """Return the steps, with no gradient below the bound."""
        return step.clamp_min(LEAST_STEP)

    def refined(self, number: int, y_hat: Tensor, params: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Return scales and means of a pass after the first; the steps are seen as they are given, not bounded."""
        scales, means = self.network(self.adapt[number - 1](torch.cat([y_hat, params], 1))).chunk(2, 1)
        return scales, means


def joint_parameters(in_channels: int, channels: int, out_channels: int) -> nn.Sequential:
    """Create three 1x1 convolutions that join what is known about a latent of so many channels."""
    first, second = (thirds * channels // 3 for thirds in HIDDEN_THIRDS)
    return nn.Sequential(
        nn.Conv2d(in_channels, first, 1),
        nn.LeakyReLU(0.01),
        nn.Conv2d(first, second, 1),
        nn.LeakyReLU(0.01),
        nn.Conv2d(second, out_channels, 1),
    )


def spatial_network(in_channels: int, out_channels: int) -> nn.Sequential:
    """Create two 3x3 convolutions that see what neighbours have been decoded."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
    )
