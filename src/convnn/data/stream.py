import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from convnn.data.epochs import EpochLoader, LoaderSettings, Step
from convnn.data.image_cache import ImageCache
from convnn.data.images import BrokenImageError, Size, read_image, to_tensor
from convnn.data.interface import Batch
from convnn.data.options import Options, Statistics
from convnn.data.seeds import seeded_globally
from convnn.errors import InputError


class ImageFile(NamedTuple):
    """The path of an image and its class index."""

    path: str
    label: int


Sample = tuple[Tensor, int, int]
"""(3, H, W) uint8 pixels, or 4 with a mask, class index, position."""


class Decoded(NamedTuple):
    """A decoded batch: uint8 images, and the errors of those that are missing."""

    batch: Batch
    broken: list[str]


class ImageFiles(Dataset[Sample | InputError]):
    """Decoded images of one epoch; in place of an image that cannot be used it returns the error to raise.

    Args:
        files: the samples.
        transform: function from a picture to a picture of the network's size; may use torch's global generator.
        required_size: size that every picture must have; None accepts any size.
        seed: seed of the transform.
        epoch: epoch of the transform.
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
        """Return the number of samples."""
        return len(self._files)

    def __getitem__(self, index: int) -> Sample | InputError:
        """Read one sample; the result is the same in every process."""
        path, label = self._files[index]
        # Errors are returned because torch replaces the message of an exception in a worker by a traceback.
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
                f"{required[1]}x{required[0]}; set resize to bring all images to one size"
            )
        return picture


class StreamLoader(EpochLoader):
    """Batches of image files, decoded by worker processes.

    Args:
        files: the samples.
        transform: function from an RGB picture to a picture of the network's size; may use torch's global generator.
        settings: settings of the batches.
        size: size of the transformed pictures.
        same_size: refuse pictures that do not have that size before the transform.
        skip_broken: skip images that cannot be read and record them in `broken`, instead of raising.
        num_workers: processes that decode, at most one per core; 0 decodes in this process. The batches do not depend
            on it.
        keep: decode every image once and keep it in the memory of the device; the transform must not be random.
    """

    channels: ClassVar[int] = 3

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
        self._cache = ImageCache([file.label for file in files], size, settings.device, self.channels) if keep else None

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch.

        Raises:
            InputError: an image is broken or of the wrong size; the message names it.
        """
        steps, device = list(self._steps()), self._settings.device
        if self._cache is not None and all(self._cache.covers(step.indices) for step in steps):
            yield from (self._batch(step, *self._cache.read(step.indices)) for step in steps)
            return
        # A name keeps the iterator alive: its workers may hang, and saving an interrupted run must not wait for them.
        batches = iter(self._decode(steps))
        for step, decoded in zip(steps, batches, strict=True):
            if isinstance(decoded, InputError):
                break
            self.broken.update(decoded.broken)
            images, labels, indices = decoded.batch
            images = images.to(device, non_blocking=True)
            if self._cache is not None:
                self._cache.add(step.indices, indices, images)
            yield self._batch(step, images, labels.to(device, non_blocking=True), indices)
        else:
            return
        # The workers end with their iterator, which a reference cycle of this error and this frame would keep alive.
        del batches
        raise decoded

    def _batch(self, step: Step, images: Tensor, labels: Tensor, indices: Tensor) -> Batch:
        """Return the batch of uint8 images that are on the device."""
        return Batch(self._to_input(images, step.subset(indices)), labels, indices)

    def _dataset(self, seed: int, epoch: int) -> ImageFiles:
        """Return the decoded images of an epoch."""
        return ImageFiles(self._files, self._transform, self._required_size, seed, epoch)

    def _decode(self, steps: list[Step]) -> Iterable[Decoded | InputError]:
        epoch = steps[0].epoch if steps else self._epoch
        samples = self._dataset(self._settings.seed, epoch)
        loader: DataLoader[Any] = DataLoader(
            samples,
            batch_sampler=[step.indices.tolist() for step in steps],
            num_workers=self._num_workers,
            collate_fn=Collate((self.channels, *self._size), self._skip_broken),
            worker_init_fn=_ignore_signals,
            pin_memory=self._settings.device.type == "cuda",
            # Without its own generator, DataLoader would draw from the global one.
            generator=torch.Generator(),
        )
        return loader


Streaming = TypeVar("Streaming", bound=StreamLoader)
File = TypeVar("File")


def stream_parts(
    options: Options,
    parts: Mapping[str, Sequence[Any]],
    loader_of: Callable[..., Streaming],
    transform_of: Callable[..., Callable[..., Any]],
    statistics: Statistics,
) -> tuple[dict[str, Streaming], tuple[int, int, int]]:
    """Return the loader of each part, and the shape of their images: as large as requested, or as the first one.

    Args:
        options: the arguments of `load_data`.
        parts: the files of each part, which have the `path` of an image.
        loader_of: `StreamLoader`, or another function of its arguments.
        transform_of: function of a size, a way to fit and `augment` that returns the transform of a loader.
        statistics: those of the images.
    """
    skip, side = options.on_bad_image == "skip", options.resize
    size = (side, side) if side else first_size(next(iter(parts.values())), _size_of_picture, skip_broken=skip)

    def loader(part: str, files: Sequence[Any]) -> Streaming:
        return loader_of(
            [files[position] for position in options.subset(part, len(files))],
            transform_of(size, options.fit, augment=options.augment and part == "train"),
            options.settings(part, statistics),
            size,
            same_size=side is None,
            skip_broken=skip,
            num_workers=options.num_workers,
            keep=options.keep_images,
        )

    return {part: loader(part, files) for part, files in parts.items()}, (3, *size)


def first_size(files: Sequence[File], size_of: Callable[[File], Size], *, skip_broken: bool) -> Size:
    """Return the size of the first file, or with `skip_broken` of the first that can be read."""
    for file in files if skip_broken else ():
        with suppress(BrokenImageError):
            return size_of(file)
    return size_of(files[0])


def _size_of_picture(file: Any) -> Size:
    picture = read_image(file.path)
    return picture.height, picture.width


def count_cores() -> int:
    """Return the number of cores that this process may use; DataLoader warns of more workers than that."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Collate:
    """Stacks samples into a batch of uint8 images, or returns the first error that must be raised."""

    def __init__(self, shape: tuple[int, int, int], skip_broken: bool) -> None:
        self._shape = shape
        self._skip_broken = skip_broken

    def __call__(self, samples: Sequence[Sample | InputError]) -> Decoded | InputError:
        """Collate samples, possibly none."""
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
        stacked = torch.stack(images) if images else torch.empty(0, *self._shape, dtype=torch.uint8)
        labels = torch.tensor([label for _, label, _ in good], dtype=torch.long)
        indices = torch.tensor([index for _, _, index in good], dtype=torch.long)
        return Decoded(Batch(stacked, labels, indices), broken)


def _ignore_signals(_: int) -> None:
    """Leave signals to the training process: it may be in the middle of a step that needs this batch."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
