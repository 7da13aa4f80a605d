"""RecNeXt: blocks of recursive convolutions, or of recursive linear attention."""

import copy
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import check_fraction
from convnn.models._registry import register_model
from convnn.models.hierarchical._parts import IMAGES, Residual, normed_mlp, pooled, sequence
from convnn.models.hierarchical._skeleton import HierarchicalNetwork, Mixers, Place, Rule
from convnn.nn import ConvNorm, LayerFactory, Mergeable, RecursiveConv
from convnn.nn.kernels.convolution import check_can_normalise
from convnn.nn.kernels.taps import Kernel, normalised

DEEPEST_LEVEL = 4
ATTENTION_EPS = 1e-6


class LinearAttention(nn.Module):
    r"""Attention whose scores are inner products of positive features, in time linear in the map.

    .. math:: y_i = \frac{\operatorname{mean}_j (q_i \cdot k_j) \, x_j}{\operatorname{mean}_j (q_i \cdot k_j) +
        \varepsilon} + p_i, \qquad [q; k] = 1 + \operatorname{ELU}(\operatorname{norm}(W x))

    in every head, with a depthwise convolution p of x, normalised. Values are the features themselves.

    Args:
        channels: number of channels, a multiple of 2 and of the heads.
        heads: number of heads.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qk = ConvNorm(IMAGES, channels, 2 * channels, groups=2)
        self.position = ConvNorm(IMAGES, channels, channels, 3, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        by_head = (1 + F.elu(self.qk(x))).flatten(2).unflatten(1, (2, self.heads, -1))
        query, key = by_head.unbind(1)
        value = x.flatten(2).unflatten(1, (self.heads, -1))
        products = (key / key.shape[-1]) @ value.transpose(-1, -2)
        total = (query * key.mean(-1, keepdim=True)).sum(2, keepdim=True) + ATTENTION_EPS
        out = (products.transpose(-1, -2) @ query) / total
        return out.flatten(1, 2).unflatten(-1, x.shape[2:]) + self.position(x)


class RecursiveAttention(nn.Module):
    r"""A recursion of one level with `LinearAttention` on the smaller map: the mixer of RecNeXt's A series.

    .. math:: y = \operatorname{norm}(w * (x + \operatorname{up}(a(\operatorname{norm}(v *_{/2} x)))))

    with a kernel for each channel in v and w.

    Args:
        channels: number of channels, a multiple of 2 and of the heads.
        heads: number of heads.
        kernel_size: side of both kernels, an odd number.
    """

    def __init__(self, channels: int, heads: int, *, kernel_size: int = 5) -> None:
        super().__init__()
        self.down = ConvNorm(IMAGES, channels, channels, kernel_size, stride=2, groups=channels)
        self.attention = LinearAttention(channels, heads)
        self.conv = ConvNorm(IMAGES, channels, channels, kernel_size, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        coarse = self.attention(self.down(x))
        return self.conv(x + F.interpolate(coarse, size=x.shape[2:], mode="nearest"))


class NormedLinear(nn.Module):
    """Batch normalisation and a linear layer."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)
        self.linear = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C) to (B, num_classes)."""
        check_can_normalise(self.norm, x)
        return self.linear(self.norm(x))

    def matrix(self) -> Kernel:
        """Return weight and bias of the linear map of both in evaluation mode."""
        channels, linear = self.norm.num_features, self.linear
        of: dict[str, Any] = {"dtype": torch.double, "device": linear.weight.device}
        before = normalised(Kernel(torch.eye(channels, **of), torch.zeros(channels, **of)), self.norm)
        weight = linear.weight.detach().double()
        return Kernel(weight @ before.weight, weight @ before.bias + linear.bias.detach().double())


class TwoHeads(Mergeable):
    """The mean of two linear layers, each after batch normalisation of its own; it merges into one linear layer.

    In the published code the second head is trained by distillation, if there is any.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.first = NormedLinear(channels, num_classes)
        self.second = NormedLinear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to logits (B, num_classes)."""
        x = x.mean((2, 3))
        return (self.first(x) + self.second(x)) / 2

    def merge(self) -> nn.Sequential:
        """Return the mean over the map and one linear layer."""
        linear, matrices = copy.deepcopy(self.first.linear), (self.first.matrix(), self.second.matrix())
        weight, bias = (torch.stack(parts).mean(0) for parts in zip(*matrices, strict=True))
        linear.weight, linear.bias = (nn.Parameter(part.to(linear.weight.dtype)) for part in (weight, bias))
        return pooled(linear=linear).train(self.training)


class RecNeXt(HierarchicalNetwork):
    r"""RecNeXt (Zhao et al., arXiv 2412.19628), the M series: recursive convolutions, or any other layer.

    .. math:: y = x + \operatorname{MLP}(\operatorname{norm}(f(x)))

    Channels double from stage to stage. `convnn.merge` folds the normalisation in MLPs and stem, and makes one head of
    two.

    Args:
        depths: number of blocks of each stage.
        channels: number of channels of each stage; only the first is scaled, and the others follow from it.
        mlp_ratio: ratio of the channels inside the MLP to those outside.
        layer: function from input and output channels to a layer.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers.
        drop_path: stochastic depth rate of every block, 0 to 1.

    Raises:
        InputError: an argument is out of range.
    """

    default_layer: ClassVar[str] = "RecConv"
    has_norm: ClassVar[bool] = True
    published_names: ClassVar[tuple[Rule, ...]] = (
        (r"^stem\.stem\.", "stem."),
        (r"\.downsample\.token_mixer\.", ".downsample.conv."),
        (r"\.downsample\.channel_mixer\.", ".downsample.mlp.inner."),
        (r"\.blocks\.(\d+)\.", r".blocks.\1.inner."),
        (r"\.channel_mixer\.", ".mlp."),
        (r"\.token_mixer\.", ".mixer."),
        (r"^head\.head\.", "head.first."),
        (r"^head\.head_dist\.", "head.second."),
    )

    def __init__(
        self,
        depths: Sequence[int],
        channels: Sequence[int],
        mlp_ratio: float,
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        width: float = 1.0,
        drop_path: float = 0.0,
    ) -> None:
        check_fraction("drop_path", drop_path)
        mixers = Mixers(layer, self.default_layer, self.operator)

        def block(place: Place) -> nn.Module:
            n = place.channels
            norm = {"norm": nn.BatchNorm2d(n)} if self.has_norm else {}
            mixer = mixers(n, **self.of_stage(place.stage))
            inner = sequence(mixer=mixer, **norm, mlp=normed_mlp(n, int(mlp_ratio * n)))
            return Residual(inner, n, drop_path=place.drop_path)

        super().__init__(
            depths,
            channels,
            layer,
            stem=_stem,
            downsample=lambda old, _: Doubling(old, mlp_ratio),
            block=block,
            head=TwoHeads,
            in_channels=in_channels,
            num_classes=num_classes,
            width=width,
            drop_rates=[drop_path] * sum(depths),
        )

    def widths(self, channels: Sequence[int]) -> list[int]:
        """Return the number of channels of each stage: the scaled first one, doubled again and again."""
        return [self.scaled(channels[0]) << stage for stage in range(len(channels))]

    def operator(self, channels: int, *, backend: str = "auto", **settings: Any) -> nn.Module:
        """Create the published operator."""
        return RecursiveConv(replace(IMAGES, backend=backend), channels, **settings)

    def of_stage(self, stage: int) -> dict[str, int]:
        """Return what the network decides for the operators of a stage."""
        return {"level": DEEPEST_LEVEL - stage}

    def _initialise_part(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)


class RecNeXtA(RecNeXt):
    r"""RecNeXt, the A series: `RecursiveAttention` stands for RecConv, of which it reads the side of the kernels.

    .. math:: y = x + \operatorname{MLP}(f(x))

    Channel numbers are even.
    """

    has_norm: ClassVar[bool] = False
    published_names: ClassVar[tuple[Rule, ...]] = (
        *RecNeXt.published_names,
        (r"\.mixer\.down\.0\.", ".mixer.down."),
        (r"\.mixer\.down\.1\.qk\.", ".mixer.attention.qk."),
        (r"\.mixer\.down\.1\.pe\.", ".mixer.attention.position."),
    )

    def scaled(self, channels: int) -> int:
        """Return the nearest even number of channels, because queries and keys come from a half of them each."""
        return 2 * max(1, round(channels * self.width / 2))

    def operator(self, channels: int, **settings: Any) -> nn.Module:
        """Create the published operator."""
        return RecursiveAttention(channels, settings["heads"], kernel_size=settings["kernel_size"])

    def of_stage(self, stage: int) -> dict[str, int]:
        """Return what the network decides for the operators of a stage."""
        return {"heads": 2 << stage}


def _stem(in_channels: int, channels: int) -> nn.Sequential:
    """Create two 3x3 convolutions that quarter the sides."""
    half = max(1, channels // 2)
    return nn.Sequential(
        ConvNorm(IMAGES, in_channels, half, 3, stride=2), nn.GELU(), ConvNorm(IMAGES, half, channels, 3, stride=2)
    )


class Doubling(nn.Sequential):
    """A depthwise convolution to half of the sides and two outputs for every channel, normalisation, and an MLP.

    Its normalisation stays in the published inference form, so this is a class, which `convnn.merge` leaves.
    """

    def __init__(self, channels: int, mlp_ratio: float) -> None:
        double = 2 * channels
        conv = IMAGES.conv(channels, double, 7, stride=2, groups=channels)
        mlp = Residual(normed_mlp(double, int(mlp_ratio * double)), double)
        super().__init__(OrderedDict(conv=conv, norm=nn.BatchNorm2d(double), mlp=mlp))


@register_model(RecNeXt)
def recnext_m0(layer: LayerFactory, **settings: Any) -> RecNeXt:
    """RecNeXt with 2.8 million weights for 1000 classes."""
    return RecNeXt((2, 2, 9, 1), (40, 80, 160, 320), 2, layer, **settings)


@register_model(RecNeXt)
def recnext_m1(layer: LayerFactory, **settings: Any) -> RecNeXt:
    """RecNeXt with 5.6 million weights for 1000 classes."""
    return RecNeXt((3, 3, 15, 2), (48, 96, 192, 384), 2, layer, **settings)


@register_model(RecNeXt)
def recnext_m2(layer: LayerFactory, **settings: Any) -> RecNeXt:
    """RecNeXt with 7.3 million weights for 1000 classes."""
    return RecNeXt((3, 3, 15, 2), (56, 112, 224, 448), 2, layer, **settings)


@register_model(RecNeXt)
def recnext_m3(layer: LayerFactory, **settings: Any) -> RecNeXt:
    """RecNeXt with 8.8 million weights for 1000 classes."""
    return RecNeXt((3, 3, 13, 2), (64, 128, 256, 512), 2, layer, **settings)


@register_model(RecNeXt)
def recnext_m4(layer: LayerFactory, *, drop_path: float = 0.2, **settings: Any) -> RecNeXt:
    """RecNeXt with 14.6 million weights for 1000 classes."""
    return RecNeXt((5, 5, 25, 4), (64, 128, 256, 512), 2, layer, drop_path=drop_path, **settings)


@register_model(RecNeXt)
def recnext_m5(layer: LayerFactory, *, drop_path: float = 0.3, **settings: Any) -> RecNeXt:
    """RecNeXt with 23.6 million weights for 1000 classes."""
    return RecNeXt((7, 7, 35, 2), (80, 160, 320, 640), 2, layer, drop_path=drop_path, **settings)


@register_model(RecNeXtA)
def recnext_a0(layer: LayerFactory, **settings: Any) -> RecNeXtA:
    """RecNeXt with 3.1 million weights for 1000 classes, and linear attention."""
    return RecNeXtA((2, 2, 9, 1), (40, 80, 160, 320), 2, layer, **settings)


@register_model(RecNeXtA)
def recnext_a1(layer: LayerFactory, **settings: Any) -> RecNeXtA:
    """RecNeXt with 6.3 million weights for 1000 classes, and linear attention."""
    return RecNeXtA((3, 3, 15, 2), (48, 96, 192, 384), 2, layer, **settings)


@register_model(RecNeXtA)
def recnext_a2(layer: LayerFactory, **settings: Any) -> RecNeXtA:
    """RecNeXt with 8.4 million weights for 1000 classes, and linear attention."""
    return RecNeXtA((3, 3, 15, 2), (56, 112, 224, 448), 2, layer, **settings)


@register_model(RecNeXtA)
def recnext_a3(layer: LayerFactory, **settings: Any) -> RecNeXtA:
    """RecNeXt with 9.6 million weights for 1000 classes, and linear attention."""
    return RecNeXtA((3, 3, 13, 2), (64, 128, 256, 512), 1.875, layer, **settings)


@register_model(RecNeXtA)
def recnext_a4(layer: LayerFactory, *, drop_path: float = 0.2, **settings: Any) -> RecNeXtA:
    """RecNeXt with 16.3 million weights for 1000 classes, and linear attention."""
    return RecNeXtA((5, 5, 25, 4), (64, 128, 256, 512), 1.875, layer, drop_path=drop_path, **settings)


@register_model(RecNeXtA)
def recnext_a5(layer: LayerFactory, *, drop_path: float = 0.3, **settings: Any) -> RecNeXtA:
    """RecNeXt with 26.4 million weights for 1000 classes, and linear attention."""
    return RecNeXtA((7, 7, 35, 2), (80, 160, 320, 640), 1.875, layer, drop_path=drop_path, **settings)
