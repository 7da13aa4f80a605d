"""MK-UNet: a light U-Net whose blocks have kernels of several sizes for every channel."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.models._dense import conv_norm, map_layers, resized
from convnn.models._registry import register_model
from convnn.models.segmentation._network import SegmentationNetwork
from convnn.nn import LayerFactory, MultiKernelDW2d
from convnn.nn.kernels.convolution import check_can_normalise

LEVELS = 5
REDUCTIONS = (16, 16, 16, 8, 4)
"""By decoder level, how many times fewer channels there are inside channel attention."""

PUBLISHED_NAMES = {
    **{f"encoder{i + 1}": f"encoder.{i}" for i in range(LEVELS)},
    **{f"decoder{i + 1}.0": f"decoder.{i}" for i in range(LEVELS)},
    **{f"AG{i + 1}": f"gates.{i}" for i in range(LEVELS - 1)},
    **{f"CA{i + 1}": f"channel_attention.{i}" for i in range(LEVELS)},
    **{f"out{i + 1}": f"side_heads.{i}" for i in range(LEVELS - 2)},
    **{f"dwconvs.{i}.0": f"branches.{i}.0.conv" for i in range(3)},
    **{f"dwconvs.{i}.1": f"branches.{i}.0.norm" for i in range(3)},
    "out4": "head",
    "SA": "spatial_attention",
    "W_g": "of_coarse",
    "W_x": "of_skip",
    "psi": "share",
    "fc1": "inner.0",
    "fc2": "inner.2",
    "pconv1.0": "expand.conv",
    "pconv1.1": "expand.norm",
    "multi_scale_dwconv": "operator",
    "pconv2.0": "reduce.conv",
    "pconv2.1": "reduce.norm",
    "conv1x1": "project",
}
"""Dotted parts of names in the published checkpoints, and what they are called here."""


class ChannelAttention(nn.Module):
    r"""A map times a weight for each channel, from its mean and its largest value: :math:`x \odot \sigma(f(\mu)+f(m))`.

    Args:
        channels: number of channels.
        reduction: how many times fewer channels f has inside, but at least one.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = channels // min(reduction, channels)
        self.inner = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False), nn.ReLU(), nn.Conv2d(hidden, channels, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        mean, largest = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        return x * (self.inner(mean) + self.inner(largest)).sigmoid()


class SpatialAttention(nn.Module):
    """A map times a weight for each position, from a 7x7 convolution of the mean and the largest of its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return x * self.conv(pooled).sigmoid()


class AttentionGate(nn.Module):
    r"""A skip connection times a weight for each position, from itself and the coarser map that it joins.

    .. math:: \operatorname{gate}(g, x) = x \odot \sigma(\psi(\operatorname{ReLU}(W_g g + W_x x)))

    with grouped 3x3 convolutions to half the channels in :math:`W_g` and :math:`W_x`, a 1x1 convolution to one in
    :math:`\psi`, and batch normalisation after each.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.of_coarse = _grouped(channels, half)
        self.of_skip = _grouped(channels, half)
        self.share = nn.Sequential(*conv_norm(half, 1, bias=True), nn.Sigmoid())

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """Map two maps (B, C, H, W) to one (B, C, H, W)."""
        return skip * self.share(F.relu(self.of_coarse(coarse) + self.of_skip(skip)))


def _grouped(channels: int, groups: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, groups, 3, padding=1, groups=groups), nn.BatchNorm2d(groups))


class MKUNet(SegmentationNetwork):
    """MK-UNet: five levels of blocks, each halved by pooling, and back by attention, a block and gated skips.

    Args:
        widths: channels of the five levels, from fine to coarse, even numbers.
        depths: number of blocks in each level of the encoder.
        in_channels: number of channels of the images.
        num_classes: number of maps of logits; one for a single foreground class.
        width: factor on all channel numbers, which stay even.
        auxiliary: in training mode, return the maps of the three side heads too, enlarged to the images, coarse to
            fine. The side heads are part of the network either way, but not trained otherwise; the published code
            leaves their maps unused.
        layer: the layer in every block: the name of one on maps, or a function from input and output channels to one.
            Layers other than MultiKernelDW, which does so itself, are followed by batch normalisation and ReLU.

    Shapes:
        images (B, C, H, W) or (B, 1, H, W) of any sides from 32 pixels; logits (B, num_classes, H, W).

    Raises:
        InputError: an argument is out of range; in forward: the images have other channels, or are too small, or there
            is a single one of a single position at the coarsest level to train the normalisation on.

    Reference:
        MK-UNet, arXiv 2509.18493, in the form of its code.

    Example:
        >>> MKUNet((4, 8, 16, 24, 32), num_classes=2)(torch.randn(2, 3, 64, 96)).shape
        torch.Size([2, 2, 64, 96])
    """

    default_layer: ClassVar[str] = "MultiKernelDW"
    published_names: ClassVar[Mapping[str, str]] = PUBLISHED_NAMES
    min_size: ClassVar[int] = 32

    def __init__(
        self,
        widths: Sequence[int],
        depths: Sequence[int] = (1, 1, 1, 1, 1),
        *,
        in_channels: int = 3,
        num_classes: int = 1,
        width: float = 1.0,
        auxiliary: bool = False,
        layer: str | LayerFactory = default_layer,
    ) -> None:
        super().__init__(in_channels, num_classes, width, auxiliary=auxiliary, layer=layer)
        _check_levels(widths, depths)
        widths = [2 * self.scaled(channels // 2) for channels in widths]
        make = map_layers(layer, self.default_layer)
        self.encoder = nn.ModuleList(
            nn.Sequential(_block(make, before, width), *(_block(make, width, width) for _ in range(depth - 1)))
            for (before, width), depth in zip(pairwise([in_channels, *widths]), depths, strict=True)
        )
        down = [*reversed(widths), widths[0]]
        self.channel_attention = nn.ModuleList(map(ChannelAttention, down[:-1], REDUCTIONS))
        self.spatial_attention = SpatialAttention()  # one for all levels
        self.decoder = nn.ModuleList(_block(make, width, after) for width, after in pairwise(down))
        self.gates = nn.ModuleList(map(AttentionGate, down[1:-1]))
        for part in (*self.channel_attention, self.spatial_attention, *self.gates):
            part.apply(_reset)
        self.side_heads = nn.ModuleList(nn.Conv2d(width, num_classes, 1) for width in down[2:-1])
        self.side_heads.requires_grad_(auxiliary)
        self.head = nn.Conv2d(widths[0], num_classes, 1)

    def maps(self, images: Tensor, *, auxiliary: bool = True) -> tuple[Tensor, ...]:
        """Map images (B, C, H, W) to all logits; a single channel is repeated, as published."""
        if images.dim() == 4 and images.shape[1] == 1:
            images = images.expand(-1, self.in_channels, -1, -1)
        return super().maps(images, auxiliary=auxiliary)

    def _maps(self, images: Tensor, auxiliary: bool) -> tuple[Tensor, ...]:
        *coarse, last = self._decoded(images)
        sides = zip(self.side_heads, coarse[1:], strict=True) if auxiliary else ()
        return self.head(last), *(resized(head(x), images) for head, x in sides)

    def _decoded(self, images: Tensor) -> list[Tensor]:
        """Return the map after each level of the decoder, from coarse to fine."""
        skips = [images]
        for blocks in self.encoder:
            skips.append(F.max_pool2d(blocks(skips[-1]), 2))
        x, decoded = skips.pop(), []
        check_can_normalise(self, x)
        for attention, block, gate in zip(self.channel_attention, self.decoder, [*self.gates, None], strict=True):
            x, skip = block(self.spatial_attention(attention(x))), skips.pop()
            x = resized(x, skip).relu()
            if gate is not None:
                x = x + gate(x, skip)
            decoded.append(x)
        return decoded


def _block(make: LayerFactory, in_channels: int, out_channels: int) -> nn.Module:
    """Create a layer, with normalisation and activation unless it has its own."""
    layer = make(in_channels, out_channels)
    if isinstance(layer, MultiKernelDW2d):
        return layer
    return nn.Sequential(layer, nn.BatchNorm2d(out_channels), nn.ReLU())


def _reset(part: nn.Module) -> None:
    """Draw the weights of a convolution from a normal distribution of deviation 0.02, as published; biases are 0."""
    if isinstance(part, nn.Conv2d):
        nn.init.normal_(part.weight, std=0.02)
        if part.bias is not None:
            nn.init.zeros_(part.bias)


def _check_levels(widths: Sequence[int], depths: Sequence[int]) -> None:
    """Refuse numbers of channels and blocks of which there are not five, or that the gates cannot halve.

    Raises:
        InputError: an argument is out of range.
    """
    for name, values in (("widths", widths), ("depths", depths)):
        if len(values) != LEVELS or min(values) < 1:
            raise InputError(f"{name}={tuple(values)} must be {LEVELS} positive integers, one for each level")
    if any(width % 2 for width in widths):
        raise InputError(f"widths={tuple(widths)} must be even, because the gates of the skips halve them")


@register_model(MKUNet)
def mkunet_t(layer: str | LayerFactory = MKUNet.default_layer, **settings: Any) -> MKUNet:
    """MK-UNet-T, with 27,384 parameters."""
    return MKUNet((4, 8, 16, 24, 32), layer=layer, **settings)


@register_model(MKUNet)
def mkunet_s(layer: str | LayerFactory = MKUNet.default_layer, **settings: Any) -> MKUNet:
    """MK-UNet-S, with 93,050 parameters."""
    return MKUNet((8, 16, 32, 48, 80), layer=layer, **settings)


@register_model(MKUNet)
def mkunet(layer: str | LayerFactory = MKUNet.default_layer, **settings: Any) -> MKUNet:
    """MK-UNet, with 315,566 parameters."""
    return MKUNet((16, 32, 64, 96, 160), layer=layer, **settings)


@register_model(MKUNet)
def mkunet_m(layer: str | LayerFactory = MKUNet.default_layer, **settings: Any) -> MKUNet:
    """MK-UNet-M, with 1,150,166 parameters."""
    return MKUNet((32, 64, 128, 192, 320), layer=layer, **settings)


@register_model(MKUNet)
def mkunet_l(layer: str | LayerFactory = MKUNet.default_layer, **settings: Any) -> MKUNet:
    """MK-UNet-L, with 3,758,118 parameters."""
    return MKUNet((64, 128, 256, 384, 512), layer=layer, **settings)
