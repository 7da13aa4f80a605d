"""ShiftwiseConv: blocks of large sparse kernels put together from shifted small ones."""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from convnn.models._registry import register_model
from convnn.models.hierarchical._parts import Residual, channel_norm, plain_mlp, sequence
from convnn.models.hierarchical._response import NAMES, ResponseNetwork, mean_norm_linear
from convnn.models.hierarchical._skeleton import HierarchicalNetwork, Mixers, Place, Rule, draw_normal, rising
from convnn.nn import LayerFactory, ShiftedSum2d
from convnn.nn.windows.shifted_sums import ghosts_of

KERNELS = (51, 49, 47, 13)
PUBLISHED_SEED = 123
NAMES_OF_SUMS: tuple[Rule, ...] = (
    (r"\.large_kernel\.LoRAs\.(\d)\.weight$", r".mixer.weight.\1"),
    (r"\.large_kernel\.bn_lora1\.", ".mixer.norms.0."),
    (r"\.large_kernel\.bn_lora2\.", ".mixer.norms.1."),
    (r"\.large_kernel\.bn_small\.", ".mixer.norms.2."),
)


class Shiftwise(ResponseNetwork):
    """ShiftwiseConv (arXiv 2401.12736): `ResponseNetwork` with ShiftWise, or any other layer, in every block.

    Args:
        depths: number of blocks of each stage.
        channels: number of channels of each stage.
        kernels: length of the bands of each stage.
        layer: function from input and output channels to a layer.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers.
        drop_path: stochastic depth rate of the last block, 0 to 1; it rises linearly from 0 at the first.
        layer_scale: initial value of the learned factors of what the blocks add.

    Raises:
        InputError: an argument is out of range.
    """

    default_layer: ClassVar[str] = "ShiftWise"
    published_names: ClassVar[tuple[Rule, ...]] = (*NAMES, *NAMES_OF_SUMS)

    def __init__(
        self,
        depths: Sequence[int],
        channels: Sequence[int],
        kernels: Sequence[int],
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        width: float = 1.0,
        drop_path: float = 0.2,
        layer_scale: float = 1e-6,
    ) -> None:
        mixers = Mixers(layer, self.default_layer, _shifted)
        super().__init__(
            depths,
            channels,
            layer,
            lambda place: mixers(place.channels, big_kernel=kernels[place.stage]),
            in_channels=in_channels,
            num_classes=num_classes,
            width=width,
            drop_path=drop_path,
            layer_scale=layer_scale,
        )

    def arranged(self, named: dict[str, Tensor]) -> dict[str, Tensor]:
        """Join the kernels of all paths, and add the orders of the small kernels, which the published code draws."""
        return _joined(self, named)


class ShiftwiseV1(HierarchicalNetwork):
    r"""ShiftwiseConv in the network of ConvNeXt (Liu et al., arXiv 2201.03545), as its first version was published.

    .. math:: y = x + s \odot \operatorname{MLP}(\operatorname{norm}(f(x)))

    Nothing is padded between the stages.

    Args:
        depths: number of blocks of each stage.
        channels: number of channels of each stage.
        kernels: length of the bands of each stage.
        layer: function from input and output channels to a layer.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers.
        drop_path: stochastic depth rate of the last block, 0 to 1; it rises linearly from 0 at the first.
        layer_scale: initial value of s.

    Raises:
        InputError: an argument is out of range.
    """

    default_layer: ClassVar[str] = "ShiftWise"
    min_size: ClassVar[int] = 32
    published_names: ClassVar[tuple[Rule, ...]] = (
        *NAMES[:5],
        (r"\.inner\.gamma$", ".scale"),
        (r"\.pwconv1\.", ".mlp.fc1."),
        (r"\.pwconv2\.", ".mlp.fc2."),
        *NAMES_OF_SUMS,
    )

    def __init__(
        self,
        depths: Sequence[int],
        channels: Sequence[int],
        kernels: Sequence[int],
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        width: float = 1.0,
        drop_path: float = 0.1,
        layer_scale: float = 1e-6,
    ) -> None:
        mixers = Mixers(layer, self.default_layer, partial(_shifted, is_first=True))

        def block(place: Place) -> nn.Module:
            n = place.channels
            mixer = mixers(n, big_kernel=kernels[place.stage])
            inner = sequence(mixer=mixer, norm=channel_norm(n), mlp=plain_mlp(n, 4 * n))
            return Residual(inner, n, initial_scale=layer_scale, drop_path=place.drop_path)

        super().__init__(
            depths,
            channels,
            layer,
            stem=lambda images, first: nn.Sequential(nn.Conv2d(images, first, 4, stride=4), channel_norm(first)),
            downsample=lambda old, new: nn.Sequential(channel_norm(old), nn.Conv2d(old, new, 2, stride=2)),
            block=block,
            head=mean_norm_linear,
            in_channels=in_channels,
            num_classes=num_classes,
            width=width,
            drop_rates=rising(drop_path, depths),
        )

    def arranged(self, named: dict[str, Tensor]) -> dict[str, Tensor]:
        """Join the kernels of all paths, and add the orders of the small kernels, which the published code draws."""
        return _joined(self, named)

    def _initialise_part(self, module: nn.Module) -> None:
        draw_normal(module)


def _shifted(channels: int, *, ghost_ratio: float, is_first: bool = False, **settings: Any) -> ShiftedSum2d:
    """Create the operator; the first version rounds the number of ghosts in another way."""
    ghosts = int(channels * ghost_ratio) if is_first else ghosts_of(channels, ghost_ratio)
    return ShiftedSum2d(channels, ghosts=ghosts, **settings)


def _joined(network: nn.Module, named: dict[str, Tensor]) -> dict[str, Tensor]:
    named = dict(named)
    for path, module in network.named_modules():
        if isinstance(module, ShiftedSum2d):
            paths = [f"{path}.weight.{number}" for number in range(module.weight.shape[0])]
            if all(name in named for name in paths):
                joined, weight = torch.stack([named.pop(name) for name in paths]), module.weight
                named[f"{path}.weight"] = joined.view_as(weight) if joined.numel() == weight.numel() else joined
            named |= {f"{path}.{name}": order for name, order in published_orders(module).items()}
    return named


def published_orders(operator: ShiftedSum2d) -> dict[str, Tensor]:
    """Return the buffers of an operator as the published code draws them, from fixed seeds, for every layer anew.

    They are in no published checkpoint.
    """
    channels, (repeats, moved, number) = operator.channels.shape[0], operator.wide.shape
    ghosts = np.random.RandomState(PUBLISHED_SEED).choice(channels, channels - moved, replace=False)
    is_moved = torch.ones(channels, dtype=torch.bool)
    is_moved[torch.from_numpy(ghosts).long()] = False
    draws = torch.Generator().manual_seed(PUBLISHED_SEED)

    def orders() -> Tensor:
        drawn = [torch.randperm(number, generator=draws) for _ in range(repeats * moved)]
        return torch.stack(drawn).unflatten(0, (repeats, moved))

    return {
        "channels": torch.cat([is_moved.nonzero().view(-1), (~is_moved).nonzero().view(-1)]),
        "wide": orders(),
        "tall": orders(),
        "square": torch.randint(number, (repeats, moved), generator=draws),
    }


@register_model(Shiftwise)
def shiftwise_tiny(layer: LayerFactory, **settings: Any) -> Shiftwise:
    """ShiftwiseConv with 31.8 million weights for 1000 classes."""
    return Shiftwise((3, 3, 18, 3), (80, 160, 320, 640), KERNELS, layer, **settings)


@register_model(Shiftwise)
def shiftwise_small(layer: LayerFactory, **settings: Any) -> Shiftwise:
    """ShiftwiseConv with 57.3 million weights for 1000 classes."""
    return Shiftwise((3, 3, 27, 3), (96, 192, 384, 768), KERNELS, layer, **settings)


@register_model(Shiftwise)
def shiftwise_base(layer: LayerFactory, **settings: Any) -> Shiftwise:
    """ShiftwiseConv with 100.3 million weights for 1000 classes."""
    return Shiftwise((3, 3, 27, 3), (128, 256, 512, 1024), KERNELS, layer, **settings)


@register_model(ShiftwiseV1, small_kernel=5)
def shiftwise_v1_tiny(layer: LayerFactory, **settings: Any) -> ShiftwiseV1:
    """ShiftwiseConv in ConvNeXt, its first version, with 30.2 million weights for 1000 classes."""
    return ShiftwiseV1((3, 3, 9, 3), (96, 192, 384, 768), KERNELS, layer, **settings)
