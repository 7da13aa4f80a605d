"""InceptionNeXt: blocks of bands and squares for shares of the channels."""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import nn

from convnn.errors import check_fraction
from convnn.models._registry import register_model
from convnn.models.hierarchical._parts import Residual, plain_mlp, pooled, sequence
from convnn.models.hierarchical._skeleton import HierarchicalNetwork, Mixers, Place, Rule, draw_normal, rising
from convnn.nn import BandConv2d, LayerFactory

MLP_RATIOS = (4, 4, 4, 3)
HEAD_RATIO = 3


class InceptionNeXt(HierarchicalNetwork):
    r"""InceptionNeXt (Yu et al., arXiv 2303.16900) in the form of its code.

    .. math:: y = x + s \odot \operatorname{MLP}(\operatorname{norm}(f(x)))

    with f from `BandConv2d`, or any other layer. Nothing is padded between the stages.

    Args:
        depths: number of blocks of each stage.
        channels: number of channels of each stage.
        layer: function from input and output channels to a layer.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers.
        drop_path: stochastic depth rate of the last block, 0 to 1; it rises linearly from 0 at the first.
        layer_scale: initial value of s.
        dropout: probability before the last linear layer, 0 to 1.

    Raises:
        InputError: an argument is out of range.
    """

    default_layer: ClassVar[str] = "InceptionDW"
    min_size: ClassVar[int] = 32
    published_names: ClassVar[tuple[Rule, ...]] = (
        (r"\.blocks\.(\d+)\.", r".blocks.\1.inner."),
        (r"inner\.gamma$", "scale"),
        (r"token_mixer\.dwconv_hw", "mixer.square"),
        (r"token_mixer\.dwconv_w", "mixer.wide"),
        (r"token_mixer\.dwconv_h", "mixer.tall"),
    )

    def __init__(
        self,
        depths: Sequence[int],
        channels: Sequence[int],
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        width: float = 1.0,
        drop_path: float = 0.1,
        layer_scale: float = 1e-6,
        dropout: float = 0.0,
    ) -> None:
        check_fraction("dropout", dropout)
        mixers = Mixers(layer, self.default_layer, BandConv2d)

        def block(place: Place) -> nn.Module:
            n = place.channels
            mlp = plain_mlp(n, MLP_RATIOS[place.stage] * n)
            inner = sequence(mixer=mixers(n), norm=nn.BatchNorm2d(n), mlp=mlp)
            return Residual(inner, n, initial_scale=layer_scale, drop_path=place.drop_path)

        def head(number: int, classes: int) -> nn.Module:
            hidden = HEAD_RATIO * number
            return pooled(
                fc1=nn.Linear(number, hidden),
                activation=nn.GELU(),
                norm=nn.LayerNorm(hidden, eps=1e-6),
                dropout=nn.Dropout(dropout),
                fc2=nn.Linear(hidden, classes),
            )

        super().__init__(
            depths,
            channels,
            layer,
            stem=lambda images, first: nn.Sequential(nn.Conv2d(images, first, 4, stride=4), nn.BatchNorm2d(first)),
            downsample=lambda old, new: nn.Sequential(nn.BatchNorm2d(old), nn.Conv2d(old, new, 2, stride=2)),
            block=block,
            head=head,
            in_channels=in_channels,
            num_classes=num_classes,
            width=width,
            drop_rates=rising(drop_path, depths),
        )

    def _initialise_part(self, module: nn.Module) -> None:
        draw_normal(module)


@register_model(InceptionNeXt, band_kernel_size=9, branch_ratio=0.25)
def inceptionnext_atto(layer: LayerFactory, **settings: Any) -> InceptionNeXt:
    """InceptionNeXt with 4.2 million weights for 1000 classes."""
    return InceptionNeXt((2, 2, 6, 2), (40, 80, 160, 320), layer, **settings)


@register_model(InceptionNeXt)
def inceptionnext_tiny(layer: LayerFactory, **settings: Any) -> InceptionNeXt:
    """InceptionNeXt with 28.1 million weights for 1000 classes."""
    return InceptionNeXt((3, 3, 9, 3), (96, 192, 384, 768), layer, **settings)


@register_model(InceptionNeXt)
def inceptionnext_small(layer: LayerFactory, *, drop_path: float = 0.3, **settings: Any) -> InceptionNeXt:
    """InceptionNeXt with 49.4 million weights for 1000 classes."""
    return InceptionNeXt((3, 3, 27, 3), (96, 192, 384, 768), layer, drop_path=drop_path, **settings)


@register_model(InceptionNeXt)
def inceptionnext_base(layer: LayerFactory, *, drop_path: float = 0.4, **settings: Any) -> InceptionNeXt:
    """InceptionNeXt with 86.7 million weights for 1000 classes."""
    return InceptionNeXt((3, 3, 27, 3), (128, 256, 512, 1024), layer, drop_path=drop_path, **settings)
