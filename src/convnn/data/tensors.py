from collections.abc import Callable, Iterator

from torch import Tensor

from convnn.data.epochs import EpochLoader, LoaderSettings, Step
from convnn.data.interface import Batch
from convnn.data.seeds import Draws

Augmentation = Callable[[Tensor, Draws], Tensor]
"""A function that changes (B, C, H, W) uint8 images at random."""


class TensorLoader(EpochLoader):
    """Batches of a data set small enough to live on the device as one tensor.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
        settings: settings of the batches.
        side: side in pixels to which every batch is resized, antialiased; None keeps the size. Batches are resized one
            by one because all of CIFAR-10 at 224 pixels would take 9 GB.
        augment: function applied to every resized batch of uint8 images, or None.
        order: (T, n) positions of the pixels, counted row by row, of whose values each sample of a sequence (C, T) is
            the mean; None leaves images (C, H, W).
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        settings: LoaderSettings,
        side: int | None = None,
        augment: Augmentation | None = None,
        order: Tensor | None = None,
    ) -> None:
        super().__init__(len(images), settings)
        self._images = images.to(settings.device)
        self._labels = labels.to(settings.device)
        self._side = side
        self._augment = augment
        self._order_of_pixels = None if order is None else order.to(settings.device)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch."""
        for step in self._steps():
            indices = step.indices.to(self._settings.device)
            images = self._augment_batch(self._resize(self._images[indices]), step)
            yield Batch(self._read(self._to_input(images, step)), self._labels[indices], indices)

    def _resize(self, images: Tensor) -> Tensor:
        if self._side is None or images.shape[-2:] == (self._side, self._side):
            return images
        if not len(images):  # torchvision cannot resize an empty batch
            return images.new_empty(0, images.shape[1], self._side, self._side)
        from torchvision.transforms.v2 import functional as F  # takes a second to import

        resized: Tensor = F.resize(images, [self._side, self._side], antialias=True)
        return resized

    def _read(self, images: Tensor) -> Tensor:
        order = self._order_of_pixels
        return images if order is None else images.flatten(2)[..., order].mean(-1)

    def _augment_batch(self, images: Tensor, step: Step) -> Tensor:
        return images if self._augment is None else self._augment(images, self._draws("augment", step))
