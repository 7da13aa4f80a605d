"""SKFlow: optical flow, refined again and again by super kernels."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least
from convnn.models._dense import DenseNetwork, check_images, map_layers
from convnn.models.flow._correlation import convex_upsample, correlation_pyramid, grid_of, look_up
from convnn.models.flow._parts import Encoder, MotionAggregation, MotionEncoder, SimilarityAttention
from convnn.nn import LayerFactory

STEP = 8
"""How many pixels, along each axis, a position of the maps stands for."""

OF_SUPER_KERNEL = {
    "ffn1": "operator.first",
    "conv_list.0": "operator.convs.0.conv",
    "conv_list.1": "operator.convs.1.conv",
    "pw": "operator.mix.conv",
    "ffn2": "operator.output",
}
OF_ENCODERS = {
    **{f"{theirs}.conv1": f"{ours}.stem.0" for theirs, ours in (("fnet", "features"), ("cnet", "context"))},
    **{f"{theirs}.conv2": f"{ours}.output" for theirs, ours in (("fnet", "features"), ("cnet", "context"))},
    **{f"layer{i + 1}": f"stages.{i}" for i in range(3)},
    "fnet": "features",
    "cnet": "context",
    "cnet.norm1": "context.stem.1",
    "conv1": "residual.0",
    "norm1": "residual.1",
    "conv2": "residual.3",
    "norm2": "residual.4",
    "downsample": "shortcut",
    "norm3": "shortcut.1",  # the same module as downsample.1
}
PUBLISHED_NAMES = {
    **OF_SUPER_KERNEL,
    **OF_ENCODERS,
    "module": "",  # the prefix of all names
    "update_block": "",
    "encoder.convc1": "motion.correlation.0",
    "encoder.convc2": "motion.correlation.2",
    "encoder.convf1": "motion.flow.0",
    "encoder.convf2": "motion.flow.1",
    "encoder.conv": "motion.output",
    "gru": "update",
    "mask": "mask_head",
    "aggregator": "aggregation",
    "to_v": "value",
    "att": "attention",
    "to_qk": "query_key",
    "pos_emb.rel_height": "relative_height",
    "pos_emb.rel_width": "relative_width",
    "module.att.pos_emb.rel_ind": "",  # it follows from the size of the map
    "att.pos_emb.rel_ind": "",
}
"""Dotted parts of names in the published checkpoints, and what they are called here."""


class SKFlow(DenseNetwork):
    r"""SKFlow: the motion of every pixel from one image to the next.

    Both images become maps at an eighth of the resolution, and the similarities of all their positions a pyramid. The
    flow begins with 0. In each iteration, the similarities around the place to which the flow leads are looked up, and
    with the flow, the state of every position and the motion of positions of similar context they give the new state
    and a correction of the flow. At last, the flow is enlarged to the images by learned weights.

    Args:
        hidden: channels of the state and, separately, of the motion.
        context: channels of the context, which does not change.
        features: channels of the maps that are compared.
        widths: channels of the three stages of both encoders.
        levels: number of resolutions of the similarities.
        radius: how far around a place similarities are looked up, on the grid of each level.
        k_conv: sides of the kernels of the motion encoder and of the flow's head.
        update_k_conv: sides of the kernels that update the state.
        correlation_widths: channels of the two layers after the similarities.
        flow_widths: channels of the two layers after the flow.
        mask_width: channels inside the head of the weights of enlargement.
        positions: compare contexts by their places too; the tables for it are there either way, as published.
        max_side: largest side of the maps, an eighth of the images', that these tables serve.
        layer: the layer in place of each super kernel: the name of one on maps, which takes k_conv from the network if
            it reads that setting, or a function from input and output channels to one.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Sun et al., "SKFlow", arXiv 2205.14623, in the form of its code, which is built on RAFT, arXiv 2003.12039, and
        GMA, arXiv 2104.02409.

    Example:
        >>> first = torch.rand(1, 3, 64, 72)
        >>> skflow().eval()(255 * first, 255 * first.roll(1, dims=3), iterations=2).shape
        torch.Size([1, 2, 64, 72])
    """

    default_layer: ClassVar[str] = "SuperKernel"
    published_names: ClassVar[Mapping[str, str]] = PUBLISHED_NAMES

    def __init__(
        self,
        *,
        hidden: int = 128,
        context: int = 128,
        features: int = 256,
        widths: Sequence[int] = (64, 96, 128),
        levels: int = 4,
        radius: int = 4,
        k_conv: Sequence[int] = (1, 15),
        update_k_conv: Sequence[int] = (1, 7),
        correlation_widths: tuple[int, int] = (256, 192),
        flow_widths: tuple[int, int] = (128, 64),
        mask_width: int = 256,
        positions: bool = False,
        max_side: int = 160,
        layer: str | LayerFactory = default_layer,
    ) -> None:
        super().__init__(layer)
        pairs = {"correlation_widths": (correlation_widths, 2), "flow_widths": (flow_widths, 2)}
        for name, (values, number) in {"widths": (widths, 3), **pairs}.items():
            if len(values) != number or min(values) < 1:
                raise InputError(f"{name}={tuple(values)} must be {number} positive integers")
        sizes = {"context": context, "features": features, "mask_width": mask_width, "max_side": max_side}
        for name, value in {**sizes, "levels": levels}.items():
            check_at_least(name, value, 1)
        check_at_least("hidden", hidden, 3)  # the last two channels of the motion are the flow
        check_at_least("radius", radius, 0)
        self.hidden, self.levels, self.radius = hidden, levels, radius
        make = map_layers(layer, self.default_layer)
        small, large = partial(make, k_conv=tuple(update_k_conv)), partial(make, k_conv=tuple(k_conv))
        self.features = Encoder(3, widths, features, nn.InstanceNorm2d)
        self.context = Encoder(3, widths, hidden + context, nn.BatchNorm2d)
        self.attention = SimilarityAttention(context, hidden, positions=positions, max_side=max_side)
        similarities = levels * (2 * radius + 1) ** 2
        self.motion = MotionEncoder(
            similarities, hidden, large, correlation_widths=correlation_widths, flow_widths=flow_widths
        )
        self.aggregation = MotionAggregation(hidden)
        self.update = small(3 * hidden + context, hidden)
        self.flow_head = large(hidden, 2)
        self.mask_head = nn.Sequential(
            nn.Conv2d(hidden, mask_width, 3, padding=1), nn.ReLU(), nn.Conv2d(mask_width, 9 * STEP**2, 1)
        )

    def forward(
        self, first: Tensor, second: Tensor, *, iterations: int = 12, initial: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """Return the flow from one image to the next, or in training mode those after every iteration.

        Args:
            first, second: images (B, 3, H, W), with values from 0 to 255.
            iterations: number of corrections.
            initial: a flow (B, 2, H / 8, W / 8) to begin with, such as `estimate` returns; None is 0.

        Returns:
            (B, 2, H, W), in pixels to the right and down; in training mode one for each iteration.

        Raises:
            InputError: the images differ in shape, or have other channels, or are too small; there is no iteration, or
                the initial flow has another shape.
        """
        if self.training:
            return self.flows(first, second, iterations=iterations, initial=initial)
        return self._last(self._flows(first, second, iterations, initial), first)[1]

    def flows(
        self, first: Tensor, second: Tensor, *, iterations: int = 12, initial: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Return the flows (B, 2, H, W) after every iteration, in either mode.

        Raises:
            InputError: as in `forward`.
        """
        flows = self._flows(first, second, iterations, initial)
        return tuple(self._enlarged(flow, state, first) for flow, state in flows)

    def estimate(
        self, first: Tensor, second: Tensor, *, iterations: int = 12, initial: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the last flow of `forward` at an eighth of the resolution, (B, 2, H / 8, W / 8), and at the full one.

        The first is in positions, and can begin the estimate for the next two images.

        Raises:
            InputError: as in `forward`.
        """
        return self._last(self._flows(first, second, iterations, initial), first)

    def _last(self, flows: Iterator[tuple[Tensor, Tensor]], images: Tensor) -> tuple[Tensor, Tensor]:
        for flow, state in flows:  # noqa: B007 (the last ones are what is wanted)
            pass
        return flow, self._enlarged(flow, state, images)

    def _enlarged(self, flow: Tensor, state: Tensor, images: Tensor) -> Tensor:
        enlarged = convex_upsample(flow, 0.25 * self.mask_head(state), STEP)
        left, right, top, bottom = _margins(images)
        return enlarged[:, :, top : enlarged.shape[2] - bottom, left : enlarged.shape[3] - right]

    def _flows(
        self, first: Tensor, second: Tensor, iterations: int, initial: Tensor | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield flow and state of the positions after each iteration."""
        self._check(first, second, iterations)
        first, second = (_scaled(image) for image in (first, second))
        of_first, of_second = self.features(torch.cat([first, second])).unflatten(0, (2, -1)).unbind()
        pyramid = correlation_pyramid(of_first, of_second, self.levels)
        state, context = self.context(first).split((self.hidden, self.attention.query_key.in_channels), dim=1)
        state, context = state.tanh(), context.relu()
        shares, grid = self.attention(context), grid_of(state)
        flow = torch.zeros_like(grid) if initial is None else _checked(initial, grid)
        for _ in range(iterations):
            flow = flow.detach()
            motion = self.motion(flow, look_up(pyramid, grid + flow, self.radius))
            state = self.update(torch.cat([state, context, motion, self.aggregation(motion, shares)], dim=1))
            flow = flow + self.flow_head(state)
            yield flow, state

    def _check(self, first: Tensor, second: Tensor, iterations: int) -> None:
        check_at_least("iterations", iterations, 1)
        check_images(first, 3, least=STEP * 2 ** max(1, self.levels - 1))  # instance normalisation needs 2
        if first.shape != second.shape or first.dtype != second.dtype:
            raise InputError(
                f"the second images, {tuple(second.shape)} of {second.dtype}, must be like the first,"
                f" {tuple(first.shape)} of {first.dtype}"
            )


def _margins(images: Tensor) -> tuple[int, int, int, int]:
    """Return what is missing from multiples of 8 pixels: left, right, top, bottom."""
    height, width = (-side % STEP for side in images.shape[2:])
    return width // 2, width - width // 2, height // 2, height - height // 2


def _scaled(images: Tensor) -> Tensor:
    """Return images with values from -1 to 1, whose borders are repeated up to sides of multiples of 8 pixels."""
    return F.pad(2 * images / 255 - 1, _margins(images), mode="replicate")


def _checked(initial: Tensor, grid: Tensor) -> Tensor:
    """Return the flow to begin with.

    Raises:
        InputError: it has another shape.
    """
    if initial.shape != grid.shape:
        raise InputError(
            f"initial of shape {tuple(initial.shape)} must be {tuple(grid.shape)}, an eighth of the images"
        )
    return initial.to(grid)


def skflow(**settings: Any) -> SKFlow:
    """SKFlow, with 6,273,149 parameters."""
    return SKFlow(**settings)
