"""GC ViT: attention within windows, in every second block by queries of the whole map."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from convnn.errors import check_at_least
from convnn.models._parts import ChannelNorm
from convnn.models._registry import register_model
from convnn.models.hierarchical._parts import Residual, plain_mlp, sequence
from convnn.models.hierarchical._skeleton import HierarchicalNetwork, Place, Rule, draw_normal, in_sequence, rising
from convnn.nn import GatedConvolution, GlobalQueries, LayerFactory, WindowAttention
from convnn.nn.registry import NamedLayer

STEM = 4
"""Factor by which the stem reduces the sides of an image."""
PIXELS_OF_WINDOWS = (32, 32, 16, 32)
"""The side of an image over that of a window, by stage."""
LEAST_WINDOW = 4
"""Smallest side of a window, of which only images of less than 128 pixels would have smaller ones."""


OF_TIMM: tuple[Rule, ...] = (
    (r"^stem\.conv1\.", "stem.conv."),
    (r"\.conv_block\.", ".gated."),
    (r"\.global_block\.blocks\.conv(\d+)\.", lambda found: f".queries.convolutions.{int(found[1]) - 1}."),
    (r"\.conv_dw\.", ".depthwise."),
    (r"\.conv_pw\.", ".pointwise."),
    (r"\.se\.fc1\.", ".squeeze."),
    (r"\.se\.fc2\.", ".excite."),
    (r"(\.blocks\.\d+)\.norm1\.", r"\1.mixing.inner.norm."),
    (r"(\.blocks\.\d+)\.norm2\.", r"\1.feed_forward.inner.norm."),
    (r"\.mlp\.", ".feed_forward.inner.mlp."),
    (r"\.attn\.proj\.", ".attn.output."),
    (r"\.attn\.rel_pos\.relative_position_bias_table$", ".attn.relative_bias"),
    (r"\.attn\.", ".mixing.inner.mixer."),
    (r"\.ls1\.gamma$", ".mixing.scale"),
    (r"\.ls2\.gamma$", ".feed_forward.scale"),
    (r"^stages\.\d+\.norm\.", "head.norm."),
)
"""Names of timm, which numbers downsamplings as we do; those of the published code are brought into most of them."""


@dataclass(frozen=True)
class GCViTSizes:
    """A row of the table of sizes.

    Attributes:
        depths: number of blocks of each stage.
        channels: number of channels of the first stage; every stage doubles it.
        heads: number of heads of each stage.
        mlp_ratio: ratio of the hidden channels of an MLP to those it reads.
        windows: sides of the windows of each stage; None: by the size of the images.
        squeezed: function from channels to the number from which they are gated; None is a quarter.
        qkv_bias: whether queries, keys and values have learned biases.
    """

    depths: Sequence[int]
    channels: int
    heads: Sequence[int]
    mlp_ratio: float
    windows: Sequence[int] | None = None
    squeezed: Callable[[int], int | None] = lambda channels: None
    qkv_bias: bool = True


class MapMixing(nn.Module):
    """A norm and a layer on a map; a layer on tokens reads it as a sequence, in raster order."""

    def __init__(self, channels: int, mixer: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mixer = mixer
        self.on_maps = isinstance(mixer, WindowAttention)

    def forward(self, x: Tensor, queries: Tensor | None = None) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        x = self.norm(x.movedim(1, -1))
        out = self.mixer(x, queries) if self.on_maps else self.mixer(x.flatten(1, 2)).view_as(x)
        return out.movedim(-1, 1)


class Block(nn.Module):
    r"""A layer and an MLP, each with a shortcut, whose layer may have queries of the whole map.

    .. math:: y = x + s_1 \odot f(\operatorname{norm}(x), q), \qquad
        z = y + s_2 \odot \operatorname{MLP}(\operatorname{norm}(y))
    """

    def __init__(self, mixing: Residual, feed_forward: Residual) -> None:
        super().__init__()
        self.mixing = mixing
        self.feed_forward = feed_forward

    def forward(self, x: Tensor, queries: Tensor | None = None) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        return self.feed_forward(self.mixing(x, queries))


class ContextStage(nn.Module):
    """Blocks whose global queries are computed once, from the map that enters the first; each second block has them."""

    def __init__(self, parts: dict[str, nn.Module], queries: GlobalQueries, window: int) -> None:
        super().__init__()
        self.downsample = parts.get("downsample", nn.Identity())
        self.queries = queries
        self.blocks = cast("nn.Sequential", parts["blocks"])
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H', W')."""
        x = self.downsample(x)
        height, width = (min(self.window, side) for side in x.shape[2:])
        queries = self.queries(x, (height, width))
        for number, block in enumerate(self.blocks):
            x = block(x, queries if number % 2 else None)
        return x


class GCViT(HierarchicalNetwork):
    r"""Global context vision transformer (Hatamizadeh et al., arXiv 2206.09959) in the form of its code.

    Blocks alternate between `WindowAttention` by queries of their own and by those of the whole map. Any other layer on
    tokens stands in all blocks, on the map as a sequence, in the place of both.

    Args:
        sizes: row of the table of sizes.
        layer: function from the width of tokens and the number of heads to a layer.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers; heads that no longer divide them become fewer.
        image_size: side of the images, by which windows and queries are scaled; images of other sizes are no whole
            number of windows, and `WindowAttention` says what becomes of them.
        drop_path: stochastic depth rate of the last block, 0 to 1; it rises linearly from 0 at the first.
        layer_scale: initial value of both s of `Block`; 0: they are 1 and not learned.

    Raises:
        InputError: an argument is out of range.
    """

    reads: ClassVar[str] = "tokens"
    default_layer: ClassVar[str] = "GlobalContext"
    published_names: ClassVar[tuple[Rule, ...]] = (
        (r"^patch_embed\.proj\.", "stem.conv."),
        (r"^patch_embed\.conv_down\.", "stem.down."),
        (r"^levels\.(\d+)\.downsample\.", lambda found: f"stages.{int(found[1]) + 1}.downsample."),
        (r"^levels\.", "stages."),
        (r"^norm\.", "head.norm."),
        (r"^head\.(weight|bias)$", r"head.fc.\1"),
        (r"\.q_global_gen\.to_q_global\.(\d+)\.conv\.", r".queries.convolutions.\1."),
        (r"\.(downsample|down)\.conv\.", r".\1.gated."),
        (r"(\.gated|\.convolutions\.\d+)\.0\.", r"\1.depthwise."),
        (r"\.2\.fc\.0\.", ".squeeze."),
        (r"\.2\.fc\.2\.", ".excite."),
        (r"(\.gated|\.convolutions\.\d+)\.3\.", r"\1.pointwise."),
        (r"\.gamma1$", ".mixing.scale"),
        (r"\.gamma2$", ".feed_forward.scale"),
        (r"\.attn\.relative_position_bias_table$", ".attn.relative_bias"),
        *OF_TIMM,
    )

    def __init__(
        self,
        sizes: GCViTSizes,
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        width: float = 1.0,
        image_size: int = 224,
        drop_path: float = 0.2,
        layer_scale: float = 0.0,
    ) -> None:
        check_at_least("image_size", image_size, 1)
        own = isinstance(layer, NamedLayer) and layer.name == self.default_layer
        dropout = layer.settings["attention_dropout"] if own else 0.0  # type: ignore[attr-defined]
        sides = [-(-image_size // (STEM << stage)) for stage in range(len(sizes.depths))]
        windows = sizes.windows or [max(LEAST_WINDOW, image_size // pixels) for pixels in PIXELS_OF_WINDOWS]

        def mixer(place: Place) -> nn.Module:
            heads = heads_of(place.channels, sizes.heads[place.stage])
            if not own:
                return layer(place.channels, heads)
            scope = "global" if place.number % 2 else "local"
            return WindowAttention(
                place.channels,
                heads,
                windows[place.stage],
                scope=scope,
                attention_dropout=dropout,
                qkv_bias=sizes.qkv_bias,
            )

        def block(place: Place) -> nn.Module:
            n = place.channels
            of_both: dict[str, Any] = {"initial_scale": layer_scale or None, "drop_path": place.drop_path}
            mlp = plain_mlp(n, int(sizes.mlp_ratio * n)).apply(draw_normal)
            return Block(
                Residual(MapMixing(n, mixer(place)), n, **of_both),
                Residual(sequence(norm=ChannelNorm(n), mlp=mlp), n, **of_both),
            )

        def join(stage: int, parts: dict[str, nn.Module]) -> nn.Module:
            if not own:
                return in_sequence(stage, parts)
            n, window = self.scaled(sizes.channels << stage), windows[stage]
            poolings = max(1, sides[stage] // window).bit_length() - 1  # log2
            return ContextStage(parts, GlobalQueries(n, poolings, sizes.squeezed(n)), window)

        def reduce(before: int, after: int) -> nn.Module:
            return sequence(
                norm1=ChannelNorm(before),
                gated=GatedConvolution(before, sizes.squeezed(before)),
                reduction=nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                norm2=ChannelNorm(after),
            )

        super().__init__(
            sizes.depths,
            [sizes.channels << stage for stage in range(len(sizes.depths))],
            layer,
            stem=lambda images, first: sequence(
                conv=nn.Conv2d(images, first, 3, stride=2, padding=1), down=reduce(first, first)
            ),
            downsample=reduce,
            block=block,
            head=lambda number, classes: sequence(
                norm=ChannelNorm(number),
                pool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                fc=nn.Linear(number, classes),
            ),
            join=join,
            in_channels=in_channels,
            num_classes=num_classes,
            width=width,
            drop_rates=rising(drop_path, sizes.depths),
        )

    def arranged(self, named: dict[str, Tensor]) -> dict[str, Tensor]:
        """Bring tables of biases, a row for each offset, into our shape, and leave out those of places."""
        return {
            name: as_offsets(tensor) if name.endswith(".relative_bias") else tensor
            for name, tensor in named.items()
            if not name.endswith(".relative_position_index")
        }

    def _initialise_part(self, module: nn.Module) -> None:
        """Draw the weights of linear layers; MLPs have drawn theirs, and those of other convolutions are PyTorch's."""
        if isinstance(module, nn.Linear):
            draw_normal(module)


def as_offsets(table: Tensor) -> Tensor:
    """Return a table ((2 w - 1)^2, heads) of biases as (heads, 2 w - 1, 2 w - 1), and anything else as it is."""
    side = isqrt(table.shape[0])
    return table.T.unflatten(1, (side, side)) if table.dim() == 2 and side * side == table.shape[0] else table


def heads_of(channels: int, most: int) -> int:
    """Return the largest number of heads that divides the channels, at most so many."""
    return next(heads for heads in range(most, 0, -1) if channels % heads == 0)


_DEEP, _HEADS = (3, 4, 19, 5), (2, 4, 8, 16)


@register_model(GCViT, attention_dropout=0.0)
def gcvit_xxtiny(layer: LayerFactory, **settings: Any) -> GCViT:
    """GC ViT with 12.0 million weights for 1000 classes."""
    return GCViT(GCViTSizes((2, 2, 6, 2), 64, _HEADS, 3), layer, **settings)


@register_model(GCViT, attention_dropout=0.0)
def gcvit_xtiny(layer: LayerFactory, **settings: Any) -> GCViT:
    """GC ViT with 20.0 million weights for 1000 classes."""
    return GCViT(GCViTSizes((3, 4, 6, 5), 64, _HEADS, 3), layer, **settings)


@register_model(GCViT, attention_dropout=0.0)
def gcvit_tiny(layer: LayerFactory, **settings: Any) -> GCViT:
    """GC ViT with 28.2 million weights for 1000 classes."""
    return GCViT(GCViTSizes(_DEEP, 64, _HEADS, 3), layer, **settings)


@register_model(GCViT, attention_dropout=0.0)
def gcvit_small(layer: LayerFactory, *, drop_path: float = 0.3, layer_scale: float = 1e-5, **settings: Any) -> GCViT:
    """GC ViT with 51.1 million weights for 1000 classes."""
    return GCViT(
        GCViTSizes(_DEEP, 96, (3, 6, 12, 24), 2), layer, drop_path=drop_path, layer_scale=layer_scale, **settings
    )


@register_model(GCViT, attention_dropout=0.0)
def gcvit_base(layer: LayerFactory, *, drop_path: float = 0.5, layer_scale: float = 1e-5, **settings: Any) -> GCViT:
    """GC ViT with 90.3 million weights for 1000 classes."""
    return GCViT(
        GCViTSizes(_DEEP, 128, (4, 8, 16, 32), 2), layer, drop_path=drop_path, layer_scale=layer_scale, **settings
    )
