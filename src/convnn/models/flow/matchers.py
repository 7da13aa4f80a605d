"""Matchers on the Trainer: votes in the space of matches (CHM), and regression of places with refiners (DKM)."""

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.models._dense import conv_norm, resized
from convnn.models._registry import register_model
from convnn.models.flow._motion import MotionNetwork, flow_to, mean_of_known, true_targets
from convnn.models.flow._pyramid import Pyramid, of_both
from convnn.nn import LayerFactory
from convnn.nn.matches import HoughMatcher, KernelRegressionMatcher, WarpRefiner, expected_targets, refine
from convnn.nn.matches.batch import ImagePairs
from convnn.nn.matches.transfer import corner_grid
from convnn.ops.matches import cell_centers

WIDTHS = (16, 24, 32, 48)
"""Channels at the strides 1, 2, 4 and 8."""

SHARPNESS = 3.0
"""Logarithm of the factor on confidences at the start."""

PLACES = 64
"""Number of features of a place, and channels of the decoder."""

RADII = (3, 2, 1, None)
"""Of the windows of similarities at the strides 8, 4, 2 and 1."""

BLOCKS, EMBEDDING, CERTAINTY = 3, 8, 0.01
"""Blocks of a refiner, channels of its embedding of steps, and weight of the loss of certainty."""


class HoughNetwork(MotionNetwork):
    r"""Convolutional Hough matching: features at an eighth of the resolution vote, and cells go to their mean target.

    The maps of a `Pyramid` enter a `HoughMatcher`, whose cells are four pixels apart; each goes to the mean of all
    targets by the softmax of its confidences times a learned factor, near the best one (`expected_targets`). The loss
    is the squared distance from the true targets :math:`z_c`, which are keypoints at the middle of all cells:

    .. math:: L = \frac{1}{|K|} \sum_{c \in K} \lVert \hat z_c - z_c \rVert^2

    Coordinates go from -1 to 1. The flow of pixels is bilinear between cells.

    Args:
        layer: the layer at each level of the pyramid.
        in_channels: 3.
        num_classes: not read.
        width: factor on all numbers of channels.
        kernel_size: side of the kernels that vote, odd; published is 5.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Min and Cho, "Convolutional Hough Matching Networks", arXiv 2103.16831, whose features are those of a trained
        ResNet-101.
    """

    default_layer: ClassVar[str] = "Conv2d"
    min_size: ClassVar[int] = 32
    terms = ("places",)

    def __init__(
        self,
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 0,
        width: float = 1.0,
        kernel_size: int = 3,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        widths = [max(4, self.scaled(channels)) for channels in WIDTHS]
        self.pyramid = Pyramid(layer, in_channels, widths)
        self.matcher = HoughMatcher(widths[-1], kernel_size=kernel_size)
        self.sharpness = nn.Parameter(torch.tensor(SHARPNESS))

    def learn(self, pairs: ImagePairs) -> tuple[dict[str, Tensor], Tensor]:
        """Return the loss (B,) and the flow (B, 2, H, W)."""
        targets, cells = self._targets(pairs)
        height, width = pairs.first.shape[2:]
        wanted, known = true_targets(cells, pairs)
        errors = (targets - wanted).square().sum(1)
        return {"places": mean_of_known(errors, known)}, _enlarged(targets - cells, cells, (height, width))

    def _targets(self, pairs: ImagePairs) -> tuple[Tensor, Tensor]:
        """Return where the cells go, and the cells, x and y from -1 to 1 between the edges of the images."""
        first, second = (maps[-1] for maps in of_both(self.pyramid, pairs.first, pairs.second))
        height, width = (2 * side for side in first.shape[2:])
        confidence = self.sharpness.exp() * self.matcher(first, second)
        targets = expected_targets(confidence, (height, width)).unflatten(2, (height, width))
        # The matcher's corners are the middle of the corner cells of the features.
        inside = 1 - 1 / targets.new_tensor([first.shape[3], first.shape[2]]).reshape(1, 2, 1, 1)
        cells = corner_grid((height, width), targets).unflatten(1, (height, width)).unsqueeze(0)
        return inside * targets, inside * cells


def _enlarged(steps: Tensor, cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the flow in pixels (B, 2, H, W) of steps at cells, bilinear between them and constant beyond."""
    pixels = cell_centers(steps.new_empty(1, 1, *size)) / cells.amax((2, 3), keepdim=True)
    grid = pixels.expand(steps.shape[0], -1, -1, -1).permute(0, 2, 3, 1)
    scale = steps.new_tensor([size[1] / 2, size[0] / 2]).reshape(1, 2, 1, 1)
    return scale * F.grid_sample(steps, grid, padding_mode="border", align_corners=True)


class RegressionNetwork(MotionNetwork):
    r"""Kernel regression of places, refined from coarse to fine: at the strides 8, 4, 2 and 1.

    At the coarsest stride a `KernelRegressionMatcher` predicts features of each cell's target, and two convolutions
    decode them, with those of the cell, to the target and the logit of its certainty. At each stride s a `WarpRefiner`
    corrects both; between strides they are enlarged bilinearly, without gradients. With the prediction at the coarsest
    stride and those after all refiners, the loss is

    .. math:: L = \sum_s \frac{1}{|K_s|} \sum_{c \in K_s} \lVert \hat z_c - z_c \rVert
        + 0.01 \sum_s \mathrm{BCE}(\hat u_c, [c \in K])

    with coordinates from -1 to 1. K are the cells of known motion, and :math:`K_s` those of them whose target before
    the refiner was less than 4 s pixels from the true one, or all at the coarsest stride.

    Args:
        layer: the layer at each level of the pyramid.
        in_channels: 3.
        num_classes: not read.
        width: factor on all numbers of channels.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Edstedt et al., "DKM: Dense Kernelized Feature Matching", arXiv 2202.00667, whose features are those of a
        trained ResNet-50, with regression at the strides 32 and 16, and refiners of eight blocks.
    """

    default_layer: ClassVar[str] = "Conv2d"
    min_size: ClassVar[int] = 16
    terms = ("places", "certainty")

    def __init__(self, layer: LayerFactory, *, in_channels: int = 3, num_classes: int = 0, width: float = 1.0) -> None:
        super().__init__(in_channels, num_classes, width)
        widths = [max(4, self.scaled(channels)) for channels in WIDTHS]
        dim = max(4, self.scaled(PLACES))
        self.pyramid = Pyramid(layer, in_channels, widths)
        self.matcher = KernelRegressionMatcher(dim)
        hidden = [*conv_norm(dim + widths[-1], dim, 3, bias=True), nn.ReLU(), *conv_norm(dim, dim, 3, bias=True)]
        self.decoder = nn.Sequential(*hidden, nn.ReLU(), nn.Conv2d(dim, 3, 1))
        self.refiners = nn.ModuleList(
            WarpRefiner(channels, blocks=BLOCKS, embedding=EMBEDDING, radius=radius)
            for channels, radius in zip(reversed(widths), RADII, strict=True)
        )

    def learn(self, pairs: ImagePairs) -> tuple[dict[str, Tensor], Tensor]:
        """Return the losses (B,) and the flow (B, 2, H, W)."""
        places, certainties = [], []
        before: Tensor | None = None
        for stride, targets, certainty in self._warps(pairs.first, pairs.second):
            wanted, known = true_targets(cell_centers(targets), pairs)
            errors = (targets - wanted).norm(dim=1)
            near = known if before is None else known & (_resized(before, targets).squeeze(1) < 4 * stride)
            places.append(mean_of_known(errors, near))
            entropy = F.binary_cross_entropy_with_logits(certainty.squeeze(1), known.to(certainty), reduction="none")
            certainties.append(CERTAINTY * entropy.flatten(1).mean(1))
            before = (flow_to(targets) - flow_to(wanted)).norm(dim=1, keepdim=True).detach() * stride
        terms = {"places": torch.stack(places).sum(0), "certainty": torch.stack(certainties).sum(0)}
        return terms, flow_to(targets)

    def certainty_of(self, first: Tensor, second: Tensor) -> Tensor:
        """Return how certain the target of every pixel is, (B, H, W) from 0 to 1."""
        *_, (_, _, certainty) = self._warps(first, second)
        return certainty.sigmoid().squeeze(1)

    def _warps(self, first: Tensor, second: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield stride, targets (B, 2, h, w) and logits of certainty (B, 1, h, w), of the matcher and each refiner."""
        levels = list(zip(*of_both(self.pyramid, first, second), strict=True))[::-1]
        x, y = levels[0]
        stride = 2 ** (len(levels) - 1)
        targets, certainty = self.decoder(torch.cat([self.matcher(x, y), x], 1)).split([2, 1], 1)
        yield stride, targets, certainty
        for (x, y), refiner in zip(levels, self.refiners, strict=True):
            targets, certainty = (_resized(one, x).detach() for one in (targets, certainty))
            size = (first.shape[2], first.shape[3])
            targets, certainty = refine(targets, certainty, refiner(x, y, targets), stride, size)
            yield stride, targets, certainty
            stride //= 2


def _resized(values: Tensor, like: Tensor) -> Tensor:
    return values if values.shape[2:] == like.shape[2:] else resized(values, like)


@register_model(HoughNetwork)
def chm(layer: LayerFactory, **settings: Any) -> HoughNetwork:
    """Matching by votes of related matches (CHM), of features that are learned with them."""
    return HoughNetwork(layer, **settings)


@register_model(RegressionNetwork)
def dkm(layer: LayerFactory, **settings: Any) -> RegressionNetwork:
    """Matching by kernel regression of places (DKM), refined from coarse to fine."""
    return RegressionNetwork(layer, **settings)
