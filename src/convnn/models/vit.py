"""Vision transformer: an image as a sequence of patches after a class token."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_fraction
from convnn.models._network import Network
from convnn.models._parts import check_whole_patches
from convnn.models._registry import register_model
from convnn.nn import LayerFactory


class PatchEmbedding(nn.Module):
    """Patches of an image as tokens: a linear map of their pixels, then LayerNorm."""

    def __init__(self, in_channels: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(in_channels, dim, kernel_size=patch_size, stride=patch_size)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, H / p * W / p, D), row by row."""
        return self.norm(self.project(x).flatten(2).transpose(1, 2))


class Block(nn.Module):
    r"""A layer on tokens and an MLP, each after a LayerNorm and with a shortcut.

    .. math:: y = x + f(\operatorname{norm}(x)), \qquad z = y + \operatorname{MLP}(\operatorname{norm}(y))
    """

    def __init__(self, dim: int, num_heads: int, hidden: int, dropout: float, layer: LayerFactory) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = layer(dim, num_heads)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class ViT(Network):
    """ViT (Dosovitskiy et al., arXiv 2010.11929) of any layer on tokens, with fixed sinusoidal positions.

    Args:
        layer: function from the width of the tokens and the number of heads to a layer.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on d_hidden and d_mlp.
        patch_size: side of a patch in pixels; the sides of the images must be multiples of it.
        num_layers: number of blocks.
        num_heads: number of heads of each layer, a divisor of d_hidden.
        d_hidden: embedding dimension.
        d_mlp: hidden dimension of each MLP.
        dropout: probability in each MLP and on each branch before the addition, 0 to 1.
        distillation_token: a second token that a teacher teaches, with a head of its own, which also reads the patches
            (Touvron et al., arXiv 2012.12877; Zhao et al., arXiv 2307.08500). The logits are the mean of three: those
            of the class token, of this one, and of all patches.

    Raises:
        InputError: an argument is out of range; in forward: images that are not a whole number of patches.
    """

    reads: ClassVar[str] = "tokens"
    default_layer: ClassVar[str] = "Attention"

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
        d_mlp: int = 768,
        dropout: float = 0.1,
        distillation_token: bool = False,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        sizes = {"patch_size": patch_size, "num_layers": num_layers, "num_heads": num_heads}
        for name, size in (sizes | {"d_hidden": d_hidden, "d_mlp": d_mlp}).items():
            check_at_least(name, size, 1)
        check_fraction("dropout", dropout)
        dim, hidden = self.scaled(d_hidden), self.scaled(d_mlp)
        if dim % num_heads:
            times = f" times width={width}" if width != 1 else ""
            raise InputError(f"d_hidden={d_hidden}{times} must be a multiple of num_heads={num_heads}")
        self.patch_size = patch_size
        self.embed = PatchEmbedding(in_channels, dim, patch_size)
        self.class_token = nn.Parameter(torch.randn(1, 1, dim))
        self.blocks = nn.Sequential(*(Block(dim, num_heads, hidden, dropout, layer) for _ in range(num_layers)))
        self.head = nn.Linear(dim, num_classes)
        self.distillation_token: nn.Parameter | None = None
        if distillation_token:
            self.distillation_token = nn.Parameter(torch.randn(1, 1, dim))
            self.distillation_head = nn.Linear(dim, num_classes)

    @property
    def num_prefix_tokens(self) -> int:
        """Number of tokens before the patches."""
        return 1 if self.distillation_token is None else 2

    def check_size(self, height: int, width: int) -> None:
        """Refuse images that are not a whole number of patches.

        Raises:
            InputError: the size is refused; the message names both sizes.
        """
        check_whole_patches(height, width, self.patch_size)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to tokens (B, 1 + H / p * W / p, D), the class token first, then another if any."""
        first = [self.class_token] if self.distillation_token is None else [self.class_token, self.distillation_token]
        tokens = torch.cat([*(token.expand(x.shape[0], -1, -1) for token in first), self.embed(x)], dim=1)
        return self.blocks(tokens + sinusoidal_positions(tokens))

    def forward_head(self, features: Tensor) -> Tensor:
        """Map the class token of (B, T, D), with a distillation token all tokens, to logits (B, num_classes)."""
        if self.distillation_token is None:
            return self.head(features[:, 0])
        image, token, patches = self.responses(features)
        return (image + token + patches.mean(1)) / 3

    def responses(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what both tokens and the patches of (B, T, D) say: logits (B, K) twice, and (B, M, K).

        Raises:
            InputError: there is no distillation token.
        """
        if self.distillation_token is None:
            raise InputError("a ViT without a distillation token has one answer only; build it with one")
        taught = self.distillation_head(features[:, 1:])
        return self.head(features[:, 0]), taught[:, 0], taught[:, 1:]


def sinusoidal_positions(tokens: Tensor) -> Tensor:
    r"""Return fixed positions (T, D) to add to tokens (B, T, D).

    .. math:: p_{t, 2c} = \sin(t \cdot 10000^{-2c / D}), \qquad p_{t, 2c + 1} = \cos(t \cdot 10000^{-2c / D})

    Reference:
        Vaswani et al., "Attention Is All You Need", arXiv 1706.03762, section 3.5.
    """
    length, dim = tokens.shape[1:]
    speeds = 10000 ** (-torch.arange(0, dim, 2, device=tokens.device) / dim)
    angles = torch.arange(length, device=tokens.device)[:, None] * speeds
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :dim].to(tokens.dtype)


@register_model(ViT)
def vit(layer: LayerFactory, **settings: Any) -> ViT:
    """Vision transformer with sizes given by flags, by default those of ViT-Tiny."""
    return ViT(layer, **settings)


@register_model(ViT)
def vit_tiny(layer: LayerFactory, **settings: Any) -> ViT:
    """ViT with 12 blocks of width 192, 3 heads."""
    return ViT(layer, **settings)


@register_model(ViT)
def vit_small(
    layer: LayerFactory, *, num_heads: int = 6, d_hidden: int = 384, d_mlp: int = 1536, **settings: Any
) -> ViT:
    """ViT with 12 blocks of width 384, 6 heads."""
    return ViT(layer, num_heads=num_heads, d_hidden=d_hidden, d_mlp=d_mlp, **settings)


@register_model(ViT)
def vit_base(
    layer: LayerFactory, *, num_heads: int = 12, d_hidden: int = 768, d_mlp: int = 3072, **settings: Any
) -> ViT:
    """ViT with 12 blocks of width 768, 12 heads."""
    return ViT(layer, num_heads=num_heads, d_hidden=d_hidden, d_mlp=d_mlp, **settings)
