"""What every loader does alike: the order of an epoch, normalisation and noise."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from convnn.data.images import channel_values, normalise
from convnn.data.seeds import Draws, make_generator


class Step(NamedTuple):
    """What one process has to do with one batch.

    Attributes:
        epoch: that of the random numbers.
        number: the batch of the epoch, from 0.
        num_samples: of the whole batch, over all processes.
        part: (B,) which of them this process has.
        indices: (B,) which samples of the data set those are.
    """

    epoch: int
    number: int
    num_samples: int
    part: Tensor
    indices: Tensor

    def of(self, indices: Tensor) -> "Step":
        """The step without the samples that are not among these."""
        kept = torch.isin(self.indices, indices)
        return self._replace(part=self.part[kept], indices=self.indices[kept])


@dataclass(frozen=True, kw_only=True)
class LoaderSettings:
    """How a loader turns images into batches.

    Attributes:
        mean: per channel, of images scaled to [0, 1].
        std: per channel, of images scaled to [0, 1].
        device: where the batches go.
        batch_size: samples per batch over all processes, at least 1.
        shuffle: a new random order in every epoch, for training; otherwise every epoch is the same.
        noise: standard deviation of the Gaussian noise added to normalised images, at least 0.
        seed: of order, augmentation and noise.
        process_index: which of the processes that share every batch this is, from 0.
        num_processes: how many they are.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device
    batch_size: int = 256
    shuffle: bool = False
    noise: float = 0.0
    seed: int = 0
    process_index: int = 0
    num_processes: int = 1


class EpochLoader:
    """Base of the loaders: everything random is a function of the seed, the epoch and the step or sample.

    A last batch of a single sample, from which batch normalisation cannot learn, joins the one before it in training.

    Attributes:
        num_samples: samples per epoch, over all processes.
        broken: what was said of images that were left out so far.
    """

    def __init__(self, num_samples: int, settings: LoaderSettings) -> None:
        self.num_samples = num_samples
        self._settings = settings
        self.broken: set[str] = set()
        self._epoch = 0
        self._first_step = 0
        self._mean = channel_values(settings.mean, settings.device)
        self._std = channel_values(settings.std, settings.device)

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-self.num_samples // self._settings.batch_size) - self._joins_last

    @property
    def _joins_last(self) -> bool:
        """Whether the last batch, of one sample, joins the one before it; batches of one never do."""
        size = self._settings.batch_size
        return self._settings.shuffle and self.num_samples > size and self.num_samples % size == 1

    def set_epoch(self, epoch: int, first_step: int = 0) -> None:
        """Choose the epoch of the next iteration, and the batch to begin with; without shuffling all are epoch 0."""
        self._epoch = epoch if self._settings.shuffle else 0
        self._first_step = first_step

    def _steps(self) -> Iterator[Step]:
        """The batches of the current epoch from the first one wanted; the order is the same on every device."""
        # A generator runs later: its epoch is the one at its start, whatever set_epoch says meanwhile.
        epoch, first, batches = self._epoch, self._first_step, self._batches()
        return (self._step(epoch, number, batches[number]) for number in range(first, len(batches)))

    def _step(self, epoch: int, number: int, batch: Tensor) -> Step:
        index, count = self._settings.process_index, self._settings.num_processes
        part = torch.arange(index * len(batch) // count, (index + 1) * len(batch) // count)
        return Step(epoch, number, len(batch), part, batch[part])

    def _batches(self) -> list[Tensor]:
        """The samples of each batch of the current epoch, over all processes."""
        batches = list(torch.split(self._order(), self._settings.batch_size))
        if self._joins_last:
            batches[-2:] = [torch.cat(batches[-2:])]
        return batches

    def _order(self) -> Tensor:
        """(num_samples,) int64 on the CPU."""
        if not self._settings.shuffle:
            return torch.arange(self.num_samples)
        generator = make_generator("order", self._settings.seed, self._epoch)
        return torch.randperm(self.num_samples, generator=generator)

    def _draws(self, purpose: str, step: Step) -> Draws:
        """Random numbers that depend on seed, epoch, step and purpose alone, on the device."""
        key = (purpose, self._settings.seed, step.epoch, step.number)
        return Draws(make_generator(*key, device=self._settings.device), step.num_samples, step.part)

    def _to_input(self, images: Tensor, step: Step) -> Tensor:
        """(B, C, H, W) uint8 images on the device to normalised, noisy float32."""
        images = normalise(images, self._mean, self._std)
        if self._settings.noise == 0:
            return images
        return images.add_(self._draws("noise", step).normal(*images.shape[1:]), alpha=self._settings.noise)
