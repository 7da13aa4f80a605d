import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from convnn.data.epochs import EpochLoader, LoaderSettings, Step
from convnn.data.images import BrokenImageError, Size, read_image, to_tensor
from convnn.data.interface import Batch
from convnn.data.kept import KeptImages
from convnn.data.seeds import seeded_globally
from convnn.errors import InputError


class ImageFile(NamedTuple):
    """The path of an image and its class index."""

    path: str
    label: int


Sample = tuple[Tensor, int, int]
"""(3, H, W) uint8 pixels, class index, position."""


class Decoded(NamedTuple):
    """What the workers made of a batch: uint8 images, and why some are missing."""

    batch: Batch
    broken: list[str]


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
        size: of the pictures that the transform makes.
        same_size: refuse pictures that are not of that size to begin with.
        skip_broken: leave out images that cannot be read, noting them in `broken`, instead of stopping.
        num_workers: processes that decode, at most one for each core; 0 decodes in this one. The batches do not
            depend on it.
        keep: decode every image once, and then have it from the memory of the device; the transform is not random.
    """

    def __init__(
        self,
        files: Sequence[ImageFile],
        transform: Callable[[Image.Image], Image.Image],
        settings: LoaderSettings,
        size: Size,
        *,
        same_size: bool = False,
        skip_broken: bool = False,
        num_workers: int = 0,
        keep: bool = False,
    ) -> None:
        super().__init__(len(files), settings)
        self._files = files
        self._transform = transform
        self._size = size
        self._required_size = size if same_size else None
        self._skip_broken = skip_broken
        self._num_workers = min(num_workers, count_cores())
        self._kept = KeptImages([file.label for file in files], size, settings.device) if keep else None

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch.

        Raises:
            InputError: an image is broken or of the wrong size; the message names it.
        """
        steps, device = list(self._steps()), self._settings.device
        if self._kept is not None and all(self._kept.knows(step.indices) for step in steps):
            yield from (self._batch(step, *self._kept.recall(step.indices)) for step in steps)
            return
        # Named, so that its workers, which may hang, are not waited for before an interrupted run is saved.
        batches = iter(self._decode(steps))
        for step, decoded in zip(steps, batches, strict=True):
            if isinstance(decoded, InputError):
                break
            self.broken.update(decoded.broken)
            images, labels, indices = decoded.batch
            images = images.to(device, non_blocking=True)
            if self._kept is not None:
                self._kept.keep(step.indices, indices, images)
            yield self._batch(step, images, labels.to(device, non_blocking=True), indices)
        else:
            return
        # The workers end with their iterator, and would not if it were caught in a cycle of this error and this frame.
        del batches
        raise decoded

    def _batch(self, step: Step, images: Tensor, labels: Tensor, indices: Tensor) -> Batch:
        """What comes of uint8 images on the device."""
        return Batch(self._to_input(images, step.of(indices)), labels, indices)

    def _decode(self, steps: list[Step]) -> Iterable[Decoded | InputError]:
        epoch = steps[0].epoch if steps else self._epoch
        samples = ImageFiles(self._files, self._transform, self._required_size, self._settings.seed, epoch)
        loader: DataLoader[Any] = DataLoader(
            samples,
            batch_sampler=[step.indices.tolist() for step in steps],
            num_workers=self._num_workers,
            collate_fn=Collate(self._size, self._skip_broken),
            worker_init_fn=_ignore_signals,
            pin_memory=self._settings.device.type == "cuda",
            # Without a generator of its own, DataLoader draws from the global one.
            generator=torch.Generator(),
        )
        return loader


def count_cores() -> int:
    """Count the cores that this process may use; DataLoader warns of more workers than that."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Collate:
    """Stacks samples to a batch of uint8 images, or picks the first of the errors that must be raised."""

    def __init__(self, size: Size, skip_broken: bool) -> None:
        self._size = size
        self._skip_broken = skip_broken

    def __call__(self, samples: Sequence[Sample | InputError]) -> Decoded | InputError:
        """Samples, of which there may be none."""
        good: list[Sample] = []
        broken: list[str] = []
        for sample in samples:
            if not isinstance(sample, InputError):
                good.append(sample)
            elif self._skip_broken and isinstance(sample, BrokenImageError):
                broken.append(str(sample))
            else:
                return sample
        images = [image for image, _, _ in good]
        stacked = torch.stack(images) if images else torch.empty(0, 3, *self._size, dtype=torch.uint8)
        labels = torch.tensor([label for _, label, _ in good], dtype=torch.long)
        indices = torch.tensor([index for _, _, index in good], dtype=torch.long)
        return Decoded(Batch(stacked, labels, indices), broken)


def _ignore_signals(_: int) -> None:
    """Leave the answer to the process that trains: it may be in the middle of a step that wants this batch."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
