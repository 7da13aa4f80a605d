"""Features of an image at several resolutions."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from convnn.models._dense import ResidualBlock, conv_norm
from convnn.nn import LayerFactory


class Pyramid(nn.Module):
    """Maps of an image, each with half the sides of the one before: a convolution, and a layer with a shortcut.

    Args:
        layer: function from input and output channels to the layer of each level.
        in_channels: number of channels of the images.
        widths: channels of the levels; the first has the size of the images.
    """

    def __init__(self, layer: LayerFactory, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        for i, width in enumerate(widths):
            into = conv_norm(widths[i - 1] if i else in_channels, width, 3, stride=2 if i else 1)
            block = ResidualBlock(nn.Sequential(layer(width, width), nn.BatchNorm2d(width)), nn.Identity())
            self.levels.append(nn.Sequential(*into, nn.ReLU(), block))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map (B, C, H, W) to maps (B, width, H / 2^l, W / 2^l), rounded up, the finest first."""
        maps = [images]
        for level in self.levels:
            maps.append(level(maps[-1]))
        return maps[1:]


def of_both(pyramid: Pyramid, first: Tensor, second: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return the maps of two images with values from 0 to 255, by one pass of both."""
    count = first.shape[0]
    maps = pyramid(2 * torch.cat([first, second]) / 255 - 1)
    return [one[:count] for one in maps], [one[count:] for one in maps]
