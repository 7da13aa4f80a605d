"""SKFlow on the Trainer: the flow after every iteration is compared with the true one."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from convnn.errors import check_at_least
from convnn.models._registry import register_model
from convnn.models.flow._motion import MotionNetwork, mean_of_known
from convnn.models.flow.skflow import SKFlow
from convnn.nn import LayerFactory
from convnn.nn.kernels.convolution import as_sizes
from convnn.nn.matches.batch import ImagePairs

GAMMA = 0.8
"""By how much less each earlier iteration counts."""


@dataclass(frozen=True)
class SKFlowSizes:
    """Numbers of channels and ranges of `SKFlow`; the defaults are the published ones."""

    hidden: int = 128
    context: int = 128
    features: int = 256
    widths: tuple[int, int, int] = (64, 96, 128)
    levels: int = 4
    radius: int = 4
    update_k_conv: tuple[int, ...] = (1, 7)
    correlation_widths: tuple[int, int] = (256, 192)
    flow_widths: tuple[int, int] = (128, 64)
    mask_width: int = 256


SMALL = SKFlowSizes(
    hidden=32,
    context=32,
    features=64,
    widths=(16, 24, 32),
    levels=3,
    radius=3,
    correlation_widths=(64, 48),
    flow_widths=(32, 16),
    mask_width=64,
)
"""For small images and processors: about a thirtieth of the parameters."""

CHANNELS = ("hidden", "context", "features", "widths", "correlation_widths", "flow_widths", "mask_width")
"""What the factor of the width changes."""

LEAST = 4
"""Fewest channels after the factor of the width: two of the motion are the flow."""


class SKFlowNetwork(MotionNetwork):
    r"""`SKFlow` with the loss by which it is trained, over the flows after all N iterations.

    .. math:: L = \sum_{i=1}^{N} \gamma^{N - i} \, \frac{1}{|K|} \sum_{p \in K} \lVert f_i(p) - f(p) \rVert_1,
        \qquad \gamma = 0.8

    Args:
        layer: the layer in place of each super kernel.
        sizes: numbers of channels and ranges.
        in_channels: 3.
        num_classes: not read.
        width: factor on all numbers of channels.
        k_conv: sides of the kernels of the motion encoder and of the flow's head.
        iterations: N, number of corrections.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Sun et al., "SKFlow", arXiv 2205.14623; the loss: Teed and Deng, "RAFT", arXiv 2003.12039, equation 7.
    """

    default_layer: ClassVar[str] = SKFlow.default_layer
    terms = ("sequence",)

    def __init__(
        self,
        layer: LayerFactory,
        sizes: SKFlowSizes,
        *,
        in_channels: int = 3,
        num_classes: int = 0,
        width: float = 1.0,
        k_conv: str = "1,15",
        iterations: int = 12,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        check_at_least("iterations", iterations, 1)
        self.iterations = iterations
        channels = {name: self._widened(getattr(sizes, name)) for name in CHANNELS}
        ranges = {name: getattr(sizes, name) for name in ("levels", "radius", "update_k_conv")}
        self.network = SKFlow(k_conv=as_sizes("k_conv", k_conv), layer=layer, **channels, **ranges)
        for table in (self.network.attention.relative_height, self.network.attention.relative_width):
            table.requires_grad_(False)  # nothing reads them, as published

    def _widened(self, channels: Any) -> Any:
        if isinstance(channels, tuple):
            return tuple(map(self._widened, channels))
        return max(LEAST, self.scaled(channels))

    def check_size(self, height: int, width: int) -> None:
        """Leave the check to `SKFlow`, which names the least side."""

    def learn(self, pairs: ImagePairs) -> tuple[dict[str, Tensor], Tensor]:
        """Return the loss (B,) and the last flow (B, 2, H, W)."""
        flows = self.network.flows(pairs.first, pairs.second, iterations=self.iterations)
        losses = [mean_of_known((flow - pairs.flow).abs().sum(1), pairs.known) for flow in flows]
        weights = pairs.flow.new_tensor([GAMMA**i for i in reversed(range(len(losses)))])
        return {"sequence": (weights.unsqueeze(1) * torch.stack(losses)).sum(0)}, flows[-1]

    def flow_of(self, pairs: ImagePairs) -> Tensor:
        """Return the flow after the last iteration, (B, 2, H, W)."""
        return self.network.flows(pairs.first, pairs.second, iterations=self.iterations)[-1]


@register_model(SKFlowNetwork)
def skflow(layer: LayerFactory, **settings: Any) -> SKFlowNetwork:
    """Optical flow, refined again and again by super kernels; it has 6,273,149 parameters."""
    return SKFlowNetwork(layer, SKFlowSizes(), **settings)


@register_model(SKFlowNetwork)
def skflow_s(layer: LayerFactory, *, k_conv: str = "1,7", iterations: int = 6, **settings: Any) -> SKFlowNetwork:
    """SKFlow of small sizes, for images from 32 pixels on."""
    return SKFlowNetwork(layer, SMALL, k_conv=k_conv, iterations=iterations, **settings)
