"""Convolutions, residual blocks and the encoders and decoders of a conditional codec."""

from torch import Tensor, nn

from convnn.nn.compression import GDN


class Residual(nn.Module):
    r"""Two 3x3 convolutions with a shortcut: before each a ReLU, or after each a leaky one.

    Args:
        channels: number of channels.
        leaky: activate after the convolutions, :math:`x + l(W_2 l(W_1 x))` with a slope of 0.1; otherwise before them.
    """

    def __init__(self, channels: int, *, leaky: bool = False) -> None:
        super().__init__()
        first, second = conv(channels, channels), conv(channels, channels)
        parts = (
            (first, nn.LeakyReLU(0.1), second, nn.LeakyReLU(0.1)) if leaky else (nn.ReLU(), first, nn.ReLU(), second)
        )
        self.residual = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return x + self.residual(x)


def conv(in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> nn.Conv2d:
    """Create a convolution that keeps the size of the map, or divides it by the stride, rounded up."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2)


def transposed(in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 2) -> nn.ConvTranspose2d:
    """Create a transposed convolution that multiplies the size of the map by the stride."""
    return nn.ConvTranspose2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, stride - 1)


def doubled(in_channels: int, out_channels: int) -> nn.Sequential:
    """Create a convolution whose channels become 2x2 positions."""
    return nn.Sequential(conv(in_channels, 4 * out_channels), nn.PixelShuffle(2))


def hyper_encoder(in_channels: int, channels: int) -> nn.Sequential:
    """Create the network from a latent to the latent of its distribution, at a quarter of the resolution."""
    return nn.Sequential(
        conv(in_channels, channels),
        nn.LeakyReLU(),
        conv(channels, channels, 5, 2),
        nn.LeakyReLU(),
        conv(channels, channels, 5, 2),
    )


def hyper_decoder(channels: int, first: int, second: int, out_channels: int) -> nn.Sequential:
    """Create the network from that latent back to the parameters of the first, with so many channels in between."""
    return nn.Sequential(
        transposed(channels, first, 5),
        nn.LeakyReLU(),
        transposed(first, second, 5),
        nn.LeakyReLU(),
        transposed(second, out_channels, stride=1),
    )


def motion_encoder(channels: int) -> nn.Sequential:
    """Create the network from a flow to its latent, at a sixteenth of the resolution."""
    layers: list[nn.Module] = [conv(2, channels, stride=2)]
    for _ in range(3):
        layers += [GDN(channels), conv(channels, channels, stride=2)]
    return nn.Sequential(*layers)


def motion_decoder(channels: int) -> nn.Sequential:
    """Create the network from that latent back to a flow."""
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [transposed(channels, channels), GDN(channels, inverse=True)]
    return nn.Sequential(*layers, transposed(channels, 2))


def motion_refiner(channels: int) -> nn.Sequential:
    """Create the network from a decoded flow and the reference frame to a correction of the flow."""
    layers: list[nn.Module] = [conv(5, channels), nn.LeakyReLU(0.1)]
    for _ in range(5):
        layers += [conv(channels, channels), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers, conv(channels, 2))


def frame_encoder(in_channels: int, channels: int, out_channels: int) -> nn.Sequential:
    """Create the network from a frame, and what it is conditioned on, to the latent at a sixteenth."""
    layers: list[nn.Module] = [conv(in_channels, channels, 5, 2), GDN(channels)]
    for _ in range(2):
        layers += [Residual(channels, leaky=True), conv(channels, channels, 5, 2), GDN(channels)]
    return nn.Sequential(*layers, conv(channels, out_channels, 5, 2))


def frame_decoder(in_channels: int, channels: int) -> nn.Sequential:
    """Create the network from the latent back to a map of features as large as the frame."""
    layers: list[nn.Module] = [doubled(in_channels, channels), GDN(channels, inverse=True)]
    for _ in range(2):
        layers += [doubled(channels, channels), GDN(channels, inverse=True), Residual(channels, leaky=True)]
    return nn.Sequential(*layers, doubled(channels, channels))


def temporal_encoder(channels: int, out_channels: int) -> nn.Sequential:
    """Create the network from the context to what it says about the latent's distribution."""
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [conv(channels, channels, 5, 2), GDN(channels)]
    return nn.Sequential(*layers, conv(channels, out_channels, 5, 2))
