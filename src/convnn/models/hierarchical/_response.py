"""The skeleton of UniRepLKNet and ShiftwiseConv: squeeze and excitation, and MLPs with response normalisation."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from convnn.models.hierarchical._parts import IMAGES, Residual, ResponseMLP, channel_norm, pooled, sequence
from convnn.models.hierarchical._skeleton import HierarchicalNetwork, Place, Rule, draw_normal, rising
from convnn.nn import LayerFactory

MLP_RATIO = 4
EXCITED = 4
"""Channels divided by those inside squeeze and excitation."""


class ResponseNetwork(HierarchicalNetwork):
    r"""The network of UniRepLKNet (Ding et al., arXiv 2311.15599) with any layer.

    .. math:: y = x + s \odot \operatorname{norm}(W_2 \, r(\operatorname{GELU}(W_1 e(\operatorname{norm}(f(x))))))

    with squeeze and excitation e and `ResponseNorm` r. `convnn.merge` makes one convolution of both normalisations, s
    and what is before them.

    Args:
        depths: number of blocks of each stage.
        channels: number of channels of each stage.
        layer: function from input and output channels to a layer.
        mixer: creates f of the block at a place.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers.
        drop_path: stochastic depth rate of the last block.
        layer_scale: initial value of s.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        depths: Sequence[int],
        channels: Sequence[int],
        layer: LayerFactory,
        mixer: Callable[[Place], nn.Module],
        *,
        in_channels: int,
        num_classes: int,
        width: float,
        drop_path: float,
        layer_scale: float,
    ) -> None:
        def block(place: Place) -> nn.Module:
            n = place.channels
            scales: dict[str, Any] = {"initial_scale": layer_scale, "drop_path": place.drop_path}
            return response_block(n, MLP_RATIO * n, mixer(place), **scales)

        super().__init__(
            depths,
            channels,
            layer,
            stem=_stem,
            downsample=halve,
            block=block,
            head=mean_norm_linear,
            in_channels=in_channels,
            num_classes=num_classes,
            width=width,
            drop_rates=rising(drop_path, depths),
        )

    def _initialise_part(self, module: nn.Module) -> None:
        draw_normal(module)


NAMES: tuple[Rule, ...] = (
    (r"^head\.", "head.fc."),
    (r"^norm\.", "head.norm."),
    (r"^downsample_layers\.0\.", "stem."),
    (r"^downsample_layers\.(\d)\.", r"stages.\1.downsample."),
    (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2.inner."),
    (r"\.inner\.gamma$", ".inner.mlp.scale"),
    (r"\.se\.down\.", ".se.fc1."),
    (r"\.se\.up\.", ".se.fc2."),
    (r"\.pwconv1\.1\.", ".mlp.expand."),
    (r"\.act\.1\.gamma$", ".mlp.response.weight"),
    (r"\.act\.1\.beta$", ".mlp.response.bias"),
    (r"\.pwconv2\.0\.", ".mlp.reduce."),
    (r"\.pwconv2\.2\.", ".mlp.norm."),
)
"""Published names of all but the mixers."""


def mean_norm_linear(channels: int, num_classes: int) -> nn.Sequential:
    """Create the mean over the map, layer normalisation and a linear layer."""
    return pooled(norm=nn.LayerNorm(channels, eps=1e-6), fc=nn.Linear(channels, num_classes))


def response_block(
    channels: int, hidden: int, mixer: nn.Module, *, initial_scale: float | None, drop_path: float = 0.0
) -> Residual:
    """Create a block of `ResponseNetwork` around a layer, with so many channels inside its MLP."""
    inner = sequence(
        mixer=mixer,
        norm=nn.BatchNorm2d(channels),
        se=_excitation(channels),
        mlp=ResponseMLP(channels, hidden, initial_scale),
    )
    return Residual(inner, channels, drop_path=drop_path)


def _excitation(channels: int) -> nn.Module:
    from torchvision.ops import SqueezeExcitation  # takes a second to import

    return SqueezeExcitation(channels, max(1, channels // EXCITED))


def halve(in_channels: int, out_channels: int) -> nn.Sequential:
    """Create a 3x3 convolution that halves the sides, and normalisation over channels."""
    return nn.Sequential(IMAGES.conv(in_channels, out_channels, 3, stride=2), channel_norm(out_channels))


def _stem(in_channels: int, channels: int) -> nn.Sequential:
    """Create two such convolutions with GELU between them."""
    half = max(1, channels // 2)
    return nn.Sequential(*halve(in_channels, half), nn.GELU(), *halve(half, channels))
