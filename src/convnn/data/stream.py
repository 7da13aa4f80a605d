import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from convnn.data.epochs import EpochLoader, LoaderSettings
from convnn.data.images import Size, read_image, to_tensor
from convnn.data.interface import Batch
from convnn.data.seeds import seeded_globally
from convnn.errors import InputError


class ImageFile(NamedTuple):
    """The path of an image and its class index."""

    path: str
    label: int


Sample = tuple[Tensor, int, int]
"""(C, H, W) uint8 pixels, class index, position."""


class ImageFiles(Dataset[Sample | InputError]):
    """Decoded images of one epoch; an image that cannot be used comes as the error to raise.

    Args:
        files: the samples.
        transform: from a picture to a picture of the network's size; may use torch's global generator.
        required_size: refuse pictures of any other size, if given.
        seed: of the transform.
        epoch: of the transform.
    """

    def __init__(
        self,
        files: Sequence[ImageFile],
        transform: Callable[[Image.Image], Image.Image],
        required_size: Size | None,
        seed: int,
        epoch: int,
    ) -> None:
        self._files = files
        self._transform = transform
        self._required_size = required_size
        self._key = (seed, epoch)

    def __len__(self) -> int:
        """Count the samples."""
        return len(self._files)

    def __getitem__(self, index: int) -> Sample | InputError:
        """Read one sample, the same whichever process asks for it."""
        path, label = self._files[index]
        # torch replaces the message of an exception in a worker by a traceback, hence the return.
        try:
            picture = self._read(path)
        except InputError as error:
            return error
        with seeded_globally("augment", *self._key, index):
            return to_tensor(self._transform(picture)), label, index

    def _read(self, path: str) -> Image.Image:
        picture, required = read_image(path), self._required_size
        if required is not None and required != (picture.height, picture.width):
            raise InputError(
                f"the image {path} is {picture.width}x{picture.height} pixels, but the first training image is "
                f"{required[1]}x{required[0]}; pass --resize to bring all images to one size"
            )
        return picture


class StreamLoader(EpochLoader):
    """Batches of image files, decoded by worker processes.

    Args:
        files: the samples.
        transform: from an RGB picture to a picture of the network's size; may use torch's global generator.
        settings: how to make batches.
        required_size: refuse pictures of any other size, if given.
        num_workers: processes that decode, at most one for each core; 0 decodes in this one. The batches do not
            depend on it.
    """

    def __init__(
        self,
        files: Sequence[ImageFile],
        transform: Callable[[Image.Image], Image.Image],
        settings: LoaderSettings,
        *,
        required_size: Size | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__(len(files), settings)
        self._files = files
        self._transform = transform
        self._required_size = required_size
        self._num_workers = min(num_workers, _count_cores())

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch.

        Raises:
            InputError: an image is broken or of the wrong size; the message names it.
        """
        epoch, device = self._epoch, self._settings.device
        for step, batch in enumerate(self._decode(epoch)):
            if isinstance(batch, InputError):
                raise batch
            images, labels = (part.to(device, non_blocking=True) for part in (batch.images, batch.labels))
            yield Batch(self._to_input(images, epoch, step), labels, batch.indices)

    def _decode(self, epoch: int) -> DataLoader[Sample | InputError]:
        samples = ImageFiles(self._files, self._transform, self._required_size, self._settings.seed, epoch)
        return DataLoader(
            Subset(samples, self._order().tolist()),
            self._settings.batch_size,
            num_workers=self._num_workers,
            collate_fn=_collate,
            pin_memory=self._settings.device.type == "cuda",
            # Without a generator of its own, DataLoader draws from the global one.
            generator=torch.Generator(),
        )


def _count_cores() -> int:
    """Count the cores that this process may use; DataLoader warns of more workers than that."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _collate(samples: Sequence[Sample | InputError]) -> Batch | InputError:
    """Stack the samples to a batch of uint8 images, or pick the first of the errors among them."""
    for sample in samples:
        if isinstance(sample, InputError):
            return sample
    images, labels, indices = zip(*samples, strict=True)
    return Batch(torch.stack(images), torch.tensor(labels), torch.tensor(indices))
