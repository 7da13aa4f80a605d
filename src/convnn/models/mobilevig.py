"""MobileViGv2 and GreedyViG: stages of convolutions followed by graph layers."""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from convnn.errors import check_at_least, check_fraction
from convnn.models._network import Network
from convnn.models._parts import drop_images, layer_scale
from convnn.models._registry import register_model
from convnn.nn import Grapher2d, LayerFactory

PUBLISHED_SIZE = 224
"""Side of the images, in pixels, for which the steps of the stages are published."""


class FeedForward(nn.Sequential):
    """Two 1x1 convolutions with batch normalisation, GELU between them, four times the channels inside."""

    def __init__(self, channels: int) -> None:
        hidden = 4 * channels
        super().__init__(
            nn.Conv2d(channels, hidden, 1),
            nn.BatchNorm2d(hidden),
            nn.GELU(),
            nn.Conv2d(hidden, channels, 1),
            nn.BatchNorm2d(channels),
        )


class LocalBlock(nn.Module):
    r"""Inverted residual: a depthwise 3x3 convolution between two 1x1 ones, scaled, with a shortcut.

    .. math:: y = x + s \odot f(x)
    """

    def __init__(self, channels: int, drop_path: float) -> None:
        super().__init__()
        hidden = 4 * channels
        self.inner = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.BatchNorm2d(hidden),
            nn.GELU(),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.BatchNorm2d(hidden),
            nn.GELU(),
            nn.Conv2d(hidden, channels, 1),
            nn.BatchNorm2d(channels),
        )
        self.scale = layer_scale(channels)
        self.drop = drop_images(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        return x + self.drop(self.scale * self.inner(x))


class GraphBlock(nn.Module):
    r"""A graph layer in its `Grapher2d`, then a feed-forward network, both scaled and with shortcuts.

    .. math:: y = x + s_1 \odot g(x), \qquad z = y + s_2 \odot f(y)

    Without scales, s is 1.
    """

    def __init__(
        self, channels: int, layer: LayerFactory, drop_path: float = 0.0, use_layer_scale: bool = True
    ) -> None:
        super().__init__()
        self.mixer = Grapher2d(channels, layer, positional_size=7)
        self.ffn = FeedForward(channels)
        self.mixer_scale = layer_scale(channels) if use_layer_scale else 1.0
        self.ffn_scale = layer_scale(channels) if use_layer_scale else 1.0
        self.drop = drop_images(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        x = x + self.drop(self.mixer_scale * self.mixer(x))
        return x + self.drop(self.ffn_scale * self.ffn(x))


class MobileViG(Network):
    """Four stages of local blocks and then graph blocks of any layer, and the mean of two linear heads.

    The layer is called with the step of its stage and positional_size=0, because the encoding precedes it; a layer that
    does not read these ignores them.

    Args:
        depths: numbers of local and graph blocks of each stage.
        channels: number of channels of each stage.
        steps: steps of the graph layers of each stage, for images of 224 pixels.
        embedding: number of channels before the heads.
        layer: function from input and output channels to a layer.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers.
        image_size: side of the images in pixels; steps are scaled to it, and at least 1.
        drop_path: stochastic depth rate of the last block, 0 to 1; it rises linearly from 0 at the first.
        dropout: probability before the heads, 0 to 1.

    Raises:
        InputError: an argument is out of range.
    """

    min_size: ClassVar[int] = 32
    head_parts: ClassVar[tuple[str, ...]] = ("embed", "dropout", "head", "distilled_head")

    def __init__(
        self,
        depths: Sequence[tuple[int, int]],
        channels: Sequence[int],
        steps: Sequence[int],
        embedding: int,
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        width: float = 1.0,
        image_size: int = PUBLISHED_SIZE,
        drop_path: float = 0.1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        check_at_least("image_size", image_size, 1)
        check_fraction("drop_path", drop_path)
        check_fraction("dropout", dropout)
        widths = [self.scaled(number) for number in channels]
        count = sum(map(sum, depths))
        rates = iter([drop_path * block / max(1, count - 1) for block in range(count)])
        self.stem = _make_stem(in_channels, widths[0])
        stages: list[nn.Module] = []
        for i, ((local, graph), step) in enumerate(zip(depths, steps, strict=True)):
            graph_layer = partial(layer, step=max(1, round(step * image_size / PUBLISHED_SIZE)), positional_size=0)
            blocks: list[nn.Module] = [_make_downsampling(widths[i - 1], widths[i])] if i else []
            blocks += [LocalBlock(widths[i], next(rates)) for _ in range(local)]
            blocks += [GraphBlock(widths[i], graph_layer, next(rates)) for _ in range(graph)]
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        hidden = self.scaled(embedding)
        self.embed = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(widths[-1], hidden, 1), nn.BatchNorm2d(hidden), nn.GELU(), nn.Flatten()
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, num_classes)
        self.distilled_head = nn.Linear(hidden, num_classes)
        self._initialise()

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to features (B, F, H / 32, W / 32)."""
        return self.stages(self.stem(x))

    def forward_head(self, features: Tensor) -> Tensor:
        """Map features to logits (B, num_classes): the mean of both heads."""
        embedded = self.dropout(self.embed(features))
        return (self.head(embedded) + self.distilled_head(embedded)) / 2

    def _initialise(self) -> None:
        """Draw weights from a normal distribution by fan-in and set biases to 0, as published."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def _make_stem(in_channels: int, channels: int) -> nn.Sequential:
    """Create two 3x3 convolutions that quarter the sides: (B, in_channels, H, W) to (B, channels, H / 4, W / 4)."""
    half = max(1, channels // 2)
    return nn.Sequential(
        *_make_downsampling(in_channels, half), nn.GELU(), *_make_downsampling(half, channels), nn.GELU()
    )


def _make_downsampling(in_channels: int, out_channels: int) -> nn.Sequential:
    """Create a 3x3 convolution that halves the sides, and batch normalisation."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1), nn.BatchNorm2d(out_channels))


class MobileViGv2(MobileViG):
    """MobileViGv2 (Avery et al., arXiv 2406.05850)."""

    default_layer: ClassVar[str] = "MGC"


class GreedyViG(MobileViG):
    """GreedyViG (Munir et al., arXiv 2405.06849)."""

    default_layer: ClassVar[str] = "DAGC"


_GRAPHS_BEHIND = (0, 8, 4, 2)
_GRAPHS_EVERYWHERE = (8, 4, 2, 1)


@register_model(MobileViGv2)
def mobilevigv2_ti(layer: LayerFactory, **settings: Any) -> MobileViGv2:
    """MobileViGv2 with 5.7 million weights for 1000 classes."""
    depths = ((2, 0), (2, 2), (6, 2), (2, 2))
    return MobileViGv2(depths, (32, 64, 128, 256), _GRAPHS_BEHIND, 512, layer, **settings)


@register_model(MobileViGv2)
def mobilevigv2_s(layer: LayerFactory, **settings: Any) -> MobileViGv2:
    """MobileViGv2 with 7.8 million weights for 1000 classes."""
    depths = ((3, 0), (3, 3), (9, 3), (3, 3))
    return MobileViGv2(depths, (32, 64, 128, 256), _GRAPHS_BEHIND, 512, layer, **settings)


@register_model(MobileViGv2)
def mobilevigv2_m(layer: LayerFactory, **settings: Any) -> MobileViGv2:
    """MobileViGv2 with 15.5 million weights for 1000 classes."""
    depths = ((3, 0), (3, 3), (9, 3), (3, 3))
    return MobileViGv2(depths, (32, 64, 192, 384), _GRAPHS_BEHIND, 512, layer, **settings)


@register_model(MobileViGv2)
def mobilevigv2_b(layer: LayerFactory, **settings: Any) -> MobileViGv2:
    """MobileViGv2 with 27.9 million weights for 1000 classes."""
    depths = ((3, 0), (3, 3), (9, 3), (3, 3))
    return MobileViGv2(depths, (64, 128, 256, 512), _GRAPHS_BEHIND, 768, layer, **settings)


@register_model(GreedyViG)
def greedyvig_s(layer: LayerFactory, **settings: Any) -> GreedyViG:
    """GreedyViG with 12.0 million weights for 1000 classes."""
    depths = ((2, 2), (2, 2), (6, 2), (2, 2))
    return GreedyViG(depths, (48, 96, 192, 384), _GRAPHS_EVERYWHERE, 768, layer, **settings)


@register_model(GreedyViG)
def greedyvig_m(layer: LayerFactory, **settings: Any) -> GreedyViG:
    """GreedyViG with 21.9 million weights for 1000 classes."""
    depths = ((3, 3), (3, 3), (9, 3), (3, 3))
    return GreedyViG(depths, (56, 112, 224, 448), _GRAPHS_EVERYWHERE, 768, layer, **settings)


@register_model(GreedyViG)
def greedyvig_b(layer: LayerFactory, **settings: Any) -> GreedyViG:
    """GreedyViG with 30.9 million weights for 1000 classes."""
    depths = ((4, 4), (4, 4), (12, 4), (3, 3))
    return GreedyViG(depths, (64, 128, 256, 512), _GRAPHS_EVERYWHERE, 768, layer, **settings)
