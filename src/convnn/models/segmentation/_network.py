"""Base class of networks for semantic segmentation."""

from typing import ClassVar

from torch import Tensor

from convnn.models._dense import DenseNetwork, check_images, resized
from convnn.models._network import Network
from convnn.nn import LayerFactory

BRIEFLY = {"criterion": "CrossEntropy+Dice", "lr": 1e-2, "scheduler": "cosine"}
"""How small U-Nets learn generated sets in two minutes."""


class SegmentationNetwork(DenseNetwork, Network):
    """A network from images to maps of class logits, of the size of the images.

    Attributes:
        min_size: smallest side of an image, in pixels.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: factor on all channel numbers.
        auxiliary: whether training mode returns the maps of the auxiliary heads too.
    """

    task: ClassVar[str] = "segmentation"

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        width: float = 1.0,
        *,
        auxiliary: bool = False,
        layer: str | LayerFactory,
    ) -> None:
        super().__init__(layer, in_channels, num_classes, width)
        self.auxiliary = auxiliary

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:  # type: ignore[override]
        """Map images (B, C, H, W) to logits (B, num_classes, H, W), enlarged bilinearly where the network reduces them.

        In training mode with `auxiliary` these are the logits of all heads, the main first.

        Raises:
            InputError: the images have other channels, or are too small.
        """
        with_auxiliary = self.auxiliary and self.training
        found = self.maps(images, auxiliary=with_auxiliary)
        sized = tuple(one if one.shape[2:] == images.shape[2:] else resized(one, images) for one in found)
        return sized if with_auxiliary else sized[0]

    def maps(self, images: Tensor, *, auxiliary: bool = True) -> tuple[Tensor, ...]:
        """Map images (B, C, H, W) to the logits of the main head, and then of the auxiliary ones, in either mode.

        They have the size in which the network computes them.

        Raises:
            InputError: the images have other channels, or are too small.
        """
        self.check_inputs(images)
        return self._maps(images, auxiliary)

    def check_inputs(self, images: Tensor) -> None:
        """Refuse what this network cannot read.

        Raises:
            InputError: the images have another shape or data type, or are too small.
        """
        check_images(images, self.in_channels, least=self.min_size)

    def _maps(self, images: Tensor, auxiliary: bool) -> tuple[Tensor, ...]:
        raise NotImplementedError
