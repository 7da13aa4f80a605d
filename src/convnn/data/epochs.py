"""The base of the loaders: the order of an epoch, normalisation and noise."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from convnn.data.images import channel_values, normalise, quantise
from convnn.data.seeds import Draws, make_generator


class Step(NamedTuple):
    """One process's share of one batch.

    Attributes:
        epoch: epoch of the random numbers.
        number: number of the batch in the epoch, from 0.
        num_samples: samples of the whole batch, over all processes.
        part: (B,) positions in the batch of this process's samples.
        indices: (B,) positions in the data set of this process's samples.
    """

    epoch: int
    number: int
    num_samples: int
    part: Tensor
    indices: Tensor

    def subset(self, indices: Tensor) -> "Step":
        """Return the step with these samples only."""
        mask = torch.isin(self.indices, indices)
        return self._replace(part=self.part[mask], indices=self.indices[mask])


@dataclass(frozen=True, kw_only=True)
class LoaderSettings:
    """Settings by which a loader turns images into batches.

    Attributes:
        mean: mean of each channel, of images scaled to [0, 1].
        std: standard deviation of each channel, of images scaled to [0, 1].
        device: device of the batches.
        batch_size: samples per batch over all processes, at least 1.
        shuffle: draw a new random order in every epoch, for training; otherwise every epoch is the same.
        noise: standard deviation of the Gaussian noise added to normalised images, at least 0.
        values: number of values of a pixel, of images that are whole numbers and not normalised; None normalises.
        seed: seed of order, augmentation and noise.
        process_index: index of this process among those that share every batch, from 0.
        num_processes: number of processes that share every batch.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device
    batch_size: int = 256
    shuffle: bool = False
    noise: float = 0.0
    values: int | None = None
    seed: int = 0
    process_index: int = 0
    num_processes: int = 1


class EpochLoader:
    """Base of the loaders: everything random is a function of the seed, the epoch and the step or sample.

    In training, a last batch of a single sample joins the batch before it: batch normalisation cannot train on one
    sample.

    Attributes:
        num_samples: samples per epoch, over all processes.
        broken: messages about the images that were skipped so far.
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
        """Return the number of batches per epoch."""
        return -(-self.num_samples // self._settings.batch_size) - self._joins_last

    @property
    def _joins_last(self) -> bool:
        """Whether the last batch has one sample and joins the batch before it; with a batch size of 1 none does."""
        size = self._settings.batch_size
        return self._settings.shuffle and self.num_samples > size and self.num_samples % size == 1

    def set_epoch(self, epoch: int, first_step: int = 0) -> None:
        """Set the epoch of the next iteration and its first batch; without shuffling every epoch counts as epoch 0."""
        self._epoch = epoch if self._settings.shuffle else 0
        self._first_step = first_step

    def _steps(self) -> Iterator[Step]:
        """Yield the batches of the current epoch from its first step; the order is the same on every device."""
        # The generator runs later: it must keep the epoch of its start, even if set_epoch is called meanwhile.
        epoch, first, batches = self._epoch, self._first_step, self._batches()
        return (self._step(epoch, number, batches[number]) for number in range(first, len(batches)))

    def _step(self, epoch: int, number: int, batch: Tensor) -> Step:
        index, count = self._settings.process_index, self._settings.num_processes
        part = torch.arange(index * len(batch) // count, (index + 1) * len(batch) // count)
        return Step(epoch, number, len(batch), part, batch[part])

    def _batches(self) -> list[Tensor]:
        """Return the samples of each batch of the current epoch, over all processes."""
        batches = list(torch.split(self._order(), self._settings.batch_size))
        if self._joins_last:
            batches[-2:] = [torch.cat(batches[-2:])]
        return batches

    def _order(self) -> Tensor:
        """Return the order of the samples, (num_samples,) int64 on the CPU."""
        if not self._settings.shuffle:
            return torch.arange(self.num_samples)
        generator = make_generator("order", self._settings.seed, self._epoch)
        return torch.randperm(self.num_samples, generator=generator)

    def _draws(self, purpose: str, step: Step) -> Draws:
        """Return random numbers on the device that depend only on seed, epoch, step and purpose."""
        key = (purpose, self._settings.seed, step.epoch, step.number)
        return Draws(make_generator(*key, device=self._settings.device), step.num_samples, step.part)

    def _to_input(self, images: Tensor, step: Step) -> Tensor:
        """Turn (B, C, H, W) uint8 images on the device into normalised, noisy float32, or into whole numbers."""
        if self._settings.values is not None:
            return quantise(images, self._settings.values)
        images = normalise(images, self._mean, self._std)
        if self._settings.noise == 0:
            return images
        return images.add_(self._draws("noise", step).normal(*images.shape[1:]), alpha=self._settings.noise)
