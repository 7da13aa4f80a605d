"""Vision-RWKV: an image as a sequence of patches, whose layers take time linear in their number."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import check_at_least, check_fraction
from convnn.models._network import Network
from convnn.models._parts import check_whole_patches, drop_images
from convnn.models._registry import register_model
from convnn.nn import VRWKV, ChannelMix, LayerFactory


class VRWKVBlock(nn.Module):
    r"""A layer on tokens and a feed-forward network, each with a shortcut and a norm before it.

    .. math:: y = x + \gamma_1 \operatorname{layer}(\operatorname{norm}_1(x)), \qquad
        z = y + \gamma_2 \operatorname{mix}(\operatorname{norm}_2(y))

    With `post_norm`, the norms come after layer and network, before the scales.

    Args:
        layer: the layer, on tokens (B, T, D).
        mix: the feed-forward network, `ChannelMix`.
        post_norm: norms after layer and network.
        first_norm: one more norm at the beginning, of the first block of a network.
        init_values: initial value of the scales of each channel; None: no scales.
        drop_path: stochastic depth rate, 0 to 1.
    """

    def __init__(
        self,
        layer: nn.Module,
        mix: ChannelMix,
        *,
        post_norm: bool = False,
        first_norm: bool = False,
        init_values: float | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        dim = mix.dim
        self.first_norm = nn.LayerNorm(dim) if first_norm else nn.Identity()
        self.layer_norm, self.mix_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.layer, self.mix, self.post_norm = layer, mix, post_norm
        self.layer_scale, self.mix_scale = (
            None if init_values is None else nn.Parameter(torch.full((dim,), init_values)) for _ in range(2)
        )
        self.drop_path = drop_images(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Map (B, T, D) to (B, T, D), the tokens of a map of so many rows and columns, if its parts do not say."""
        x = self.first_norm(x)
        x = x + self._branch(x, self.layer, self.layer_norm, self.layer_scale, size)
        return x + self._branch(x, self.mix, self.mix_norm, self.mix_scale, size)

    def _branch(
        self, x: Tensor, layer: nn.Module, norm: nn.Module, scale: Tensor | None, size: tuple[int, int] | None
    ) -> Tensor:
        x = x if self.post_norm else norm(x)
        y = layer(x, size) if isinstance(layer, VRWKV | ChannelMix) else layer(x)
        y = norm(y) if self.post_norm else y
        return self.drop_path(y if scale is None else scale * y)


class VisionRWKV(Network):
    """Vision-RWKV (Duan et al., arXiv 2403.02308), or its blocks around any other layer on tokens.

    Args:
        layer: function from the width of the tokens and the number of heads to a layer; it is also given `place`, the
            number of its block and that of the blocks.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on d_hidden.
        patch_size: side of a patch in pixels; the sides of the images must be multiples of it.
        num_layers: number of blocks, at least 2 for its own layer.
        num_heads: number of heads of other layers.
        d_hidden: embedding dimension.
        hidden_rate: hidden channels of the feed-forward networks, as a multiple of it.
        image_size: side of the images for which positions are learned; those of others are interpolated.
        key_norm: normalise the means of its own layer, and the hidden channels.
        post_norm: norms after layers instead of before.
        init_values: initial value of scales of the branches; None: no scales.
        drop_path: stochastic depth rate of the last block, 0 to 1; it rises linearly from 0 at the first.

    Raises:
        InputError: an argument is out of range; in forward: images that are not a whole number of patches.
    """

    reads: ClassVar[str] = "tokens"
    default_layer: ClassVar[str] = "VRWKV"

    def __init__(
        self,
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        width: float = 1.0,
        patch_size: int = 16,
        num_layers: int = 12,
        num_heads: int = 3,
        d_hidden: int = 192,
        hidden_rate: float = 4.0,
        image_size: int = 224,
        key_norm: bool = False,
        post_norm: bool = False,
        init_values: float | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        sizes = {"patch_size": patch_size, "num_layers": num_layers, "num_heads": num_heads, "d_hidden": d_hidden}
        for name, size in (sizes | {"image_size": image_size}).items():
            check_at_least(name, size, 1)
        check_fraction("drop_path", drop_path)
        dim, side = self.scaled(d_hidden), max(1, image_size // patch_size)
        self.patch_size = patch_size
        self.embed = nn.Conv2d(in_channels, dim, kernel_size=patch_size, stride=patch_size)
        self.positions = nn.Parameter(torch.zeros(1, dim, side, side))

        def block(number: int) -> VRWKVBlock:
            place = (number, num_layers)
            init = "fancy" if num_layers > 1 else "local"
            mix = ChannelMix(dim, hidden_rate=hidden_rate, key_norm=key_norm, init=init, place=place)
            rate = drop_path * number / max(1, num_layers - 1)
            usual: dict[str, Any] = {"post_norm": post_norm, "init_values": init_values}
            return VRWKVBlock(layer(dim, num_heads, place=place), mix, first_norm=not number, drop_path=rate, **usual)

        self.blocks = nn.ModuleList(map(block, range(num_layers)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.positions, std=0.02)
        for part in self.blocks.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)

    def check_size(self, height: int, width: int) -> None:
        """Refuse images that are not a whole number of patches.

        Raises:
            InputError: the size is refused; the message names both sizes.
        """
        check_whole_patches(height, width, self.patch_size)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to tokens (B, H / p * W / p, D), row by row."""
        patches = self.embed(x)
        size = (patches.shape[2], patches.shape[3])
        positions: Tensor = self.positions
        if positions.shape[2:] != size:
            positions = F.interpolate(positions, size=size, mode="bicubic", align_corners=False)
        tokens = (patches + positions).flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens, size)
        return self.norm(tokens)

    def forward_head(self, features: Tensor) -> Tensor:
        """Map the mean of tokens (B, T, D) to logits (B, num_classes)."""
        return self.head(features.mean(1))


@register_model(VisionRWKV)
def vrwkv(layer: LayerFactory, **settings: Any) -> VisionRWKV:
    """Vision-RWKV with sizes given by flags, by default those of the tiny one."""
    return VisionRWKV(layer, **settings)


@register_model(VisionRWKV)
def vrwkv_tiny(layer: LayerFactory, **settings: Any) -> VisionRWKV:
    """Vision-RWKV with 12 blocks of width 192, 6.2 million weights for 1000 classes."""
    return VisionRWKV(layer, **settings)


@register_model(VisionRWKV)
def vrwkv_small(layer: LayerFactory, *, num_heads: int = 6, d_hidden: int = 384, **settings: Any) -> VisionRWKV:
    """Vision-RWKV with 12 blocks of width 384, 23.8 million weights for 1000 classes."""
    return VisionRWKV(layer, num_heads=num_heads, d_hidden=d_hidden, **settings)


@register_model(VisionRWKV)
def vrwkv_base(layer: LayerFactory, *, num_heads: int = 12, d_hidden: int = 768, **settings: Any) -> VisionRWKV:
    """Vision-RWKV with 12 blocks of width 768, 93.6 million weights for 1000 classes."""
    return VisionRWKV(layer, num_heads=num_heads, d_hidden=d_hidden, **settings)
