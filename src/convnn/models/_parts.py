"""First and last layers of networks for small images."""

from torch import nn


def make_stem(in_channels: int, channels: int) -> nn.Sequential:
    """Create a 3x3 convolution that keeps the map's size: (B, in_channels, H, W) to (B, channels, H, W)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def make_pooled_head(channels: int, num_classes: int, dropout: float) -> nn.Sequential:
    """Create global average pooling and a linear layer: (B, channels, H, W) to (B, num_classes)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, num_classes))
