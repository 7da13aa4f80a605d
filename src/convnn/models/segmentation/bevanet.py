"""BEVANet: a branch for detail and one for meaning, with large separable kernels in both, for segmentation."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from convnn.errors import InputError, check_at_least
from convnn.models._dense import conv_norm, map_layers, resized
from convnn.models._parts import ChannelNorm
from convnn.models._registry import register_model
from convnn.models.segmentation._bevanet_parts import (
    BoundaryFusion,
    EVABlock,
    PixelAttentionFusion,
    PyramidPooling,
    basic_block,
    bottleneck,
    chain,
    make_head,
)
from convnn.models.segmentation._network import SegmentationNetwork
from convnn.nn import LayerFactory

OF_RESIDUAL = {
    "conv1": "residual.0",
    "bn1": "residual.1",
    "conv2": "residual.3",
    "bn2": "residual.4",
    "conv3": "residual.6",
    "bn3": "residual.7",
    "downsample": "shortcut",
}
OF_HEAD = {"bn1": "0", "conv1": "2", "bn2": "3", "conv2": "5"}
OF_STRIPS = {
    "proj_1": "gated.before",
    "proj_2": "gated.after",
    "spatial_gating_unit": "gated.operator",
    "DW_conv": "small",
    "DW_D_conv_h": "wide",
    "DW_D_conv_v": "tall",
    "FS_kernel.fc_reduce": "select.reduce",
    "FS_kernel.fc_expand_small": "select.expand.0",
    "FS_kernel.fc_expand_big_h": "select.expand.1",
    "FS_kernel.fc_expand_big_v": "select.expand.2",
    "FS_kernel.conv_squeeze": "select.select.squeeze",
    "pwconv.pwconv": "mix",
    "pwconv": "",
    "dwconv": "",
}
OF_POOLING = {
    "spp.scale4": "context.scales.3",
    "spp.scale5": "context.scales.4",
    **{f"spp.scale{i}": f"context.scales.{i}" for i in range(3)},
    **{f"spp.process{i}": f"context.mix.{i - 1}" for i in (1, 2, 4, 5)},
    "spp.process_lska": "context.mix.2",
    "spp.bn": "context.norm",
    "spp.layer_scale_lska": "context.scale",
    "spp.lska.proj_1": "context.attention.0",
    "spp.lska.spatial_gating_unit": "context.attention.2",
    "spp.lska.spatial_gating_unit.DW_D_conv_h": "context.attention.2.dilated_wide",
    "spp.lska.spatial_gating_unit.DW_D_conv_v": "context.attention.2.dilated_tall",
    "spp.lska.proj_2": "context.attention.3",
    "spp.compression": "context.output",
    "spp.shortcut": "context.shortcut",
    "DW_conv_h": "wide",
    "DW_conv_v": "tall",
}
PUBLISHED_NAMES = {
    **OF_RESIDUAL,
    **OF_STRIPS,
    **OF_POOLING,
    **{
        f"{theirs}.{part}": f"{ours}.{index}"
        for theirs, ours in (("head", "head"), ("seghead_ds", "semantic_head"), ("seghead_db", "boundary_head"))
        for part, index in OF_HEAD.items()
    },
    **{f"conv1.{i}": f"stem.{i}" for i in (0, 1, 3, 4)},
    "model": "",  # the prefix of all names
    "layer1": "stem.6",
    "layer2": "stem.8",
    "layer3_semantic": "semantic3",
    "layer3_detail": "detail3",
    "compression3": "compress3",
    "compression4": "compress4",
    "fuse_sd_3": "fuse3",
    "fuse_sd_4": "fuse4",
    "layer4_down_semantic.0": "semantic4.0",
    "layer4_semantic_1": "semantic4.1",
    "norm4_semantic_1": "semantic4.2",
    "layer4_semantic_2": "semantic4.3",
    "norm4_semantic_2": "semantic4.4",
    "layer4_detail_conv.0": "detail4.0",
    "layer4_detail": "detail4.1",
    "norm4_detail": "detail4.2",
    "layer5_down_semantic_seg.0": "semantic5.0",
    "layer5_semantic_1_seg": "semantic5.1",
    "norm5_semantic_1_seg": "semantic5.2",
    "layer5_semantic_2_seg": "semantic5.3",
    "norm5_semantic_2_seg": "semantic5.4",
    "layer5_semantic_seg": "semantic5",
    "layer5_detail_semantic.0": "detail5",
    "layer5_detail_boundary.0": "boundary5",
    "f_x": "of_detail",
    "f_y": "of_semantic",
    "dfm.conv_p": "join.of_detail",
    "dfm.conv_i": "join.of_semantic",
    "dfm.out": "join.output",
    "attn": "layer",
    "mlp.fc1": "mlp.0",
    "mlp.dwconv.dwconv": "mlp.1",
    "mlp.fc2": "mlp.3",
    "layer_scale_1": "scale1",
    "layer_scale_2": "scale2",
}
"""Dotted parts of names in the published checkpoints, and what they are called here."""


class BEVANet(SegmentationNetwork):
    """BEVANet: one branch keeps an eighth of the resolution, the other goes on to a sixty-fourth; they are joined.

    Args:
        depths: number of residual blocks: in the first and third stage, the second, and the semantic third; then in the
            semantic fifth, where it has no large kernel.
        planes: channels of the first stage; twice as many after each.
        context_planes: channels of each extent in the pyramid pooling.
        head_planes: channels inside the head.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers.
        auxiliary: build the heads of training: another map of classes, from the detail of the third stage, and a map
            of boundaries. Training mode returns the maps of main, class and boundary head.
        layer: the layer in every block of the large kernels: the name of one on maps, which takes kernel_size from the
            network if it reads that setting, or a function from input and output channels to one.
        semantic_kernels: side of the large kernels in the fourth and fifth semantic stage: 7, 11, 23 or 35 for SDLSKA.
            0 in the fifth puts residual blocks in their place.
        detail_kernel: side of the large kernel in the fourth stage of detail.
        mlp_ratio: how many times more channels the MLP of these blocks has inside.

    Shapes:
        images (B, C, H, W) of any sides from 8 pixels; logits (B, num_classes, H, W), interpolated from an eighth of
        the sides, rounded up, in which `maps` returns them.

    Raises:
        InputError: an argument is out of range; in forward: the images have other channels, or are too small, or there
            is a single one to train the normalisation on.

    Reference:
        BEVANet, arXiv 2508.07300, in the form of its code, which is built on PIDNet, arXiv 2206.02066.

    Example:
        >>> import torch
        >>> bevanet_s(num_classes=11).eval()(torch.randn(1, 3, 64, 96)).shape
        torch.Size([1, 11, 64, 96])
    """

    default_layer: ClassVar[str] = "SDLSKA"
    published_names: ClassVar[Mapping[str, str]] = PUBLISHED_NAMES
    min_size: ClassVar[int] = 8

    def __init__(
        self,
        depths: Sequence[int],
        planes: int,
        *,
        context_planes: int = 96,
        head_planes: int = 128,
        in_channels: int = 3,
        num_classes: int = 19,
        width: float = 1.0,
        auxiliary: bool = True,
        layer: str | LayerFactory = default_layer,
        semantic_kernels: tuple[int, int] = (35, 35),
        detail_kernel: int = 23,
        mlp_ratio: float = 4,
    ) -> None:
        super().__init__(in_channels, num_classes, width, auxiliary=auxiliary, layer=layer)
        if len(depths) != 4 or min(depths) < 1:
            raise InputError(f"depths={tuple(depths)} must be 4 positive integers")
        first, second, third, last = depths
        for name, value in (("planes", planes), ("context_planes", context_planes), ("head_planes", head_planes)):
            check_at_least(name, value, 1)
        planes, context_planes, head_planes = map(self.scaled, (planes, context_planes, head_planes))
        blocks = partial(EVABlock, layer=map_layers(layer, self.default_layer), mlp_ratio=mlp_ratio)
        c = planes
        self.stem = nn.Sequential(
            *conv_norm(in_channels, c, 3, stride=2, bias=True),
            nn.ReLU(),
            *conv_norm(c, c, 3, stride=2, bias=True),
            nn.ReLU(),
            chain(c, c, first),
            nn.ReLU(),
            chain(c, 2 * c, second, stride=2),
            nn.ReLU(),
        )
        self.semantic3, self.detail3 = chain(2 * c, 4 * c, third, stride=2), chain(2 * c, 2 * c, first)
        self.compress3, self.fuse3 = nn.Sequential(*conv_norm(4 * c, 2 * c)), PixelAttentionFusion(2 * c, c)
        self.semantic4 = _large(basic_block(4 * c, 8 * c, 2), blocks, 8 * c, semantic_kernels[0], 2)
        self.detail4 = _large(basic_block(2 * c, 2 * c), blocks, 2 * c, detail_kernel, 1)
        self.compress4, self.fuse4 = nn.Sequential(*conv_norm(8 * c, 2 * c)), PixelAttentionFusion(2 * c, c)
        self.detail5, self.boundary5 = bottleneck(2 * c, 2 * c), bottleneck(2 * c, 2 * c)
        if semantic_kernels[1]:
            self.semantic5 = _large(basic_block(8 * c, 16 * c, 2), blocks, 16 * c, semantic_kernels[1], 2)
        else:
            others = (bottleneck(16 * c, 8 * c) for _ in range(last - 1))
            self.semantic5 = nn.Sequential(bottleneck(8 * c, 8 * c, 2), *others)
        self.context = PyramidPooling(16 * c, context_planes, 4 * c)
        self.join = BoundaryFusion(4 * c)
        self.head = make_head(4 * c, head_planes, num_classes)
        if auxiliary:
            self.semantic_head = make_head(2 * c, head_planes, num_classes)
            self.boundary_head = make_head(2 * c, c, 1)

    def _maps(self, images: Tensor, auxiliary: bool) -> tuple[Tensor, ...]:
        if images.shape[0] == 1 and self.context.norm.training:
            raise InputError(
                "the mean of a batch of one image has one value for each channel, which batch normalisation cannot"
                " train on; give at least two images, or call eval()"
            )
        x = self.stem(images)
        semantic = self.semantic3(x).relu()
        detail = early = self.fuse3(self.detail3(x), self.compress3(semantic)).relu()
        semantic = self.semantic4(semantic)
        detail = self.fuse4(self.detail4(detail), self.compress4(semantic))
        context = resized(self.context(self.semantic5(semantic)), detail)
        main = self.head(self.join(self.detail5(detail), context, self.boundary5(detail)))
        if not (auxiliary and self.auxiliary):
            return (main,)
        return main, self.semantic_head(early), self.boundary_head(detail)


def _large(
    first: nn.Module, blocks: Callable[..., EVABlock], channels: int, kernel_size: int, depth: int
) -> nn.Sequential:
    """Create a residual block, and blocks with large kernels, each normalised at its end."""
    parts = (part for _ in range(depth) for part in (blocks(channels, kernel_size=kernel_size), ChannelNorm(channels)))
    return nn.Sequential(first, *parts)


@register_model(BEVANet)
def bevanet(layer: str | LayerFactory = BEVANet.default_layer, **settings: Any) -> BEVANet:
    """BEVANet, with 58,823,892 parameters for 19 classes, 58,599,296 without auxiliary heads."""
    return BEVANet((2, 2, 4, 2), 64, layer=layer, **settings)


@register_model(BEVANet)
def bevanet_s(layer: str | LayerFactory = BEVANet.default_layer, **settings: Any) -> BEVANet:
    """BEVANet-S, with 15,186,004 parameters for 19 classes, 15,090,784 without auxiliary heads."""
    return BEVANet((2, 2, 3, 2), 32, layer=layer, **settings)


@register_model(BEVANet)
def bevanet_sw(layer: str | LayerFactory = BEVANet.default_layer, **settings: Any) -> BEVANet:
    """BEVANet-SW, wide and shallow, with 57,643,220 parameters for 19 classes, 57,418,624 without auxiliary heads."""
    return BEVANet((2, 2, 3, 2), 64, layer=layer, **settings)


@register_model(BEVANet)
def bevanet_l(layer: str | LayerFactory = BEVANet.default_layer, **settings: Any) -> BEVANet:
    """BEVANet-L, with 60,203,732 parameters for 19 classes, 59,828,992 without auxiliary heads."""
    return BEVANet((3, 3, 4, 2), 64, context_planes=112, head_planes=256, layer=layer, **settings)
