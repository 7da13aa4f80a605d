"""The skeleton of VAN and LSKNet: gated layers and MLPs with a depthwise kernel, each in a residual of its own."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import nn

from convnn.errors import check_fraction
from convnn.models.hierarchical._parts import IMAGES, Residual, channel_norm, pooled, sequence
from convnn.models.hierarchical._skeleton import (
    HierarchicalNetwork,
    Mixers,
    Place,
    Rule,
    draw_by_fan_out,
    rising,
)
from convnn.nn import LayerFactory

FIRST_SIDE, FIRST_STRIDE, SIDE = 7, 4, 3
MLP_RATIOS = (8, 8, 4, 4)
NARROW, WIDE = (32, 64, 160, 256), (64, 128, 320, 512)
"""Channels of most published sizes."""


class GatedNetwork(HierarchicalNetwork):
    r"""The network of VAN (Guo et al., arXiv 2202.09741) with any gated layer, or any other.

    .. math:: y = x + s_1 \odot f(\operatorname{norm}(x)), \qquad
        z = y + s_2 \odot \operatorname{MLP}(\operatorname{norm}(y))

    Args:
        depths: number of blocks of each stage.
        channels: number of channels of each stage.
        mlp_ratios: ratio of the channels inside the MLP to those outside, by stage.
        layer: function from input and output channels to a layer.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers.
        drop_path: stochastic depth rate of the last block, 0 to 1; it rises linearly from 0 at the first.
        layer_scale: initial value of both s.
        dropout: probability inside and after the MLP, 0 to 1.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        depths: Sequence[int],
        channels: Sequence[int],
        mlp_ratios: Sequence[int],
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        width: float = 1.0,
        drop_path: float = 0.1,
        layer_scale: float = 1e-2,
        dropout: float = 0.0,
    ) -> None:
        check_fraction("dropout", dropout)
        mixers = Mixers(layer, self.default_layer, self._make_operator)

        def block(place: Place) -> nn.Module:
            n = place.channels
            of_both: dict[str, Any] = {"initial_scale": layer_scale, "drop_path": place.drop_path}
            mixing = sequence(norm=nn.BatchNorm2d(n), mixer=mixers(n))
            mlp = sequence(norm=nn.BatchNorm2d(n), mlp=_mlp(n, mlp_ratios[place.stage] * n, dropout))
            return sequence(mixing=Residual(mixing, n, **of_both), feed_forward=Residual(mlp, n, **of_both))

        super().__init__(
            depths,
            channels,
            layer,
            stem=partial(_embedding, FIRST_SIDE, FIRST_STRIDE),
            downsample=partial(_embedding, SIDE, 2),
            block=block,
            head=lambda number, classes: pooled(fc=nn.Linear(number, classes)),
            stage_norm=channel_norm,
            in_channels=in_channels,
            num_classes=num_classes,
            width=width,
            drop_rates=rising(drop_path, depths),
        )

    @staticmethod
    def _make_operator(channels: int, **settings: Any) -> nn.Module:
        """Create f of the published network."""
        raise NotImplementedError

    def _initialise_part(self, module: nn.Module) -> None:
        draw_by_fan_out(module)


def names_of_gates(*gate: Rule) -> tuple[Rule, ...]:
    """Return the rules of published names; those of the gate come last."""
    return (
        (r"^head\.", "head.fc."),
        (r"^patch_embed1\.", "stem."),
        (r"^patch_embed(\d)\.", lambda found: f"stages.{int(found[1]) - 1}.downsample."),
        (r"^block(\d)\.", lambda found: f"stages.{int(found[1]) - 1}.blocks."),
        (r"^norm(\d)\.", lambda found: f"stages.{int(found[1]) - 1}.norm."),
        (r"\.layer_scale_1$", ".mixing.scale"),
        (r"\.layer_scale_2$", ".feed_forward.scale"),
        (r"\.norm1\.", ".mixing.inner.norm."),
        (r"\.norm2\.", ".feed_forward.inner.norm."),
        (r"\.attn\.", ".mixing.inner.mixer.gated."),
        (r"\.mlp\.", ".feed_forward.inner.mlp."),
        (r"\.dwconv\.dwconv\.", ".depthwise."),
        (r"\.proj_1\.", ".before."),
        (r"\.proj_2\.", ".after."),
        (r"\.spatial_gating_unit\.", ".operator."),
        (r"\.conv0\.", ".local."),
        (r"\.conv_spatial\.", ".dilated."),
        *gate,
    )


def _embedding(kernel_size: int, stride: int, in_channels: int, out_channels: int) -> nn.Sequential:
    """Create a convolution of overlapping patches, and batch normalisation."""
    proj = IMAGES.conv(in_channels, out_channels, kernel_size, stride=stride)
    return sequence(proj=proj, norm=nn.BatchNorm2d(out_channels))


def _mlp(channels: int, hidden: int, dropout: float) -> nn.Sequential:
    """Create two 1x1 convolutions with a depthwise one and GELU between them."""
    return sequence(
        fc1=IMAGES.pointwise(channels, hidden),
        depthwise=IMAGES.depthwise(hidden, 3),
        activation=nn.GELU(),
        dropout=nn.Dropout(dropout),
        fc2=IMAGES.pointwise(hidden, channels),
        last_dropout=nn.Dropout(dropout),
    )
