"""Base class of networks for semantic segmentation."""

from typing import ClassVar

from torch import Tensor

from convnn.errors import check_at_least
from convnn.models._dense import DenseNetwork, check_images
from convnn.nn import LayerFactory


class SegmentationNetwork(DenseNetwork):
    """A network from images to maps of class logits.

    Attributes:
        min_size: smallest side of an image, in pixels.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        auxiliary: whether training mode returns the maps of the auxiliary heads too.
    """

    min_size: ClassVar[int] = 1

    def __init__(self, in_channels: int, num_classes: int, *, auxiliary: bool, layer: str | LayerFactory) -> None:
        super().__init__(layer)
        check_at_least("in_channels", in_channels, 1)
        check_at_least("num_classes", num_classes, 1)
        self.in_channels, self.num_classes, self.auxiliary = in_channels, num_classes, auxiliary

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Map images (B, C, H, W) to logits; in training mode with `auxiliary`, to those of all heads, the main first.

        Raises:
            InputError: the images have other channels, or are too small.
        """
        if self.auxiliary and self.training:
            return self.maps(images)
        return self.maps(images, auxiliary=False)[0]

    def maps(self, images: Tensor, *, auxiliary: bool = True) -> tuple[Tensor, ...]:
        """Map images (B, C, H, W) to the logits of the main head, and then of the auxiliary ones, in either mode.

        Raises:
            InputError: the images have other channels, or are too small.
        """
        check_images(images, self.in_channels, least=self.min_size)
        return self._maps(images, auxiliary)

    def _maps(self, images: Tensor, auxiliary: bool) -> tuple[Tensor, ...]:
        raise NotImplementedError
