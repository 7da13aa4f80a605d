"""Parts of the blocks: normalisation over channels, over responses, and residuals."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.models._parts import ChannelNorm, drop_images, layer_scale
from convnn.nn import ConvMaker, ConvNorm, Mergeable
from convnn.nn.kernels.convolution import Convolution
from convnn.nn.kernels.taps import Kernel, as_convolution, kernel_of, normalised

IMAGES = ConvMaker(2)
RESPONSE_EPS = 1e-6


class Residual(nn.Module):
    r"""A map and what a module adds to it, scaled, and for a share of the training images not at all.

    .. math:: y = x + s \odot f(x)

    Args:
        inner: f.
        channels: number of channels.
        initial_scale: initial value of the learned s; None: s is 1.
        drop_path: stochastic depth rate.
    """

    scale: nn.Parameter | None

    def __init__(
        self, inner: nn.Module, channels: int, *, initial_scale: float | None = None, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.inner = inner
        self.scale = None if initial_scale is None else layer_scale(channels, initial_scale)
        self.drop = drop_images(drop_path)

    def forward(self, x: Tensor, *context: Tensor | None) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W); the inner module gets what else is given."""
        out = self.inner(x, *context)
        return x + self.drop(out if self.scale is None else self.scale * out)


class ResponseNorm(nn.Module):
    r"""Global response normalisation (arXiv 2301.00808): channels compete by their norms over the map.

    .. math:: y_c = x_c (1 + w_c \, n_c / (\operatorname{mean}_d n_d + \varepsilon)) + b_c, \qquad n_c = \|x_c\|_2

    Args:
        channels: number of channels.
        bias: add the learned b.
    """

    bias: nn.Parameter | None

    def __init__(self, channels: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        norms = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
        out = x * (1 + self.weight * (norms / (norms.mean(1, keepdim=True) + RESPONSE_EPS)))
        return out if self.bias is None else out + self.bias


class ResponseMLP(Mergeable):
    r"""Two 1x1 convolutions with GELU and `ResponseNorm` between them, batch normalisation and a scale after them.

    .. math:: y = s \odot \operatorname{norm}(W_2 \, r(\operatorname{GELU}(W_1 x + b_1)))

    It merges into a module in which the bias of r, the normalisation and s are part of the second convolution.

    Args:
        channels: number of channels.
        hidden: number of channels between the convolutions.
        initial_scale: initial value of the learned s; None: s is 1.
    """

    scale: nn.Parameter | None

    def __init__(self, channels: int, hidden: int, initial_scale: float | None) -> None:
        super().__init__()
        self.expand = IMAGES.pointwise(channels, hidden)
        self.response = ResponseNorm(hidden)
        self.reduce = IMAGES.pointwise(hidden, channels, bias=False)
        self.norm = IMAGES.norm(channels)
        self.scale = None if initial_scale is None else layer_scale(channels, initial_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        out = self.norm(self.reduce(self.response(F.gelu(self.expand(x)))))
        return out if self.scale is None else self.scale * out

    def merge(self) -> nn.Sequential:
        """Return the module of fewer parts."""
        response = ResponseNorm(self.expand.out_channels, bias=False)
        response.weight = self.response.weight
        parts = sequence(expand=self.expand, activation=nn.GELU(), response=response, reduce=self._reduce())
        return parts.train(self.training)

    def _reduce(self) -> Convolution:
        """Return the second convolution with all that is linear around it."""
        kernel = kernel_of(self.reduce)
        assert self.response.bias is not None
        shift = self.response.bias.detach().double().view(-1)
        both = normalised(Kernel(kernel.weight, kernel.weight[:, :, 0, 0] @ shift), self.norm)
        if self.scale is not None:
            scale = self.scale.detach().double()
            both = Kernel(both.weight * scale.unsqueeze(1), both.bias * scale.view(-1))
        return as_convolution(both, self.reduce)


def channel_norm(channels: int) -> ChannelNorm:
    """Create layer normalisation over channels with the published epsilon."""
    return ChannelNorm(channels, eps=1e-6)


def sequence(**parts: nn.Module) -> nn.Sequential:
    """Create a sequence of named parts."""
    return nn.Sequential(OrderedDict(parts))


def normed_mlp(channels: int, hidden: int) -> nn.Sequential:
    """Create two 1x1 convolutions with batch normalisation, and GELU between them."""
    return nn.Sequential(ConvNorm(IMAGES, channels, hidden), nn.GELU(), ConvNorm(IMAGES, hidden, channels))


def plain_mlp(channels: int, hidden: int) -> nn.Sequential:
    """Create two 1x1 convolutions with GELU between them."""
    return sequence(
        fc1=IMAGES.pointwise(channels, hidden), activation=nn.GELU(), fc2=IMAGES.pointwise(hidden, channels)
    )


def pooled(**parts: nn.Module) -> nn.Sequential:
    """Create a head: the mean over the map, then these parts."""
    return sequence(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), **parts)
