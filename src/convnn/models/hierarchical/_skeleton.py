"""What hierarchical networks share: stem, four stages, downsampling between them, head."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from re import Match, sub
from typing import Any, ClassVar

from torch import Tensor, nn

from convnn.errors import check_fraction
from convnn.models._network import Network
from convnn.nn import LayerFactory, ShiftedSum2d
from convnn.nn.kernels.convolution import reset_by_fan_out
from convnn.nn.registry import NamedLayer

MIXER = "mixer"
"""Name of the exchangeable layer in every block."""

Rule = tuple[str, str | Callable[[Match[str]], str]]
"""A regular expression and its replacement."""


@dataclass(frozen=True)
class Place:
    """Where a block stands.

    Attributes:
        channels: number of channels of its stage.
        stage: its stage, from 0.
        number: its number within the stage, from 0.
        drop_path: its stochastic depth rate.
    """

    channels: int
    stage: int
    number: int
    drop_path: float


@dataclass(frozen=True)
class Mixers:
    """Creates the layers in the middle of the blocks: the published operator, or any other layer.

    The published operator stands there without the 1x1 convolution of its layer, because the MLP of the block mixes
    channels.

    Attributes:
        layer: function from input and output channels to a layer.
        own: name of the layer with the published operator.
        operator: creates the operator from the number of channels and the settings of that layer.
    """

    layer: LayerFactory
    own: str
    operator: Callable[..., nn.Module]

    def __call__(self, channels: int, **decided: Any) -> nn.Module:
        """Create a layer that keeps the channels; what the network decides is for the published operator alone."""
        if isinstance(self.layer, NamedLayer) and self.layer.name == self.own:
            return self.operator(channels, **self.layer.settings | decided)
        return self.layer(channels, channels)


def in_sequence(_: int, parts: dict[str, nn.Module]) -> nn.Module:
    """Return the parts of a stage one after the other."""
    return nn.Sequential(OrderedDict(parts))


class HierarchicalNetwork(Network):
    """A stem, four stages of blocks with downsampling between them, and a head.

    Args:
        depths: number of blocks of each stage.
        channels: number of channels of each stage.
        layer: function from input and output channels to a layer.
        stem: creates the first part from the channels of images and of the first stage.
        downsample: creates what leads from one stage to the next, from the channels of both.
        block: creates a block.
        head: creates the last part from the channels of the last stage and the number of classes.
        stage_norm: creates the normalisation after each stage; None: there is none.
        join: creates a stage from its number and its parts, "downsample", "blocks" and "norm", those that it has.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers.
        drop_rates: stochastic depth rate of every block.

    Attributes:
        is_published: whether the blocks have the published operator.
        published_names: how published names of parameters become ours, one rule after the other.
        head_is_ours: whether the published network has none.

    Raises:
        InputError: an argument is out of range.
    """

    published_names: ClassVar[tuple[Rule, ...]] = ()
    head_is_ours: ClassVar[bool] = False

    def __init__(
        self,
        depths: Sequence[int],
        channels: Sequence[int],
        layer: LayerFactory,
        *,
        stem: Callable[[int, int], nn.Module],
        downsample: Callable[[int, int], nn.Module],
        block: Callable[[Place], nn.Module],
        head: Callable[[int, int], nn.Module],
        stage_norm: Callable[[int], nn.Module] | None = None,
        join: Callable[[int, dict[str, nn.Module]], nn.Module] = in_sequence,
        in_channels: int,
        num_classes: int,
        width: float,
        drop_rates: Sequence[float],
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        self.is_published = isinstance(layer, NamedLayer) and layer.name == self.default_layer
        widths, rates = self.widths(channels), iter(drop_rates)
        self.stem = stem(in_channels, widths[0])
        stages = []
        for i, (depth, number) in enumerate(zip(depths, widths, strict=True)):
            parts: dict[str, nn.Module] = {"downsample": downsample(widths[i - 1], number)} if i else {}
            blocks = (block(Place(number, i, j, next(rates))) for j in range(depth))
            parts["blocks"] = nn.Sequential(*blocks)
            if stage_norm is not None:
                parts["norm"] = stage_norm(number)
            stages.append(join(i, parts))
        self.stages = nn.Sequential(*stages)
        self.head = head(widths[-1], num_classes)
        self._initialise()

    def widths(self, channels: Sequence[int]) -> list[int]:
        """Return the number of channels of each stage, times the width factor."""
        return [self.scaled(number) for number in channels]

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to features (B, F, H', W')."""
        return self.stages(self.stem(x))

    def forward_stages(self, x: Tensor) -> list[Tensor]:
        """Map images (B, C, H, W) to the maps of all stages, as dense prediction reads them."""
        x, maps = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    @classmethod
    def our_name(cls, published: str) -> str:
        """Return our name of a published parameter or buffer."""
        for pattern, ours in cls.published_names:
            published = sub(pattern, ours, published)
        return published

    def arranged(self, named: dict[str, Tensor]) -> dict[str, Tensor]:
        """Join what the published code keeps apart, by our names."""
        return named

    def _initialise(self) -> None:
        """Draw weights as published, except those of other layers than the published one."""
        if next(self.parameters()).is_meta:  # no values, and thousands of calls
            return
        for name, module in self.named_modules():
            if self.is_published or MIXER not in name.split("."):
                self._initialise_part(module)

    def _initialise_part(self, module: nn.Module) -> None:
        """Draw the weights of a module; by default those of PyTorch stay."""


def rising(drop_path: float, depths: Sequence[int]) -> list[float]:
    """Return the stochastic depth rate of every block, which rises linearly from 0 to that of the last.

    Raises:
        InputError: the rate is outside [0, 1].
    """
    check_fraction("drop_path", drop_path)
    last = max(1, sum(depths) - 1)
    return [drop_path * number / last for number in range(sum(depths))]


def draw_normal(module: nn.Module) -> None:
    """Draw weights of standard deviation 0.02, and set biases to 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, ShiftedSum2d):
        nn.init.trunc_normal_(module.weight, std=0.02)


def draw_by_fan_out(module: nn.Module) -> None:
    """Draw weights of convolutions by their fan-out, and others as `draw_normal` does; set biases to 0."""
    if isinstance(module, nn.Conv2d):
        reset_by_fan_out(module)
    else:
        draw_normal(module)
