from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from convnn.data.epochs import EpochLoader, LoaderSettings
from convnn.data.interface import Batch
from convnn.data.seeds import make_generator

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
"""Changes a (B, C, H, W) uint8 batch, drawing from the generator on its device."""


class TensorLoader(EpochLoader):
    """Batches of a data set small enough to live on the device as one tensor.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
        settings: how to make batches.
        side: to which every batch is resized, antialiased; None keeps the size. Resized as a whole, CIFAR-10 at 224
            pixels would take 9 GB.
        augment: applied to every resized batch of uint8 images, if given.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        settings: LoaderSettings,
        side: int | None = None,
        augment: Augmentation | None = None,
    ) -> None:
        super().__init__(len(images), settings)
        self._images = images.to(settings.device)
        self._labels = labels.to(settings.device)
        self._side = side
        self._augment = augment

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch."""
        # A generator runs later: its epoch is the one at its start, whatever set_epoch says meanwhile.
        epoch, order = self._epoch, self._order().to(self._settings.device)
        for step, indices in enumerate(torch.split(order, self._settings.batch_size)):
            images = self._augmented(self._resized(self._images[indices]), epoch, step)
            yield Batch(self._to_input(images, epoch, step), self._labels[indices], indices)

    def _resized(self, images: Tensor) -> Tensor:
        if self._side is None or images.shape[-2:] == (self._side, self._side):
            return images
        resized: Tensor = F.resize(images, [self._side, self._side], antialias=True)
        return resized

    def _augmented(self, images: Tensor, epoch: int, step: int) -> Tensor:
        if self._augment is None:
            return images
        return self._augment(images, make_generator("augment", self._settings.seed, epoch, step, device=images.device))
