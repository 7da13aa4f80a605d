"""What networks share that learn the motion between two images by a loss of their own."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.models._own_loss import Answer, OwnLoss
from convnn.nn.matches.batch import ImagePairs, check_pairs, pairs_of_images, still_pairs
from convnn.ops.matches import cell_centers

WITHIN = (1, 3)
"""Distances in pixels within which the target of a pixel counts as right."""


class MotionNetwork(OwnLoss):
    r"""A network that finds where every pixel of one image goes in another, and learns it from pairs of known motion.

    The figures are the mean distance of the targets from the true ones in pixels, `epe` (end-point error), and the
    shares of pixels within one and three of them, over the pixels whose motion is known:

    .. math:: \mathrm{epe} = \frac{1}{|K|} \sum_{p \in K} \lVert \hat f(p) - f(p) \rVert_2

    Attributes:
        min_size: smallest side of an image, in pixels.
    """

    data: ClassVar[str] = "image pairs"
    defaults: ClassVar[Mapping[str, Any]] = {
        "dataset": "motions",
        "batch_size": 8,
        "num_epochs": 20,
        "lr": 1e-3,
        "weight_decay": 1e-4,
        "scheduler": "cosine",
    }
    figures = ("epe", *(f"within@{pixels}" for pixels in WITHIN))

    def forward(self, x: ImagePairs) -> Answer:  # type: ignore[override]
        """Return the loss of a batch of pairs.

        Raises:
            InputError: they are none, or of a size that the network cannot process.
        """
        check_pairs(x)
        self.check_size(*x.first.shape[2:])
        count = x.first.shape[0]
        used = x if count else self.example(x.first.shape[1:], device=x.first.device)  # with the same operations
        terms, flow = self.learn(used)
        figures = motion_figures(flow.detach(), used)
        return Answer(
            {name: term[:count].sum() for name, term in terms.items()},
            {name: figure[:count] for name, figure in figures.items()},
        )

    def check_size(self, height: int, width: int) -> None:
        """Refuse images with a side below `min_size`.

        Raises:
            InputError: they are too small.
        """
        if min(height, width) < self.min_size:
            raise InputError(
                f"images of {height}x{width} pixels are too small for {type(self).__name__}; enlarge them:"
                f" resize={self.min_size}"
            )

    def find(self, first: Tensor, second: Tensor) -> Tensor:
        """Return how many pixels every pixel moves to the right and down, (B, 2, H, W).

        Args:
            first, second: images (B, 3, H, W) with values from 0 to 255.

        Raises:
            InputError: the images differ in shape, have other channels, or are too small.
        """
        pairs = pairs_of_images(first, second)
        check_pairs(pairs)
        self.check_size(*first.shape[2:])
        return self.flow_of(pairs)

    def learn(self, pairs: ImagePairs) -> tuple[dict[str, Tensor], Tensor]:
        """Return the terms of the loss, (B,) each, and the flow (B, 2, H, W) in pixels."""
        raise NotImplementedError

    def flow_of(self, pairs: ImagePairs) -> Tensor:
        """Return the flow (B, 2, H, W) in pixels."""
        return self.learn(pairs)[1]

    def example(self, shape: tuple[int, ...], count: int = 1, device: torch.device | str = "cpu") -> ImagePairs:
        """Return pairs of black images (count, *shape) in which nothing moves."""
        return still_pairs(count, shape[1], shape[2], device)


def motion_figures(flow: Tensor, pairs: ImagePairs) -> dict[str, Tensor]:
    """Return the figures of flows (B, 2, H, W), (B,) each."""
    errors = (flow - pairs.flow).norm(dim=1)
    shares = {f"within@{pixels}": mean_of_known((errors < pixels).to(errors), pairs.known) for pixels in WITHIN}
    return {"epe": mean_of_known(errors, pairs.known), **shares}


def mean_of_known(values: Tensor, known: Tensor) -> Tensor:
    """Return the mean (B,) of values (B, H, W) where they are known; 0 where none is."""
    return (values * known).flatten(1).sum(1) / known.flatten(1).sum(1).clamp_min(1)


def true_targets(places: Tensor, pairs: ImagePairs) -> tuple[Tensor, Tensor]:
    """Return where places of the first image go in the second, bilinearly between pixels, and of which that is known.

    Args:
        places: x and y (1, 2, h, w), from -1 to 1 between the edges.
        pairs: the pairs.

    Returns:
        Targets (B, 2, h, w), and bool (B, h, w): whether all pixels are known that were read.
    """
    rows, columns = pairs.known.shape[1:]
    grid = places.expand(pairs.flow.shape[0], -1, -1, -1).permute(0, 2, 3, 1)
    read = partial(F.grid_sample, grid=grid, padding_mode="border", align_corners=False)
    scale = pairs.flow.new_tensor([2 / columns, 2 / rows]).reshape(1, 2, 1, 1)
    known = read(pairs.known.unsqueeze(1).to(pairs.flow)).squeeze(1)
    return places + scale * read(pairs.flow), known > 0.99


def flow_to(targets: Tensor) -> Tensor:
    """Return targets (B, 2, H, W), from -1 to 1 between the edges, as a flow in pixels of an image of H x W."""
    height, width = targets.shape[2:]
    scale = targets.new_tensor([width / 2, height / 2]).reshape(1, 2, 1, 1)
    return scale * (targets - cell_centers(targets))
